"""Offers, answers and candidates between two switchboards in this process, over real WebRTC."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerfetch_fast import negotiation, restarts
from peerfetch_fast.errors import (
    ConnectError,
    PeerfetchError,
    PeerUnavailable,
    SignalingError,
)
from peerfetch_fast.negotiation import (
    Connected,
    answer,
    as_browsers_take,
    dial,
)
from peerfetch_fast.signaling.peerjs.client import SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.signaling.peerjs.service import from_message, to_message
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.switchboard import GONE_BURST, Switchboard
from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc.candidates import candidate_from_dict
from peerfetch_fast.webrtc.certificate import generate_certificate
from peerfetch_fast.webrtc.channel_link import LABEL, PROTOCOL
from peerfetch_fast.webrtc.descriptions import MAX_SDP, SessionDescription
from peerfetch_fast.webrtc.ice.servers import IceServer
from peerfetch_fast.webrtc.transports import ConnectionOptions, open_connection
from support import run, until

CERTIFICATE = generate_certificate()

Change = Callable[[MessageType, dict[str, Any]], "dict[str, Any] | None"]


def unchanged(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any] | None:
    return payload


def tell(board: Switchboard, message: SignalMessage) -> None:
    """Have ``board`` take what a PeerJS message says, if it says anything."""
    signal = from_message(message)
    if signal is not None:
        board.take(signal)


class Line:
    """In the place of a signaling client: what is sent reaches the other switchboard.

    :param change: what becomes of each payload; None loses it.
    """

    ice_servers: Sequence[IceServer] = ()

    def __init__(self, name: str, change: Change = unchanged) -> None:
        self._name = name
        self._change = change
        self.other: Switchboard | None = None
        self.sent: list[tuple[MessageType, dict[str, Any]]] = []

    async def send(self, signal: Signal) -> None:
        kind, payload = to_message(signal)
        self.sent.append((kind, payload))
        changed = self._change(kind, payload)
        if changed is not None and self.other is not None:
            tell(self.other, SignalMessage(kind, self._name, changed))


class Anybody:
    """Trusts every certificate."""

    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        pass


class Exchange:
    """Two switchboards, "caller" and "callee"; the callee answers every offer."""

    def __init__(self, *, to_callee: Change = unchanged, to_caller: Change = unchanged) -> None:
        self.offers: asyncio.Queue[Signal] = asyncio.Queue()
        self._taken: list[Signal] = []
        self.caller, self.callee = Switchboard(), Switchboard(self._take)
        self.lines = Line("caller", to_callee), Line("callee", to_caller)
        self.lines[0].other, self.lines[1].other = self.callee, self.caller
        self.caller.signaling, self.callee.signaling = self.lines  # type: ignore[assignment]

    def _take(self, offer: Signal) -> bool:
        self.offers.put_nowait(offer)
        self._taken.append(offer)
        return True

    async def dial(self, timeout: float = 60) -> Connected:
        return await dial(self.caller, "callee", trust=Anybody(), timeout=timeout)

    async def answer(self, timeout: float = 60) -> Connected:
        offer = await self.offers.get()
        return await answer(self.callee, offer, certificate=CERTIFICATE, timeout=timeout)

    def forgotten(self) -> bool:
        """Whether both have let go of every negotiation, once nobody is to answer any more."""
        for offer in self._taken:
            self.callee.forget(offer)
        return not self.caller._receivers and not self.callee._receivers


class Messages:
    def __init__(self) -> None:
        self.got: asyncio.Queue[Any] = asyncio.Queue()

    def message_received(self, message: bytes | str) -> None:
        self.got.put_nowait(message)

    def parts_received(self, head: bytes, parts: Any, *rest: Any) -> None:
        raise AssertionError("these messages are not of the session's form")

    def buffered_low(self) -> None:
        pass

    def link_closed(self, error: Exception | None) -> None:
        self.got.put_nowait(("closed", error))


async def close(*connected: Connected) -> None:
    for one in connected:
        await one.connection.close()


async def test_both_come_to_an_open_link() -> None:
    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    assert (caller.peer_id, callee.peer_id) == ("callee", "caller")
    assert not exchange.forgotten()  # it may have to move to another path
    for one, other in ((caller, callee), (callee, caller)):
        # A PING, since the native link looks at what it carries.
        receiver = Messages()
        other.link.attach(receiver)
        one.link.send(b"\x01\x08" + b"x" * 8)
        assert await receiver.got.get() == b"\x01\x08" + b"x" * 8
    await close(caller, callee)
    assert exchange.forgotten()


async def test_the_offer_is_one_that_peerjs_peers_understand() -> None:
    exchange = Exchange()
    await close(*await asyncio.gather(exchange.dial(), exchange.answer()))
    (kind, offer), *rest = exchange.lines[0].sent
    assert kind == MessageType.OFFER
    assert offer["type"] == "data"
    assert offer["sdp"]["type"] == "offer"
    assert offer["reliable"] is True
    assert offer["serialization"] == "raw"
    assert offer["label"] == LABEL
    assert offer["metadata"] == {"protocol": PROTOCOL}
    kind, answered = exchange.lines[1].sent[0]
    assert kind == MessageType.ANSWER
    assert answered["sdp"]["type"] == "answer"
    assert answered["type"] == "data"
    assert offer["connectionId"] == answered["connectionId"]
    assert all(kind == MessageType.CANDIDATE for kind, _ in rest)


async def test_ten_at_once_do_not_mix() -> None:
    exchange = Exchange()
    dialing = [asyncio.ensure_future(exchange.dial()) for _ in range(10)]
    answered = await asyncio.gather(*(exchange.answer() for _ in range(10)))
    dialled = await asyncio.gather(*dialing)
    await close(*dialled, *answered)


def gone(exchange: Exchange) -> None:
    tell(exchange.caller, SignalMessage(MessageType.EXPIRE, "callee", None))


def left(exchange: Exchange) -> None:
    # PeerJS servers say so without naming a connection.
    tell(exchange.caller, SignalMessage(MessageType.LEAVE, "callee", None))


def left_that_connection(exchange: Exchange) -> None:
    connection_id = exchange.lines[0].sent[0][1]["connectionId"]
    tell(
        exchange.caller, SignalMessage(MessageType.LEAVE, "callee", {"connectionId": connection_id})
    )


@pytest.mark.parametrize(
    ("say", "error", "says"),
    [
        (gone, PeerUnavailable, "no peer callee"),
        (left, ConnectError, "left"),
        (left_that_connection, ConnectError, "left"),
    ],
)
async def test_a_callee_that_is_not_there(say: Any, error: type[Exception], says: str) -> None:
    exchange = Exchange()
    dialing = asyncio.ensure_future(exchange.dial())
    await exchange.offers.get()
    tell(exchange.caller, SignalMessage(MessageType.EXPIRE, "somebody else", None))
    tell(exchange.caller, SignalMessage(MessageType.LEAVE, "somebody else", None))
    await asyncio.sleep(0)
    assert not dialing.done()
    say(exchange)
    with pytest.raises(error, match=says):
        await dialing
    assert exchange.forgotten()


async def test_a_callee_that_is_silent() -> None:
    exchange = Exchange()
    with pytest.raises(ConnectError, match=r"callee.*0.2 s"):
        await exchange.dial(timeout=0.2)
    assert exchange.forgotten()


async def test_a_caller_that_falls_silent() -> None:
    def only_offers(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any] | None:
        payload["sdp"]["sdp"] = payload["sdp"]["sdp"].replace("a=candidate", "a=x")
        return payload if kind == MessageType.OFFER else None

    exchange = Exchange(to_callee=only_offers, to_caller=lambda *_: None)
    dialing = asyncio.ensure_future(exchange.dial())
    with pytest.raises(ConnectError):
        await exchange.answer(timeout=0.3)
    dialing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialing
    assert exchange.forgotten()


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_at_any_moment(turns: int) -> None:
    exchange = Exchange()
    tasks = [asyncio.ensure_future(exchange.dial()), asyncio.ensure_future(exchange.answer())]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
    assert exchange.forgotten()


async def test_cancelled_while_it_gives_up() -> None:
    """Nothing is left half closed; a socket would show as a ResourceWarning."""

    for turns in range(20):
        exchange = Exchange()
        dialing = asyncio.ensure_future(exchange.dial())
        await exchange.offers.get()
        gone(exchange)
        for _ in range(turns):
            await asyncio.sleep(0)
        dialing.cancel()
        with pytest.raises((asyncio.CancelledError, PeerUnavailable)):
            await dialing
        assert exchange.forgotten()


async def test_no_time_at_all() -> None:
    exchange = Exchange()
    with pytest.raises(ConnectError):
        await exchange.dial(timeout=0)
    assert exchange.forgotten()


@pytest.mark.parametrize(
    "sdp",
    [
        None,
        "",
        "nonsense",
        {"type": "offer", "sdp": "v=0"},
        {"type": "answer"},
        {"type": "answer", "sdp": 5},
        {"type": "answer", "sdp": ""},
        {"type": "answer", "sdp": "nonsense"},
        {"type": "answer", "sdp": "v=0\r\n" * 20},
        {"type": "answer", "sdp": "v" * (MAX_SDP + 1)},
    ],
)
async def test_answers_that_are_none(sdp: Any) -> None:
    def broken(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any] | None:
        return {**payload, "sdp": sdp} if kind == MessageType.ANSWER else None

    exchange = Exchange(to_caller=broken)
    answering = asyncio.ensure_future(exchange.answer())
    with pytest.raises(PeerfetchError):
        await exchange.dial()
    answering.cancel()
    with contextlib.suppress(asyncio.CancelledError, PeerfetchError):
        await answering
    assert exchange.forgotten()


@pytest.mark.parametrize(
    "change",
    [
        ("m=application", "m=nonsense"),
        ("a=fingerprint", "a=x"),
        ("a=setup", "a=x"),
        ("a=ice-ufrag", "a=x"),
        ("a=sctp-port:5000", "a=sctp-port:0"),
        ("a=fingerprint:sha-", "a=fingerprint:md-"),
    ],
)
async def test_offers_that_cannot_be_used(change: tuple[str, str]) -> None:
    def broken(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any] | None:
        if kind == MessageType.OFFER:
            payload["sdp"]["sdp"] = payload["sdp"]["sdp"].replace(*change)
        return payload

    exchange = Exchange(to_callee=broken)
    dialing = asyncio.ensure_future(exchange.dial())
    with pytest.raises(PeerfetchError):
        await exchange.answer(timeout=1)
    dialing.cancel()
    with contextlib.suppress(asyncio.CancelledError, PeerfetchError):
        await dialing
    assert exchange.forgotten()


@pytest.mark.parametrize("who", ["caller", "callee"])
async def test_a_peer_that_takes_only_tiny_messages(who: str) -> None:
    def tiny(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any]:
        if "sdp" in payload:
            payload["sdp"]["sdp"], found = re.subn(
                r"a=max-message-size:\d+", "a=max-message-size:100", payload["sdp"]["sdp"]
            )
            assert found == 1
        return payload

    to = {"to_callee": tiny} if who == "callee" else {"to_caller": tiny}
    exchange = Exchange(**to)  # type: ignore[arg-type]
    dialing = asyncio.ensure_future(exchange.dial(timeout=60))
    answering = asyncio.ensure_future(exchange.answer(timeout=60))
    refusing, other = (answering, dialing) if who == "callee" else (dialing, answering)
    with pytest.raises(ConnectError, match="100"):
        await refusing
    other.cancel()
    results = await asyncio.gather(other, return_exceptions=True)
    await close(*(one for one in results if isinstance(one, Connected)))
    assert exchange.forgotten()


def candidate_message(connection_id: str, line: str) -> SignalMessage:
    candidate = {"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0}
    payload = {"connectionId": connection_id, "candidate": candidate}
    return SignalMessage(MessageType.CANDIDATE, "caller", payload)


@pytest.mark.skipif(not HAVE_NATIVE, reason="it looks into the native connection")
async def test_candidates_that_come_right_behind_the_offer_are_tried() -> None:
    """In the same turn of the loop, and for as long as nobody has begun to answer."""

    lines: list[str] = []

    def split(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any]:
        if kind != MessageType.OFFER:
            return payload
        sdp = payload["sdp"]["sdp"]
        lines.extend(re.findall(r"a=(candidate:.*)\r\n", sdp))
        bare = re.sub(r"a=(candidate|end-of-candidates).*\r\n", "", sdp)
        return {**payload, "sdp": {"type": "offer", "sdp": bare}}

    exchange = Exchange(to_callee=split)
    deliver = exchange.callee.take

    def with_candidates(signal: Signal) -> None:
        deliver(signal)
        if signal.kind is SignalKind.OFFER:
            for line in lines:
                behind = from_message(candidate_message(signal.connection_id, line))
                assert behind is not None
                deliver(behind)

    exchange.callee.take = with_candidates  # type: ignore[method-assign]
    dialing = asyncio.ensure_future(exchange.dial())
    offer = await exchange.offers.get()
    for _ in range(3):
        await asyncio.sleep(0)
    answering = asyncio.ensure_future(
        answer(exchange.callee, offer, certificate=CERTIFICATE, timeout=60)
    )
    connected = await asyncio.gather(dialing, answering)
    known = connected[1].connection._ice.agent._checklist.remotes  # type: ignore[attr-defined]
    named = {(line.split()[4], int(line.split()[5])) for line in lines}
    assert lines
    assert named <= set(known)
    assert all(found.type == "host" for found in known.values())
    await close(*connected)
    assert exchange.forgotten()


def test_what_comes_behind_an_offer_is_bounded_and_ends_with_it() -> None:
    taken = True
    offers: list[Signal] = []

    def take(offer: Signal) -> bool:
        offers.append(offer)
        return taken

    switchboard = Switchboard(take)
    payload = {"connectionId": "x", "sdp": {"type": "offer", "sdp": "v=0"}}
    offer = SignalMessage(MessageType.OFFER, "caller", payload)
    line = "candidate:1 1 udp 1 127.0.0.1 9 typ host"
    for kept, message in [
        (64, candidate_message("x", line)),
        (0, candidate_message("x", line + " x" * 1000)),
        (0, SignalMessage(MessageType.ANSWER, "caller", payload)),
        (0, SignalMessage(MessageType.CANDIDATE, "caller", {**payload, "candidate": 5})),
    ]:
        tell(switchboard, offer)
        for _ in range(200):
            tell(switchboard, message)
        (inbox,) = switchboard._receivers.values()
        assert len(inbox._candidates) == kept  # type: ignore[union-attr]
        switchboard.forget(offers[-1])
        assert not switchboard._receivers
    taken = False
    tell(switchboard, offer)
    assert not switchboard._receivers


async def test_a_caller_that_leaves_before_it_is_answered() -> None:
    exchange = Exchange()
    dialing = asyncio.ensure_future(exchange.dial())
    offer = await exchange.offers.get()
    tell(exchange.callee, SignalMessage(MessageType.LEAVE, "caller", None))
    with pytest.raises(ConnectError, match="left"):
        await answer(exchange.callee, offer, certificate=CERTIFICATE, timeout=60)
    dialing.cancel()
    (dialed,) = await asyncio.gather(dialing, return_exceptions=True)
    if isinstance(dialed, Connected):
        # Half of a connection comes about before the answerer knows that it is over.
        await dialed.connection.close()
    assert exchange.forgotten()


async def test_a_flood_of_messages_hinders_no_connection() -> None:
    def flood(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any]:
        if kind == MessageType.OFFER:
            asyncio.get_running_loop().call_soon(more, payload["connectionId"])
        return payload

    def more(connection_id: str) -> None:
        for port in range(1, 500):
            for candidate in (
                {"candidate": f"candidate:1 1 udp 1 127.0.0.1 {port} typ host"},
                {"candidate": "nonsense", "sdpMid": "0", "sdpMLineIndex": 0},
                None,
                port,
            ):
                tell(
                    exchange.callee,
                    SignalMessage(
                        MessageType.CANDIDATE,
                        "caller",
                        {"connectionId": connection_id, "candidate": candidate},
                    ),
                )

    exchange = Exchange(to_callee=flood)
    await close(*await asyncio.gather(exchange.dial(), exchange.answer()))


@pytest.mark.skipif(not HAVE_NATIVE, reason="it looks into the native connection")
async def test_of_a_flood_of_candidates_the_first_64_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from peerfetch_fast.webrtc.data_connection import DataConnection

    tried = 0

    class Counting(DataConnection):
        async def addIceCandidate(self, candidate: Any) -> None:
            nonlocal tried
            tried += 1
            await super().addIceCandidate(candidate)

    exchange = Exchange()
    dialing = asyncio.ensure_future(exchange.dial())
    offer = await exchange.offers.get()
    monkeypatch.setattr(negotiation, "open_connection", lambda *_, **options: Counting(**options))
    answering = asyncio.ensure_future(
        answer(exchange.callee, offer, certificate=CERTIFICATE, timeout=60)
    )
    await asyncio.sleep(0)  # from here on, it takes them itself
    (taker,) = exchange.callee._receivers.values()
    assert isinstance(taker, negotiation.Negotiation)
    for port in range(1, 500):
        line = f"candidate:1 1 udp 1 127.0.0.1 {port} typ host"
        tell(exchange.callee, candidate_message(offer.connection_id, line))
    connected = await asyncio.gather(dialing, answering)
    await until(taker._incoming.empty)
    await close(*connected)
    assert tried == 64


@pytest.mark.parametrize(
    ("announced", "taken"),
    [
        ("262144", "3000000"),
        ("2999999", "3000000"),
        ("262143", "262143"),
        ("0", "0"),
        ("1073741823", "1073741823"),
        ("262144x", "262144x"),
    ],
)
def test_what_old_browsers_take_in_fact(announced: str, taken: str) -> None:
    lines = ["v=0", "a=max-message-size:{}", "a=mid:0", ""]
    sdp = "\r\n".join(lines)
    assert as_browsers_take(sdp.format(announced)) == sdp.format(taken)
    assert as_browsers_take("v=0\r\n") == "v=0\r\n"


async def test_a_second_offer_of_the_same_connection_is_ignored() -> None:
    exchange = Exchange()
    dialing = asyncio.ensure_future(exchange.dial())
    offer = await exchange.offers.get()
    answering = asyncio.ensure_future(
        answer(exchange.callee, offer, certificate=CERTIFICATE, timeout=60)
    )
    await asyncio.sleep(0)
    payload = exchange.lines[0].sent[0][1]
    tell(exchange.callee, SignalMessage(MessageType.OFFER, "caller", payload))
    assert exchange.offers.empty()
    await close(*await asyncio.gather(dialing, answering))


async def test_channels_that_are_not_ours_are_closed() -> None:
    exchange = Exchange()
    connection = open_connection()
    foreign = connection.createDataChannel("chat")
    wrong = connection.createDataChannel(LABEL, protocol="another")
    await connection.setLocalDescription()
    description = connection.localDescription
    offer = Signal(SignalKind.OFFER, "caller", "id", description.sdp)
    line = exchange.lines[1]
    answering = asyncio.ensure_future(
        answer(exchange.callee, offer, certificate=CERTIFICATE, timeout=60)
    )
    await until(lambda: bool(line.sent))
    sdp = line.sent[0][1]["sdp"]
    await connection.setRemoteDescription(SessionDescription(sdp["sdp"], sdp["type"]))
    await until(lambda: foreign.readyState == wrong.readyState == "closed")
    # It goes on waiting for one that is.
    assert not answering.done()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    await connection.close()


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
@pytest.mark.parametrize("who", [(0,), (1,), (0, 1)], ids=["caller", "callee", "both"])
async def test_a_connection_moves_to_another_path(who: tuple[int, ...]) -> None:
    exchange = Exchange()
    ends = await asyncio.gather(exchange.dial(), exchange.answer())
    before = [end.connection.localDescription.sdp for end in ends]
    for line in exchange.lines:
        line.sent.clear()
    for index in who:
        ends[index].connection.emit("pathlost")
    await until(
        lambda: all(
            end.connection._ice.agent.ufrag not in sdp
            for end, sdp in zip(ends, before, strict=True)
        )
    )
    await until(lambda: all(end.connection.signalingState == "stable" for end in ends))
    offers = [
        payload
        for line in exchange.lines
        for kind, payload in line.sent
        if kind == MessageType.OFFER
    ]
    # Where they have crossed, the one that counts is repeated: it may have come too early.
    assert [offer["restart"] for offer in offers] == [True] * (1 if len(who) == 1 else 3)
    receiver = Messages()
    ends[1].link.attach(receiver)
    ends[0].link.send(b"\x01\x08" + b"x" * 8)
    assert await receiver.got.get() == b"\x01\x08" + b"x" * 8
    await close(*ends)
    assert exchange.forgotten()


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_in_another_network_a_restart_that_is_stuck_is_begun_anew() -> None:
    stuck = asyncio.Event()

    class Stuck(Line):
        async def send(self, signal: Signal) -> None:
            stuck.set()
            await asyncio.sleep(1000)

    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    exchange.caller.signaling = Stuck("caller")  # type: ignore[assignment]
    caller.connection.emit("pathlost")  # type: ignore[attr-defined]
    await stuck.wait()
    line = exchange.lines[0]
    exchange.caller.signaling = line  # type: ignore[assignment]
    line.sent.clear()
    caller.connection.emit("networkschanged")  # type: ignore[attr-defined]
    await until(lambda: bool(line.sent))
    assert line.sent[0][1]["restart"] is True
    await until(lambda: caller.connection.signalingState == "stable")
    await close(caller, callee)
    assert exchange.forgotten()


async def test_servers_that_signaling_hands_out_are_used_and_renewed_with_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[list[str | None]] = []

    def note(servers: Sequence[IceServer]) -> None:
        used.append([server.username for server in servers])

    real = negotiation.open_connection

    def opened(options: ConnectionOptions, **more: Any) -> Any:
        note(options.ice_servers)
        connection = real(replace(options, ice_servers=()), **more)
        monkeypatch.setattr(type(connection), "use_servers", lambda _, servers: note(servers))
        return connection

    monkeypatch.setattr(negotiation, "open_connection", opened)
    exchange = Exchange()
    for line in exchange.lines:
        line.ice_servers = (IceServer("turn:192.0.2.1", "first", "p"),)
    ends = await asyncio.gather(exchange.dial(), exchange.answer())
    assert used == [["first"], ["first"]]
    for line in exchange.lines:
        line.ice_servers = (IceServer("turn:192.0.2.1", "second", "p"),)
    if ends[0].connection.transport == "native":
        ends[0].connection.emit("pathlost")  # type: ignore[attr-defined]
        await until(lambda: len(used) == 4)
        assert used[2:] == [["second"], ["second"]]
    await close(*ends)


async def test_candidates_that_cannot_be_sent_any_more_are_no_matter() -> None:
    """A network that is lost takes signaling with it; the next one has candidates of its own."""

    exchange = Exchange()
    ends = await asyncio.gather(exchange.dial(), exchange.answer())
    (line, _), caller = exchange.lines, ends[0].connection
    found = candidate_from_dict(
        {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0"}
    )
    exchange.caller.signaling = None
    line.sent.clear()
    caller.emit("icecandidate", found)  # type: ignore[attr-defined]
    await asyncio.sleep(0.05)
    exchange.caller.signaling = line  # type: ignore[assignment]
    caller.emit("icecandidate", found)  # type: ignore[attr-defined]
    await until(lambda: bool(line.sent))
    assert [kind for kind, _ in line.sent] == [MessageType.CANDIDATE]
    await close(*ends)
    assert exchange.forgotten()


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_who_restarts_what_is_not_known_is_told_so_and_lets_go() -> None:
    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    exchange.callee._receivers.clear()  # as if it had been started anew,
    for base in list(callee.connection._ice.sockets.ports):  # and silent
        callee.connection._ice.sockets.close_port(base)
    receiver = Messages()
    caller.link.attach(receiver)
    caller.link.send(b"\x01\x08" + b"x" * 8)
    assert (await receiver.got.get())[0] == "closed"
    assert exchange.lines[1].sent[-1][1]["gone"] is True
    await close(caller, callee)
    assert exchange.forgotten()


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_who_hears_of_the_other_side_does_not_believe_that_it_is_gone() -> None:
    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    connection_id = exchange.lines[0].sent[0][1]["connectionId"]
    gone = {"connectionId": connection_id, "gone": True}
    exchange.lines[0].other = None  # so that a restart stays unanswered
    for restarting in (False, True):
        if restarting:
            caller.connection.emit("pathlost")
            await until(lambda: any(p.get("restart") for _, p in exchange.lines[0].sent))
        tell(exchange.caller, SignalMessage(MessageType.ANSWER, "callee", gone))
        receiver = Messages()
        callee.link.attach(receiver)
        caller.link.send(b"\x01\x08" + b"x" * 8)
        assert await receiver.got.get() == b"\x01\x08" + b"x" * 8
    assert caller.connection.connectionState == "connected"
    await close(caller, callee)


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_a_restart_of_what_is_not_known_changes_nothing_and_is_answered_a_few_times() -> None:
    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    caller.connection.emit("pathlost")
    await until(lambda: any(p.get("restart") for _, p in exchange.lines[0].sent))
    offer = next(p for _, p in exchange.lines[0].sent if p.get("restart"))
    await close(caller, callee)
    exchange.lines[1].sent.clear()
    for _ in range(100):
        tell(exchange.callee, SignalMessage(MessageType.OFFER, "caller", offer))
    assert exchange.offers.empty()
    assert exchange.forgotten()
    await until(lambda: len(exchange.lines[1].sent) >= GONE_BURST)
    await asyncio.sleep(0.1)
    assert len(exchange.lines[1].sent) <= GONE_BURST + 1
    for kind, payload in exchange.lines[1].sent:
        assert kind == MessageType.ANSWER
        assert payload == {"type": "data", "connectionId": offer["connectionId"], "gone": True}


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_an_offer_that_signaling_has_lost_is_said_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restarts, "REPEAT_AFTER", 0.05)
    monkeypatch.setattr(restarts, "RESTART_INTERVAL", 30.0)

    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    line = exchange.lines[0]
    line.sent.clear()
    line.other = None  # as a connection that the server holds open and nobody reads
    caller.connection.emit("pathlost")
    await until(lambda: bool(line.sent))
    line.other = exchange.callee
    await until(lambda: caller.connection.signalingState == "stable")
    said = [payload for kind, payload in line.sent if kind == MessageType.OFFER]
    assert len(said) == 2
    assert caller.connection._ice.agent.ufrag in said[0]["sdp"]["sdp"]
    assert caller.connection._ice.agent.ufrag in said[1]["sdp"]["sdp"]
    await close(caller, callee)


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_an_offer_that_was_never_answered_does_not_hold_up_those_of_the_other_side_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restarts, "RESTART_INTERVAL", 0.05)

    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    (ours,) = exchange.caller._receivers.values()
    assert isinstance(ours, negotiation.Negotiation)
    exchange.lines[0].other = None  # what the caller says is lost,
    caller.connection.emit("pathlost")
    await until(lambda: ours._restarts._attempt is not None)
    await until(lambda: ours._restarts._attempt is None)
    assert caller.connection.signalingState == "have-local-offer"
    exchange.lines[0].other = exchange.callee  # and later is not
    callee.connection.emit("pathlost")
    await until(lambda: caller.connection.signalingState == "stable")
    await until(lambda: callee.connection.signalingState == "stable")
    receiver = Messages()
    callee.link.attach(receiver)
    caller.link.send(b"\x01\x08" + b"x" * 8)
    assert await receiver.got.get() == b"\x01\x08" + b"x" * 8
    await close(caller, callee)


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_signaling_is_there_for_as_long_as_a_restart_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restarts, "LINGER", 0.1)

    exchange = Exchange()
    line = exchange.lines[0]
    opened, closed = [], []

    async def start() -> None:
        opened.append(line)

    async def hang_up() -> None:
        closed.append(line)

    line.start, line.close = start, hang_up  # type: ignore[attr-defined]
    exchange.caller = Switchboard(lasting=False)
    exchange.caller.signaling = line  # type: ignore[assignment]
    exchange.lines[1].other = exchange.caller
    async with exchange.caller.reachable():
        caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    assert len(opened) == len(closed) == 1
    caller.connection.emit("pathlost")
    await until(lambda: len(opened) == 2)
    assert len(closed) == 1
    await until(lambda: len(closed) == 2)
    assert sum(kind == MessageType.ANSWER for kind, _ in exchange.lines[1].sent) == 2
    await close(caller, callee)


def restart_of(first: dict[str, Any]) -> dict[str, Any]:
    """What whoever has seen a connection's offer can make of it."""
    sdp = re.sub(r"a=ice-ufrag:.*", "a=ice-ufrag:forged00\r", first["sdp"]["sdp"])
    sdp = re.sub(r"a=ice-pwd:.*", f"a=ice-pwd:{'f' * 32}\r", sdp)
    return {**first, "restart": True, "sdp": {"type": "offer", "sdp": sdp}}


