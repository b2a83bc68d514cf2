from __future__ import annotations

import asyncio
import contextlib
import email.parser
import email.policy
import gzip
import os
import random
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from peerfetch_fast.errors import StreamReset
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import BlockReader
from peerfetch_fast.http.files import Files, handler
from peerfetch_fast.http.heads import decode_response, encode_request
from peerfetch_fast.settings import Settings
from processes import posix_only
from support import Pair, http_pair, read_all, run, until

pytestmark = posix_only

NOTES = gzip.compress(b"notes", mtime=0)
LARGE = random.Random(4).randbytes(1_500_003)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"not for you")
    root = tmp_path / "root"
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "site").mkdir()
    (root / "site" / "index.html").write_text("<p>home</p>")
    (root / "large.bin").write_bytes(LARGE)
    (root / "hello.txt").write_bytes(b"0123456789" * 100)
    (root / "empty.json").write_bytes(b"")
    (root / "notes.tar.gz").write_bytes(NOTES)
    (root / "a b%c?#\u00e4.txt").write_bytes(b"odd")
    (root / ".env").write_bytes(b"hidden")
    (root / "dir" / "a:b").mkdir()
    (root / "outside").symlink_to("../secret")
    return root


@contextlib.asynccontextmanager
async def served(root: Path, **options: Any) -> AsyncIterator[Pair]:
    before = len(os.listdir("/dev/fd"))
    files = Files(root)
    try:
        async with http_pair(files, **options) as pair:
            yield pair
    finally:
        await files.close()
    await until(lambda: len(os.listdir("/dev/fd")) <= before)


def asking(root: Path, work: Callable[[Pair], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with served(root, **options) as pair:
            await work(pair)

    run(main())


@pytest.mark.parametrize(
    ("target", "content", "kind"),
    [
        ("/large.bin", LARGE, "application/octet-stream"),
        ("/hello.txt", b"0123456789" * 100, "text/plain; charset=utf-8"),
        ("/hello.txt?x=/../y", b"0123456789" * 100, "text/plain; charset=utf-8"),
        ("/%68ello.txt", b"0123456789" * 100, "text/plain; charset=utf-8"),
        ("/empty.json", b"", "application/json"),
        ("/notes.tar.gz", NOTES, "application/gzip"),
        ("/a%20b%25c%3F%23%C3%A4.txt", b"odd", "text/plain; charset=utf-8"),
        ("/site/", b"<p>home</p>", "text/html; charset=utf-8"),
    ],
)
def test_files_are_served_whole_and_head_has_the_same_fields(
    root: Path, target: str, content: bytes, kind: str
) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch(target)
        assert response.status == 200
        assert response.headers["content-length"] == str(len(content))
        assert response.headers["content-type"] == kind
        assert response.headers["accept-ranges"] == "bytes"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "content-encoding" not in response.headers
        assert await response.bytes() == content
        head = await pair.fetch(target, method="HEAD")
        assert head.status == 200
        assert await head.bytes() == b""
        for name in ("content-length", "content-type", "etag", "last-modified"):
            assert head.headers[name] == response.headers[name]

    asking(root, work)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/none", 404),
        ("/none/", 404),
        ("/hello.txt/", 404),
        ("/hello.txt/x", 404),
        ("/dir//sub", 404),
        ("//hello.txt", 404),
        ("//evil.example/hello.txt", 404),
        ("/.env", 404),
        ("/%2Eenv", 404),
        ("/.git/config", 404),
        ("/" + "x" * 300, 404),
        ("/" + "x/" * 5000, 404),
        ("/..", 403),
        ("/../secret", 403),
        ("/dir/../hello.txt", 403),
        ("/%2e%2e/secret", 403),
        ("/dir/.%2E/hello.txt", 403),
        ("/./hello.txt", 403),
        ("/dir%2Fsub", 403),
        ("/..%2Fsecret", 403),
        ("/outside", 403),
        ("/hello.txt%00", 400),
        ("/%zz", 400),
        ("/%", 400),
        ("*", 400),
        ("http://localhost/hello.txt", 400),
    ],
)
def test_what_is_not_served_is_refused_and_nothing_of_it_shown(
    root: Path, target: str, status: int
) -> None:
    async def work(pair: Pair) -> None:
        # A client of ours would refuse to send some of these.
        stream = await pair.client.open_stream()
        await stream.write(encode_request("GET", target, []))
        stream.end()
        answer = await read_all(stream)
        assert decode_response(BlockReader().feed(answer)[0][1])[0] == status
        for word in (b"not for you", b"hidden", bytes(root)):
            assert word not in answer

    asking(root, work)


