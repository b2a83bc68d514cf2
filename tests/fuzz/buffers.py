"""The memory that sockets are read into, whose pieces are held and let go in any order."""

from __future__ import annotations

from tests.fuzz.program import Program

from peerfetch_fast.http._receive import ReceiveBuffer

__all__ = ["receive", "receive_seeds"]

SIZES = (1, 2, 100, 255)
KEPT = (1, 2, 8)


def receive(data: bytes) -> int:
    """A buffer that is filled, taken from and looked at; what somebody holds does not change."""
    program = Program(data)
    buffer = ReceiveBuffer(program.pick(SIZES), program.pick(KEPT))
    held: list[tuple[bytes | memoryview, bytes]] = []
    steps = 0
    while program:
        steps += 1
        step = program.byte()
        if step & 1 and held:
            del held[program.byte() % len(held)]
            continue
        piece = program.piece()[: buffer.size]
        memoryview(buffer)[: len(piece)] = piece
        if step & 2:
            continue  # a socket had nothing after all
        taken = buffer.take(len(piece))
        assert hash(taken) == hash(piece)
        held.append((memoryview(taken) if step & 4 else taken, piece))
        for what, said in held:
            assert bytes(what) == said
        if step & 8:
            try:
                buffer.take(buffer.size + 1)
            except ValueError:
                pass
            else:
                raise AssertionError("more was taken than there is")
    return steps


def receive_seeds() -> list[bytes]:
    """Pieces that are copied, and ones that are handed on, held and let go."""
    filled = b"\0\x64" + b"x" * 100
    return [
        b"\x02\x01" + filled * 3 + b"\x01\x00" + filled * 3,
        b"\x02\x00" + b"\x04\x0aabcdefghij" + filled + b"\x01\x01" + filled + b"\x02\x01y" + filled,
        b"\x00\x02" + b"\x00\x01a" * 4 + b"\x01\x02\x08\x01b",
    ]
