"""A camera as a resource: its page, its live picture in every form, and what is known of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import orjson

from peerfetch_fast.errors import CameraError
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.media.feed import LINGER, Feed
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.inlet import Inlet
from peerfetch_fast.media.mp4 import Mp4Writer, content_type
from peerfetch_fast.media.page import PAGE_FILES, PageFile
from peerfetch_fast.media.records import CONTENT_TYPE, FrameWriter
from peerfetch_fast.media.sources import Source, make_source, shown
from peerfetch_fast.media.speaker import Hearing, make_speaker
from peerfetch_fast.webrtc import HAVE_NATIVE

if TYPE_CHECKING:
    from peerfetch_fast.media.rtc.whep import Whep, Whip

__all__ = ["Camera"]

RETRY_AFTER = 5
"""Seconds after which it may be worth trying again where a camera gives no pictures."""

_OFFERS = {"live": "watch", "whep": "watch", "publish": "publish", "whip": "publish"}
"""Where offers are posted; by the names of the standards too, which other programs know."""

BOUNDARY = "peerfetch-picture"

_READ = ("GET", "HEAD")

_LIVE = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


class Camera(Resources):
    """A camera, to be given to ``serve()``.

    It is started for its first viewer, and stopped ``linger`` seconds after its last.

    :param source: ``rtsp://…``, ``v4l2:/dev/video0``, ``rpicam:``, ``exec:COMMAND`` of a program
        that writes H.264 to its standard output, ``test:``, the path of a file; or a
        :class:`~peerfetch_fast.media.sources.Source` of your own.
    :param microphone: ``alsa:DEVICE``, for a source without sound of its own.
    :param speaker: where what viewers say is heard: ``alsa:DEVICE``, ``exec:COMMAND`` of a program
        that reads samples (48 kHz, mono, 16 bits), or a
        :class:`~peerfetch_fast.media.speaker.Hearing` of your own; None: nobody may talk.
    :param name: for people; by default none, and the page shows the path.
    :param linger: in seconds.

    Raises ValueError for what is no source, MissingExtra where PyAV is needed and not installed.
    """

    is_camera = True

    def __init__(
        self,
        source: str | Source,
        *,
        microphone: str | None = None,
        speaker: str | Hearing | None = None,
        name: str | None = None,
        linger: float = LINGER,
    ) -> None:
        self._shown = shown(source) if isinstance(source, str) else type(source).__name__
        made = make_source(source, microphone) if isinstance(source, str) else source
        self.name = name
        self.speaker = make_speaker(speaker) if isinstance(speaker, str) else speaker
        self.feed = Feed(made, f"the camera {self._shown}", linger=linger)
        self._picture: tuple[Frame, asyncio.Task[bytes]] | None = None
        self._pictures = 0
        self.inlet = made if isinstance(made, Inlet) else None
        if self.inlet is not None:
            self.inlet.on_begin = self.feed.hurry
        self._negotiated: dict[str, Whep | Whip] = {}
        self._answers: dict[str, Callable[[Exchange], Awaitable[None]]] = {
            "/live.mp4": self._send_mp4,
            "/snapshot.jpg": self._send_snapshot,
            "/frames": self._send_frames,
            "/mjpeg": self._send_mjpeg,
            "/info": self._send_info,
        }

    def __str__(self) -> str:
        return self._shown

    def end(self) -> None:
        """End the live streams of all viewers."""
        self.feed.end()

    async def close(self) -> None:
        """Stop the camera."""
        for negotiated in self._negotiated.values():
            await negotiated.close()
        if self.speaker is not None:
            await self.speaker.close()
        await self.feed.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.target.partition("?")[0]
        name = path[1:].partition("/")[0]
        if name in _OFFERS:
            await self._take_offer(exchange, name, path[1 + len(name) :])
            return
        page = PAGE_FILES.get(path)
        answer = self._answers.get(path)
        if page is None and answer is None:
            exchange.refuse(404, "A camera has no such resource: docs/cameras.md names those.")
        elif exchange.method not in _READ:
            exchange.refuse_method(", ".join(_READ))
        elif page is not None:
            _send_page(exchange, page)
        else:
            assert answer is not None
            try:
                await answer(exchange)
            except CameraError as error:
                if exchange.started:
                    raise
                _refuse(exchange, error)

    async def _take_offer(self, exchange: Exchange, name: str, rest: str) -> None:
        if not HAVE_NATIVE:
            exchange.refuse(501, "This device has no WebRTC of its own: see live.mp4.")
            return
        if name not in self._negotiated:
            # Imported late: they are for whoever watches, or publishes.
            from peerfetch_fast.media.rtc.whep import Whep, Whip

            if _OFFERS[name] == "watch":
                self._negotiated[name] = Whep(name, self.feed, self.speaker)
            elif self.inlet is None:
                exchange.refuse(404, "Nobody can publish here: this camera has its own pictures.")
                return
            else:
                self._negotiated[name] = Whip(name, self.inlet)
        try:
            await self._negotiated[name](exchange, rest)
        except CameraError as error:
            _refuse(exchange, error)

    # -- what is known -----------------------------------------------------------------------------

    def info(self) -> dict[str, object]:
        """What ``/info`` tells (docs/cameras.md)."""
        feed = self.feed
        return {
            "name": self.name,
            "state": feed.state,
            "error": None if feed.error is None else str(feed.error),
            "viewers": feed.viewers,
            "video": None if feed.video is None else feed.video.told(),
            "audio": None if feed.audio is None else feed.audio.told(),
            "talk": self.speaker is not None,
            "publish": self.inlet is not None,
            "published": self.inlet is not None and self.inlet.publisher is not None,
        }

    async def _send_info(self, exchange: Exchange) -> None:
        headers = [("content-type", "application/json"), *_LIVE]
        told = self.info() | {"webrtc": HAVE_NATIVE, "ice_servers": _ice_servers(exchange)}
        exchange.respond(200, headers, orjson.dumps(told))

    # -- moving pictures ---------------------------------------------------------------------------

    async def _send_mp4(self, exchange: Exchange) -> None:
        if exchange.method == "HEAD":
            exchange.respond(200, [("content-type", "video/mp4"), *_LIVE])
            return
        async with self.feed.join(exchange.kept) as viewer:
            formats = self.feed.formats
            video = self.feed.video
            if video is None or video.codec == "jpeg":
                exchange.refuse(406, "This camera gives single pictures: they are at mjpeg.")
                return
            writer = Mp4Writer(formats)
            exchange.start(200, [("content-type", content_type(formats)), *_LIVE], None)
            await exchange.write(writer.header())
            while True:
                # Its end is the end of this: whoever keeps the answer sees that it was cut.
                frame = await viewer.next()
                await exchange.write(writer.frame(frame))

    async def _send_frames(self, exchange: Exchange) -> None:
        if exchange.method == "HEAD":
            exchange.respond(200, [("content-type", CONTENT_TYPE), *_LIVE])
            return
        async with self.feed.join(exchange.kept) as viewer:
            writer = FrameWriter(self.feed.formats)
            exchange.start(200, [("content-type", CONTENT_TYPE), *_LIVE], None)
            await exchange.write(writer.header())
            while True:
                await exchange.write(writer.frame(await viewer.next()))

    async def _send_mjpeg(self, exchange: Exchange) -> None:
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        if exchange.method == "HEAD":
            exchange.respond(200, [("content-type", kind), *_LIVE])
            return
        async with self.feed.join(exchange.kept) as viewer:
            exchange.start(200, [("content-type", kind), *_LIVE], None)
            while True:
                frame = await viewer.next()
                # To decode a picture costs more than all else: of H.264 it is done once for each
                # key frame, however many look on.
                if frame.is_video and frame.key:
                    picture = await self._jpeg([frame])
                    head = (
                        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n"
                        f"Content-Length: {len(picture)}\r\n\r\n"
                    )
                    await exchange.write(head.encode() + picture + b"\r\n")

    # -- one picture -------------------------------------------------------------------------------

    async def _send_snapshot(self, exchange: Exchange) -> None:
        async with self.feed.join(exchange.kept):
            picture = await self._jpeg(self.feed.kept)
        exchange.respond(200, [("content-type", "image/jpeg"), *_LIVE], picture)

    async def _jpeg(self, frames: list[Frame]) -> bytes:
        """The last picture of ``frames``, or one that was begun since it was asked for: one is
        made at a time, however many ask.
        """
        last = next((frame for frame in reversed(frames) if frame.is_video), None)
        if last is None:
            raise CameraError("the camera has given no picture yet")
        if isinstance(last.format, VideoFormat) and last.format.codec == "jpeg":
            return last.data
        asked = self._pictures
        while self._picture is None or (self._picture[0] is not last and self._pictures == asked):
            if self._picture is not None and not self._picture[1].done():
                await asyncio.wait((self._picture[1],))
                continue
            from peerfetch_fast.media.pyav.pictures import last_picture

            self._pictures += 1
            made = asyncio.ensure_future(asyncio.to_thread(last_picture, frames))
            made.add_done_callback(_looked_at)
            self._picture = (last, made)
        return await asyncio.shield(self._picture[1])


def _looked_at(made: asyncio.Task[bytes]) -> None:
    """Who asked may be gone: then nobody looks at an error."""
    with contextlib.suppress(asyncio.CancelledError):
        made.exception()


def _ice_servers(exchange: Exchange) -> list[dict[str, object]]:
    """The STUN and TURN servers of this peer, as a browser takes them."""
    if exchange.connecting is None:
        return []
    return [
        {"urls": server.urls}
        if server.username is None
        else {"urls": server.urls, "username": server.username, "credential": server.credential}
        for server in exchange.connecting().ice_servers
    ]


def _send_page(exchange: Exchange, page: PageFile) -> None:
    exchange.respond(200, page.headers, page.body)


def _refuse(exchange: Exchange, error: CameraError) -> None:
    text = [("content-type", "text/plain; charset=utf-8")]
    exchange.respond(503, [*text, ("retry-after", str(RETRY_AFTER))], f"{error}\n".encode())
