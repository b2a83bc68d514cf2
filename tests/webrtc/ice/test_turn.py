"""An allocation at a TURN server, in virtual time."""

from __future__ import annotations

import math
import random

import pytest
from tests.webrtc.ice.turn_server import CLIENT, RELAYED, Meeting, TurnServer, indication

from peerfetch_fast.webrtc.ice import stun, turn_peers
from peerfetch_fast.webrtc.ice import turn_messages as turn
from peerfetch_fast.webrtc.ice.turn import State, TurnClient
from peerfetch_fast.webrtc.ice.turn_messages import Credentials, Failure, FrameError, StreamFrames

PEER = "192.0.2.9", 5000
OTHER = "192.0.2.9", 5001
STRANGER = "192.0.2.66", 5000

ALLOCATE, REFRESH = turn.ALLOCATE, turn.REFRESH
PERMIT, BIND = turn.CREATE_PERMISSION, turn.CHANNEL_BIND


def ready(server: TurnServer | None = None) -> Meeting:
    met = Meeting(server or TurnServer())
    met.allocate()
    assert met.client.state is State.READY
    return met


def bound(server: TurnServer | None = None) -> Meeting:
    """One that has a channel to PEER."""
    met = ready(server)
    for _ in range(turn_peers.CHANNEL_AFTER):
        met.send(b"x", PEER)
    assert met.client.frame(b"x", PEER) is not None
    return met


def test_an_allocation_with_a_login() -> None:
    met = ready()
    assert met.server.requests == [ALLOCATE, ALLOCATE]
    assert met.client.relayed == RELAYED
    assert met.client.mapped == CLIENT


def test_an_allocation_without_a_login() -> None:
    met = Meeting(TurnServer(open=True), None, None)
    met.allocate()
    assert met.client.state is State.READY
    assert met.server.requests == [ALLOCATE]
    met.send(b"out", PEER)
    assert met.server.sent == [(b"out", PEER)]


@pytest.mark.parametrize("login", [("someone", "wrong"), ("nobody", "secret"), (None, None)])
def test_a_login_that_is_wrong_is_tried_once(login: tuple[str | None, str | None]) -> None:
    met = Meeting(TurnServer(), *login)
    met.allocate()
    assert met.client.state is State.CLOSED
    assert met.client.failure == Failure(401, "Unauthorized")
    assert len(met.server.requests) == (1 if login[0] is None else 2)


def test_a_nonce_that_is_old_is_replaced() -> None:
    met = ready(TurnServer(nonce_life=100.0))
    met.send(b"1", PEER)
    for _ in range(40):
        met.run(100.0)
        met.send(b"x", PEER)
    assert met.client.state is State.READY
    assert len(met.server.sent) == 41


def test_a_server_that_always_wants_another_nonce_is_left() -> None:
    class Greedy(TurnServer):
        nonces = 0

        def _answer(self, message: stun.Message, now: float) -> bytes:
            self.nonces += 1
            self.nonce_life = 1 / self.nonces / 7
            return super()._answer(message, now)

    server = Greedy()
    met = Meeting(server)
    met.now = 1234.567
    met.allocate()
    assert met.client.state is State.CLOSED
    assert met.client.failure == Failure(438, "Stale Nonce")
    assert len(server.requests) == 4


def test_a_refusal_says_why() -> None:
    met = Meeting(TurnServer(refusing={ALLOCATE: (486, "Quota\x1b[31m Reached" + "x" * 500)}))
    met.allocate()
    assert met.client.failure is not None
    assert met.client.failure.code == 486
    assert met.client.failure.reason.startswith(r"Quota\x1b[31m Reachedxx")
    assert len(met.client.failure.reason) <= turn.MAX_REASON


def test_a_server_that_is_silent_is_given_up() -> None:
    met = Meeting(TurnServer(silent=True))
    met.allocate()
    met.run(23.0)
    assert met.client.state is State.ALLOCATING
    met.run(1.0)
    assert met.client.state is State.CLOSED
    assert met.client.failure == Failure(0, "it does not answer")
    assert len(met.server.requests) == 6
    assert met.client.deadline() == math.inf


