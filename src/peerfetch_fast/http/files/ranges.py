"""Ranges of bytes (RFC 9110 §14): what a Range field asks for, and how much of it is given."""

from __future__ import annotations

import re

__all__ = ["MAX_RANGES", "select_ranges"]

MAX_RANGES = 32
"""Ranges in one request; one that asks for more gets the whole file (RFC 9110 §14.2)."""

MAX_DIGITS = 18
"""Digits of a position that are told apart; no file has more bytes than that."""

PART_OVERHEAD = 80
"""Bytes that a further part costs; a smaller gap is sent along instead (RFC 9110 §15.3.7.2)."""

_SPEC = re.compile(r"(\d*)-(\d*)", re.ASCII)


def select_ranges(field: str, size: int) -> list[tuple[int, int]] | None:
    """The stretches (start, stop) of a file of ``size`` bytes that ``field`` asks for.

    Stretches that overlap or nearly touch are joined, so that the sum never exceeds the file by
    much; the order is that of the request. Empty if none of them is in the file (416), None if the
    field asks for nothing that we understand, or for too many, so that the whole is to be sent.
    """
    unit, equals, specs = field.partition("=")
    if unit.strip().lower() != "bytes" or not equals or specs.count(",") >= MAX_RANGES:
        return None
    found: list[tuple[int, int]] = []
    for spec in specs.split(","):
        text = spec.strip(" \t")
        if not text:  # RFC 9110 §5.6.1: empty elements of a list do not count
            continue
        match = _SPEC.fullmatch(text)
        if match is None or text == "-":
            return None
        first, last = (_number(digits) for digits in match.groups())
        if first is None:
            start, stop = max(size - (last or 0), 0), size
        else:
            if last is not None and last < first:
                return None
            start, stop = first, size if last is None else min(last + 1, size)
        if start < stop:
            found.append((start, stop))
        elif first is None and last and not size:
            return None  # the end of an empty file: all of it, which no Content-Range can say
    return _joined(found)


def _number(digits: str) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= MAX_DIGITS else int(10**MAX_DIGITS)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Joined where they overlap or nearly do; each where its first one was asked for."""
    joined: list[tuple[int, int, int]] = []  # place in the request, start, stop
    for place, (start, stop) in sorted(enumerate(ranges), key=lambda numbered: numbered[1]):
        if joined and start <= joined[-1][2] + PART_OVERHEAD:
            earlier = joined[-1]
            joined[-1] = (min(place, earlier[0]), earlier[1], max(stop, earlier[2]))
        else:
            joined.append((place, start, stop))
    return [(start, stop) for _, start, stop in sorted(joined)]
