"""Static files of nginx through the proxy."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from peerfetch_fast import Peer, connect
from processes import Process, posix_only
from support import run

pytestmark = posix_only

Files = dict[str, bytes]


@pytest.fixture
def ask(nginx: str, transport: str, proxies: Callable[[str], Process]) -> Any:
    """Run a coroutine function with a peer that is connected to nginx's proxy."""
    ready = proxies(nginx).ready

    def ask(work: Callable[[Peer], Awaitable[None]]) -> None:
        async def main() -> None:
            connecting = connect(
                ready["peer_id"], signaling=ready["signaling"], transport=transport
            )
            async with connecting as peer:
                assert peer.transport == transport
                await work(peer)
                assert peer.session.open_streams == 0

        run(main())

    return ask


def test_files_of_nginx_arrive_whole(ask: Any, files: Files) -> None:
    async def work(peer: Peer) -> None:
        for name, content in files.items():
            response = await peer.fetch(f"/{name}", decode=False)
            assert response.status == 200
            assert response.headers["content-length"] == str(len(content))
            assert "connection" not in response.headers
            body = await response.bytes()
            assert hashlib.sha256(body).digest() == hashlib.sha256(content).digest()

    ask(work)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-2999999", 1_000_000, 3_000_000),
        ("bytes=4000000-", 4_000_000, 4_000_003),
        ("bytes=-5", 3_999_998, 4_000_003),
    ],
)
def test_ranges_of_nginx_arrive_exactly(
    ask: Any, files: Files, asked: str, start: int, stop: int
) -> None:
    async def work(peer: Peer) -> None:
        response = await peer.fetch("/large.bin", headers={"Range": asked})
        assert response.status == 206
        assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/4000003"
        assert await response.bytes() == files["large.bin"][start:stop]

    ask(work)


def test_several_ranges_and_none_that_fits(ask: Any, files: Files) -> None:
    async def work(peer: Peer) -> None:
        response = await peer.fetch("/large.bin", headers={"Range": "bytes=10-19,100-109"})
        assert response.status == 206
        assert response.headers["content-type"].startswith("multipart/byteranges")
        body = await response.bytes()
        assert len(body) == int(response.headers["content-length"])
        assert files["large.bin"][10:20] in body
        assert files["large.bin"][100:110] in body
        response = await peer.fetch("/large.bin", headers={"Range": "bytes=4000003-"})
        assert response.status == 416
        assert response.headers["content-range"] == "bytes */4000003"
        await response.bytes()

    ask(work)


def test_what_has_not_changed(ask: Any) -> None:
    async def work(peer: Peer) -> None:
        first = await peer.fetch("/small.bin")
        assert await first.bytes()
        for field, value in (
            ("If-None-Match", first.headers["etag"]),
            ("If-Modified-Since", first.headers["last-modified"]),
        ):
            response = await peer.fetch("/small.bin", headers={field: value})
            assert response.status == 304
            assert not response.ok
            assert response.headers["etag"] == first.headers["etag"]
            assert await response.bytes() == b""
        response = await peer.fetch("/small.bin", headers={"If-None-Match": '"another"'})
        assert response.status == 200
        assert await response.bytes()

    ask(work)


def test_head_requests_have_the_length_and_no_body(ask: Any, files: Files) -> None:
    async def work(peer: Peer) -> None:
        for name, content in files.items():
            response = await peer.fetch(f"/{name}", method="HEAD", decode=False)
            assert response.status == 200
            assert response.headers["content-length"] == str(len(content))
            assert await response.bytes() == b""

    ask(work)


@pytest.mark.parametrize("name", ["long.txt", "packed.txt"])
def test_what_is_compressed_stays_so(ask: Any, files: Files, name: str) -> None:
    async def work(peer: Peer) -> None:
        response = await peer.fetch(f"/{name}", headers={"Accept-Encoding": "gzip"}, decode=False)
        assert response.headers["content-encoding"] == "gzip"
        # What nginx compresses as it goes has no length; what lies there compressed has one.
        assert ("content-length" in response.headers) == (name == "packed.txt")
        body = await response.bytes()
        assert len(body) < len(files[name]) / 10
        assert gzip.decompress(body) == files[name]
        response = await peer.fetch(f"/{name}", decode=False)
        assert "content-encoding" not in response.headers
        assert await response.bytes() == files[name]

    ask(work)


def test_errors_and_redirects_are_passed_on(ask: Any) -> None:
    async def work(peer: Peer) -> None:
        for target, method, status in (
            ("/missing", "GET", 404),
            ("/small.bin", "POST", 405),
            ("/directory", "GET", 301),
            ("/directory/", "GET", 403),
        ):
            response = await peer.fetch(target, method=method, redirect="manual")
            assert response.status == status
            await response.bytes()
            if status == 301:
                assert response.headers["location"] == "/directory/"

    ask(work)


@pytest.mark.parametrize("known", [True, False])
def test_an_upload_that_is_refused_before_it_is_read(ask: Any, known: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 20_000

    async def work(peer: Peer) -> None:
        response = await peer.fetch("/small.bin", body=b"x" * 1_000_000 if known else body())
        # Too large, as far as nginx can tell beforehand; else a method that files do not have.
        assert response.status == (413 if known else 405)
        await response.bytes()
        assert (await peer.fetch("/small.bin", method="HEAD")).status == 200

    ask(work)


def test_a_download_that_is_not_wanted_any_more(ask: Any, files: Files) -> None:
    async def work(peer: Peer) -> None:
        for _ in range(20):
            async with await peer.fetch("/large.bin") as response:
                assert files["large.bin"].startswith(await response.read())
        # Whatever was still under way belongs to nobody now.
        response = await peer.fetch("/small.bin")
        assert await response.bytes() == files["small.bin"]

    ask(work)