def test_a_stream_repeats_nothing() -> None:
    met = Meeting(TurnServer(silent=True), reliable=True)
    met.allocate()
    met.run(19.0)
    assert met.server.requests == [ALLOCATE]
    met.run(2.0)
    assert met.client.state is State.CLOSED


def test_it_is_refreshed_until_it_is_given_back() -> None:
    met = ready()
    met.run(5000.0)
    assert met.server.allocated(met.now)
    assert 10 <= met.server.requests.count(REFRESH) <= 12  # once with an old nonce
    met.client.close(met.now)
    assert met.client.state is State.CLOSING
    met.settle()
    assert met.client.state is State.CLOSED
    assert not met.server.allocated(met.now)
    assert met.client.deadline() == math.inf
    assert met.client.failure is None
    met.client.close(met.now)
    assert met.client.take_datagrams() == []


@pytest.mark.parametrize("lifetime", [0, 1, 4_000_000_000])
def test_a_lifetime_of_any_length_costs_little(lifetime: int) -> None:
    met = ready(TurnServer(lifetime=lifetime))
    met.server.ends = math.inf
    met.run(100.0)
    assert len(met.server.requests) <= 2 + 10


def test_whether_a_server_has_it_still_can_be_asked() -> None:
    met = ready()
    met.client.refresh(met.now)
    assert met.client.refreshing
    met.client.refresh(met.now)  # it is being asked
    met.settle()
    assert met.server.requests.count(REFRESH) == 1
    assert met.client.state is State.READY
    assert not met.client.refreshing
    met.server.ends = 0.0
    met.client.refresh(met.now)
    met.settle()
    assert met.client.state is State.CLOSED
    assert not met.client.refreshing
    met.client.refresh(met.now)
    assert met.client.take_datagrams() == []


@pytest.mark.parametrize("how", ["refused", "silent", "gone"])
def test_an_allocation_that_cannot_be_refreshed_is_lost(how: str) -> None:
    met = bound()
    match how:
        case "refused":
            met.server.refusing[REFRESH] = 508, "Insufficient Capacity"
        case "silent":
            met.server.silent = True
        case _:
            met.server.ends = 0.0
    met.run(600.0)
    assert met.client.state is State.CLOSED
    assert met.client.failure is not None
    met.client.send(b"x", PEER, met.now)
    assert met.client.take_datagrams() == []
    assert met.client.receive(turn.channel_data(0x4000, b"x", padded=False), met.now) is None


def test_an_allocation_that_is_lost_while_more_is_asked() -> None:
    met = ready()
    met.server.silent = True
    met.now = met.client.deadline()
    met.client.handle_timeout(met.now)
    met.send(b"x", PEER)  # its permission is given up when the refresh is
    met.run(60.0)
    assert met.client.state is State.CLOSED
    assert met.client.deadline() == math.inf


def test_one_that_is_still_being_made_is_given_back_when_it_comes() -> None:
    met = Meeting(TurnServer())
    met.client.allocate(met.now)
    (asked,) = met.client.take_datagrams()
    met.take(met.server.receive(asked, met.now))
    (signed,) = met.client.take_datagrams()
    met.client.close(met.now)
    met.take(met.server.receive(signed, met.now))
    assert met.server.allocated(met.now)
    met.settle()
    assert met.client.state is State.CLOSED
    assert not met.server.allocated(met.now)


def test_one_that_is_closed_before_it_was_challenged_is_not_made() -> None:
    met = Meeting(TurnServer())
    met.client.allocate(met.now)
    met.client.close(met.now)
    met.settle()
    assert met.client.state is State.CLOSED
    assert met.server.requests == [ALLOCATE]
    unasked = TurnClient(Credentials(None, None), random.Random(1))
    unasked.close(0.0)
    assert unasked.state is State.CLOSED


def test_a_permission_is_asked_for_once_for_an_address() -> None:
    met = ready()
    met.client.send(b"1", PEER, met.now)
    met.client.send(b"2", OTHER, met.now)
    met.settle()
    assert met.server.requests[2:] == [PERMIT]
    assert met.server.sent == [(b"1", PEER), (b"2", OTHER)]


