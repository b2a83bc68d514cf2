"""Work is linear in what a hostile peer sends, and nesting, numbers and text have their bounds."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from peerfetch_fast.errors import MessageError
from peerfetch_fast.http import blocks, decoding, websocket_frames
from peerfetch_fast.http.blocks import BlockReader
from peerfetch_fast.http.decoding import make_decoder
from peerfetch_fast.http.files.conditions import check_conditions
from peerfetch_fast.http.files.listing import prefers_json
from peerfetch_fast.http.files.ranges import MAX_RANGES, select_ranges
from peerfetch_fast.http.heads import (
    Headers,
    content_length,
    decode_request,
    decode_response,
    parse_priority,
)
from peerfetch_fast.http.rewriting import Rewriting
from peerfetch_fast.http.websocket_frames import FrameReader
from peerfetch_fast.streams._wire import read_varint, varint
from steps import Copies, assert_linear, copied, processor_time


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the compiled reader of numbers, which takes only bytes, look at those of a test."""

    def read(data: bytes, at: int) -> tuple[int, int] | None:
        return read_varint(bytes(data), at)

    for module in (blocks, websocket_frames):
        monkeypatch.setattr(module, "read_varint", read)


def frame(kind: int, size: int) -> bytes:
    return varint(kind) + varint(size) + bytes(size)


def read_frames(data: bytes, size: int) -> int:
    reader, events = FrameReader(), 0
    for at in range(0, len(data), size):
        reader.feed(Copies(data[at : at + size]))
        while reader.next_event() is not None:
            events += 1
    return events


FRAMES: dict[str, Callable[[int], bytes]] = {
    "a message": lambda n: frame(2, n),
    "empty fragments": lambda n: b"\x12\0" + b"\x10\0" * n,
    "fragments of a byte": lambda n: b"\x12\1x" + b"\x10\1x" * n,
    "empty messages": lambda n: b"\2\0" * n,
    "control frames": lambda n: frame(9, 125) * (n // 125),
    "a frame of an unknown type": lambda n: frame(0x3F, n),
    "frames of unknown types": lambda n: b"\x3f\0" * n,
}


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("size", [1, 100, 1 << 20])
@pytest.mark.parametrize("name", FRAMES)
def test_reading_websocket_frames_is_linear(name: str, size: int) -> None:
    make = FRAMES[name]
    assert_linear(lambda n: read_frames(make(n), size))
    data = make(10_000)
    assert copied(lambda: read_frames(data, size)) <= 4 * len(data)


def read_blocks(data: bytes, size: int) -> None:
    reader = BlockReader()
    for at in range(0, len(data), size):
        reader.feed(Copies(data[at : at + size]))


BLOCKS: dict[str, Callable[[int], bytes]] = {
    "a head": lambda n: frame(1, n),
    "empty heads": lambda n: b"\1\0" * n,
    "a body": lambda n: frame(0, n),
    "empty pieces": lambda n: b"\0\0" * n,
    "pieces of a byte": lambda n: b"\0\1x" * n,
    "a block of an unknown type": lambda n: frame(0x3F, n),
}


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("size", [1, 100, 1 << 20])
@pytest.mark.parametrize("name", BLOCKS)
def test_reading_blocks_is_linear(name: str, size: int) -> None:
    make = BLOCKS[name]
    assert_linear(lambda n: read_blocks(make(n), size))
    data = make(10_000)
    assert copied(lambda: read_blocks(data, size)) <= 4 * len(data)


HEADERS: dict[str, Callable[[int], list[tuple[str, str]]]] = {
    "blanks within a value": lambda n: [("a", f"x{' ' * n}x")],
    "many fields": lambda n: [("a", "")] * n,
    "many names in Connection": lambda n: [("connection", "a," * n), ("a", "")],
    "many lengths": lambda n: [("content-length", "1," * n)],
}


@pytest.mark.parametrize("name", HEADERS)
def test_reading_heads_is_linear(name: str) -> None:
    def read(n: int) -> None:
        head = json.dumps({"status": 200, "headers": HEADERS[name](n)}).encode()
        _, headers = decode_response(head)
        if "content-length" in headers:
            with pytest.raises(MessageError):
                content_length(headers)

    assert_linear(read)


def test_priorities_conditions_and_accepted_types() -> None:
    def headers(**fields: str) -> Headers:
        pairs = {name.replace("_", "-"): value for name, value in fields.items()}
        return CIMultiDictProxy(CIMultiDict(pairs))

    for text in ("u=", ",u=9", " ", "i=?", ",", "u=3x,"):
        assert_linear(lambda n, text=text: parse_priority(text * n))  # type: ignore[misc]
    for text in ('"', 'W/"', '"a', '"a",', "W/"):
        for name in ("if_match", "if_none_match"):

            def check(n: int, name: str = name, text: str = text) -> None:
                check_conditions(headers(**{name: text * n}), '"e"', 0)

            assert_linear(check)
    for text in ("a,", "application/json;q=0,", ";", "*/*;q=0.1,"):
        assert_linear(lambda n, text=text: prefers_json(text * n))  # type: ignore[misc]


BLANKS = " " * 60_000


@pytest.mark.parametrize(
    "value",
    [
        f"{BLANKS}x",
        f"0{BLANKS}x",
        f"0;{BLANKS}x",
        f"0;url{BLANKS}x",
        f"0;url={BLANKS}x{BLANKS}x",
        f"0;url='x{BLANKS}x",
        f"0;url=' {BLANKS}\0",
        "0;url=" + "'" * 60_000 + " x",
        "0" * 60_000,
    ],
)
def test_rewriting_refresh_is_linear(value: str) -> None:
    """A head may be of 64 KiB, which takes microseconds; each blank times each takes minutes."""
    with processor_time(2):
        assert Rewriting(URL("http://127.0.0.1")).header("refresh", value, "/cam") == value


@pytest.mark.parametrize(
    "field",
    [
        "bytes=" + "0-0," * 5000,
        "bytes=" + ",".join(f"{200 * n}-{200 * n}" for n in range(MAX_RANGES + 1)),
        "bytes=" + "," * 5000,
    ],
)
def test_more_ranges_than_are_looked_at(field: str) -> None:
    assert select_ranges(field, 10**9) is None


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("bytes=" + "9" * 60_000 + "-", []),
        ("bytes=0-" + "9" * 60_000, [(0, 1000)]),
        ("bytes=-" + "9" * 60_000, [(0, 1000)]),
        ("bytes=" + "0" * 60_000 + "1-2", [(1, 3)]),
        ("bytes=\N{ARABIC-INDIC DIGIT ONE}-", None),
        ("bytes=1\0-2", None),
    ],
)
def test_numbers_of_any_length_in_ranges(field: str, found: list[tuple[int, int]] | None) -> None:
    assert select_ranges(field, 1000) == found


