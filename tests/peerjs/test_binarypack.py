"""BinaryPack: bytes as PeerJS writes them, and bytes that nobody should."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import MessageError
from peerfetch_fast.peerjs.binarypack import (
    MAX_CHUNKED,
    MAX_VALUES,
    Chunks,
    chunk,
    pack,
    unpack,
)

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
def test_what_peerjs_writes(value: Any, packed: str) -> None:
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
def test_what_else_is_read(packed: str, value: Any) -> None:
    assert unpack(bytes.fromhex(packed)) == value


@given(VALUES)
def test_all_comes_back(value: Any) -> None:
    assert unpack(pack(value)) == value


def test_large_sizes() -> None:
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
def test_what_has_no_encoding(value: Any) -> None:
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
    chunks = Chunks()
    for message in messages[:0:-1]:
        assert chunks.add(message) is None
    assert chunks.add(messages[0]) == data
    assert chunks._size == 0


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
        Chunks().add(good | wrong)


def test_chunks_that_do_not_fit() -> None:
    good = {"__peerData": 1, "n": 0, "total": 2, "data": b"x"}
    for second in (good, good | {"n": 1, "total": 3}):
        chunks = Chunks()
        chunks.add(good)
        with pytest.raises(MessageError):
            chunks.add(second)


def test_chunks_without_end() -> None:
    for size in (0, 100_000):
        chunks = Chunks()
        data = bytes(size)
        with pytest.raises(MessageError, match="bytes in chunks"):
            for n in range(MAX_CHUNKED):
                chunks.add({"__peerData": n, "n": 0, "total": 2, "data": data})
