"""Counts what code does, for tests of how work grows; no clock is looked at."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIZES = (300, 1200, 4800)


def steps(work: Callable[[], object]) -> int:
    """Lines that Python runs in ``work``; what C does in one is not counted."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def assert_linear(work: Callable[[int], object]) -> None:
    """Assert that ``work(n)`` runs lines at most in proportion to ``n`` and its logarithm."""
    counts = [steps(lambda size=size: work(size)) for size in SIZES]  # type: ignore[misc]
    assert counts[2] <= 6 * counts[1] + 200, counts


@contextlib.contextmanager
def processor_time(most: float) -> Iterator[None]:
    """Fail what uses the processor for more than ``most`` seconds, a regular expression too.

    What others use meanwhile does not count; systems without such a timer count nothing.
    """

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"more than {most} s of the processor")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, most)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class Copies(bytes):
    """Bytes that count what is copied of them and of what they become part of.

    :cvar copied: bytes so far.
    """

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice):
            Copies.copied += len(found)
            return Copies(found)
        return found

    def __add__(self, other: Any) -> Any:
        Copies.copied += len(self) + len(other)
        return Copies(super().__add__(other))


def copied(work: Callable[[], object]) -> int:
    """Bytes that ``work`` copies of :class:`Copies`."""
    Copies.copied = 0
    work()
    return Copies.copied
