"""What is not used is not imported: an import costs a small board more than a request does."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
import threading
import tomllib
import urllib.request
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
    "aiohappyeyeballs",
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
            # Nobody has named a TURN server.
            for told in (done.stderr.decode(), proxy.output):
                assert "peerfetch_fast.webrtc.ice.agent" in told
                assert "peerfetch_fast.webrtc.ice.turn" not in told
        assert "aiohttp" in third_party(server.output)
        assert third_party(server.output) <= SIGNALING


def test_who_shares_receives_nothing_and_who_receives_serves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "shared"
    place.write_bytes(b"s" * 1000)
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as server:
        url = server.ready["signaling"]
        with peerfetch(tmp_path, "share", place, "--signaling", url, environ=TELLING) as sender:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "peerfetch_fast", "get", sender.ready["code"], "--yes"),
                    *("--signaling", url, "--output", tmp_path / "received"),
                ],
                env=environment(tmp_path) | TELLING,
                capture_output=True,
                text=True,
                check=False,
            )
        assert (tmp_path / "received" / "shared").read_bytes() == b"s" * 1000, done.stderr
    for told, others in (
        (sender.output, ("sharing.receive", "sharing.storing", "http.upstream", "people")),
        (done.stderr, ("server", "sharing.share", "sharing.sending", "http.files")),
    ):
        assert third_party(told) <= REACHING
        names = set(re.findall(r"\| *peerfetch_fast\.(\S+)$", told, re.MULTILINE))
        assert "sharing.manifest" in names
        assert not names & set(others)


def test_a_proxy_with_its_own_server_takes_that_server_besides(tmp_path: Path, site: str) -> None:
    with peerfetch(
        tmp_path, "proxy", "--target", site, "--listen", "127.0.0.1:0", environ=TELLING
    ) as proxy:
        assert third_party(proxy.output) <= SIGNALING


@pytest.mark.parametrize("package", [peerfetch_fast, signaling], ids=lambda found: found.__name__)
def test_every_public_name_is_there(package: object) -> None:
    for name in set(package.__all__) - {"__version__"}:  # type: ignore[attr-defined]
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


MEDIA = ("aiortc", "aioice", "av", "dns", "google_crc32c", "OpenSSL", "pylibsrtp")
"""What only media, aiortc's transport and names of browsers need: not every machine can have it."""

WITHOUT = f"""
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MEDIA!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Nothing())
"""


@pytest.fixture
def without_media(tmp_path: Path) -> dict[str, str]:
    """An environment in which these packages are not installed."""
    place = tmp_path / "without"
    place.mkdir()
    (place / "sitecustomize.py").write_text(WITHOUT)
    known = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join([str(place), *known.split(os.pathsep)])}


def run_without(environ: dict[str, str], tmp_path: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment(tmp_path) | environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_media_every_command_works(
    tmp_path: Path, site: str, without_media: dict[str, str]
) -> None:
    with (
        peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0", environ=without_media) as server,
        peerfetch(
            *(tmp_path, "proxy", "--target", site, "--signaling", server.ready["signaling"]),
            environ=without_media,
        ) as proxy,
        peerfetch(
            *(tmp_path, "forward", proxy.ready["peer_id"]),
            *("--signaling", server.ready["signaling"], "--port", "0"),
            environ=without_media,
        ) as forward,
    ):
        place = f"peer://{proxy.ready['peer_id']}/small"
        done = fetch(
            tmp_path, place, "--signaling", server.ready["signaling"], environ=without_media
        )
        assert done.stdout == b"s" * 1000
        with urllib.request.urlopen(f"{forward.ready['url']}/small") as answer:
            assert answer.read() == b"s" * 1000


def test_without_media_every_module_but_those_of_media_is_there(
    tmp_path: Path, without_media: dict[str, str]
) -> None:
    code = """
import importlib, pkgutil
import peerfetch_fast
from peerfetch_fast.errors import MissingExtra
for found in pkgutil.walk_packages(peerfetch_fast.__path__, "peerfetch_fast.", lambda _: None):
    if found.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(found.name)
    except MissingExtra:
        print(found.name)
"""
    missing = run_without(without_media, tmp_path, code).split()
    assert "peerfetch_fast.webrtc.connection" in missing
    others = {"peerfetch_fast.webrtc.connection", "peerfetch_fast.rendezvous.issuing"}
    rooms = ("peerfetch_fast.webrtc._seam", "peerfetch_fast.media.pyav")
    assert all(name in others or name.startswith(rooms) for name in missing)


@pytest.mark.parametrize(
    "wanting",
    [
        "from peerfetch_fast.webrtc import RTCPeerConnection",
        "import peerfetch_fast.webrtc.connection",
        "peerfetch_fast.Camera('test:')",
        "from peerfetch_fast.webrtc import transports; transports.check_transport('aiortc')",
        "asyncio.run(peerfetch_fast.serve('http://x', transport='aiortc'))",
        "asyncio.run(peerfetch_fast.connect('x', transport='aiortc').__aenter__())",
    ],
)
def test_what_needs_media_says_what_to_install(
    tmp_path: Path, without_media: dict[str, str], wanting: str
) -> None:
    code = f"""
import asyncio, peerfetch_fast
try:
    {wanting}
except peerfetch_fast.MissingExtra as error:
    assert isinstance(error, ImportError) and isinstance(error, peerfetch_fast.PeerfetchError)
    print(error)
"""
    assert "pip install 'peerfetch-fast[media]'" in run_without(without_media, tmp_path, code)


def test_without_media_a_name_of_a_browser_is_nobody(
    tmp_path: Path, without_media: dict[str, str]
) -> None:
    code = """
import asyncio
from peerfetch_fast.webrtc.ice.gathering import resolve_mdns
print(asyncio.run(resolve_mdns("5f1e.local")))
"""
    assert run_without(without_media, tmp_path, code) == "None\n"


def test_aiortc_is_left_out_where_there_are_no_wheels() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    needed = [one for one in project["dependencies"] if one.startswith(("aiortc", "aioice"))]
    assert [one.partition("; ")[2] for one in needed] == ["platform_machine != 'armv7l'"] * 2
    assert [one.partition(";")[0] for one in needed] == project["optional-dependencies"]["media"]