def test_names_that_are_no_text(root: Path) -> None:
    name = b"\xff\xfe\n\x01.txt"
    Path(os.fsdecode(os.fsencode(root / "dir") + b"/" + name)).write_bytes(b"here")

    async def work(pair: Pair) -> None:
        assert await (await pair.fetch("/dir/%FF%FE%0A%01.txt")).bytes() == b"here"
        listing = await (await pair.fetch("/dir/", headers={"Accept": "application/json"})).json()
        [href] = [entry["href"] for entry in listing["entries"] if entry["size"] == 4]
        assert await (await pair.fetch(f"/dir/{href.removeprefix('./')}")).bytes() == b"here"

    asking(root, work)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods_are_answered_with_405(root: Path, method: str) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch("/hello.txt", method=method, body=b"x" * 100_000)
        assert response.status == 405
        assert response.headers["allow"] == "GET, HEAD"
        await response.bytes()

    asking(root, work)


@pytest.mark.parametrize(
    ("target", "location"),
    [("/dir", "./dir/"), ("/dir/sub?x=1", "./sub/"), ("/dir/a:b", "./a%3Ab/")],
)
def test_directories_end_with_a_slash(root: Path, target: str, location: str) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch(target)
        assert response.status == 308
        assert response.headers["location"] == location
        await response.bytes()

    asking(root, work)


def test_a_directory_is_listed_as_html_or_json(root: Path) -> None:
    async def work(pair: Pair) -> None:
        page = await pair.fetch("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["vary"] == "accept"
        assert page.headers["content-security-policy"].startswith("default-src 'none';")
        text = await page.text()
        assert "hello.txt" in text
        assert ".env" not in text
        assert "outside" not in text
        answer = await pair.fetch("/", headers={"Accept": "application/json"})
        listing = await answer.json()
        assert listing["path"] == "/"
        assert not listing["more"]
        assert [(e["name"], e["type"], e["size"]) for e in listing["entries"]] == [
            ("dir", "directory", None),
            ("site", "directory", None),
            ("a b%c?#\u00e4.txt", "file", 3),
            ("empty.json", "file", 0),
            ("hello.txt", "file", 1000),
            ("large.bin", "file", len(LARGE)),
            ("notes.tar.gz", "file", (root / "notes.tar.gz").stat().st_size),
        ]
        for entry in listing["entries"]:
            response = await pair.fetch(entry["href"].removeprefix("."))
            assert response.status == 200
            body = await response.bytes()
            assert entry["size"] in (None, len(body))
        head = await pair.fetch("/", method="HEAD")
        assert head.headers["content-length"] == page.headers["content-length"]
        assert await head.bytes() == b""

    asking(root, work)


def test_a_listing_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerfetch_fast.http.files.listing.MAX_ENTRIES", 3)

    async def work(pair: Pair) -> None:
        answer = await pair.fetch("/", headers={"Accept": "application/json"})
        listing = orjson.loads(await answer.bytes())
        assert len(listing["entries"]) == 3
        assert listing["more"]

    asking(root, work)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-1299999", 1_000_000, 1_300_000),
        ("bytes=1500000-", 1_500_000, 1_500_003),
        ("bytes=-5", 1_499_998, 1_500_003),
        ("bytes=-9999999", 0, 1_500_003),
        ("bytes=0-9,5-19", 0, 20),
    ],
)
def test_one_range_is_answered_with_206_and_those_bytes(
    root: Path, asked: str, start: int, stop: int
) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch("/large.bin", headers={"Range": asked})
        assert response.status == 206
        assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/1500003"
        assert response.headers["content-length"] == str(stop - start)
        assert await response.bytes() == LARGE[start:stop]
        head = await pair.fetch("/large.bin", method="HEAD", headers={"Range": asked})
        assert head.status == 200

    asking(root, work)


