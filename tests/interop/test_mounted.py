"""nginx and FastAPI side by side, each below a path of its own, and files beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from peerfetch_fast import Peer, connect
from processes import Process, peerfetch, posix_only
from support import run

pytestmark = posix_only


@pytest.fixture(scope="session")
def mounted(
    tmp_path_factory: pytest.TempPathFactory, transport: str, nginx: str, fastapi: str
) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("mounted")
    files = directory / "files"
    files.mkdir()
    (files / "there").write_bytes(b"a file")
    # An id of its own for each: clients pin what they meet first.
    with peerfetch(
        directory,
        *(
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--transport",
            transport,
            "--peer-id",
            f"home-{transport}",
        ),
        *("--target", f"/web={nginx}", "--target", f"/deep/app={fastapi}"),
        *("--serve", f"/files={files}"),
    ) as proxy:
        yield proxy


@pytest.fixture
def ask(mounted: Process, transport: str) -> Callable[[Callable[[Peer], Awaitable[None]]], None]:
    def ask(work: Callable[[Peer], Awaitable[None]]) -> None:
        async def main() -> None:
            connecting = connect(
                mounted.ready["peer_id"], signaling=mounted.ready["signaling"], transport=transport
            )
            async with connecting as peer:
                await work(peer)

        run(main())

    return ask


def test_a_redirect_of_nginx_leads_back(ask: Any, files: dict[str, bytes]) -> None:
    async def work(peer: Peer) -> None:
        response = await peer.fetch("/web/small.bin")
        assert await response.bytes() == files["small.bin"]
        # nginx says /directory/, as it knows no other path of its own.
        response = await peer.fetch("/web/directory", redirect="manual")
        assert response.status == 301
        assert response.headers["location"] == "/web/directory/"

    ask(work)


def test_an_absolute_redirect_and_a_cookie_of_fastapi_lead_back(ask: Any) -> None:
    async def work(peer: Peer) -> None:
        response = await peer.fetch("/deep/app/login", redirect="manual")
        assert response.status == 307
        assert response.headers["location"] == "/deep/app/api/hello"
        [cookie] = response.headers.getall("set-cookie")
        assert "Path=/deep/app/api;" in cookie
        # The addition of a slash, which Starlette writes with the Host that it got.
        response = await peer.fetch("/deep/app/api/hello/", redirect="manual")
        assert response.headers["location"] == "/deep/app/api/hello"
        response = await peer.fetch("/deep/app/api/hello")
        assert await response.json() == {"message": "Hello World"}

    ask(work)


def test_fastapi_is_told_who_asks(ask: Any, fastapi: str) -> None:
    async def work(peer: Peer) -> None:
        response = await peer.fetch("/deep/app/headers", headers={"X-Forwarded-For": "192.0.2.1"})
        got = dict(await response.json())
        assert got["host"] == fastapi.removeprefix("http://")
        assert got["forwarded"].endswith(f";host={peer.id};proto=peer")
        assert got["x-forwarded-prefix"] == "/deep/app"
        assert ip_address(got["x-forwarded-for"]) != ip_address("192.0.2.1")

    ask(work)


def test_files_are_served_beside_applications(ask: Any) -> None:
    async def work(peer: Peer) -> None:
        assert await (await peer.fetch("/files/there")).bytes() == b"a file"
        response = await peer.fetch("/files/", headers={"Accept": "application/json"})
        assert (await response.json())["path"] == "/files/"
        assert (await peer.fetch("/elsewhere")).status == 404

    ask(work)
