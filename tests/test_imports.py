"""What is not used is not imported: an import costs a small board more than a request does."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import peerfetch_fast
from peerfetch_fast import signaling
from processes import environment, fetch, peerfetch, posix_only

pytestmark = posix_only

TELLING = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python tell of every import on standard error."""

HELP = {"click"}

REACHING = HELP | {
    "_cffi_backend",
    "aiohappyeyeballs",
    "cryptography",
    "idna",
    "multidict",
    "orjson",
    "propcache",
    "pyee",
    "uvloop",
    "yarl",
}

SIGNALING = REACHING | {
    "aiohttp",
    "aiosignal",
    "attr",
    "frozenlist",
    "_brotli",
    "brotli",
    "backports",
    "typing_extensions",
}


def third_party(told: str) -> set[str]:
    """The packages in what Python told of its imports that are neither its own nor ours."""
    names = re.findall(r"^import time: +\d+ \| +\d+ \| *([^.\s]+)", told, re.MULTILINE)
    assert names
    ours = {"peerfetch_fast", "sitecustomize", "usercustomize", *_at_start()}
    foreign = {name for name in names if name not in sys.stdlib_module_names} - ours
    # What was looked for in vain is told too.
    return {name for name in foreign if importlib.util.find_spec(name) is not None}


@functools.cache
def _at_start() -> frozenset[str]:
    """What this installation imports for each program."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", ""], capture_output=True, text=True, check=True
    )
    return frozenset(re.findall(r"\| *([^.\s]+)", told.stderr))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """An HTTP server with one file."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "small").write_bytes(b"s" * 1000)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(files))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["no-such-command"]], ids=lambda found: found[0]
)
def test_help_takes_the_command_line_alone(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "peerfetch_fast", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert third_party(done.stderr) <= HELP
    assert "asyncio" not in re.findall(r"\| *(\S+)", done.stderr)


def test_a_program_that_only_knows_our_errors_needs_nothing_else() -> None:
    code = "import peerfetch_fast; peerfetch_fast.PeerfetchError"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    assert third_party(done.stderr) == set()


def test_the_server_stands_on_what_the_commands_use(tmp_path: Path, site: str) -> None:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", environ=TELLING) as server:
        url = server.ready["signaling"]
        with peerfetch(
            tmp_path, "proxy", "--target", site, "--signaling", url, environ=TELLING
        ) as proxy:
            place = f"peer://{proxy.ready['peer_id']}/small"
            done = fetch(tmp_path, place, "--signaling", url, environ=TELLING)
            assert done.stdout == b"s" * 1000
            assert third_party(done.stderr.decode()) <= REACHING
            assert third_party(proxy.output) <= REACHING
        assert "aiohttp" in third_party(server.output)
        assert third_party(server.output) <= SIGNALING


def test_a_proxy_with_its_own_server_takes_that_server_besides(tmp_path: Path, site: str) -> None:
    with peerfetch(
        tmp_path, "proxy", "--target", site, "--listen", "127.0.0.1:0", environ=TELLING
    ) as proxy:
        assert third_party(proxy.output) <= SIGNALING


@pytest.mark.parametrize("package", [peerfetch_fast, signaling], ids=lambda found: found.__name__)
def test_every_public_name_is_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_all_public_names_come_with_a_star(tmp_path: Path) -> None:
    code = "from peerfetch_fast import *; print(connect.__module__, IdTaken.__module__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment(tmp_path),
    )
    assert done.stdout == "peerfetch_fast.peer peerfetch_fast.errors\n"
