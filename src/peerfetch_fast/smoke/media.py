"""Media streams as answers, each on a connection of its own, which the two nodes agree on over a
channel of their session (docs/smoke.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson

from peerfetch_fast.errors import CameraError, InvalidDescription, PeerfetchError, WebSocketClosed
from peerfetch_fast.http.websocket import WebSocket
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.feed import Feed
from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.media.inlet import Inlet
from peerfetch_fast.media.rtc.connection import MediaConnection
from peerfetch_fast.media.rtc.descriptions import read_offer
from peerfetch_fast.media.rtc.publishing import Publishing
from peerfetch_fast.media.rtc.viewing import Viewing
from peerfetch_fast.media.sources import Output, Source
from peerfetch_fast.webrtc.candidates import MAX_CANDIDATE_LENGTH
from peerfetch_fast.webrtc.descriptions import MAX_CANDIDATES, MAX_SDP
from peerfetch_fast.webrtc.transports import ConnectionOptions

if TYPE_CHECKING:
    from peerfetch_fast.media.pyav.tracks import DecodedTrack

__all__ = ["MediaStream", "Sending", "SentTo", "receive_media"]

logger = logging.getLogger(__name__)

MAX_MESSAGE = 2 * MAX_SDP
"""Characters of the longest message of a negotiation: JSON writes ends of lines longer."""

TIMEOUT = 15.0
"""Seconds that an offer may take to come."""

MAX_PER_NODE = 32
"""Streams that are sent to one node at once, with those that it has yet to come for."""

MAX_ERROR = 200
"""Characters that are read of why a stream does not come."""


class Sending:
    """A stream that is sent, or will be once the receiver has opened its channel."""

    def __init__(self, source: Camera | MediaStream | Source, options: ConnectionOptions) -> None:
        self._own = not isinstance(source, Camera | MediaStream)
        if isinstance(source, Camera | MediaStream):
            self._feed = source.feed
        else:
            self._feed = Feed(source, f"the stream of {type(source).__name__}")
        self._options = options
        self._disposed = asyncio.Event()
        self._closed = asyncio.Event()
        self._running = False
        self.on_closed: Callable[[Sending], object] = lambda _: None
        """Called when it has ended."""

    def dispose(self) -> None:
        """End it. Idempotent."""
        self._disposed.set()
        if not self._running:
            self._close()

    async def wait_closed(self) -> None:
        """Wait until either side has ended it, or the receiver has not come for it in time."""
        await self._closed.wait()

    def _close(self) -> None:
        self._closed.set()
        self.on_closed(self)

    async def run(self, socket: WebSocket) -> None:
        """Send it until either side ends it."""
        self._running = True
        try:
            if not self._disposed.is_set():
                await self._run(socket)
        except (CameraError, InvalidDescription) as error:
            logger.info("a media stream is not sent: %s", error)
            with contextlib.suppress(PeerfetchError):
                await _say(socket, {"error": str(error)})
        except PeerfetchError as error:
            logger.info("a media stream has ended: %s", error)
        finally:
            self._close()
            if self._own:
                await self._feed.close()

    async def _run(self, socket: WebSocket) -> None:
        async with contextlib.AsyncExitStack() as stack:
            viewer = await stack.enter_async_context(self._feed.join())
            viewing = Viewing(self._feed, self._options)
            stack.push_async_callback(viewing.connection.close)
            await _say(socket, _description("offer", await viewing.offer()))

            async def describe(kind: str, sdp: str) -> None:
                if kind != "answer":
                    raise InvalidDescription("an answer is to come")
                viewing.take_answer(sdp)

            viewing.start(viewer, stack.pop_all())
        hearing = asyncio.ensure_future(_hear(socket, viewing.connection, describe))
        ends = [asyncio.ensure_future(one) for one in (viewing.closed(), self._disposed.wait())]
        try:
            await asyncio.wait((hearing, *ends), return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                hearing.result()
        finally:
            viewing.close()
            await viewing.closed()
            await _cancel(hearing, *ends)


class SentTo:
    """The streams that are sent to one node: they end with its session."""

    def __init__(self) -> None:
        self._all: set[Sending] = set()

    def add(self, sending: Sending) -> None:
        """Have one of them more. Raises CameraError where there are too many."""
        if len(self._all) >= MAX_PER_NODE:
            raise CameraError(f"{MAX_PER_NODE} media streams to one node: end one of them")
        self._all.add(sending)
        sending.on_closed = self._all.discard

    def close(self) -> None:
        """End all."""
        for sending in tuple(self._all):
            sending.dispose()


class MediaStream:
    """A stream that another node sends. Close it after use.

    Iterate over it for encoded frames, or take :attr:`video` and :attr:`audio`, which decode.
    Whoever takes them slowly goes on at a key frame. It is a
    :class:`~peerfetch_fast.media.sources.Source` too: what comes is passed on unchanged.
    """

    def __init__(self, socket: WebSocket, options: ConnectionOptions) -> None:
        self._socket = socket
        self._inlet = Inlet()
        self._publishing = Publishing(self._inlet, options)
        self._inlet.begin(self._publishing)
        self.feed = Feed(self._inlet, "the stream of another node", linger=0)
        """Its frames for any number of viewers."""
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hearing = asyncio.ensure_future(
            _hear(socket, self._publishing.connection, self._describe)
        )
        self._ended = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())
        self._stack = contextlib.AsyncExitStack()
        self._tracks: tuple[DecodedTrack, DecodedTrack | None] | None = None

    async def _begin(self) -> None:
        """Wait for the first picture. Raises CameraError, InvalidDescription, PeerfetchError."""
        waited = (self._hearing, self._answered)
        await asyncio.wait(waited, timeout=TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not self._answered.done():
            if not self._hearing.done():
                raise CameraError("no media stream came in time")
            self._hearing.result()
            raise CameraError("the media stream was broken off")
        joining = asyncio.ensure_future(self._stack.enter_async_context(self.feed.join()))
        try:
            await asyncio.wait((joining, self._task), return_when=asyncio.FIRST_COMPLETED)
            if not joining.done():
                raise CameraError("the media stream was broken off")
            self._viewer = joining.result()
        finally:
            await _cancel(joining)

    async def _describe(self, kind: str, sdp: str) -> None:
        if kind != "offer":
            raise InvalidDescription("an offer is to come")
        answer = await self._publishing.answer(read_offer(sdp))
        leave = contextlib.AsyncExitStack()
        leave.callback(self._ended.set)
        self._publishing.start(leave)
        await _say(self._socket, _description("answer", answer))
        self._answered.set_result(None)

    async def _run(self) -> None:
        """End it with its channel, or its connection."""
        ended = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait((self._hearing, ended), return_when=asyncio.FIRST_COMPLETED)
        await _cancel(self._hearing, ended)
        await self.feed.close()
        self._publishing.close()
        await self._publishing.closed()
        await self._publishing.connection.close()
        with contextlib.suppress(PeerfetchError):
            await self._socket.close()

    @property
    def video_format(self) -> VideoFormat | None:
        """The format of the pictures."""
        return self.feed.video

    @property
    def audio_format(self) -> AudioFormat | None:
        """The format of the sound; None where there is none."""
        return self.feed.audio

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next frame. Raises CameraError when the stream has ended."""
        return await self._viewer.next()

    @property
    def video(self) -> DecodedTrack:
        """The pictures decoded, as a track of aiortc. Raises MissingExtra."""
        return self._decoded()[0]

    @property
    def audio(self) -> DecodedTrack | None:
        """The sound decoded, as a track of aiortc; None without. Raises MissingExtra."""
        return self._decoded()[1]

    def _decoded(self) -> tuple[DecodedTrack, DecodedTrack | None]:
        if self._tracks is None:
            from peerfetch_fast.media.pyav.tracks import decoded_tracks

            self._tracks = decoded_tracks(self)
        return self._tracks

    async def run(self, output: Output) -> None:
        """See :class:`~peerfetch_fast.media.sources.Source`."""
        async with self.feed.join() as viewer:
            output.begin(self.feed.audio)
            while True:
                output.frame(await viewer.next())

    async def close(self) -> None:
        """End it, over there too. Idempotent."""
        for track in self._tracks or ():
            if track is not None:
                track.stop()
        await self._stack.aclose()
        self._ended.set()
        await asyncio.wait((self._task,))

    async def __aenter__(self) -> MediaStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def receive_media(socket: WebSocket, options: ConnectionOptions) -> MediaStream:
    """The stream that is agreed on over a channel, once its first picture is there.

    Raises CameraError if none comes, InvalidDescription, PeerfetchError.
    """
    stream = MediaStream(socket, options)
    try:
        await stream._begin()
    except BaseException:
        await stream.close()
        raise
    return stream


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- the negotiation -------------------------------------------------------------------------------


