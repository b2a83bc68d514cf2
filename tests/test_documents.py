"""The commands that the users' documents show are run here, with other addresses."""

from __future__ import annotations

import contextlib
import http.server
import re
import shlex
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from peerfetch_fast.cli import main
from processes import Process, environment, free_port, peerfetch, posix_only

ROOT = Path(__file__).parent.parent
USERS = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("access", "browser", "cli", "compatibility", "proxy")
    ),
]
"""Whose commands are run."""
MEASURING = [
    ROOT / "docs" / "performance.md",
    ROOT / "bench" / "README.md",
    ROOT / "tests/fuzz/README.md",
]
"""Whose commands take minutes to hours; each says that no test runs them."""

ELSEWHERE = {
    "peerfetch proxy --target": "no whole command",
    "peerfetch fetch peer://ID/http://localhost:8778/api": "tests/peerfetch1",
    "peerfetch demo": "tests/cli/test_demo.py",
    "peerfetch config rendezvous …": "tests/cli/test_configure.py",
    "peerfetch rendezvous --domain …": "tests/cli/test_rendezvous.py",
    "peerfetch test": "what runs this",
    **dict.fromkeys(
        (
            "peerfetch invite anna",
            "peerfetch invite NAME",
            "peerfetch pair NAME CODE",
            "peerfetch pair garage-cam 123-able-boat",
            "peerfetch people limit NAME",
            "peerfetch people rename NAME NEW-NAME",
            "peerfetch people revoke",
            "peerfetch people revoke NAME",
            "peerfetch proxy --people-only",
        ),
        "tests/cli/test_people.py",
    ),
    **dict.fromkeys(
        (
            "peerfetch get 123-able-boat",
            "peerfetch get CODE",
            "peerfetch get LINK",
            "peerfetch get NAME",
            "peerfetch share PATH --to NAME",
            "peerfetch share --room",
            "peerfetch inbox DIR",
            "peerfetch share PATH…",
            "peerfetch share PATH --to CODE",
            "peerfetch share PATH --to peer://ID/FOLDER/",
            "peerfetch share holiday/",
        ),
        "tests/cli/test_share.py",
    ),
}


def commands(document: Path) -> Iterator[str]:
    """What a document says to type, `./run` being `peerfetch`."""
    text = document.read_text()
    fence = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
    lines = [
        line
        for kind, block in fence.findall(text)
        if kind in ("", "sh")
        for line in block.splitlines()
    ]
    inline = re.findall(r"(?<!`)`([^`]+)`", fence.sub("", text))
    for line in (*lines, *(" ".join(part.split()) for part in inline)):
        if found := re.match(r"(?:\./run|peerfetch) (?=[a-z])(.+)", line):
            yield f"peerfetch {found[1]}"


SHOWN = sorted({command for document in USERS for command in commands(document)} - set(ELSEWHERE))


def test_the_documents_show_commands() -> None:
    assert {"peerfetch proxy", "peerfetch fetch", "peerfetch signal"} <= set(SHOWN)
    assert len(SHOWN) >= 20


