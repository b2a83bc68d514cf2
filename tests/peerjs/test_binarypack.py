"""BinaryPack: bytes as PeerJS writes them, and bytes that nobody should."""

from __future__ import annotations

import contextlib
import gc
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import MessageError
from peerfetch_fast.peerjs.binarypack import (
    MAX_CHUNKED,
    MAX_VALUES,
    Chunks,
    TooManyChunks,
    chunk,
    pack,
    unpack,
)
from steps import assert_linear

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (None, "c0"),
        (True, "c3"),
        (False, "c2"),
        (0, "00"),
        (127, "7f"),
        (-1, "ff"),
        (-32, "e0"),
        (-33, "d0df"),
        (128, "cc80"),
        (256, "cd0100"),
        (-129, "d1ff7f"),
        (65536, "ce00010000"),
        (-32769, "d2ffff7fff"),
        (1 << 32, "d30000000100000000"),
        ((1 << 64) - 1, "cfffffffffffffffff"),
        (1.5, "cb3ff8000000000000"),
        ("", "b0"),
        ("ü", "b2c3bc"),
        ("x" * 16, "d80010" + "78" * 16),
        (b"\0", "a100"),
        (b"\0" * 16, "da0010" + "00" * 16),
        ([1, [2]], "92019102"),
        ({"a": {}}, "81b16180"),
    ],
)
def test_values_are_packed_as_peerjs_packs_them(value: Any, packed: str) -> None:
    assert pack(value).hex() == packed
    assert unpack(bytes.fromhex(packed)) == value


@pytest.mark.parametrize(
    ("packed", "value"),
    [
        ("c1", None),
        ("d4", None),
        ("ca3fc00000", 1.5),
        ("d900000001" + "61", "a"),
        ("db00000001" + "61", b"a"),
        ("dd0000000101", [1]),
        ("df00000001b16101", {"a": 1}),
        ("810501", {"5": 1}),
    ],
)
def test_other_encodings_of_a_value_are_read(packed: str, value: Any) -> None:
    assert unpack(bytes.fromhex(packed)) == value


@given(VALUES)
def test_all_comes_back(value: Any) -> None:
    assert unpack(pack(value)) == value


def test_large_values_come_back() -> None:
    for value in ("x" * 70_000, b"x" * 70_000, [0] * 70_000, {str(n): n for n in range(20)}):
        assert unpack(pack(value)) == value
    assert unpack(pack((1, 2))) == [1, 2]
    assert math.isnan(unpack(pack(math.nan)))


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [1 << 64, -(1 << 63) - 1, {1: 2}, object(), {"a": {2}}, "\ud800", nested(100)]
)
def test_values_without_an_encoding_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        pack(value)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xd8",
        b"\xb2a",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9",
        b"\xc5",
        b"\x00\x00",
        b"\x91" * 1000,
        b"\x81\x90\x00",
    ],
)
def test_bytes_that_are_no_value(packed: bytes) -> None:
    with pytest.raises(MessageError):
        unpack(packed)


@given(st.binary())
def test_any_bytes_are_a_value_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(MessageError):
        unpack(data)


def test_more_values_than_bytes_are_worth() -> None:
    most = b"\xdd" + (MAX_VALUES - 1).to_bytes(4, "big") + b"\x90" * (MAX_VALUES - 1)
    assert len(unpack(most)) == MAX_VALUES - 1
    with pytest.raises(MessageError, match="values"):
        unpack(b"\x92" + most + b"\x90")


def test_chunks_in_any_order() -> None:
    data = bytes(range(256)) * 20
    messages = [unpack(message) for message in chunk(data, 3, 1000)]
    assert len(messages) == 6
    budget = Budget(MAX_CHUNKED)
    chunks = Chunks(budget)
    for message in messages[:0:-1]:
        assert chunks.add(message) is None
    assert chunks.add(messages[0]) == data
    assert budget.take(MAX_CHUNKED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2},
        {"n": -1},
        {"n": "0"},
        {"total": 0},
        {"total": None},
        {"data": "text"},
        {"__peerData": []},
        {"total": True},
    ],
)
def test_chunks_that_are_none(wrong: dict[str, Any]) -> None:
    good = {"__peerData": 1, "n": 0, "total": 2, "data": b"x"}
    with pytest.raises(MessageError):
        Chunks(Budget(MAX_CHUNKED)).add(good | wrong)