def test_several_ranges_are_answered_as_parts(root: Path) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch(
            "/large.bin", headers={"Range": "bytes=1000000-1399999, -7, 0-9, 2000000-"}
        )
        assert response.status == 206
        assert "content-range" not in response.headers
        body = await response.bytes()
        assert len(body) == int(response.headers["content-length"])
        head = f"content-type: {response.headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        parts = list(message.iter_parts())  # type: ignore[attr-defined]
        assert [part["content-range"] for part in parts] == [
            "bytes 1000000-1399999/1500003",
            "bytes 1499996-1500002/1500003",
            "bytes 0-9/1500003",
        ]
        assert {part.get_content_type() for part in parts} == {"application/octet-stream"}
        for start, stop in ((1_000_000, 1_400_000), (1_499_996, 1_500_003), (0, 10)):
            assert b"\r\n\r\n" + LARGE[start:stop] + b"\r\n--" in body

    asking(root, work)


def test_ranges_that_are_not_there_and_too_many(root: Path) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch("/hello.txt", headers={"Range": "bytes=1000-"})
        assert response.status == 416
        assert response.headers["content-range"] == "bytes */1000"
        await response.bytes()
        hostile = "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 9000, 2))
        for asked in (hostile, "bytes=x", "pages=1-2"):
            response = await pair.fetch("/hello.txt", headers={"Range": asked})
            assert response.status == 200
            assert len(await response.bytes()) == 1000
        twice = [("Range", "bytes=0-0"), ("Range", "bytes=5-5")]
        response = await pair.fetch("/hello.txt", headers=twice)
        assert response.status == 200
        await response.bytes()

    asking(root, work)


def test_conditional_requests_are_answered_with_304_412_or_the_file(root: Path) -> None:
    os.utime(root / "hello.txt", (1_000_000_000.25, 1_000_000_000.25))

    async def work(pair: Pair) -> None:
        first = await pair.fetch("/hello.txt")
        etag, modified = first.headers["etag"], first.headers["last-modified"]
        assert modified == "Sun, 09 Sep 2001 01:46:40 GMT"
        assert etag.startswith('"')
        await first.bytes()
        for fields, status in (
            ({"If-None-Match": etag}, 304),
            ({"If-Modified-Since": modified}, 304),
            ({"If-Match": '"other"'}, 412),
            ({"If-Unmodified-Since": "Sun, 09 Sep 2001 01:46:39 GMT"}, 412),
            ({"If-Range": etag, "Range": "bytes=5-9"}, 206),
            ({"If-Range": modified, "Range": "bytes=5-9"}, 206),
            ({"If-Range": '"other"', "Range": "bytes=5-9"}, 200),
            ({"If-None-Match": etag, "Range": "bytes=5-9"}, 304),
            ({"If-Match": etag, "Range": "bytes=9999-"}, 416),
        ):
            response = await pair.fetch("/hello.txt", headers=fields)
            assert response.status == status, fields
            assert response.headers["etag"] == etag
            body = await response.bytes()
            assert len(body) == {200: 1000, 206: 5}.get(status, 0)
            if status == 304:
                assert "content-length" not in response.headers
        # Another content of the same length, with the same time in seconds.
        (root / "hello.txt").write_bytes(b"x" * 1000)
        os.utime(root / "hello.txt", (1_000_000_000.5, 1_000_000_000.5))
        response = await pair.fetch("/hello.txt", headers={"If-Range": etag, "Range": "bytes=5-9"})
        assert response.status == 200
        assert await response.bytes() == b"x" * 1000

    asking(root, work)