def test_a_channel_is_bound_to_who_is_sent_much() -> None:
    met = bound()
    assert met.server.requests[2:] == [PERMIT, BIND]
    met.send(b"more", PEER)
    assert met.server.sent[-1] == (b"more", PEER)
    met.take(met.server.forward(b"back", PEER, met.now))
    met.take(met.server.forward(b"other port", OTHER, met.now))
    assert met.received == [(b"back", PEER), (b"other port", OTHER)]


def test_what_is_used_is_kept_alive_and_what_is_not_ends() -> None:
    met = bound()
    for _ in range(2000):
        met.run(1.0)
        met.send(b"x", PEER)
    assert len(met.server.sent) == 2000 + turn_peers.CHANNEL_AFTER
    assert met.server.requests.count(PERMIT) <= 1 + 2000 / turn_peers.PERMISSION_REFRESH
    assert met.server.requests.count(BIND) == 1 + 2000 // 540
    met.run(2 * turn_peers.PERMISSION_REFRESH)
    before = len(met.server.requests)
    met.run(480.0)
    assert met.server.requests[before:].count(PERMIT) == 0
    assert met.client.frame(b"x", PEER) is None
    met.send(b"again", PEER)
    assert met.server.sent[-1] == (b"again", PEER)


def test_a_permission_that_is_refused_is_asked_for_again_later() -> None:
    met = ready(TurnServer(refusing={PERMIT: (403, "Forbidden")}))
    for _ in range(50):
        met.send(b"x", PEER)
    assert met.server.requests.count(PERMIT) == 1
    met.run(turn_peers.RETRY)
    del met.server.refusing[PERMIT]
    met.send(b"now", PEER)
    assert met.server.sent == [(b"now", PEER)]


def test_without_a_channel_everything_goes_in_indications() -> None:
    met = ready(TurnServer(refusing={BIND: (400, "Bad Request")}))
    for _ in range(50):
        met.send(b"x", PEER)
    assert len(met.server.sent) == 50
    assert met.server.requests.count(BIND) == 1
    met.run(turn_peers.RETRY)
    met.send(b"x", PEER)
    assert met.server.requests.count(BIND) == 2


@pytest.mark.parametrize("kind", [PERMIT, BIND])
def test_a_server_that_knows_no_allocation_any_more_has_lost_it(kind: int) -> None:
    met = ready()
    met.server.refusing[kind] = 437, "Allocation Mismatch"
    for _ in range(turn_peers.CHANNEL_AFTER):
        met.send(b"x", PEER)
    assert met.client.state is State.CLOSED
    assert met.client.failure == Failure(437, "Allocation Mismatch")


def test_peers_that_the_relay_cannot_reach_are_not_asked_for() -> None:
    met = ready()
    for host in ("2001:db8::1", "0.0.0.0", "224.0.0.1", "host.local", ""):
        met.send(b"x", (host, 5))
    assert met.server.requests == [ALLOCATE, ALLOCATE]
    met = ready(TurnServer(relayed=("2001:db8::5", 7)))
    met.send(b"x", ("2001:db8::1", 5))
    met.send(b"x", PEER)
    assert met.server.sent == [(b"x", ("2001:db8::1", 5))]


def test_what_waits_and_who_is_known_is_bounded() -> None:
    met = ready()
    for number in range(3 * turn_peers.MAX_PEERS):
        met.client.send(b"x", (f"192.0.2.{number % 200 + 1}", 6000 + number), met.now)
    peers = met.client._peers
    assert len(peers._peers) == turn_peers.MAX_PEERS
    assert sum(len(one.waiting) for one in peers._permissions.values()) <= turn_peers.MAX_WAITING
    assert len(met.client._asked) <= 128
    met.settle()
    met.send(b"last", PEER)
    assert met.server.sent[-1] == (b"last", PEER)