def test_chunks_that_do_not_fit() -> None:
    good = {"__peerData": 1, "n": 0, "total": 2, "data": b"x"}
    for second in (good, good | {"n": 1, "total": 3}):
        chunks = Chunks(Budget(MAX_CHUNKED))
        chunks.add(good)
        with pytest.raises(MessageError):
            chunks.add(second)


def test_chunks_without_end_are_refused() -> None:
    for size in (0, 100_000):
        chunks = Chunks(Budget(MAX_CHUNKED))
        data = bytes(size)
        with pytest.raises(MessageError, match="bytes in chunks"):
            for n in range(MAX_CHUNKED):
                chunks.add({"__peerData": n, "n": 0, "total": 2, "data": data})


def test_what_all_connections_hold_in_part_is_bounded_together() -> None:
    budget = Budget(100_000)
    one, other = Chunks(budget), Chunks(budget)
    part = {"__peerData": 1, "n": 0, "total": 2, "data": bytes(60_000)}
    assert one.add(part) is None
    with pytest.raises(TooManyChunks):
        other.add(part)
    one.clear()
    assert other.add(part) is None
    assert other.add(part | {"n": 1, "data": b""}) == bytes(60_000)
    assert budget.take(100_000)


@pytest.mark.parametrize("same", [True, False], ids=["of one value", "of many values"])
def test_chunks_take_no_more_memory_than_is_counted(same: bool) -> None:
    limit = 4 * 1024 * 1024
    chunks = Chunks(Budget(limit))
    gc.collect()
    tracemalloc.start()
    try:
        # The last before the bound: what was held is forgotten there.
        most = limit // (256 + 1) - 3 if same else limit // (768 + 256 + 1)
        for n in range(most):
            number, part = (7, n) if same else (n + 10**12, 0)
            message = {"__peerData": number, "n": part, "total": 1 << 40, "data": bytes([n & 0xFF])}
            assert chunks.add(message) is None
        del message
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held <= limit
    with pytest.raises(TooManyChunks):
        for n in range(10):
            chunks.add({"__peerData": 1, "n": n, "total": 1 << 40, "data": bytes(limit // 8)})
    assert not chunks._values


@pytest.mark.parametrize(
    "most",
    [
        b"\xdd" + (MAX_VALUES - 1).to_bytes(4, "big") + b"\x80" * (MAX_VALUES - 1),
        b"\xdf"
        + (MAX_VALUES // 2 - 1).to_bytes(4, "big")
        + b"".join(b"\xce" + n.to_bytes(4, "big") + b"\x90" for n in range(MAX_VALUES // 2 - 1)),
    ],
    ids=["lists", "objects"],
)
def test_a_value_takes_memory_in_proportion_to_what_it_may_have(most: bytes) -> None:
    tracemalloc.start()
    try:
        value = unpack(most)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(value) > MAX_VALUES // 3
    assert held <= 130 * MAX_VALUES


def test_work_is_linear_in_what_came() -> None:
    def add(n: int) -> None:
        chunks = Chunks(Budget(MAX_CHUNKED))
        for part in range(n):
            chunks.add({"__peerData": 1, "n": n - 1 - part, "total": n, "data": b"x"})

    assert_linear(add)
    for one in (b"\x90", b"\x80", b"\xb1x", b"\xa1x", b"\xcb" + bytes(8), b"\xd9\0\0\0\0"):
        assert_linear(lambda n, one=one: unpack(b"\xdd" + n.to_bytes(4, "big") + one * n))  # type: ignore[misc]


@pytest.mark.parametrize(
    "packed",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffx",
        b"\xd9\xff\xff\xff\xffx",
        b"\x91" * 70 + b"\xc0",
        b"\x81\xa1x\xc0",
    ],
)
def test_sizes_that_are_not_there_reserve_nothing(packed: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MessageError):
            unpack(packed)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