@pytest.mark.parametrize("cached", [True, False])
def test_a_file_that_shrinks_is_never_whole(
    root: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    if not cached:
        monkeypatch.setattr(handler, "_read_cached", lambda *_: None)

    async def work(pair: Pair) -> None:
        response = await pair.fetch("/large.bin")
        got = await response.read()
        os.truncate(root / "large.bin", 1_000_000)
        with pytest.raises(StreamReset) as broken:
            while piece := await response.read():
                got += piece
        assert broken.value.code == codes.UPSTREAM_ERROR
        assert LARGE.startswith(got)

    asking(root, work)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1499999"}], ids=["whole", "range"])
@pytest.mark.parametrize(
    "content",
    [LARGE[::-1], b"shorter" * 200_000, LARGE[::-1] + b"longer"],
    ids=["same-size", "shorter", "longer"],
)
def test_a_file_that_is_written_anew_is_never_whole(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    cached: bool,
    headers: dict[str, str],
    content: bytes,
) -> None:
    if not cached:
        monkeypatch.setattr(handler, "_read_cached", lambda *_: None)
    os.utime(root / "large.bin", (1_000_000_000, 1_000_000_000))

    async def work(pair: Pair) -> None:
        response = await pair.fetch("/large.bin", headers=headers)
        await response.read()
        (root / "large.bin").write_bytes(content)
        with pytest.raises(StreamReset) as broken:
            while await response.read():
                pass
        assert broken.value.code == codes.UPSTREAM_ERROR
        assert await (await pair.fetch("/large.bin")).bytes() == content

    # A window of the whole file would let it be sent before the first piece is read.
    asking(root, work, settings=Settings(initial_max_stream_data=300_000, send_buffer=64 * 1024))


def test_a_long_file_is_looked_at_on_the_way(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "CHECK_EACH", 512 * 1024)
    with (root / "sparse").open("wb") as file:
        file.truncate(64 << 20)
    os.utime(root / "sparse", (1_000_000_000, 1_000_000_000))

    async def work(pair: Pair) -> None:
        response = await pair.fetch("/sparse")
        got = len(await response.read())
        os.utime(root / "sparse")
        with pytest.raises(StreamReset):
            while piece := await response.read():
                got += len(piece)
        assert got < 32 << 20

    asking(root, work)


def test_a_file_that_grows_is_sent_as_it_was(root: Path) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch("/large.bin")
        got = await response.read()
        with (root / "large.bin").open("ab") as file:
            file.write(b"more")
        assert got + await response.bytes() == LARGE

    asking(root, work)


def test_a_file_that_is_replaced_is_sent_as_it_was(root: Path) -> None:
    async def work(pair: Pair) -> None:
        response = await pair.fetch("/large.bin")
        got = await response.read()
        (root / "new").write_bytes(b"new")
        os.replace(root / "new", root / "large.bin")
        assert got + await response.bytes() == LARGE
        assert await (await pair.fetch("/large.bin")).bytes() == b"new"

    asking(root, work)


def test_a_reader_that_stops_stops_the_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 << 20
    with (root / "sparse").open("wb") as file:
        file.truncate(size)
    most = 0
    read = handler._Reader.read

    async def watched(reader: Any, start: int, length: int) -> bytes:
        nonlocal most
        most = max(most, start + length)
        return await read(reader, start, length)

    monkeypatch.setattr(handler._Reader, "read", watched)

    async def work(pair: Pair) -> None:
        response = await pair.fetch("/sparse")
        await until(lambda: most > 0)
        before = -1
        while most > before:
            before = most
            await asyncio.sleep(0.05)
        limits = Settings()
        assert most <= limits.initial_max_stream_data + limits.send_buffer + (1 << 20) < size
        response.close()

    asking(root, work)


def test_a_disk_that_hangs_holds_up_nobody_else(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was opened for those who have left meanwhile is closed (see ``served``)."""
    hangs, asked = threading.Event(), threading.Event()
    find = Files._find

    def slowly(files: Files, segments: list[bytes], exchange: Any) -> Any:
        found = find(files, segments, exchange)
        if segments == [b"large.bin"]:
            asked.set()
            assert hangs.wait(10)
        return found

    monkeypatch.setattr(Files, "_find", slowly)

    async def work(pair: Pair) -> None:
        waiting = asyncio.ensure_future(pair.fetch("/large.bin"))
        await until(asked.is_set)
        assert (await (await pair.fetch("/hello.txt")).bytes()).startswith(b"012")
        waiting.cancel()
        await asyncio.wait((waiting,))
        await until(lambda: pair.server.open_streams == 0)
        hangs.set()

    asking(root, work)


def test_a_reader_that_leaves_while_the_disk_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is closed, and not before the thread has done with it."""
    hangs, asked = threading.Event(), threading.Event()
    pread, failed = os.pread, []
    monkeypatch.setattr(handler, "_read_cached", lambda *_: None)

    def slowly(descriptor: int, length: int, start: int) -> bytes:
        asked.set()
        assert hangs.wait(10)
        try:
            return pread(descriptor, length, start)
        except OSError as error:
            failed.append(error)
            raise

    monkeypatch.setattr(os, "pread", slowly)

    async def work(pair: Pair) -> None:
        response = await pair.fetch("/large.bin")
        await until(asked.is_set)
        response.close()
        await until(lambda: pair.server.open_streams == 0)
        hangs.set()

    asking(root, work)
    assert not failed


def test_a_hundred_files_at_once_do_not_mix(root: Path) -> None:
    for number in range(100):
        (root / f"{number}.txt").write_bytes(quote(str(number)).encode() * 1000)

    async def work(pair: Pair) -> None:
        responses = await asyncio.gather(*(pair.fetch(f"/{n}.txt") for n in range(100)))
        bodies = await asyncio.gather(*(response.bytes() for response in responses))
        assert bodies == [str(n).encode() * 1000 for n in range(100)]

    asking(root, work)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.parametrize("name", ["version", "cpuinfo", "self/limits"])
def test_files_whose_length_is_made_up_are_read_to_their_end(name: str) -> None:
    path = Path("/proc") / name
    assert path.stat().st_size == 0

    async def work(pair: Pair) -> None:
        response = await pair.fetch(f"/{path.name}", headers={"Range": "bytes=0-1"})
        assert response.status == 200
        assert response.headers["accept-ranges"] == "none"
        assert response.headers["content-type"] == "application/octet-stream"
        for name in ("content-length", "etag", "last-modified", "content-range"):
            assert name not in response.headers
        body = await response.bytes()
        assert body
        if path.name != "cpuinfo":  # which tells of clocks
            assert body == path.read_bytes()
        head = await pair.fetch(f"/{path.name}", method="HEAD")
        assert (head.status, await head.bytes()) == (200, b"")
        for fields, status in (
            ({"If-Match": '"x"'}, 412),
            ({"If-None-Match": '"x"'}, 200),
            ({"If-Modified-Since": "Sun, 09 Sep 2040 01:46:40 GMT"}, 200),
        ):
            response = await pair.fetch(f"/{path.name}", headers=fields)
            assert response.status == status, fields
            await response.bytes()

    asking(path, work)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /sys")
def test_files_that_are_shorter_than_they_say(root: Path) -> None:
    path = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not path.exists():
        path = next(iter(sorted(Path("/sys/class/net").glob("*/mtu"))))
    assert path.stat().st_size > len(path.read_bytes())

    async def work(pair: Pair) -> None:
        response = await pair.fetch(f"/{path.name}")
        assert "content-length" not in response.headers
        assert await response.bytes() == path.read_bytes()

    asking(path, work)


@pytest.mark.parametrize("link", [False, True])
def test_a_single_file_is_served_and_nothing_beside_it(
    root: Path, tmp_path: Path, link: bool
) -> None:
    path = root / "a b%c?#\u00e4.txt"
    if link:
        path = tmp_path / path.name
        path.symlink_to(root / "hello.txt")
    content = path.read_bytes()

    async def work(pair: Pair) -> None:
        response = await pair.fetch("/")
        assert response.status == 200
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.headers["content-disposition"] == (
            f"inline; filename*=UTF-8''{quote(path.name, safe='')}"
        )
        assert await response.bytes() == content
        response = await pair.fetch(f"/{quote(path.name)}")
        assert "content-disposition" not in response.headers
        assert await response.bytes() == content
        response = await pair.fetch("/", headers={"Range": "bytes=1-2"})
        assert await response.bytes() == content[1:3]
        for other in ("/hello.txt", "/empty.json", "/dir/", f"/{quote(path.name)}/", "/secret"):
            response = await pair.fetch(other)
            assert response.status == 404, other
            await response.bytes()
        # An editor puts another in its place.
        target = path.resolve()
        (root / "new").write_bytes(b"new")
        (root / "new").replace(target)
        assert await (await pair.fetch("/")).bytes() == b"new"
        target.unlink()
        target.symlink_to("/etc/hostname")
        assert (await pair.fetch("/")).status in (403, 404)

    asking(path, work)


def test_what_is_no_file_cannot_be_served(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("pipe", "Not a directory"), ("none", "No such file")):
        with pytest.raises(ValueError, match=reason):
            Files(tmp_path / name)