def _description(kind: str, sdp: str) -> dict[str, Any]:
    return {"description": {"type": kind, "sdp": sdp}}


async def _say(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send(orjson.dumps(message).decode())


async def _hear(
    socket: WebSocket,
    connection: MediaConnection,
    describe: Callable[[str, str], Awaitable[None]],
) -> None:
    """Give what the other side says to our connection, until it ends the channel.

    Raises CameraError for what it gives as the reason, InvalidDescription, PeerfetchError.
    """
    early: list[str] = []
    described, candidates = False, 0
    while True:
        try:
            kind, text = _read(await socket.receive())
        except WebSocketClosed:
            return
        if kind == "candidate":
            candidates += 1
            if candidates > MAX_CANDIDATES:
                continue
            early.append(f"a={text}\r\n")
        elif kind:
            if described:
                raise InvalidDescription("a media stream is described once")
            await describe(kind, text)
            described = True
        if described and early:
            connection.add_candidates("".join(early))
            early.clear()


def _read(message: str | bytes) -> tuple[str, str]:
    """The type of a description and its SDP, or ``candidate`` and its line; of others nothing.

    Raises CameraError, InvalidDescription.
    """
    if isinstance(message, bytes) or len(message) > MAX_MESSAGE:
        raise InvalidDescription("a message of a media stream is text, and not so long")
    try:
        fields = orjson.loads(message)
    except ValueError:
        raise InvalidDescription("a message of a media stream is JSON") from None
    for name, inner in (("description", "sdp"), ("candidate", "candidate")):
        found = fields.get(name) if isinstance(fields, dict) else None
        if not isinstance(found, dict) or not isinstance(found.get(inner), str):
            continue
        if name == "candidate" and len(found[inner]) > MAX_CANDIDATE_LENGTH:
            break  # many wait for the description
        kind = found.get("type") if name == "description" else name
        return (kind, found[inner]) if isinstance(kind, str) else ("", "")
    if isinstance(fields, dict) and isinstance(fields.get("error"), str):
        raise CameraError(fields["error"][:MAX_ERROR])
    return "", ""
