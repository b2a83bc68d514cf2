from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerfetch_fast.errors import (
    HeadTooLarge,
    MessageError,
    MessageTruncated,
    PeerfetchError,
    StreamReset,
)
from peerfetch_fast.http.blocks import DATA, HEAD, TRAILERS, block, block_header
from peerfetch_fast.http.heads import encode_trailers
from peerfetch_fast.http.message import BodyWriter, MessageReader
from peerfetch_fast.streams.stream import Stream
from support import raw_pair, virtually

pytestmark = pytest.mark.virtual_time

HEAD_BLOCK = block(HEAD, b"{}")


async def read_body(reader: MessageReader) -> bytes:
    pieces = []
    while piece := await reader.read():
        pieces.append(piece)
    return b"".join(pieces)


async def received(
    sent: bytes, *, expect: int | None = None, max_head: int = 1000, seed: int | None = None
) -> tuple[bytes, bytes, MessageReader]:
    """Head, body and reader of a message that came as ``sent`` and FIN."""
    async with raw_pair(seed=seed) as (client, server):
        stream = await client.open_stream()
        await stream.write(sent)
        stream.end()
        reader = MessageReader(await server.accept(), max_head)
        head = await reader.head()
        reader.expect(expect)
        return head, await read_body(reader), reader


async def test_a_whole_message_gives_head_body_and_trailers() -> None:
    sent = HEAD_BLOCK + block(DATA, b"one ") + block(DATA, b"") + block(0x50, b"skipped")
    sent += block(DATA, b"two") + encode_trailers([("x-sum", "7")])
    head, body, reader = await received(sent, expect=7)
    assert (head, body) == (b"{}", b"one two")
    assert reader.finished
    assert reader.trailers is not None
    assert reader.trailers["X-Sum"] == "7"


@given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=8), st.booleans(), st.integers(0))
@settings(max_examples=30)
def test_bodies_in_any_pieces_and_order(pieces: list[bytes], known: bool, seed: int) -> None:
    body = b"".join(pieces)

    async def main() -> None:
        async with raw_pair(seed=seed) as (client, server):
            stream = await client.open_stream()

            async def send() -> None:
                stream.write_nowait(HEAD_BLOCK)
                writer = BodyWriter(stream, len(body) if known else None)
                for piece in pieces:
                    await writer.write(piece)
                writer.end()

            sending = asyncio.ensure_future(send())
            reader = MessageReader(await server.accept())
            await reader.head()
            reader.expect(len(body) if known else None)
            assert await read_body(reader) == body
            assert reader.finished
            assert await reader.read() == b""  # and again
            await sending

    virtually(main())


@given(st.data())
@settings(max_examples=40)
def test_a_message_cut_anywhere_never_looks_whole(data: st.DataObject) -> None:
    sent = HEAD_BLOCK + block(DATA, b"x" * 100) + encode_trailers([("a", "b")])
    boundaries = (len(HEAD_BLOCK), len(HEAD_BLOCK) + 102 + 1)
    cut = data.draw(st.integers(0, len(sent) - 1).filter(lambda cut: cut not in boundaries))

    async def main() -> None:
        with pytest.raises(MessageTruncated):
            await received(sent[:cut])

    virtually(main())


@pytest.mark.parametrize(
    "sent",
    [
        block(DATA, b"x"),
        encode_trailers([]),
        HEAD_BLOCK + HEAD_BLOCK,
        HEAD_BLOCK + block(DATA, b"x") + HEAD_BLOCK,
        HEAD_BLOCK + encode_trailers([]) + encode_trailers([]),
        HEAD_BLOCK + encode_trailers([]) + block(DATA, b"x"),
        HEAD_BLOCK + encode_trailers([]) + HEAD_BLOCK,
        HEAD_BLOCK + block(TRAILERS, b"not json"),
        HEAD_BLOCK + block(TRAILERS, b'{"headers":[["a","b\\n"]]}'),
    ],
)
async def test_blocks_out_of_order(sent: bytes) -> None:
    with pytest.raises(MessageError) as raised:
        await received(sent)
    assert not isinstance(raised.value, MessageTruncated)


@pytest.mark.parametrize("kind", [HEAD, TRAILERS])
async def test_a_head_or_trailers_above_the_limit_are_refused(kind: int) -> None:
    before = b"" if kind == HEAD else HEAD_BLOCK
    with pytest.raises(HeadTooLarge):
        await received(before + block_header(kind, 1001))


