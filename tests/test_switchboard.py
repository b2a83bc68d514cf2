"""Signals reach the negotiation that they belong to, and what waits for one is bounded."""

from __future__ import annotations

import asyncio

import pytest

from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.switchboard import GONE_BURST, MAX_CANDIDATES, Switchboard

OFFER = Signal(SignalKind.OFFER, "caller", "one", sdp="v=0")


def candidate(port: int, connection_id: str = "one") -> Signal:
    line = f"candidate:1 1 udp 1 127.0.0.1 {port} typ host"
    init = {"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0}
    return Signal(SignalKind.CANDIDATE, "caller", connection_id, candidate=init)


class Negotiation:
    def __init__(self) -> None:
        self.taken: list[Signal] = []
        self.lost_by: list[SignalKind] = []

    def take(self, signal: Signal) -> None:
        self.taken.append(signal)

    def lost(self, kind: SignalKind) -> None:
        self.lost_by.append(kind)


def test_of_the_candidates_behind_an_offer_the_first_64_are_kept_in_their_order() -> None:
    assert MAX_CANDIDATES == 64
    board = Switchboard(lambda _: True)
    board.take(OFFER)
    sent = [candidate(port) for port in range(1, 200)]
    for signal in sent:
        board.take(signal)
    negotiation = Negotiation()
    board.enter("caller", "one", negotiation)
    assert negotiation.taken == sent[:64]


def test_candidates_that_nobody_can_use_take_no_place() -> None:
    board = Switchboard(lambda _: True)
    board.take(OFFER)
    for _ in range(MAX_CANDIDATES):
        board.take(Signal(SignalKind.CANDIDATE, "caller", "one", candidate="nonsense"))
    board.take(candidate(9))
    negotiation = Negotiation()
    board.enter("caller", "one", negotiation)
    assert negotiation.taken == [candidate(9)]


def test_a_caller_that_left_meanwhile_is_lost_to_who_answers() -> None:
    board = Switchboard(lambda _: True)
    board.take(OFFER)
    board.take(Signal(SignalKind.LEFT, "caller"))
    negotiation = Negotiation()
    board.enter("caller", "one", negotiation)
    assert negotiation.lost_by == [SignalKind.LEFT]


def test_each_negotiation_gets_its_own_signals_until_it_leaves() -> None:
    board = Switchboard()
    one, two = Negotiation(), Negotiation()
    board.enter("caller", "one", one)
    board.enter("caller", "two", two)
    board.take(candidate(1, "one"))
    board.take(candidate(2, "two"))
    board.leave("caller", "two", two)
    board.take(candidate(3, "two"))
    assert one.taken == [candidate(1, "one")]
    assert two.taken == [candidate(2, "two")]


def test_a_negotiation_that_left_does_not_take_the_next_one_with_it() -> None:
    board = Switchboard()
    old, new = Negotiation(), Negotiation()
    board.enter("caller", "one", old)
    board.enter("caller", "one", new)
    board.leave("caller", "one", old)
    board.take(candidate(1))
    assert new.taken == [candidate(1)]


class Service:
    """In the place of a signaling service."""

    def __init__(self) -> None:
        self.sent: list[Signal] = []

    async def send(self, signal: Signal) -> None:
        self.sent.append(signal)


@pytest.mark.virtual_time
async def test_restarts_of_what_is_gone_are_answered_16_times_and_then_4_times_a_second() -> None:
    assert GONE_BURST == 16
    board = Switchboard(lambda _: True)
    board.signaling = service = Service()  # type: ignore[assignment]
    restart = Signal(SignalKind.OFFER, "caller", "one", sdp="v=0", restart=True)

    async def answers_to(restarts: int) -> int:
        for _ in range(restarts):
            board.take(restart)
        await asyncio.sleep(0)
        answered = len(service.sent)
        service.sent.clear()
        return answered

    assert await answers_to(100) == 16
    await asyncio.sleep(1.0)
    assert await answers_to(100) == 4