@pytest.mark.parametrize("sought", ["0-0,1-,", "-1,0-", "0-999,1-998,2-997,", "500-,-500,"])
def test_overlapping_ranges_never_add_up_to_more_than_the_file(sought: str) -> None:
    found = select_ranges("bytes=" + (sought * 10)[:-1], 1000)
    assert found is None or sum(stop - start for start, stop in found) <= 1000


@pytest.mark.parametrize(
    "head",
    [
        b'{"method":"GET","target":"/","headers":' + b"[" * 60_000,
        b'{"x":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"method":"GET","target":"/","headers":[["a","\\ud800"]]}',
        b'{"method":"GET","target":"/","headers":[["a","x\\u0000y"]]}',
        b'{"method":"GET","target":"/\\u0000"}',
        b'{"method":"GET","target":"/","headers":[["a",' + b"9" * 50_000 + b"]]}",
        b'{"method":' + b"9" * 50_000 + b',"target":"/"}',
        b"\xff\xfe",
        b"NaN",
    ],
)
def test_heads_that_are_refused(head: bytes) -> None:
    with pytest.raises(MessageError):
        decode_request(head)


def test_lengths_that_are_refused() -> None:
    for value in ("9" * 4000, "-1", "+1", "1_0", "\N{SUPERSCRIPT TWO}", "0x1", "1\x0b"):
        headers = CIMultiDictProxy(CIMultiDict({"content-length": value}))
        with pytest.raises(MessageError):
            content_length(headers)


def undone(coding: str, data: bytes) -> tuple[int, int]:
    """How much comes out of ``data``, and in how many steps."""
    decoder = make_decoder(coding)
    assert decoder is not None
    decoder.feed(data)
    size = count = 0
    while piece := decoder.read():
        size += len(piece)
        count += 1
    decoder.end()
    return size, count


class Shown:
    """A decompressor that counts what it is shown, and so what it may have to hand back."""

    total = 0

    def __init__(self, real: object) -> None:
        self._real = real

    def decompress(self, data: bytes, *more: int) -> bytes:
        Shown.total += len(data)
        return self._real.decompress(data, *more)  # type: ignore[attr-defined, no-any-return]

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100])
def test_a_body_of_many_gzip_members(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    member = gzip.compress(content, mtime=0)
    assert_linear(lambda n: undone("gzip", member * n))
    real = zlib.decompressobj
    monkeypatch.setattr(decoding.zlib, "decompressobj", lambda bits: Shown(real(bits)))
    Shown.total = 0
    data = member * 20_000
    assert undone("gzip", data)[0] == 20_000 * len(content)
    assert Shown.total <= 40 * len(data)


@pytest.mark.skipif(decoding.zstd is None, reason="zstd is an extra")
@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_body_of_many_zstd_frames(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    member = decoding.zstd.compress(content)
    assert_linear(lambda n: undone("zstd", member * n))
    real = decoding.zstd.ZstdDecompressor
    monkeypatch.setattr(decoding.zstd, "ZstdDecompressor", lambda **options: Shown(real(**options)))
    Shown.total = 0
    data = member * 10_000
    assert undone("zstd", data)[0] == 10_000 * len(content)
    assert Shown.total <= 70 * len(data)


@pytest.mark.parametrize("size", [1, 7, 5000, 1 << 20])
def test_members_are_undone_however_they_are_cut(size: int) -> None:
    content = bytes(range(256)) * 2000
    for coding, packed in (
        ("gzip", gzip.compress(content) + gzip.compress(b"") + gzip.compress(content)),
        ("deflate", zlib.compress(content * 2)),
    ):
        if size == 1:
            packed = packed[:3000]
        decoder = make_decoder(coding)
        assert decoder is not None
        out = bytearray()
        for at in range(0, len(packed), size):
            decoder.feed(packed[at : at + size])
            while piece := decoder.read():
                assert len(piece) <= 2 * decoding.STEP
                out += piece
        assert out == (content * 2)[: len(out)]
        if size > 1:
            decoder.end()
            assert len(out) == 2 * len(content)