@pytest.mark.parametrize(
    ("body", "expect", "error"),
    [
        (b"12345", 6, MessageTruncated),
        (b"", 1, MessageTruncated),
        (b"12345", 4, MessageError),
        (b"1", 0, MessageError),
    ],
)
async def test_a_body_of_another_length(body: bytes, expect: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        await received(HEAD_BLOCK + block(DATA, body), expect=expect)


async def test_what_exceeds_the_announced_length_is_not_given_out() -> None:
    async with raw_pair() as (client, server):
        stream = await client.open_stream()
        stream.write_nowait(HEAD_BLOCK + block(DATA, b"12") + block(DATA, b"3"))
        reader = MessageReader(await server.accept())
        await reader.head()
        reader.expect(2)
        assert await reader.read() == b"12"
        with pytest.raises(MessageError):
            await reader.read()
        assert not reader.finished


async def test_the_end_is_known_only_with_fin() -> None:
    async with raw_pair() as (client, server):
        stream = await client.open_stream()
        stream.write_nowait(HEAD_BLOCK + block(DATA, b"12"))
        reader = MessageReader(await server.accept())
        await reader.head()
        reader.expect(2)
        assert await reader.read() == b"12"
        ending = asyncio.ensure_future(reader.read())
        await asyncio.sleep(60)
        assert not ending.done()
        assert not reader.finished
        stream.reset(0x102)
        with pytest.raises(StreamReset):
            await ending
        assert not reader.finished


async def test_stopping_to_read_is_no_end() -> None:
    async with raw_pair() as (client, server):
        stream = await client.open_stream()
        stream.write_nowait(HEAD_BLOCK)
        taken = await server.accept()
        reader = MessageReader(taken)
        await reader.head()
        reading = asyncio.ensure_future(reader.read())
        await asyncio.sleep(0)
        taken.stop(0x10C)
        with pytest.raises(MessageTruncated):
            await reading


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=10))
@settings(max_examples=60)
def test_no_bytes_raise_anything_but_typed_errors(pieces: list[bytes]) -> None:
    async def main() -> None:
        async with raw_pair() as (client, server):
            stream = await client.open_stream()
            stream.write_nowait(b"")
            for piece in pieces:
                await stream.write(piece)
            stream.end()
            reader = MessageReader(await server.accept(), 50)
            try:
                await reader.head()
                await read_body(reader)
            except PeerfetchError:
                return
            assert reader.finished

    virtually(main())


async def write_to(stream: Stream, length: int | None, *pieces: bytes) -> None:
    writer = BodyWriter(stream, length)
    for piece in pieces:
        await writer.write(piece)
    writer.end()


async def test_a_known_length_makes_one_block() -> None:
    async with raw_pair() as (client, server):
        for length, expected in ((6, block(DATA, b"abcdef")), (None, b"\0\2ab\0\4cdef")):
            stream = await client.open_stream()
            await write_to(stream, length, b"ab", b"", b"cdef")
            taken = await server.accept()
            got = b""
            while piece := await taken.read():
                got += piece
            assert got == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_the_writer_takes_any_buffer(kind: type) -> None:
    async with raw_pair() as (client, server):
        stream = await client.open_stream()
        await write_to(stream, None, kind(b"abc"))
        taken = await server.accept()
        assert await taken.read() == block(DATA, b"abc")


async def test_the_writer_counts_the_bytes_of_a_wider_memoryview() -> None:
    async with raw_pair() as (client, server):
        stream = await client.open_stream()
        wide = memoryview(b"12345678").cast("I")
        await write_to(stream, None, wide)  # type: ignore[arg-type]
        taken = await server.accept()
        assert await taken.read() == block(DATA, b"12345678")


@pytest.mark.parametrize(
    ("length", "pieces", "error"),
    [
        (3, [b"ab"], MessageTruncated),
        (1, [], MessageTruncated),
        (3, [b"ab", b"cd"], MessageError),
        (0, [b"a"], MessageError),
    ],
)
async def test_the_writer_holds_the_announced_length(
    length: int, pieces: list[bytes], error: type[Exception]
) -> None:
    async with raw_pair() as (client, server):
        stream = await client.open_stream()
        stream.write_nowait(HEAD_BLOCK)
        with pytest.raises(error):
            await write_to(stream, length, *pieces)
        assert stream.can_write  # neither ended nor reset: that is for the caller to decide
        await server.accept()
