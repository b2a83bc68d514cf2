"""A viewer by RTP: what it is sent, and what it says of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time

from peerfetch_fast.errors import CameraError, InvalidDescription
from peerfetch_fast.media.broadcast import Viewer
from peerfetch_fast.media.feed import Feed
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.rtc.connection import MediaConnection
from peerfetch_fast.media.rtc.descriptions import (
    OPUS_FORMAT,
    Answered,
    Offer,
    Offered,
    direction_for,
    h264_formats,
    read_offer,
)
from peerfetch_fast.media.rtc.pressure import Pressure
from peerfetch_fast.media.rtc.rtcp import read_feedback, sender_report
from peerfetch_fast.media.speaker import Hearing
from peerfetch_fast.webrtc._rtp import RtpSender, payload_of
from peerfetch_fast.webrtc.ticks import INTERVAL, ticks
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["Viewing"]

logger = logging.getLogger(__name__)

BURST = 16
"""Packets that leave at once, and ``PAUSE`` the seconds before the next: a key frame is paced at
some 75 Mbit/s, which a network's buffers take where they would drop a hundred packets at once."""

PAUSE = 0.002

MAX_BEGINNING = 1024 * 1024
"""Bytes from the last key frame on that a new viewer is sent; with more it waits for the next."""

STEP = 1_000
"""Microseconds between the pictures of that beginning, which are of the past: the viewer decodes
them as fast as it can, and is there."""

REPORT_EACH = 4
"""Ticks from one report to the next: a second."""

MAX_REPEATED = 512
"""Packets that are sent again in a tick, for a viewer that has lost them."""


