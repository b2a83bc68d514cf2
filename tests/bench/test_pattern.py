"""The pattern finds every byte that is wrong, missing or out of place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bench.pattern import LONGEST, PERIOD, Arrivals, Pattern


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Pattern:
    return Pattern.create(tmp_path_factory.mktemp("pattern") / "pattern")


@pytest.mark.parametrize("at", [0, 1, PERIOD - 1, PERIOD, 3 * PERIOD + 17])
@pytest.mark.parametrize("length", [1, 16_384, LONGEST])
def test_holds_what_it_gave(pattern: Pattern, at: int, length: int) -> None:
    piece = pattern.piece(at, length)
    assert len(piece) == length
    assert pattern.holds(piece, at)


def test_finds_a_wrong_byte_and_a_wrong_place(pattern: Pattern) -> None:
    piece = pattern.piece(5_000_000, 16_384)
    for index in (0, 8_000, 16_383):
        wrong = bytearray(piece)
        wrong[index] ^= 1
        assert not pattern.holds(bytes(wrong), 5_000_000)
    for shift in (1, 16_384, 65_536):
        assert not pattern.holds(piece, 5_000_000 + shift)


def test_a_file_follows_it_across_periods(pattern: Pattern, tmp_path: Path) -> None:
    size = 2 * PERIOD + 12_345
    pattern.write(tmp_path / "file", size)
    written = (tmp_path / "file").read_bytes()
    assert len(written) == size
    assert pattern.holds(written, 0)
    assert not pattern.holds(written[1:], 0)


def test_messages_arrive_in_any_order_and_each_once(pattern: Pattern) -> None:
    size = 16_384
    messages = [pattern.piece(size * i, size) for i in range(200)]
    arrivals = Arrivals(pattern)
    order = list(range(200))
    random.Random(1).shuffle(order)
    for count, index in enumerate(order, 1):
        assert arrivals.take(messages[index])
        assert arrivals.count == count * size
        assert not arrivals.take(messages[index]), "it came already"
    assert not arrivals.take(pattern.piece(size * 200 + 1, size))
    assert not arrivals.take(pattern.piece(size * 200, 2 * size)), "two in one"
    assert not arrivals.take(b"")
    assert arrivals.take(pattern.piece(size * 200, size))