def another_fingerprint(payload: dict[str, Any]) -> None:
    sdp = payload["sdp"]["sdp"]
    payload["sdp"]["sdp"], found = re.subn(r"(sha-256 )(..):", r"\1\2:\2:", sdp)
    hexadecimal = re.compile(r"(a=fingerprint:sha-256 (?:..:){31}..).*")
    payload["sdp"]["sdp"] = hexadecimal.sub(r"\1\r", payload["sdp"]["sdp"])
    assert found == 1


def no_description(payload: dict[str, Any]) -> None:
    del payload["sdp"]


def nonsense(payload: dict[str, Any]) -> None:
    payload["sdp"]["sdp"] = "v=0\r\nnonsense"


def no_mark(payload: dict[str, Any]) -> None:
    payload["restart"] = "yes"


def another_connection(payload: dict[str, Any]) -> None:
    payload["connectionId"] += "x"


def an_answer(payload: dict[str, Any]) -> None:
    payload["sdp"]["type"] = "answer"


def nothing(payload: dict[str, Any]) -> None:
    pass


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
@pytest.mark.parametrize(
    ("kind", "source", "change"),
    [
        (MessageType.OFFER, "caller", another_fingerprint),
        (MessageType.OFFER, "caller", no_description),
        (MessageType.OFFER, "caller", nonsense),
        (MessageType.OFFER, "caller", no_mark),
        (MessageType.OFFER, "caller", another_connection),
        (MessageType.OFFER, "mallory", nothing),
        (MessageType.ANSWER, "caller", an_answer),
        (MessageType.ANSWER, "mallory", an_answer),
    ],
)
async def test_restarts_that_are_forged_change_nothing(
    kind: MessageType, source: str, change: Callable[[dict[str, Any]], None]
) -> None:
    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    agent = callee.connection._ice.agent  # type: ignore[attr-defined]
    before = agent.ufrag, agent._checklist
    forged = restart_of(exchange.lines[0].sent[0][1])
    change(forged)
    for _ in range(3):
        tell(exchange.callee, SignalMessage(kind, source, forged))
    await asyncio.sleep(0.1)
    assert (agent.ufrag, agent._checklist) == before
    assert callee.connection.signalingState == "stable"
    # And a restart that is none of these is still taken.
    caller.connection.emit("pathlost")  # type: ignore[attr-defined]
    await until(lambda: agent.ufrag != before[0])
    await until(lambda: caller.connection.signalingState == "stable")
    receiver = Messages()
    callee.link.attach(receiver)
    caller.link.send(b"\x01\x08" + b"x" * 8)
    assert await receiver.got.get() == b"\x01\x08" + b"x" * 8
    await close(caller, callee)
    assert exchange.forgotten()


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_a_restart_that_comes_twice_is_one() -> None:
    def twice(kind: MessageType, payload: dict[str, Any]) -> dict[str, Any]:
        if payload.get("restart"):
            tell(exchange.callee, SignalMessage(kind, "caller", payload))
        return payload

    exchange = Exchange(to_callee=twice)
    ends = await asyncio.gather(exchange.dial(), exchange.answer())
    exchange.lines[1].sent.clear()
    ends[0].connection.emit("pathlost")  # type: ignore[attr-defined]

    def answers() -> list[str]:
        said = [p for kind, p in exchange.lines[1].sent if kind == MessageType.ANSWER]
        return [re.findall(r"a=ice-ufrag:(.*)\r", p["sdp"]["sdp"])[0] for p in said]

    await until(lambda: len(answers()) == 2)
    assert len(set(answers())) == 1
    agents = [end.connection._ice.agent for end in ends]  # type: ignore[attr-defined]
    await until(
        lambda: all(
            agent._consent.pair.credentials is agent._checklist.credentials for agent in agents
        )
    )
    await close(*ends)
    assert exchange.forgotten()


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_restarts_in_a_storm_are_answered_a_few_times() -> None:
    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    caller.connection.restartIce()
    await caller.connection.setLocalDescription()
    offer = {
        "connectionId": exchange.lines[0].sent[0][1]["connectionId"],
        "restart": True,
        "sdp": {"type": "offer", "sdp": caller.connection.localDescription.sdp},
    }
    exchange.lines[1].sent.clear()
    for _ in range(50):
        tell(exchange.callee, SignalMessage(MessageType.OFFER, "caller", offer))
    await asyncio.sleep(0.2)
    answers = [kind for kind, _ in exchange.lines[1].sent if kind == MessageType.ANSWER]
    assert len(answers) == 5
    await close(caller, callee)


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_addresses_that_come_later_are_tried_and_do_not_add_up() -> None:
    exchange = Exchange()
    caller, callee = await asyncio.gather(exchange.dial(), exchange.answer())
    (theirs,) = exchange.callee._receivers.values()
    assert isinstance(theirs, negotiation.Negotiation)
    before = set(theirs.claimed)
    line = "candidate:1 1 udp 1 192.0.2.77 9 typ host"
    tell(exchange.callee, candidate_message(theirs._connection_id, line))
    checklist = callee.connection._ice.agent._checklist  # type: ignore[attr-defined]
    await until(lambda: ("192.0.2.77", 9) in checklist.remotes)
    await asyncio.sleep(0)
    assert theirs.claimed == before == callee.claimed
    await close(caller, callee)


