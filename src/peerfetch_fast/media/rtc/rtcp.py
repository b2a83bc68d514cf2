"""RTCP as far as senders and receivers of one connection need it (RFC 3550, RFC 4585)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

__all__ = [
    "Feedback",
    "Loss",
    "Sent",
    "bitrate_estimate",
    "is_rtcp",
    "nack",
    "picture_loss",
    "read_feedback",
    "receiver_report",
    "sender_report",
]

SENDER_REPORT, RECEIVER_REPORT, DESCRIPTION, BYE, FEEDBACK, PAYLOAD_FEEDBACK = (
    200, 201, 202, 203, 205, 206,
)  # fmt: skip

NACK = 1
PICTURE_LOSS, FULL_INTRA, APPLICATION = 1, 4, 15

MAX_LOST = 512
"""Packets that one RTCP packet asks for again, at most."""

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900, where NTP's time begins, to 1970."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a receiver reports of one sender.

    :ivar lost: packets in all that are missing; one that came twice makes up for one.
    :ivar newest: the highest sequence number so far, with its turns in the upper 16 bits.
    """

    lost: int
    newest: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender reports of its clocks.

    :ivar timestamp: what that of its RTP packets showed.
    :ivar at: the microseconds since 1900 that its own showed then.
    """

    timestamp: int
    at: int


@dataclass(slots=True)
class Feedback:
    """What a compound packet says.

    :ivar lost: sequence numbers that are asked for again, by the sender's SSRC.
    :ivar wants_key: whether a key frame is asked for.
    :ivar losses: by the sender's SSRC.
    :ivar sent: what senders report, by their SSRC.
    :ivar bitrate: bits a second that the receiver takes the network for (REMB); None: it says none.
    :ivar ended: whether it has left.
    """

    lost: dict[int, list[int]] = field(default_factory=dict)
    wants_key: bool = False
    losses: dict[int, Loss] = field(default_factory=dict)
    sent: dict[int, Sent] = field(default_factory=dict)
    bitrate: int | None = None
    ended: bool = False


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram is RTCP rather than RTP (RFC 5761 section 4)."""
    return len(data) >= 2 and 192 <= data[1] <= 223


def read_feedback(data: bytes) -> Feedback:
    """What a compound packet says. What makes no sense is left out."""
    feedback = Feedback()
    at = 0
    while at + 8 <= len(data):
        size = 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at] >> 6 != 2 or at + size > len(data):
            break
        _read_one(feedback, data[at] & 31, data[at + 1], data[at + 4 : at + size])
        at += size
    return feedback


def _read_one(feedback: Feedback, count: int, kind: int, body: bytes) -> None:
    if kind == SENDER_REPORT and len(body) >= 24:
        ssrc, seconds, part, timestamp = struct.unpack_from(">4I", body)
        feedback.sent[ssrc] = Sent(timestamp, seconds * 1_000_000 + (part * 1_000_000 >> 32))
    if kind in (SENDER_REPORT, RECEIVER_REPORT):
        blocks = body[24:] if kind == SENDER_REPORT else body[4:]
        for at in range(0, min(24 * count, len(blocks) - 23), 24):
            ssrc, _, newest = struct.unpack_from(">III", blocks, at)
            lost = int.from_bytes(blocks[at + 5 : at + 8], "big", signed=True)
            feedback.losses[ssrc] = Loss(lost, newest)
    elif kind == BYE:
        feedback.ended = True
    elif kind == FEEDBACK and count == NACK and len(body) >= 8:
        ssrc = int.from_bytes(body[4:8], "big")
        wanted = feedback.lost.setdefault(ssrc, [])
        for at in range(8, len(body) - 3, 4):
            first, mask = struct.unpack_from(">HH", body, at)
            wanted.append(first)
            wanted += [(first + bit + 1) & 0xFFFF for bit in range(16) if mask >> bit & 1]
        del wanted[MAX_LOST:]
    elif kind == PAYLOAD_FEEDBACK and count in (PICTURE_LOSS, FULL_INTRA):
        feedback.wants_key = True
    elif kind == PAYLOAD_FEEDBACK and count == APPLICATION and _is_estimate(body):
        value = int.from_bytes(body[13:16], "big")
        feedback.bitrate = (value & 0x3FFFF) << (value >> 18)


def _is_estimate(body: bytes) -> bool:
    return body[8:12] == b"REMB" and len(body) >= 16


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0x80 | count, kind, len(body) // 4) + body


def _description(ssrc: int, name: str) -> bytes:
    """The canonical name, by which sound and pictures are known to be of one clock."""
    text = name.encode()
    item = struct.pack(">IBB", ssrc, 1, len(text)) + text + b"\0"
    return _packet(DESCRIPTION, 1, item + bytes(-len(item) % 4))


def sender_report(
    ssrc: int, name: str, *, now: float, timestamp: int, packets: int, octets: int
) -> bytes:
    """A sender's report and description.

    :param now: seconds since 1970, at which RTP's clock shows ``timestamp``.
    """
    seconds = now + NTP_EPOCH
    body = struct.pack(
        ">6I",
        ssrc,
        int(seconds) & 0xFFFFFFFF,
        int(seconds % 1 * (1 << 32)),
        timestamp & 0xFFFFFFFF,
        packets & 0xFFFFFFFF,
        octets & 0xFFFFFFFF,
    )
    return _packet(SENDER_REPORT, 0, body) + _description(ssrc, name)


def receiver_report(ssrc: int, name: str, blocks: bytes = b"") -> bytes:
    """A receiver's report, with blocks of 24 bytes for each sender, and its description."""
    body = struct.pack(">I", ssrc) + blocks
    return _packet(RECEIVER_REPORT, len(blocks) // 24, body) + _description(ssrc, name)


def picture_loss(ssrc: int, sender: int) -> bytes:
    """The wish for a key frame (RFC 4585 section 6.3.1)."""
    return _packet(PAYLOAD_FEEDBACK, PICTURE_LOSS, struct.pack(">2I", ssrc, sender))


def nack(ssrc: int, sender: int, lost: list[int]) -> bytes:
    """The wish for lost packets (RFC 4585 section 6.2.1)."""
    items = b"".join(struct.pack(">HH", sequence, 0) for sequence in lost)
    return _packet(FEEDBACK, NACK, struct.pack(">2I", ssrc, sender) + items)


def bitrate_estimate(ssrc: int, sender: int, bitrate: int) -> bytes:
    """What the receiver takes the network for (draft-alvestrand-rmcat-remb)."""
    exponent = max(bitrate.bit_length() - 18, 0)
    value = exponent << 18 | bitrate >> exponent
    body = struct.pack(">2I", ssrc, 0) + b"REMB\1" + value.to_bytes(3, "big")
    return _packet(PAYLOAD_FEEDBACK, APPLICATION, body + struct.pack(">I", sender))
