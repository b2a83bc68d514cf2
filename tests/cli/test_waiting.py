"""Waiting for what is not there yet, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerfetch_fast.cli.waiting import when_there
from peerfetch_fast.errors import (
    ConnectError,
    IdentityChanged,
    IdTaken,
    PeerUnavailable,
    SignalingError,
    SignalingUnavailable,
)
from virtual_time import run_virtual


class Attempt:
    """Fails until the clock says ``there``."""

    def __init__(self, error: Exception, there: float = float("inf")) -> None:
        self.error = error
        self.there = there
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if asyncio.get_running_loop().time() < self.there:
            raise self.error
        return "there"


def waiting(attempt: Attempt, wait: float | None, stop_at: float | None = None) -> Any:
    async def main() -> Any:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        began = loop.time()
        attempt.there += began
        if stop_at is not None:
            loop.call_later(stop_at, stop.set)
        return await when_there(attempt, wait, stop), loop.time() - began

    return run_virtual(main())


@pytest.mark.parametrize(
    "error", [SignalingUnavailable("no server"), PeerUnavailable("off"), ConnectError("no path")]
)
def test_what_comes_is_waited_for(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = Attempt(error, 600.0)
    result, waited = waiting(attempt, None)
    assert result == "there"
    assert 600.0 <= waited < 611.0
    assert attempt.count > 60
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"not there yet: waiting: {error}"
    assert said[1] == f"after 1 min, still waiting: {error}"
    assert len(said) <= 3  # and a third after ten minutes


def test_gaps_between_what_is_said_grow(capsys: pytest.CaptureFixture[str]) -> None:
    waiting(Attempt(PeerUnavailable("off"), 3 * 24 * 3600.0), None)
    said = capsys.readouterr().err.splitlines()
    times = [line.partition(",")[0] for line in said[1:]]
    assert times == ["after 1 min", "after 10 min", "after 2 h", "after 17 h"]


@pytest.mark.parametrize("wait", [0.0, 30.0])
def test_no_longer_than_one_was_told_to(wait: float, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = Attempt(SignalingUnavailable("no server"), 1000.0)
    with pytest.raises(SignalingUnavailable):
        waiting(attempt, wait)
    assert (attempt.count == 1) is (wait == 0.0)
    assert bool(capsys.readouterr().err) is (wait > 0.0)


@pytest.mark.parametrize(
    "error", [IdTaken("taken"), SignalingError("wrong key"), IdentityChanged("another")]
)
def test_what_stays_as_it_is_ends_it_at_once(error: Exception) -> None:
    attempt = Attempt(error, 1000.0)
    with pytest.raises(type(error)):
        waiting(attempt, None)
    assert attempt.count == 1


def test_whoever_is_told_to_stop_stops() -> None:
    result, waited = waiting(Attempt(PeerUnavailable("off")), None, stop_at=100.0)
    assert result is None
    assert waited == pytest.approx(100.0)
