"""RTP packets into frames: their order, what is missing, and H.264 put together (RFC 6184)."""

from __future__ import annotations

from dataclasses import dataclass

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame
from peerfetch_fast.media.h264 import MAX_NALS, MAX_UNIT, H264Frames

__all__ = ["H264Depacketizer", "Packet", "RtpOrder", "Unwrapped"]

MAX_WAITING = 256
"""Packets that wait for one before them, which then counts as lost."""

MAX_GAP = 128
"""Packets that are asked for again at once, at most."""

PATIENCE = 0.25
"""Seconds for which a missing packet is waited for."""

SINGLE_LAST, STAP_A, FU_A = 23, 24, 28


@dataclass(frozen=True, slots=True)
class Packet:
    """What is read of an RTP packet."""

    sequence: int
    timestamp: int
    marker: bool
    payload: bytes


class Unwrapped:
    """Counts on where a number of ``bits`` begins anew."""

    def __init__(self, bits: int) -> None:
        self._turn = 1 << bits
        self._last: int | None = None

    def count(self, value: int) -> int:
        """The number without its end; one that is a little older stays so."""
        if self._last is None:
            self._last = value
            return value
        step = (value - self._last) % self._turn
        if step >= self._turn // 2:
            step -= self._turn
        found = self._last + step
        self._last = max(self._last, found)
        return found


class RtpOrder:
    """Puts packets in their order, and says which are missing."""

    def __init__(self) -> None:
        self._numbers = Unwrapped(16)
        self._next: int | None = None
        self._waiting: dict[int, Packet] = {}
        self._since = 0.0
        self._asked = -1
        self.received = 0
        self.newest = 0

    def put(self, packet: Packet, now: float) -> list[Packet | None]:
        """The packets that follow each other now; None where one is given up."""
        number = self._numbers.count(packet.sequence)
        if self._next is None:
            self._next = number
        self.received += 1
        self.newest = max(self.newest, number)
        if number < self._next or number in self._waiting:
            return []
        if not self._waiting and number > self._next:
            self._since = now
        self._waiting[number] = packet
        found: list[Packet | None] = self._take()
        late = now - self._since > PATIENCE or len(self._waiting) >= MAX_WAITING
        if self._waiting and not found and late:
            self._next = min(self._waiting)
            found = [None, *self._take()]
        if self._waiting and found:
            self._since = now
        return found

    def _take(self) -> list[Packet | None]:
        assert self._next is not None
        found: list[Packet | None] = []
        while (packet := self._waiting.pop(self._next, None)) is not None:
            found.append(packet)
            self._next += 1
        return found

    def missing(self) -> list[int]:
        """The sequence numbers that are missing and were not asked for yet."""
        if not self._waiting or self._next is None:
            return []
        first = max(self._next, self._asked + 1)
        newest = max(self._waiting)
        lost = [
            number & 0xFFFF
            for number in range(first, min(newest, first + MAX_GAP))
            if number not in self._waiting
        ]
        self._asked = max(self._asked, newest)
        return lost


class H264Depacketizer:
    """Makes frames of H.264 of packets in their order.

    :ivar wants_key: whether something was lost, and nothing can be decoded before a key frame.
    """

    def __init__(self) -> None:
        self._frames = H264Frames()
        self._units: list[bytes] = []
        self._fragment = bytearray()
        self._size = 0
        self._timestamp: int | None = None
        self.wants_key = True

    def lost(self) -> None:
        """A packet is lost: what it belonged to is of no use."""
        self._drop()
        self.wants_key = True

    def put(self, packet: Packet, microseconds: int) -> Frame | None:
        """The picture that is whole with this packet."""
        if packet.timestamp != self._timestamp:
            self._drop()
            self._timestamp = packet.timestamp
        try:
            self._take(packet.payload)
            if not packet.marker:
                return None
            frame = self._frames.frame(self._units, microseconds)
        except CameraError:
            self.lost()
            return None
        self._drop()
        if frame is None or (self.wants_key and not frame.key):
            return None
        self.wants_key = False
        return frame

    def _drop(self) -> None:
        self._units = []
        self._fragment.clear()
        self._size = 0

    def _take(self, payload: bytes) -> None:
        self._size += len(payload)
        if self._size > MAX_UNIT or len(self._units) >= MAX_NALS:
            raise CameraError("a picture that is too large")
        kind = payload[0] & 31 if payload else 0
        if 1 <= kind <= SINGLE_LAST:
            self._units.append(payload)
        elif kind == STAP_A:
            at = 1
            while at + 2 < len(payload):
                size = int.from_bytes(payload[at : at + 2], "big")
                unit = payload[at + 2 : at + 2 + size]
                if not unit or len(unit) != size or len(self._units) >= MAX_NALS:
                    raise CameraError("parts that are not what they say")
                self._units.append(unit)
                at += 2 + size
        elif kind == FU_A and len(payload) > 2:
            if payload[1] & 0x80:
                self._fragment[:] = bytes([(payload[0] & 0xE0) | (payload[1] & 31)])
            if not self._fragment:
                raise CameraError("a part without a beginning")
            self._fragment += payload[2:]
            if payload[1] & 0x40:
                self._units.append(bytes(self._fragment))
                self._fragment.clear()
