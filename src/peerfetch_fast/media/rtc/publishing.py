"""One who publishes by RTP: what comes is put together, and handed to an inlet."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import time

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.inlet import Inlet
from peerfetch_fast.media.rtc.clocks import Clocks
from peerfetch_fast.media.rtc.connection import MediaConnection
from peerfetch_fast.media.rtc.depacketizing import H264Depacketizer, Packet, RtpOrder
from peerfetch_fast.media.rtc.descriptions import Answered, Offer, direction_for
from peerfetch_fast.media.rtc.rtcp import (
    bitrate_estimate,
    nack,
    picture_loss,
    read_feedback,
    receiver_report,
)
from peerfetch_fast.webrtc._rtp import payload_of
from peerfetch_fast.webrtc.ticks import ticks
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["Publishing"]

KEY_EACH = 8
"""Ticks between two wishes for a key frame: two seconds, as of a camera."""

BIT_RATE = 4_000_000
"""Bits a second that a publisher may send: of its own a browser would send a tenth of it."""


class Publishing:
    """One publisher's connection.

    :ivar id: names it, and is a secret.
    """

    def __init__(self, inlet: Inlet, options: ConnectionOptions) -> None:
        self.id = secrets.token_urlsafe(18)
        self._inlet = inlet
        self._changed = asyncio.Event()
        self.connection = MediaConnection(
            options, on_rtp=self._on_rtp, on_rtcp=self._on_rtcp, on_state=self._changed.set
        )
        self._payloads: dict[int, str] = {}
        self._order = RtpOrder()
        self._pictures = H264Depacketizer()
        self._clocks = Clocks({"video": 90_000, "audio": 48_000})
        self._kinds: dict[int, str] = {}
        self._ssrc = secrets.randbits(31) + 1
        self._video_ssrc: int | None = None
        self._ticks = 0
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def answer(self, offer: Offer) -> str:
        """The answer to an offer. Raises InvalidDescription if nothing in it can be received."""
        answered: dict[str, Answered] = {}
        for section in offer.sections:
            if not section.usable:
                continue
            new = section.kind not in self._payloads.values()
            direction = direction_for(section, sends=False, receives=new)
            answered[section.mid] = Answered(direction)
            if direction == "recvonly":
                assert section.payload_type is not None
                self._payloads[section.payload_type] = section.kind
        if "video" not in self._payloads.values():
            raise InvalidDescription("the offer sends no H.264 (packetization mode 1)")
        return await self.connection.answer(offer, answered, secrets.token_hex(8))

    def start(self, leave: contextlib.AsyncExitStack) -> None:
        """Hand on what comes until the connection is closed, and ``leave`` then."""
        self._task = asyncio.get_running_loop().create_task(self._run(leave))

    def close(self) -> None:
        """End it. Idempotent."""
        # A task that is cancelled before it has begun would let go of nothing.
        self._closing = True
        self._changed.set()

    async def closed(self) -> None:
        """Return when it has ended."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self, leave: contextlib.AsyncExitStack) -> None:
        ticks().add(self._tick)
        try:
            async with leave:
                while self.connection.state != "closed" and not self._closing:
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            ticks().remove(self._tick)
            await self.connection.close()

    def told(self) -> dict[str, object]:
        """What a publisher is told of its connection."""
        return {"state": self.connection.state}

    @property
    def audio(self) -> AudioFormat | None:
        """See :class:`~peerfetch_fast.media.inlet.Publisher`."""
        return AudioFormat(2) if "audio" in self._payloads.values() else None

    def want_key(self) -> None:
        """See :class:`~peerfetch_fast.media.inlet.Publisher`."""
        if self._video_ssrc is not None and self.connection.state == "connected":
            self._send(picture_loss(self._ssrc, self._video_ssrc))

    def _send(self, packet: bytes) -> None:
        self.connection.send_rtcp(receiver_report(self._ssrc, "peerfetch") + packet)

    def _tick(self) -> None:
        self._ticks += 1
        if self._video_ssrc is None or self.connection.state != "connected":
            return
        if self._ticks % KEY_EACH == 0 or self._pictures.wants_key:
            self.want_key()
        if self._ticks % 4 == 0:
            self._send(bitrate_estimate(self._ssrc, self._video_ssrc, BIT_RATE))

    # -- what comes --------------------------------------------------------------------------------

    def _on_rtp(self, data: bytes) -> None:
        kind = self._payloads.get(data[1] & 127)
        payload = payload_of(data)
        if kind is None or not payload:
            return
        sequence, timestamp, ssrc = struct.unpack_from(">HII", data, 2)
        packet = Packet(sequence, timestamp, data[1] > 127, payload)
        if ssrc not in self._kinds:
            # One at a time of each kind: another is of another clock.
            self._kinds = {of: other for of, other in self._kinds.items() if other != kind}
            self._kinds[ssrc] = kind
        if kind == "audio":
            self._inlet.frame(Frame(AudioFormat(2), self._time(kind, timestamp), payload))
            return
        self._video_ssrc = ssrc
        for one in self._order.put(packet, time.monotonic()):
            if one is None:
                self._pictures.lost()
                self.want_key()
                continue
            at = self._time(kind, one.timestamp)
            frame = self._pictures.put(one, at)
            if frame is not None:
                self._inlet.frame(frame)
        missing = self._order.missing()
        if missing:
            self._send(nack(self._ssrc, ssrc, missing))

    def _on_rtcp(self, packet: bytes) -> None:
        for ssrc, sent in read_feedback(packet).sent.items():
            kind = self._kinds.get(ssrc)
            if kind is not None:
                self._clocks.report(kind, sent.timestamp, sent.at)

    def _time(self, kind: str, timestamp: int) -> int:
        """In microseconds of our clock."""
        return self._clocks.time(kind, timestamp, time.monotonic_ns() // 1_000)