class Viewing:
    """One viewer's connection.

    :ivar id: names it, and is a secret.
    """

    def __init__(
        self, feed: Feed, options: ConnectionOptions, speaker: Hearing | None = None
    ) -> None:
        self.id = secrets.token_urlsafe(18)
        self._feed, self._speaker = feed, speaker
        self._changed = asyncio.Event()
        self.connection = MediaConnection(
            options,
            on_rtp=self._on_rtp,
            on_rtcp=self._on_rtcp,
            on_state=self._changed.set,
        )
        self._payloads: dict[str, int] = {}
        self._ssrcs: dict[str, int] = {}
        self._senders: dict[str, RtpSender] = {}
        self._stream = secrets.token_hex(8)
        self._shift = secrets.randbits(32)
        self._ticks = 0
        self._repeats = MAX_REPEATED
        self._pressure = Pressure()
        self._needs_key = False
        self._rate, self._octets = 0.0, 0
        self._task: asyncio.Task[None] | None = None

    async def answer(self, offer: Offer) -> str:
        """The answer to an offer. Raises InvalidDescription if nothing in it can be sent."""
        answered: dict[str, Answered] = {}
        for section in offer.sections:
            kind = section.kind
            sends = kind not in self._payloads and section.usable
            hears = sends and kind == "audio" and self._speaker is not None
            direction = direction_for(section, sends=sends, receives=hears)
            if not section.usable:
                continue
            answered[section.mid] = Answered(direction)
            if direction in ("sendonly", "sendrecv"):
                assert section.payload_type is not None
                self._payloads[kind] = section.payload_type
                self._ssrcs[kind] = secrets.randbits(31) + 1
                answered[section.mid] = Answered(direction, self._ssrcs[kind])
        if "video" not in self._payloads:
            raise InvalidDescription(
                "the offer receives no H.264 (packetization mode 1), which is what this camera has"
            )
        return await self.connection.answer(offer, answered, self._stream)

    async def offer(self) -> str:
        """An offer of what the feed, which shows pictures, has. Raises CameraError if no stream of
        media can have those.
        """
        video = self._feed.video
        if video is None or video.codec != "h264":
            raise CameraError("this camera gives single pictures: they are not sent as a stream")
        self._ssrcs = {"video": secrets.randbits(31) + 1}
        tracks = [Offered("video", self._ssrcs["video"], h264_formats(video.sps[1:4].hex()))]
        if self._feed.audio is not None:
            self._ssrcs["audio"] = secrets.randbits(31) + 1
            tracks.append(Offered("audio", self._ssrcs["audio"], (OPUS_FORMAT,)))
        return await self.connection.offer(tracks, self._stream)

    def take_answer(self, sdp: str) -> None:
        """Take the answer to our offer. Raises InvalidDescription if it takes no pictures."""
        video = self._feed.video
        answer = read_offer(sdp, "" if video is None else video.sps[1:3].hex())
        for section in answer.sections:
            if section.usable and section.direction in ("recvonly", "sendrecv"):
                assert section.payload_type is not None
                if section.kind in self._ssrcs:
                    self._payloads.setdefault(section.kind, section.payload_type)
        if "video" not in self._payloads:
            raise InvalidDescription("the answer takes no H.264, which is what this camera has")
        self.connection.take_answer(answer)

    def start(self, viewer: Viewer, leave: contextlib.AsyncExitStack) -> None:
        """Send what ``viewer`` gets until the connection is closed, and ``leave`` then."""
        self._task = asyncio.get_running_loop().create_task(self._run(viewer, leave))

    def close(self) -> None:
        """End it. Idempotent."""
        if self._task is not None:
            self._task.cancel()

    async def closed(self) -> None:
        """Return when it has ended."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self, viewer: Viewer, leave: contextlib.AsyncExitStack) -> None:
        sending: asyncio.Task[None] | None = None
        try:
            async with leave:
                while self.connection.state != "closed":
                    self._changed.clear()
                    if self.connection.state == "connected" and sending is None:
                        sending = asyncio.ensure_future(self._send(viewer))
                        sending.add_done_callback(lambda _: self._changed.set())
                        ticks().add(self._tick)
                    await self._changed.wait()
                    if sending is not None and sending.done():
                        break
        finally:
            ticks().remove(self._tick)
            if sending is not None:
                sending.cancel()
                await asyncio.wait((sending,))
                if not sending.cancelled() and sending.exception() is not None:
                    logger.info("a viewer is left: %s", sending.exception())
            await self.connection.close()

    # -- sending -----------------------------------------------------------------------------------

    async def _send(self, viewer: Viewer) -> None:
        srtp = self.connection.srtp
        self._senders = {
            kind: RtpSender(
                srtp, ssrc=self._ssrcs[kind], payload_type=number, sequence=secrets.randbits(15)
            )
            for kind, number in self._payloads.items()
        }
        await self._begin(viewer)
        with contextlib.suppress(CameraError):
            while True:
                await self._put(await viewer.next())

    async def _begin(self, viewer: Viewer) -> None:
        """Send the pictures from the last key frame on, as if they were of now."""
        kept = self._feed.begin_again(viewer)
        self._report()
        pictures = [frame for frame in kept if frame.is_video]
        for _ in kept:
            await viewer.next()
        if sum(len(frame.data) for frame in pictures) > MAX_BEGINNING:
            viewer.wait_for_key()
            return
        newest = pictures[-1].time if pictures else 0
        for left, frame in zip(range(len(pictures) - 1, -1, -1), pictures, strict=True):
            await self._put(
                Frame(frame.format, newest - left * STEP, frame.data, frame.key, frame.offset)
            )

    async def _put(self, frame: Frame) -> None:
        if frame.is_video:
            sender, format = self._senders["video"], frame.format
            assert isinstance(format, VideoFormat)
            if frame.key:
                self._needs_key = self._pressure.keys_only
            elif self._needs_key or self._pressure.keys_only:
                self._needs_key = True  # what comes cannot be decoded before the next one
                return
            sps, pps = (format.sps, format.pps) if frame.key else (None, None)
            shown = frame.time + frame.offset
            packets = sender.picture(frame.data, self._timestamp(shown, 90_000), sps, pps)
        elif "audio" in self._senders:
            at = self._timestamp(frame.time, 48_000)
            packets = [self._senders["audio"].packet(frame.data, at)]
        else:
            return
        for first in range(0, len(packets), BURST):
            if first:
                await asyncio.sleep(PAUSE)
            self.connection.send(packets[first : first + BURST])

    def _timestamp(self, microseconds: int, rate: int) -> int:
        return (microseconds * (rate // 1_000) // 1_000 + self._shift) & 0xFFFFFFFF

    def _report(self) -> None:
        """Say which time of the clock each track's numbers mean, so that both are in step."""
        now, microseconds = time.time(), time.monotonic_ns() // 1_000
        for kind, sender in self._senders.items():
            rate = 90_000 if kind == "video" else 48_000
            self.connection.send_rtcp(
                sender_report(
                    sender.ssrc,
                    self._stream,
                    now=now,
                    timestamp=self._timestamp(microseconds, rate),
                    packets=sender.packets,
                    octets=sender.octets,
                )
            )

    def _tick(self) -> None:
        self._repeats = MAX_REPEATED
        self._ticks += 1
        if self._ticks % REPORT_EACH == 0 and self._senders:
            self._report()
            self._measure()
            self._pressure.retry(time.monotonic())

    def _measure(self) -> None:
        """Bits a second of the pictures, while all of them are sent."""
        octets = self._senders["video"].octets
        sent, self._octets = 8 * (octets - self._octets), octets
        if not self._pressure.keys_only:
            self._rate = 0.8 * self._rate + 0.2 * sent / (REPORT_EACH * INTERVAL)

    def told(self) -> dict[str, object]:
        """What a viewer is told of its connection."""
        pictures = "key" if self._pressure.keys_only else "all"
        return {"state": self.connection.state, "pictures": pictures}

    # -- what the viewer says ----------------------------------------------------------------------

    def _on_rtp(self, packet: bytes) -> None:
        if self._speaker is None or packet[1] & 127 != self._payloads.get("audio"):
            return
        payload = payload_of(packet)
        if payload:
            self._speaker.hear(payload, self.id)

    def _on_rtcp(self, packet: bytes) -> None:
        feedback = read_feedback(packet)
        losses = [
            feedback.losses[ssrc].fraction for ssrc in self._ssrcs.values()
            if ssrc in feedback.losses
        ]  # fmt: skip
        self._pressure.report(
            time.monotonic(), max(losses, default=None), feedback.bitrate, self._rate
        )
        by_ssrc = {sender.ssrc: sender for sender in self._senders.values()}
        for ssrc, lost in feedback.lost.items():
            sender = by_ssrc.get(ssrc)
            if sender is None:
                continue
            again = [sender.again(number) for number in lost[: self._repeats]]
            self._repeats -= len(again)
            self.connection.send([packet for packet in again if packet is not None])