@pytest.mark.parametrize("shown", SHOWN)
def test_a_command_has_the_options_that_are_shown(shown: str) -> None:
    _, name, *arguments = shlex.split(shown)
    context = click.Context(main)
    command = main.get_command(context, name)
    assert command is not None, f"there is no {name}"
    # As the shell completes it: nothing is missing, but what is unknown is refused.
    command.make_context(name, arguments, parent=context, resilient_parsing=True)
    known = {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    assert given <= known | {"--help"}


@pytest.mark.parametrize("document", MEASURING, ids=lambda path: path.name)
def test_a_page_whose_commands_are_not_run_says_so(document: Path) -> None:
    text = " ".join(document.read_text().split())
    assert "The tests do not run the commands of this page" in text
    for module in re.findall(r"python -m ((?:bench|tests)\.[\w.]+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


class Site(http.server.BaseHTTPRequestHandler):
    """What stands behind the devices of the documents."""

    def do_GET(self) -> None:
        """Answer with the path."""
        body = self.path.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Be silent."""


@pytest.fixture
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Walk:
    """Somebody who types what the documents show, one command after the other."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, words: dict[str, str]) -> None:
        self._directory = directory
        self._stack = stack
        self.words = words
        self.typed: set[str] = set()

    def _arguments(self, shown: str, more: tuple[str, ...]) -> list[str]:
        assert shown in SHOWN, f"no document shows {shown!r} any more"
        self.typed.add(shown)
        arguments = shlex.split(shown)[1:]
        for word, meant in self.words.items():
            arguments = [argument.replace(word, meant) for argument in arguments]
        token = str(self._directory / "token")
        return [*(token if argument == "token" else argument for argument in arguments), *more]

    def start(self, shown: str, *more: str) -> Process:
        """Run what lasts, until the end of the test."""
        command, *arguments = self._arguments(shown, more)
        return self._stack.enter_context(peerfetch(self._directory, command, *arguments))

    def run(self, shown: str, *more: str) -> str:
        """Run something to its end; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "peerfetch_fast", *self._arguments(shown, more)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self._directory,
            env=environment(self._directory),
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, (shown, done.stdout, done.stderr)
        return done.stdout


def read(port: int) -> str:
    """What an HTTP server on this machine answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/over/there", timeout=60) as response:
        body: bytes = response.read()
    return body.decode()


@posix_only
def test_the_commands_do_what_the_documents_say(site: str, tmp_path: Path) -> None:
    files = tmp_path / "films"
    files.mkdir()
    (files / "film").write_text("a film")
    (tmp_path / "token").write_text("a token of twenty bytes")
    with contextlib.ExitStack() as stack:
        walk = Walk(tmp_path, stack, {})
        signaling = walk.start("peerfetch signal", "--listen", "127.0.0.1:0").ready["signaling"]
        via = ("--signaling", signaling)
        walk.words = {
            "NEW-NAME": "hall",
            "NAME": "shed",
            "127.0.0.1:8778": site,
            "127.0.0.1:PORT": site,
            "127.0.0.1:22": site,
            "ws://192.168.1.20:9000": signaling,
            "URL": signaling,
            "DIRECTORY": str(files),
            "/srv/films": str(files),
        }

        def proxy(shown: str) -> str:
            """Start a device; its id."""
            state = str(tmp_path / f"state of device {len(walk.typed)}")
            ready = walk.start(shown, "--state-dir", state, *via).ready
            walk.words |= {"PEER-ID": ready["peer_id"], "PIN": ready["fingerprint"]}
            peer_id: str = ready["peer_id"]
            return peer_id

        def forward(shown: str, *more: str) -> int:
            """Make a device a port; which."""
            port = free_port()
            walk.words |= {"8080": str(port), "2222": str(port)}
            walk.start(shown, *more)
            return port

        camera = proxy("peerfetch proxy --target http://127.0.0.1:8778")
        fetch = "peerfetch fetch peer://PEER-ID/api/hello --signaling ws://192.168.1.20:9000"
        assert walk.run(fetch) == "/api/hello"
        shown = "peerfetch forward PEER-ID --port 8080 --signaling ws://192.168.1.20:9000"
        assert read(forward(shown)) == "/over/there"

        walk.words["peer://…"] = f"peer://{camera}/#{walk.words['PIN']}"
        walk.run("peerfetch pair garage-cam 'peer://…'", *via)
        assert walk.run("peerfetch fetch peer://garage-cam/") == "/"
        port = free_port()
        walk.start("peerfetch forward garage-cam", "--port", str(port))
        assert read(port) == "/over/there"
        walk.words["peer://ID"] = f"peer://{camera}"
        walk.run("peerfetch pair NAME peer://ID/#PIN", *via)
        assert "shed" in walk.run("peerfetch devices")
        walk.run("peerfetch devices rename NAME NEW-NAME")
        walk.words["NAME"] = "hall"
        walk.run("peerfetch devices remove NAME")
        left = walk.run("peerfetch devices")
        assert "shed" not in left
        assert "hall" not in left
        walk.run("peerfetch pair NAME 'peer://PEER-ID#PIN' --signaling URL")
        assert camera[:8] in walk.run("peerfetch status")

        for shown in ("--serve DIRECTORY", "--serve /srv/films", "--target http://127.0.0.1:PORT"):
            proxy(f"peerfetch proxy {shown}")
            asked = walk.run(
                "peerfetch fetch peer://PEER-ID/api/hello --signaling ws://192.168.1.20:9000", "-i"
            )
            assert asked.startswith("HTTP/2 404" if "serve" in shown else "HTTP/2 200")

        proxy("peerfetch proxy --target http://127.0.0.1:8778 --access-token-file token")
        assert walk.run("peerfetch fetch peer://PEER-ID/ --access-token-file token", *via) == "/"

        proxy("peerfetch proxy --tcp ssh=127.0.0.1:22")
        assert read(forward("peerfetch forward PEER-ID --tcp 2222:ssh", *via)) == "/over/there"

    bare = {shown for shown in SHOWN if shown.count(" ") == 1}
    assert set(SHOWN) - walk.typed - bare == {
        "peerfetch proxy --discoverable",  # tests/cli/test_discover.py
        "peerfetch invite --wait",  # tests/cli/test_people.py
        "peerfetch invite anna --wait",
    }
