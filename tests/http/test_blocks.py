from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import HeadTooLarge
from peerfetch_fast.http.blocks import (
    DATA,
    HEAD,
    MAX_HEAD,
    TRAILERS,
    BlockReader,
    block,
    block_header,
)
from wire import put_varint

UNKNOWN = 0x21
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "peerfetch2.json").read_text())[
    "blocks"
]

kinds = st.sampled_from([DATA, HEAD, TRAILERS, UNKNOWN, 0x3FFF_FFFF])
blocks = st.lists(st.tuples(kinds, st.binary(max_size=300)), max_size=20)


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` cut at the given places."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def joined(found: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """DATA is handed on in pieces that depend on the cuts: join neighbours, drop empty ones."""
    result: list[tuple[int, bytes]] = []
    for kind, payload in found:
        if kind == DATA and result and result[-1][0] == DATA:
            result[-1] = (DATA, result[-1][1] + payload)
        elif kind != DATA or payload:
            result.append((kind, payload))
    return result


@given(blocks, st.lists(st.integers(min_value=0), max_size=30))
def test_any_chunking_gives_the_same_blocks(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(block(kind, payload) for kind, payload in sent)
    reader = BlockReader()
    found = []
    for chunk in chunked(data, cuts):
        found += reader.feed(chunk)
    assert joined(found) == joined([b for b in sent if b[0] in (DATA, HEAD, TRAILERS)])
    assert not reader.inside


@given(blocks.filter(bool), st.data())
def test_inside_a_block_is_told(sent: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole = [block(kind, payload) for kind, payload in sent]
    boundaries = [0]
    for one in whole:
        boundaries.append(boundaries[-1] + len(one))
    stream = b"".join(whole)
    cut = data.draw(st.integers(0, len(stream)))
    reader = BlockReader()
    for byte in stream[:cut]:
        reader.feed(bytes([byte]))
    assert reader.inside == (cut not in boundaries)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_raise_anything_but_the_typed_error(chunks: list[bytes]) -> None:
    reader = BlockReader(max_head=100)
    fed = given_out = 0
    try:
        for chunk in chunks:
            fed += len(chunk)
            for kind, payload in reader.feed(chunk):
                assert kind in (DATA, HEAD, TRAILERS)
                given_out += len(payload)
    except HeadTooLarge:
        pass
    assert given_out <= fed


@pytest.mark.parametrize("kind", [HEAD, TRAILERS])
def test_a_head_of_the_largest_size_is_read_and_one_byte_more_refused(kind: int) -> None:
    assert BlockReader().feed(block(kind, b"x" * MAX_HEAD)) == [(kind, b"x" * MAX_HEAD)]
    with pytest.raises(HeadTooLarge, match="65537"):
        BlockReader().feed(block_header(kind, MAX_HEAD + 1))
    with pytest.raises(HeadTooLarge):
        BlockReader().feed(block_header(kind, (1 << 62) - 1))


@pytest.mark.parametrize("kind", [HEAD, TRAILERS])
def test_an_empty_head_is_passed_on(kind: int) -> None:
    assert BlockReader().feed(block(kind, b"")) == [(kind, b"")]


def test_data_comes_through_as_the_object_that_went_in() -> None:
    reader = BlockReader()
    reader.feed(block_header(DATA, 1 << 40))
    piece = b"x" * 50_000
    [(kind, payload)] = reader.feed(piece)
    assert kind == DATA
    assert payload is piece


def test_a_skipped_block_may_be_larger_than_memory() -> None:
    reader = BlockReader()
    assert reader.feed(block_header(UNKNOWN, 1 << 40)) == []
    for _ in range(100):
        assert reader.feed(b"\x01" * 60_000) == []
    assert reader.inside


@pytest.mark.parametrize("size", [2, 4, 8])
def test_longer_varints_than_needed_are_read(size: int) -> None:
    mark = {2: 0x40, 4: 0x80, 8: 0xC0}[size]

    def long(value: int) -> bytes:
        digits = value.to_bytes(size, "big")
        return bytes([digits[0] | mark]) + digits[1:]

    data = long(HEAD) + long(3) + b"abc"
    reader = BlockReader()
    found = [b for byte in data for b in reader.feed(bytes([byte]))]
    assert found == [(HEAD, b"abc")]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors_are_read_and_written_alike(vector: dict[str, Any]) -> None:
    stream = bytes.fromhex(vector["stream"])
    expected = [(one["type"], one["text"].encode()) for one in vector["blocks"]]
    reader = BlockReader()
    assert reader.feed(stream) == expected
    assert not reader.inside
    written = b"".join(block(kind, payload) for kind, payload in expected)
    if len(written) == len(stream):  # nothing in it that only other implementations send
        assert written == stream


@given(kinds, st.integers(0, (1 << 62) - 1))
def test_a_header_is_two_varints(kind: int, length: int) -> None:
    assert block_header(kind, length) == put_varint(kind) + put_varint(length)
