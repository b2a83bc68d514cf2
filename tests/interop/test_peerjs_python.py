"""peerjs-python as PyPI has it: its proxy and its peers, in processes of their own, on our
signaling server with our client and our peers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from tests.peerjs.test_names import LEFT_OUT_OF_PYTHON, OF_PYTHON

from peerfetch_fast import connect
from peerfetch_fast.peerfetch1.config import load_config, load_old_peer_id
from peerfetch_fast.peerjs.peer import Peer, PeerConnectOption, PeerOptions
from peerfetch_fast.peerjs.peerroom import PeerRoom
from peerfetch_fast.webrtc.transports import Transport
from processes import Process, posix_only, running
from support import run, until
from test_peer import signaling_server

pytestmark = posix_only

PROGRAM = Path(__file__).parent / "peerjs_python.py"

PACKAGES = [
    "peerjs==1.5.1",
    # It imports names from these two that later versions no longer have.
    "pyee==11.1.1",
    "websockets==13.1",
    "dataclasses-json==0.6.7",
    "loguru==0.7.3",
    "marshmallow==3.26.1",
    "mypy-extensions==1.0.0",
    "typing-inspect==0.9.0",
]


@pytest.fixture(scope="module")
def peerjs_python(pytestconfig: pytest.Config) -> Path:
    """The directory with peerjs-python and what it needs beside aiortc.

    Without its dependencies' versions: its av is older than any that this aiortc takes.
    """
    cache = Path(pytestconfig.cache.mkdir("peerjs-python"))  # type: ignore[union-attr]
    installed = cache / "installed"
    wanted = "\n".join(PACKAGES)
    if not installed.exists() or installed.read_text() != wanted:
        fetched = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--no-deps", "--upgrade"),
                *("--disable-pip-version-check", "--target", str(cache / "packages"), *PACKAGES),
            ],
            capture_output=True,
            timeout=300,
            check=False,
        )
        if fetched.returncode:
            refuse = pytest.fail if os.environ.get("PEERFETCH_INTEROP") else pytest.skip
            refuse(f"pip cannot get peerjs-python: {fetched.stderr.decode()[-200:]}")
        installed.write_text(wanted)
    return cache / "packages"


@contextlib.contextmanager
def program(
    packages: Path, directory: Path, *arguments: object, **environ: str
) -> Iterator[Process]:
    """A Python program that finds the packages, until the block ends."""
    path = os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with running(
        *(sys.executable, *arguments),
        log=directory / "peerjs-python.log",
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, **environ},
    ) as process:
        yield process


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/nothing":
            return web.Response(status=204)
        if request.path == "/missing":
            return web.Response(status=404, text="no such thing")
        return web.json_response({"method": request.method, "target": request.raw_path})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "localhost", 0).start()
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def started(process: Process, file: Path) -> None:
    """Wait for a file that the process writes once it is known to the server."""

    def there() -> bool:
        assert not process.ended, process.output
        return file.exists() and file.stat().st_size > 0

    await until(there, timeout=60)


def with_other_imports(packages: Path, directory: Path) -> Path:
    """Its proxy as a program of ours: what its users are to change is changed."""
    source = (packages / "peerjs" / "ext" / "http_proxy.py").read_text()
    program = directory / "http_proxy.py"
    program.write_text(source.replace("from peerjs.", "from peerfetch_fast.peerjs."))
    return program


@pytest.mark.parametrize("imports", ["peerjs", "peerfetch_fast.peerjs", "our program"])
async def test_its_proxy_is_asked(
    peerjs_python: Path,
    tmp_path: Path,
    imports: str,
    transport: Transport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments: tuple[object, ...] = (PROGRAM, "proxy")
    if imports == "peerfetch_fast.peerjs":
        arguments = (with_other_imports(peerjs_python, tmp_path),)
    elif imports == "our program":
        arguments = ("-m", "peerfetch_fast.peerjs.ext.http_proxy")

    async with upstream() as origin, signaling_server() as signaling:
        server = urlsplit(signaling)
        (tmp_path / "peerjs-config.yaml").write_text(
            f"signaling_server: {server.hostname}\nport: {server.port}\nsecure: false\n"
            "ice_servers: []\nlog_level: DEBUG\n"
        )
        with program(peerjs_python, tmp_path, *arguments) as proxy:
            await started(proxy, tmp_path / ".peerjsrc")
            # Its files are read as it reads and writes them.
            monkeypatch.chdir(tmp_path)
            config, peer_id = load_config(), load_old_peer_id()
            assert config is not None
            assert config.signaling == signaling
            assert peer_id is not None
            async with connect(peer_id, signaling=signaling, transport=transport) as peer:
                for method in ("GET", "PUT"):
                    response = await peer.fetch(f"/{origin}/a?b=c", method=method)
                    assert (response.status, await response.json()) == (
                        200,
                        {"method": method, "target": "/a?b=c"},
                    )
                    assert response.headers["content-type"].startswith("application/json")
                assert (await peer.fetch(f"/{origin}/nothing")).status == 204
                response = await peer.fetch(f"/{origin}/missing")
                assert (response.status, await response.text()) == (404, "no such thing")


def test_its_names_are_the_ones_that_are_here(peerjs_python: Path, tmp_path: Path) -> None:
    with program(peerjs_python, tmp_path, PROGRAM, "names") as process:
        run(until(lambda: "names" in process.output, timeout=60))
        [line] = [line for line in process.output.splitlines() if "names" in line]
    for name, found in json.loads(line)["names"].items():
        listed = f"{OF_PYTHON[name]} {LEFT_OUT_OF_PYTHON.get(name, '')}".split()
        assert sorted(found) == sorted(listed), name


async def test_its_proxy_says_nothing_of_what_fails(peerjs_python: Path, tmp_path: Path) -> None:
    """Of an upstream's failure, nor of a POST or a body, which it does not know."""

    async with upstream() as origin, signaling_server() as signaling:
        server = urlsplit(signaling)
        (tmp_path / "config").write_text(
            f"signaling_server: {server.hostname}\nport: {server.port}\nsecure: false\n"
            "ice_servers: []\n"
        )
        (tmp_path / "id").write_text('{"peerId": "old-proxy"}')
        environ = {"PEERJS_CONFIG_FILE": "config", "PEERJS_PEERID_FILE": "id"}
        with program(peerjs_python, tmp_path, PROGRAM, "proxy", **environ) as proxy:
            await until(lambda: "peer activated" in proxy.output, timeout=60)
            async with (
                connect("old-proxy", signaling=signaling) as one,
                connect("old-proxy", signaling=signaling) as other,
            ):
                posted, failed = await asyncio.gather(
                    one.fetch(f"/{origin}/", method="POST", json={"a": 1}),
                    other.fetch("/http://localhost:1/"),
                )
                assert (posted.status, failed.status) == (504, 504)
                assert "knows no POST" in await posted.text()
                assert "upstream failed" in await failed.text()
                # And it answers the next one.
                assert (await one.fetch(f"/{origin}/")).ok