def test_it_works_over_a_network_that_loses_a_third() -> None:
    met = Meeting(TurnServer())
    met.lost = 0.35
    met.allocate()
    met.run(20.0)
    assert met.client.state is State.READY
    for _ in range(300):
        met.send(b"x", PEER)
        met.run(1.0)
    assert len(met.server.sent) > 150
    assert met.client.frame(b"x", PEER) is not None


# -- what is not believed --------------------------------------------------------------


def test_an_answer_that_is_not_signed_is_none() -> None:
    met = Meeting(TurnServer())
    met.client.allocate(met.now)
    (asked,) = met.client.take_datagrams()
    met.take(met.server.receive(asked, met.now))
    (signed,) = met.client.take_datagrams()
    answer = met.server.receive(signed, met.now)
    assert answer is not None
    said = stun.parse(answer)
    body = b"".join(stun.attribute(*one) for one in said.attributes.items())
    for key in (None, b"another key 1234"):
        met.take(stun.seal(said.kind, said.transaction, body, key))
        met.take(stun.seal(said.kind ^ 0x10, said.transaction, stun.pack_error(486, ""), key))
        assert met.client.state is State.ALLOCATING
    met.take(answer)
    assert met.client.state is State.READY


def test_answers_to_other_questions_are_none() -> None:
    met = Meeting(TurnServer(open=True), None, None)
    met.client.allocate(met.now)
    (asked,) = met.client.take_datagrams()
    id = stun.parse(asked).transaction
    for kind in (ALLOCATE, REFRESH | turn.SUCCESS, ALLOCATE | 0x10, turn.DATA_INDICATION):
        met.take(stun.seal(kind, id, b"", None))
    met.take(stun.seal(ALLOCATE | turn.SUCCESS, bytes(12), b"", None))
    assert met.client.state is State.ALLOCATING
    met.take(stun.seal(ALLOCATE | turn.SUCCESS, id, b"", None))
    assert met.client.failure == Failure(0, "it answers nonsense")


def test_datagrams_of_who_was_not_permitted_are_none() -> None:
    met = bound()
    met.take(indication(b"x", STRANGER))
    met.take(indication(b"", PEER))
    met.take(turn.channel_data(0x4001, b"x", padded=False))
    met.take(turn.channel_data(0x4000, b"", padded=False))
    met.take(turn.channel_data(0x4000, b"xx", padded=False)[:-1])
    met.take(b"\x40")
    met.take(b"")
    assert met.received == []
    met.take(indication(b"x", PEER))
    assert met.received == [(b"x", PEER)]


def test_challenges_are_bounded() -> None:
    long = stun.attribute(stun.REALM, b"r" * 764) + stun.attribute(stun.NONCE, b"n")
    met = Meeting(TurnServer())
    met.client.allocate(met.now)
    (asked,) = met.client.take_datagrams()
    body = stun.pack_error(401, "Unauthorized") + long
    met.take(stun.seal(ALLOCATE | turn.ERROR, stun.parse(asked).transaction, body, None))
    assert met.client.failure == Failure(401, "Unauthorized")
    with pytest.raises(ValueError, match="user name"):
        Credentials("x" * 509, "")


# -- streams --------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_stream_is_cut_into_its_frames(size: int) -> None:
    frames = [
        turn.channel_data(0x4000, b"abcde", padded=False),
        indication(b"data", PEER),
        turn.channel_data(0x4FFF, b"", padded=False),
        turn.channel_data(0x4001, b"x" * 65_535, padded=False),
    ]
    octets = b"".join(frame + bytes(-len(frame) % 4) for frame in frames)
    cutting = StreamFrames()
    found = [
        frame
        for at in range(0, len(octets), size)
        for frame in cutting.feed(octets[at : at + size])
    ]
    assert found == frames


def test_a_stream_of_something_else_is_refused() -> None:
    with pytest.raises(FrameError):
        list(StreamFrames().feed(b"HTTP/1.1 400\r\n"[::-1].replace(b"\n", b"\xff")))


def test_channel_data_is_padded_in_a_stream() -> None:
    assert turn.channel_data(0x4000, b"abc", padded=True) == b"\x40\0\0\x03abc\0"