async def test_sending_without_a_signaling_client() -> None:
    with pytest.raises(SignalingError):
        await dial(Switchboard(), "callee", trust=Anybody(), timeout=1)


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
payloads = json_values | st.fixed_dictionaries(
    {},
    optional={
        "connectionId": json_values | st.just("known") | st.just("x" * 129),
        "sdp": json_values | st.fixed_dictionaries({"type": st.just("offer"), "sdp": json_values}),
        "candidate": json_values,
        "type": json_values,
    },
)


@given(st.lists(st.tuples(st.sampled_from(list(MessageType)), payloads), max_size=30))
@settings(max_examples=50, deadline=None)
def test_no_message_harms_the_switchboard(messages: list[tuple[MessageType, Any]]) -> None:
    offers: list[Signal] = []
    switchboard = Switchboard(lambda offer: bool(offers.append(offer)))
    for kind, payload in messages:
        tell(switchboard, SignalMessage(kind, "peer", payload))
    for offer in offers:
        assert 0 < len(offer.connection_id) <= 128
        assert len(offer.sdp) <= MAX_SDP
    assert not switchboard._receivers


@given(st.lists(st.tuples(st.sampled_from(list(MessageType)), payloads), max_size=30))
@settings(max_examples=15, deadline=None)
def test_no_message_harms_a_negotiation(messages: list[tuple[MessageType, Any]]) -> None:
    async def main() -> None:
        exchange = Exchange()
        dialing = asyncio.ensure_future(exchange.dial(timeout=60))
        await exchange.offers.get()
        connection_id = exchange.lines[0].sent[0][1]["connectionId"]
        for kind, payload in messages:
            if isinstance(payload, dict):
                payload = {**payload, "connectionId": connection_id}
            tell(exchange.caller, SignalMessage(kind, "callee", payload))
            await asyncio.sleep(0)
        dialing.cancel()
        with contextlib.suppress(asyncio.CancelledError, PeerfetchError):
            await dialing
        assert exchange.forgotten()

    run(main())


@pytest.mark.virtual_time
async def test_offers_are_not_taken_by_who_only_dials() -> None:
    switchboard = Switchboard()
    payload = {"connectionId": "x", "sdp": {"type": "offer", "sdp": "v=0"}}
    tell(switchboard, SignalMessage(MessageType.OFFER, "peer", payload))
    assert not switchboard._receivers
