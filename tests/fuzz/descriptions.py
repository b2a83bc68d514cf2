"""Session descriptions and candidates, as the negotiation reads them, in any order."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from aioice import mdns
from tests.fuzz.program import Program, run_offline

from peerfetch_fast.errors import (
    IdentityChanged,
    InvalidCandidate,
    InvalidDescription,
    PeerfetchError,
)
from peerfetch_fast.negotiation import answer, dial
from peerfetch_fast.signaling.peerjs.client import SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.signaling.peerjs.service import from_message, to_message
from peerfetch_fast.signaling.seam import Signal
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc.candidates import candidate_from_dict, candidate_to_dict
from peerfetch_fast.webrtc.certificate import generate_certificate
from peerfetch_fast.webrtc.descriptions import SessionDescription
from peerfetch_fast.webrtc.transports import open_connection

CERTIFICATE = generate_certificate()
FINGERPRINT = ":".join(["AB"] * 32)

CHROMIUM = f"""v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=candidate:1 1 udp 2113937151 127.0.0.1 50000 typ host generation 0 network-cost 999
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=ice-options:trickle
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:0
a=sctp-port:5000
a=max-message-size:262144
"""
OLD = CHROMIUM.replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000").replace(
    "a=sctp-port:5000", "a=sctpmap:5000 webrtc-datachannel 65535"
)
VIDEO = f"""m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuvwx
a=fingerprint:sha-256 {FINGERPRINT}
a=setup:actpass
a=mid:1
a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendrecv
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc-group:FID 1 2
a=ssrc:1 cname:x
"""
TEMPLATES = (
    CHROMIUM,
    OLD,
    CHROMIUM.replace("BUNDLE 0", "BUNDLE 0 1") + VIDEO,
    CHROMIUM.replace("actpass", "active"),
    CHROMIUM + "a=sctp-init:AQAAHols3R0AUAAA/////+B5ZR3AAAAEgAgABoLA\n",
)
CANDIDATES = (
    "candidate:1 1 udp 2113937151 127.0.0.1 50000 typ host generation 0 ufrag abcd",
    "candidate:2 1 UDP 1677729535 127.0.0.2 40000 typ srflx raddr 0.0.0.0 rport 0",
    "candidate:3 1 tcp 1518214911 127.0.0.1 9 typ host tcptype active",
    "candidate:4 1 udp 2113937151 abcdef01-2345.local 50000 typ host",
    "candidate:5 1 udp 1 ::1 50000 typ relay raddr ::1 rport 1",
    "",
)
LEAPS = (0.0, 0.01, 0.05, 0.2, 1.0)
TIMEOUT = 0.3
"""Seconds until a negotiation is given up."""
IDS = ("id", "id", "other", "", "x" * 129, 5)


async def _nobody() -> NoReturn:
    raise OSError("there is nobody to ask for names")


@contextlib.contextmanager
def _without_mdns() -> Iterator[None]:
    """aioice opens its socket for multicast DNS before it asks the loop, which has no network."""
    before, mdns.create_mdns_protocol = mdns.create_mdns_protocol, _nobody
    try:
        yield
    finally:
        mdns.create_mdns_protocol = before


def _edited(program: Program) -> str:
    """A description, or what an input makes of one, line by line."""
    lines = program.pick(TEMPLATES).splitlines()
    for _ in range(program.byte() % 8):
        at, edit = program.byte() % (len(lines) + 1), program.byte() % 7
        match edit:
            case 0:
                lines[at:at] = [program.text()]
            case 1 if at < len(lines):
                del lines[at]
            case 2 if at < len(lines):
                lines[at] = lines[at].partition(":")[0] + ":" + program.text()
            case 3 if at < len(lines):
                lines += [lines[at]] * (program.byte() % 70)
            case 4 if at < len(lines):
                other = program.byte() % len(lines)
                lines[at], lines[other] = lines[other], lines[at]
            case 5:
                lines += VIDEO.splitlines()
            case _:
                init = base64.b64encode(program.text().encode("utf-8", "replace"))
                lines.append(f"a=sctp-init:{init.decode()}")
    return "\r\n".join([*lines, ""])


def _candidate(program: Program) -> object:
    flags = program.byte()
    if flags & 1:
        with contextlib.suppress(ValueError):
            return json.loads(program.text())
    line = program.pick(CANDIDATES)
    if flags & 2:
        fields = line.split(" ")
        fields[program.byte() % len(fields)] = program.text()
        line = " ".join(fields)
    if flags & 4:
        line = program.text()
    return {
        "candidate": line,
        "sdpMid": program.pick(("0", "0", None, "1", 0)),
        "sdpMLineIndex": program.pick((0, 0, None, 1, -1, True, "0")),
    }


def sdp(data: bytes) -> int:
    """Descriptions, of which some restart it, and candidates, handed to a connection that has no
    network.
    """
    with _without_mdns():
        return run_offline(_sdp(Program(data)))


async def _sdp(program: Program) -> int:
    steps = 1
    connection = open_connection(certificate=CERTIFICATE)
    try:
        text = program.text() if program.byte() & 128 else _edited(program)
        try:
            await connection.setRemoteDescription(SessionDescription(text, "offer"))
        except InvalidDescription:
            return steps
        await connection.setLocalDescription()
        assert connection.localDescription.type == "answer"
        while program and steps < 100:
            steps += 1
            if program.byte() % 8 < 2:
                await _describe(connection, program)
                continue
            with contextlib.suppress(InvalidCandidate, ValueError):
                candidate = candidate_from_dict(_candidate(program))
                if candidate is not None:
                    assert candidate_from_dict(candidate_to_dict(candidate)) == candidate
                await connection.addIceCandidate(candidate)
    finally:
        await connection.close()
    return steps


async def _describe(connection: Any, program: Program) -> None:
    """An offer of ours to restart, or a description of the peer, which restarts or does not."""
    if program.byte() & 1:
        connection.restartIce()
    else:
        sdp = _edited(program)
        if program.byte() & 1:
            sdp = re.sub("a=ice-ufrag:.*", f"a=ice-ufrag:abcd{program.byte()}", sdp)
        kind = "offer" if program.byte() & 1 else "answer"
        before = connection.localDescription.sdp
        try:
            await connection.setRemoteDescription(SessionDescription(sdp, kind))
        except (InvalidDescription, IdentityChanged):
            assert connection.localDescription.sdp == before
            return
    await connection.setLocalDescription()


class Line:
    """In the place of a signaling client: what is sent is counted, and leads nowhere."""

    sent = 0
    ice_servers = ()

    async def send(self, signal: Signal) -> None:
        kind, payload = to_message(signal)
        assert kind in (MessageType.OFFER, MessageType.ANSWER, MessageType.CANDIDATE)
        json.dumps(payload)
        self.sent += 1


class Anybody:
    """Trusts every certificate."""

    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        pass


def negotiation(data: bytes) -> int:
    """Signaling messages of any kind and order, to one who dials and to one who answers."""
    with _without_mdns():
        return run_offline(_negotiation(Program(data)))


async def _negotiation(program: Program) -> int:
    steps = 0
    works: list[asyncio.Task[None]] = []

    def offered(offer: Signal) -> bool:
        # As many as a server answers at once.
        taken = len(works) < 4
        if taken:
            works.append(
                asyncio.ensure_future(
                    _failing(answer(switchboard, offer, certificate=CERTIFICATE, timeout=TIMEOUT))
                )
            )
        return taken

    switchboard = Switchboard(offered)
    switchboard.signaling = Line()  # type: ignore[assignment]
    if program.byte() & 1:
        works.append(
            asyncio.ensure_future(
                _failing(dial(switchboard, "peer", trust=Anybody(), timeout=TIMEOUT))
            )
        )
        await asyncio.sleep(0.01)
    while program and steps < 50:
        steps += 1
        kind = program.byte() % 8
        if kind == 7:
            await asyncio.sleep(program.pick(LEAPS))
        else:
            dialed = next((id for _, id in switchboard._receivers), "id")
            type, payload = _message(kind, dialed, program)
            source = program.pick(("peer", "peer", "else"))
            signal = from_message(SignalMessage(type, source, payload))
            if signal is not None:
                switchboard.take(signal)
            await asyncio.sleep(0)
    await asyncio.gather(*works)
    assert not switchboard._receivers, "a negotiation was not forgotten"
    return steps


async def _failing(connecting: Any) -> None:
    with contextlib.suppress(PeerfetchError):
        await connecting
        raise AssertionError("connected without a network")


def _message(kind: int, dialed: str, program: Program) -> tuple[MessageType, object]:
    id = dialed if program.byte() & 1 else program.pick(IDS)
    if kind < 2:
        sdp = {"type": "offer", "sdp": _edited(program)}
        return MessageType.OFFER, {"connectionId": id, "sdp": sdp, "type": "data"}
    if kind == 2:
        sdp = {"type": "answer", "sdp": re.sub("actpass", "active", _edited(program))}
        about = {"metadata": {"protocol": "peerfetch.2"}} if program.byte() & 1 else {}
        return MessageType.ANSWER, {"connectionId": id, "sdp": sdp, **about}
    if kind < 5:
        return MessageType.CANDIDATE, {"connectionId": id, "candidate": _candidate(program)}
    if kind == 5:
        return program.pick((MessageType.LEAVE, MessageType.EXPIRE)), None
    payload: object = None
    with contextlib.suppress(ValueError):
        payload = json.loads(program.text())
    if isinstance(payload, dict) and program.byte() & 1:
        payload["connectionId"] = dialed
    return program.pick(list(MessageType)), payload


def sdp_seeds() -> list[bytes]:
    candidates = b"".join(bytes((0, number, 0, 0)) for number in range(len(CANDIDATES))) * 5
    return [bytes((0, number, 0)) + candidates for number in range(len(TEMPLATES))] + [
        bytes((0, 0, 1, line, edit, 3)) + b"1 2" + candidates
        for line in range(18)
        for edit in (1, 2)
    ]


def negotiation_seeds() -> list[bytes]:
    offer, answered = bytes((0, 0, 0, 0, 0)), bytes((2, 1, 0, 0, 1))
    candidate, wait = bytes((3, 1, 0, 0, 0, 0, 0)), bytes((7, 2))
    return [
        b"\0" + offer + candidate * 3 + wait + candidate,
        b"\0" + candidate + offer + bytes((5, 0, 0, 0)) + offer + wait,
        b"\1" + answered + b"\0" + candidate + wait,
        b"\1" + candidate + answered + b"\0" + bytes((5, 1, 1, 0)) + wait,
        b"\0" + bytes((6, 0, 0, 2)) + b"{}" + bytes((1, 4, 0)) + offer,
    ]
