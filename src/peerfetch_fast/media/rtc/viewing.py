"""A viewer by RTP: what it is sent, and what it says of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque

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
from peerfetch_fast.media.rtc.pacing import FASTEST, Outbox
from peerfetch_fast.media.rtc.pressure import Pressure, Second
from peerfetch_fast.media.rtc.rtcp import Loss, read_feedback, sender_report
from peerfetch_fast.media.speaker import Hearing
from peerfetch_fast.webrtc._rtp import MAX_PACKET_PAYLOAD, RtpSender, payload_of
from peerfetch_fast.webrtc.ticks import INTERVAL, ticks
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["Viewing"]

logger = logging.getLogger(__name__)

MAX_BEGINNING = 1024 * 1024
"""Bytes from the last key frame on that a new viewer is sent; with more it waits for the next."""

STEP = 1_000
"""Microseconds between the pictures of that beginning, which are of the past: the viewer decodes
them as fast as it can, and is there."""

REPORT_EACH = 4
"""Ticks from one report to the next: a second."""

MAX_WAIT = 1.0
"""Seconds that pictures may wait to be sent: those that would wait longer are left out, as all that
come before the next key frame."""

MAX_REPEATED = 256
"""Packets that are sent again at once, for a viewer that has lost them."""

REPEATED_SHARE = 0.5
"""Packets that may be sent again for each that was sent: where more are lost, to repeat them fills
the network, and the more are."""


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
        self._pressure = Pressure()
        self._outbox = Outbox(self.connection.send)
        self._repeats = MAX_REPEATED
        self._needs_key = False
        self._given, self._repeated, self._counted = 0, 0, 0
        self._rate: float | None = None
        self._reports: deque[tuple[float, Loss]] = deque(maxlen=2)
        self._estimate: int | None = None
        self._closing = False
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
        if video is None or video.codec == "jpeg":
            raise CameraError("this camera gives single pictures: they are not sent as a stream")
        if video.codec == "h265":
            raise CameraError("this camera gives H.265, no H.264: it is not sent as a stream")
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
        # A task that is cancelled before it has begun would let go of nothing.
        self._closing = True
        self._changed.set()

    async def closed(self) -> None:
        """Return when it has ended."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self, viewer: Viewer, leave: contextlib.AsyncExitStack) -> None:
        sending: asyncio.Task[None] | None = None
        try:
            async with leave:
                while self.connection.state != "closed" and not self._closing:
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
            self._outbox.close()
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
                self._put(await viewer.next())

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
            self._put(
                Frame(frame.format, newest - left * STEP, frame.data, frame.key, frame.offset)
            )

    def _put(self, frame: Frame) -> None:
        if frame.is_video:
            self._given += len(frame.data)
            if self._needs_key and not frame.key:
                return
            self._needs_key = self._outbox.delay > MAX_WAIT
            if not self._needs_key:
                self._outbox.put(self._packets_of(frame))
        elif "audio" in self._senders and len(frame.data) <= MAX_PACKET_PAYLOAD:
            # Sound that no packet holds, as of 120 ms at a high rate, is left out.
            at = self._timestamp(frame.time, 48_000)
            self.connection.send([self._senders["audio"].packet(frame.data, at)])

    def _packets_of(self, picture: Frame) -> list[bytes]:
        format = picture.format
        assert isinstance(format, VideoFormat)
        if format.codec != "h264":
            raise CameraError("the camera gives no H.264 any more")
        sps, pps = (format.sps, format.pps) if picture.key else (None, None)
        shown = self._timestamp(picture.time + picture.offset, 90_000)
        return self._senders["video"].picture(picture.data, shown, sps, pps)

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
        self._ticks += 1
        if self._ticks % REPORT_EACH == 0 and self._senders:
            self._report()
            self._weigh()
        sent = self._senders["video"].packets if self._senders else 0
        allowed = self._repeats + int((sent - self._counted) * REPEATED_SHARE)
        self._repeats, self._counted = min(allowed, MAX_REPEATED), sent

    def _weigh(self) -> None:
        """Send what the viewer's network carries, by what was reported in the last second."""
        given, self._given = self._given * 8 / (REPORT_EACH * INTERVAL), 0
        self._rate = given if self._rate is None else 0.8 * self._rate + 0.2 * given
        if len(self._reports) < 2:
            return
        (before, old), (now, new) = self._reports
        sent = new.newest - old.newest
        if now <= before or sent <= 0:
            return
        tried = sent + self._repeated
        arrived = min(max(sent - (new.lost - old.lost), 0), tried)
        video = self._senders["video"]
        carried = arrived / (now - before) * video.octets * 8 / max(video.packets, 1)
        self._pressure.take(Second(self._rate, carried, 1 - arrived / tried, self._estimate))
        self._outbox.rate = min(self._pressure.pace or FASTEST, FASTEST)
        self._reports.popleft()
        self._repeated = 0

    def told(self) -> dict[str, object]:
        """What a viewer is told of its connection."""
        pictures = "all" if self._pressure.pace is None else "key"
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
        report = feedback.losses.get(self._ssrcs.get("video", 0))
        if report is not None:
            if len(self._reports) == 2:
                self._reports.pop()  # of each second the last one counts
            self._reports.append((time.monotonic(), report))
        self._estimate = feedback.bitrate or self._estimate
        by_ssrc = {sender.ssrc: sender for sender in self._senders.values()}
        for ssrc, lost in feedback.lost.items():
            sender = by_ssrc.get(ssrc)
            if sender is None:
                continue
            asked = [sender.again(number) for number in lost]
            again = [packet for packet in asked if packet is not None][: self._repeats]
            self._repeats -= len(again)
            self._repeated += len(again)
            self._outbox.put_first(again)
