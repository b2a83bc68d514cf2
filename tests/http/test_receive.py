"""Memory that sockets fill, and that is handed on."""

from __future__ import annotations

import pytest

from peerfetch_fast.http._receive import ReceiveBuffer

SIZE = 1000


def filled(buffer: ReceiveBuffer, data: bytes) -> bytes:
    memoryview(buffer)[: len(data)] = data
    return buffer.take(len(data))


@pytest.mark.parametrize("size", [0, 1, 499, 500, 999, SIZE])
def test_what_was_filled_is_handed_on(size: int) -> None:
    buffer = ReceiveBuffer(SIZE, 2)
    assert len(memoryview(buffer)) == buffer.size == SIZE
    data = bytes(range(256)) * 4
    taken = filled(buffer, data[:size])
    assert taken == data[:size]
    assert hash(taken) == hash(data[:size])


def test_nothing_changes_what_somebody_has() -> None:
    buffer = ReceiveBuffer(SIZE, 2)
    pieces = [filled(buffer, bytes([n]) * (SIZE - n)) for n in range(10)]
    views = [memoryview(filled(buffer, bytes([n]) * SIZE)) for n in range(10)]
    assert pieces == [bytes([n]) * (SIZE - n) for n in range(10)]
    assert [view.tobytes() for view in views] == [bytes([n]) * SIZE for n in range(10)]


def test_memory_that_nobody_has_is_filled_again() -> None:
    buffer = ReceiveBuffer(SIZE, 2)
    piece = filled(buffer, b"a" * SIZE)
    place, number = id(piece), hash(piece)
    assert id(filled(buffer, b"b" * SIZE)) != place
    del piece
    kept = [filled(buffer, b"c" * (SIZE - 1)), filled(buffer, b"d" * (SIZE - 2))]
    assert place in map(id, kept)
    assert kept == [b"c" * (SIZE - 1), b"d" * (SIZE - 2)]
    assert number not in map(hash, kept)


def test_a_little_is_copied_and_leaves_the_memory_where_it_is() -> None:
    buffer = ReceiveBuffer(SIZE, 1)
    view = memoryview(buffer)
    little = filled(buffer, b"x" * 10)
    view[:10] = b"y" * 10
    assert little == b"x" * 10


def test_what_was_not_filled_is_not_to_be_had() -> None:
    buffer = ReceiveBuffer(SIZE, 1)
    with pytest.raises(ValueError, match="filled"):
        buffer.take(1)
    view = memoryview(buffer)
    for count in (-1, SIZE + 1):
        with pytest.raises(ValueError, match="filled"):
            buffer.take(count)
    view[0] = 0
    for size, kept in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="positive"):
            ReceiveBuffer(size, kept)