@contextlib.asynccontextmanager
async def peers(packages: Path, directory: Path) -> AsyncIterator[tuple[Peer, Process]]:
    """A peer of ours, in its room, and one of peerjs-python that joined after it."""
    async with signaling_server() as signaling:
        server = urlsplit(signaling)
        assert server.hostname is not None
        assert server.port is not None
        ours = Peer("ours", PeerOptions(host=server.hostname, port=server.port, config=None))
        await ours.start()
        try:
            await PeerRoom(ours).join()
            arguments = (PROGRAM, "peer", server.hostname, server.port, "theirs")
            with program(packages, directory, *arguments) as theirs:
                await until(lambda: "members" in theirs.output, timeout=60)
                yield ours, theirs
        finally:
            await ours.destroy()


@pytest.mark.parametrize(
    ("serialization", "values"),
    [
        ("raw", ["text, ünicode 😀", b"\0\1\2", bytes(60_000)]),
        ("json", ["text, ünicode 😀", 1.5, -7, [1, "two", None], {"a": {"b": [True, False]}}]),
    ],
)
async def test_values_arrive_both_ways_until_it_is_closed(
    peerjs_python: Path, tmp_path: Path, serialization: str, values: list[Any]
) -> None:
    async with peers(peerjs_python, tmp_path) as (ours, theirs):
        options = PeerConnectOption(
            label="l", serialization=serialization, reliable=True, metadata={"m": 1}
        )
        connection = await ours.connect("theirs", options)
        assert connection is not None
        received: asyncio.Queue[Any] = asyncio.Queue()
        connection.on("data", received.put_nowait)
        assert await received.get() == "listening"
        for value in values:
            await connection.send(value)
            assert await received.get() == type(value).__name__
            assert await received.get() == value
        await connection.close()
        await until(lambda: '{"closed": ["l", {"m": 1}]}' in theirs.output)


async def test_a_room_of_both(peerjs_python: Path, tmp_path: Path) -> None:
    async with peers(peerjs_python, tmp_path) as (ours, theirs):
        [line] = [line for line in theirs.output.splitlines() if "members" in line]
        told = json.loads(line)
        members = await PeerRoom(ours).getRoomMembers()
        for each in (told["members"], members):
            assert sorted(each["clientsIds"]) == ["ours", "theirs"]
        # Why there is no test in which it begins, as an old client at our proxy would.
        assert "DataConnection.__init__() takes from 1 to 3" in told["connect"]
