"""BinaryPack, both ways, and its chunks in any order."""

from __future__ import annotations

from typing import Any

from tests.fuzz.program import Program

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import MessageError
from peerfetch_fast.peerjs.binarypack import Chunks, TooManyChunks, chunk, pack, unpack


def binarypack(data: bytes) -> int:
    """A packed value: what is understood can be packed, and is understood as the same. The first
    byte says whether it is one, or a program of chunks.
    """
    if not data:
        return 0
    if data[0] & 1:
        return _chunks(Program(data[1:]))
    try:
        value = unpack(data[1:])
    except MessageError:
        return 1
    again = pack(value)
    assert repr(unpack(again)) == repr(value)  # NaN is not equal to itself
    return 1


def _chunks(program: Program) -> int:
    """Values that were cut, of which an input repeats, leaves out, changes and mixes the chunks."""
    budget = Budget(MOST)
    together, steps = Chunks(budget), 0
    ahead: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    changed = 0
    while program and steps < 200:
        steps += 1
        message: dict[str, Any] = dict(program.pick(CUT))
        number, kind = message["__peerData"], program.byte()
        if kind & 128:
            name = program.pick(("__peerData", "n", "total", "data"))
            message[name] = program.pick(
                (-1, 0, 1, 2, 1 << 62, None, True, "x", b"", 0.5, program.piece())
            )
        try:
            found = together.add(message)
        except MessageError as error:
            # The connection is closed. What is held is let go of, or was.
            if not isinstance(error, TooManyChunks):
                together.clear()
            break
        changed = changed or kind & 128
        if not changed:
            ahead[number].add(message["n"])
            assert (found is None) == (len(ahead[number]) < message["total"])
        if found is not None and not changed:
            assert found == WHOLE[number]
            ahead[number].clear()
    together.clear()
    assert budget.take(MOST), "not all was given back"
    assert not budget.take(1), "more was given back than taken"
    return steps


MOST = 8_000
"""Bytes in chunks."""

WHOLE = [pack({"value": bytes(number)}) for number in (0, 5, 40)]
CUT = [unpack(one) for number, data in enumerate(WHOLE) for one in chunk(data, number, 9)]

VALUES = (
    None,
    True,
    -1,
    0,
    200,
    -200,
    70_000,
    -70_000,
    1 << 40,
    -(1 << 40),
    (1 << 64) - 1,
    1.5,
    "text €",
    "x" * 20,
    b"bytes",
    bytes(300),
    [1, [2, {"a": []}]],
    {"n": 1, "data": b"x", "total": 3, "__peerData": 0},
)


def binarypack_seeds() -> list[bytes]:
    return [b"\0" + pack(value) for value in (*VALUES, list(VALUES))] + [
        b"\1" + bytes(byte for number in range(14) for byte in (number, 0)),
        b"\1" + bytes((0, 128, 1, 3, 2, 0, 1, 0, 0, 128, 3, 10, 2, 65, 66)),
    ]
