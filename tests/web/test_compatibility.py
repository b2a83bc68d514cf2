"""The browsers that web/package.json names have what the browser client uses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INTEROP = ROOT / "tests" / "interop"
DATA = INTEROP / "node_modules" / "@mdn" / "browser-compat-data"
ESLINT = INTEROP / "node_modules" / "eslint" / "bin" / "eslint.js"
WEB = ROOT / "src" / "peerfetch_fast" / "web"

FEATURES = {
    "RTCPeerConnection": ["api.RTCPeerConnection", "api.RTCPeerConnection.createDataChannel"],
    "JavaScript modules": [
        "javascript.statements.import",
        "javascript.operators.import_meta",
        "javascript.classes.private_class_methods",
        "javascript.classes.private_class_fields_in",
    ],
    "ReadableStream": ["api.ReadableStream.getReader", "api.Response.body"],
    "TransformStream": ["api.TransformStream", "api.ReadableStream.pipeThrough"],
    "Media Source Extensions": ["api.MediaSource", "api.SourceBuffer.remove"],
    "VideoDecoder": ["api.VideoDecoder"],
    "AudioDecoder": ["api.AudioDecoder", "api.AudioWorkletNode"],
    "requestFullscreen": ["api.Element.requestFullscreen"],
    "service workers": ["api.ServiceWorker"],
    "Web Locks": ["api.LockManager"],
    "DecompressionStream": ["api.DecompressionStream"],
    "IntersectionObserver": ["api.IntersectionObserver"],
    "createImageBitmap": ["api.createImageBitmap.options_resizeWidth_parameter"],
    "loading": ["html.elements.img.loading"],
    "content-visibility": ["css.properties.content-visibility"],
    "scrollbar-gutter": ["css.properties.scrollbar-gutter"],
    "dialog": ["html.elements.dialog", "api.HTMLDialogElement.showModal"],
    "BarcodeDetector": ["api.BarcodeDetector"],
    "navigator.connection": ["api.Navigator.connection"],
    "navigator.share": ["api.Navigator.share"],
    "navigator.wakeLock": ["api.Navigator.wakeLock"],
    "navigator.clipboard": ["api.Clipboard.writeText"],
}
"""Of each row of the table in docs/browser.md, by its beginning, what the data calls it."""

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no node"),
    pytest.mark.skipif(
        os.environ.get("PEERFETCH_INTEROP") != "1" and not ESLINT.exists(),
        reason="eslint is not installed (npm ci in tests/interop)",
    ),
]


def eslint(*arguments: object, source: str = "") -> tuple[int, str]:
    config = ("--config", INTEROP / "eslint.config.js")
    done = subprocess.run(
        ["node", *map(str, (ESLINT, *config, *arguments))],
        cwd=ROOT,
        input=source,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_they_have_all_of_it() -> None:
    assert eslint(WEB) == (0, "")


def test_what_one_of_them_lacks_is_found() -> None:
    stdin = ("--stdin", "--stdin-filename", WEB / "page" / "another.js")
    code, said = eslint(*stdin, source="new EyeDropper().open();\n")
    assert code == 1
    assert "EyeDropper is not supported in Safari 16.4" in said


def first_with(data: Any, paths: list[str], browser: str) -> str:
    """The first version that has all of them without a switch; a dash for none."""
    versions = []
    for path in paths:
        found = data
        for name in path.split("."):
            found = found[name]
        supported = found["__compat"]["support"][browser]
        newest = supported[0] if isinstance(supported, list) else supported
        is_usable = not {"flags", "version_removed"} & newest.keys() and newest["version_added"]
        versions.append(newest["version_added"] if is_usable else "")
    return max(versions, key=float) if all(versions) else "\N{EN DASH}"


def test_the_table_says_what_the_data_says() -> None:
    data = json.loads((DATA / "data.json").read_bytes())
    text = (ROOT / "docs" / "browser.md").read_text()
    assert re.search(rf"browser-compat-data`\s+{re.escape(data['__meta']['version'])}\s", text)
    rows = re.findall(r"^\| (.+?) \| .+? \| (.+?) \| (.+?) \| (.+?) \| .+ \|$", text, re.M)
    table = {what.strip("`<>"): tuple(said) for what, *said in rows if what != "what is used"}
    for what, paths in FEATURES.items():
        ((row, said),) = [one for one in table.items() if one[0].startswith(what)]
        chrome, firefox, mac, phone = (
            first_with(data, paths, browser)
            for browser in ("chrome", "firefox", "safari", "safari_ios")
        )
        apples = mac if mac == phone else f"{mac}, {phone}"
        assert (re.sub(",.*", "", said[0]), *said[1:]) == (chrome, firefox, apples), row
        del table[row]
    assert not [row for row in table if row != "--"]
