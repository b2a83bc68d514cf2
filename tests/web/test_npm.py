"""The package as npm has it: in a page that Vite has built, in Node, and under a type checker."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import chromium, open_page

from peerfetch_fast import Server, serve
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from processes import posix_only

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "npm"
MODULES = HERE / "node_modules"
SIZE = 2_000_000

pytestmark = [
    posix_only,
    pytest.mark.skipif(
        not MODULES.exists() and os.environ.get("PEERFETCH_INTEROP") != "1",
        reason=f"npm ci --prefix {HERE} was not run",
    ),
]


def node(*arguments: object, where: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", *map(str, arguments)],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of somebody's own that has installed the package."""
    directory = tmp_path_factory.mktemp("project")
    packed = subprocess.run(
        [ROOT / ".ci" / "npm-package", directory], capture_output=True, text=True, check=True
    ).stdout.strip()
    shutil.copytree(HERE / "page", directory, dirs_exist_ok=True)
    shutil.copy(HERE / "program.mjs", directory)
    (directory / "package.json").write_text('{"private": true, "type": "module"}')
    subprocess.run(
        ["npm", "install", "--offline", "--no-audit", "--no-fund", "--no-save", packed],
        cwd=directory,
        capture_output=True,
        check=True,
    )
    for name in ("werift", "node-datachannel"):
        (directory / "node_modules" / name).symlink_to(MODULES / name)
    return directory


def application(servers: list[Server]) -> Starlette:
    async def echo(request: Request) -> Response:
        body = (await request.body()).decode()
        return PlainTextResponse(f"{request.method} {body}")

    async def large(_: Request) -> Response:
        return Response(b"\x01" * SIZE)

    async def ask_me(_: Request) -> Response:
        [peer] = servers[0].peers
        answer = await peer.fetch("/of-node", method="PUT", body=b"asked")
        return PlainTextResponse(f"{answer.status} {(await answer.read()).decode()}")

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"heard {await websocket.receive_text()}")
        await websocket.send_bytes(bytes(reversed(await websocket.receive_bytes())))
        await websocket.receive()

    return Starlette(
        routes=[
            Route("/echo", echo, methods=["GET", "POST"]),
            Route("/large", large),
            Route("/ask-me", ask_me),
            WebSocketRoute("/socket", socket),
        ]
    )


@contextlib.asynccontextmanager
async def device() -> AsyncIterator[tuple[str, str]]:
    """URL of a device, and of the signaling server that knows it."""
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    servers: list[Server] = []
    try:
        async with await serve(application(servers), signaling=signaling.url) as server:
            servers.append(server)
            yield server.url, signaling.url
    finally:
        await signaling.close()


@pytest.mark.parametrize("stack", ["node-datachannel/polyfill", "werift"])
async def test_a_program_in_node(project: Path, stack: str) -> None:
    async with device() as (url, signaling):
        running = await asyncio.create_subprocess_exec(
            # A global WebSocket is in Node from 22 on.
            *("node", "--experimental-websocket", "program.mjs", stack, url, signaling),
            cwd=project,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            printed, said = await asyncio.wait_for(running.communicate(), 100)
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
    assert running.returncode == 0, said.decode()
    assert json.loads(printed.splitlines()[-1]) == {
        "text": "POST from Node",
        "size": SIZE,
        "sum": SIZE,
        "asked": "201 PUT /of-node asked",
        "heard": ["heard text", [3, 2, 1]],
        "closed": [4000, ""],  # the code comes back, without the reason
        "state": "closed",
    }


def test_without_webrtc_a_program_is_told_what_to_give(project: Path) -> None:
    code = """
        import("peerfetch-fast").then((m) => m.connect("peer://a", { signaling: "local:a" }))
    """
    done = node("-e", code, where=project)
    assert done.returncode != 0
    assert "TypeError: there is no RTCPeerConnection here" in done.stderr


@pytest.fixture(scope="module")
def built(project: Path) -> Iterator[str]:
    """URL of the page, built by Vite and served as it came out."""
    done = node(MODULES / "vite/bin/vite.js", "build", "--logLevel", "warn", where=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((project / "dist").rglob("*.ts"))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(project / "dist"))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@needs_chromium
async def test_a_page_that_vite_has_built(built: str) -> None:
    with chromium() as devtools:
        async with device() as (url, signaling), open_page(devtools, built) as page:
            asked = f"({json.dumps(url)}, {json.dumps(signaling)}, '/echo')"
            assert await page.evaluate(f"window.ask{asked}") == [200, "GET "]
            absent = f"('peer://nobody', {json.dumps(signaling)}, '/')"
            status, sentence = await page.evaluate(f"window.ask{absent}")
            assert status == 0
            assert sentence.startswith("unavailable: ")


def test_the_types_are_those_of_what_is_there(project: Path) -> None:
    done = node(MODULES / "typescript/bin/tsc", "-p", ".", where=project)
    assert done.returncode == 0, done.stdout


def test_the_types_are_right_for_who_has_those_of_packages_checked(project: Path) -> None:
    package = project / "node_modules" / "peerfetch-fast"
    options = ("--noEmit", "--strict", "--target", "ES2022", "--lib", "ES2022,DOM,DOM.Iterable")
    files = (str(package / name) for name in ("peerfetch.d.ts", "smoke.d.ts"))
    done = node(MODULES / "typescript/bin/tsc", *options, *files, where=project)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "types"),
    [("peerfetch-fast", "peerfetch.d.ts"), ("peerfetch-fast/smoke", "smoke.d.ts")],
)
def test_all_that_is_exported_has_a_type_and_all_that_has_one_is_exported(
    project: Path, module: str, types: str
) -> None:
    package = project / "node_modules" / "peerfetch-fast"
    code = f"import('{module}').then((m) => console.log(Object.keys(m).join(' ')))"
    exported = set(node("-e", code, where=project).stdout.split())
    declared = set(
        re.findall(
            r"^export (?:declare )?(?:class|function|const) (\w+)",
            (package / types).read_text(),
            re.M,
        )
    )
    # Peer is given and never made: a class for its type alone.
    assert declared - {"Peer"} == exported


def test_it_comes_with_licence_and_readme_and_nothing_of_the_pages(project: Path) -> None:
    package = project / "node_modules" / "peerfetch-fast"
    assert (package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert "peer.fetch" in (package / "README.md").read_text()
    assert {path.name for path in package.iterdir()} == {
        *("LICENSE", "README.md", "lib", "package.json", "peerfetch.d.ts", "peerfetch.js"),
        *("smoke.d.ts", "smoke.js"),
    }
