"""A source that runs while somebody looks on, and is started again when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from typing import Literal

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.broadcast import Broadcast, Timeline, Viewer
from peerfetch_fast.media.frames import AudioFormat, Format, Frame, VideoFormat
from peerfetch_fast.media.sources import Source

__all__ = ["Feed", "State"]

logger = logging.getLogger(__name__)

LINGER = 10.0
"""Seconds for which a source runs on after its last viewer, who may come back."""

START_TIMEOUT = 15.0
"""Seconds that a source may take until its first picture."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds until a source that has failed is started again: at first, and in the end."""

MAX_OFFSET = 10_000_000
"""Microseconds until a picture is shown, at most: more makes no sense."""

MAX_VIEWERS = 64
"""Viewers of one source at once."""

MAX_PER_PEER = 32
"""Of those, the ones of one peer: others are to see something too."""

TAKEN_AWAY = "the camera is being taken away"

State = Literal["idle", "starting", "live"]


class Feed:
    """Frames of one source for any number of viewers.

    :param source: started for the first viewer, and stopped ``linger`` seconds after the last.
    :param name: for the log.
    :ivar video: the format of the pictures, and ``audio`` that of the sound: as far as known.
    :ivar error: why there are no pictures now; None while there are, and before.
    """

    def __init__(self, source: Source, name: str, *, linger: float = LINGER) -> None:
        self._source, self._name, self._linger = source, name, linger
        self._broadcast = Broadcast()
        self._timeline = Timeline()
        self._running: asyncio.Task[None] | None = None
        self._cancelled = False
        self._stopping: asyncio.TimerHandle | None = None
        self._live, self._hurried = asyncio.Event(), asyncio.Event()
        self._waiting: set[asyncio.Timeout] = set()
        self._closed = False
        self._by_peer: Counter[Hashable] = Counter()
        self.video: VideoFormat | None = None
        self.audio: AudioFormat | None = None
        self.error: CameraError | None = None

    @property
    def state(self) -> State:
        """Whether pictures come."""
        if self._live.is_set():
            return "live"
        return "idle" if self._running is None else "starting"

    @property
    def viewers(self) -> int:
        """How many look on."""
        return self._broadcast.viewers

    @property
    def kept(self) -> list[Frame]:
        """The frames from the last key frame on."""
        return self._broadcast.kept

    @property
    def formats(self) -> list[Format]:
        """Of the pictures and of the sound, as far as there are."""
        return [format for format in (self.video, self.audio) if format is not None]

    @contextlib.asynccontextmanager
    async def join(self, peer: Hashable = None) -> AsyncIterator[Viewer]:
        """A viewer; its first frame is a key frame. The source runs when it is there.

        :param peer: whose it is, such as the session's :class:`.Kept`; None: the program's own.

        Raises CameraError where there are too many, or no picture comes in time.
        """
        if self._closed:
            raise CameraError(TAKEN_AWAY)
        if self.viewers >= MAX_VIEWERS:
            raise CameraError(f"{MAX_VIEWERS} others are watching: try again later")
        if peer is not None and self._by_peer[peer] >= MAX_PER_PEER:
            raise CameraError(f"{MAX_PER_PEER} streams of this camera are yours: end one of them")
        self._start()
        self._by_peer[peer] += 1
        viewer = self._broadcast.join(asyncio.get_running_loop().time())
        try:
            await self._first_picture()
            yield viewer
        finally:
            viewer.close()
            self._by_peer[peer] -= 1
            if not self._by_peer[peer]:
                del self._by_peer[peer]
            self._stop_later()

    def begin_again(self, viewer: Viewer) -> list[Frame]:
        """Have a viewer begin with the last key frame once more; the frames until now."""
        self._broadcast.begin(viewer, asyncio.get_running_loop().time())
        return self.kept

    async def _first_picture(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT) as waiting:
                self._waiting.add(waiting)
                await self._live.wait()
        except TimeoutError:
            if waiting not in self._waiting:
                raise CameraError(TAKEN_AWAY) from None
            raise CameraError(str(self.error or "the camera gives no pictures")) from None
        finally:
            self._waiting.discard(waiting)

    def _start(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
            self._stopping = None
        if self._running is None and not self._closed:
            self._cancelled = False
            self._running = asyncio.get_running_loop().create_task(self._run())

    def _stop_later(self) -> None:
        if self.viewers == 0 and self._running is not None and self._stopping is None:
            loop = asyncio.get_running_loop()
            self._stopping = loop.call_later(self._linger, self._stop)

    def _stop(self) -> None:
        self._stopping = None
        # Once: a source that is being stopped needs its time for that.
        if self._running is not None and not self._cancelled:
            self._cancelled = True
            self._running.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        try:
            while True:
                self._timeline.restart()
                self._hurried.clear()
                error = await self._run_once()
                if self._live.is_set():
                    pause = FIRST_PAUSE
                self._live.clear()
                self._broadcast.forget()
                if self.error is None or str(self.error) != str(error):
                    logger.warning("%s: %s; it is tried again", self._name, error)
                self.error = error
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._hurried.wait()
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._live.clear()
            self._broadcast.forget()
            self._running = None
            if self.viewers:
                loop.call_soon(self._start)  # who came while it was stopping

    async def _run_once(self) -> CameraError:
        """Run the source; why it has ended."""
        try:
            await self._source.run(self)
        except CameraError as error:
            return error
        except Exception:
            logger.exception("%s failed", self._name)
            return CameraError("the camera failed; its log says why")
        return CameraError("the camera has ended")

    # -- what the source puts out ------------------------------------------------------------------

    def begin(self, audio: AudioFormat | None) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`."""
        self.audio = audio

    def frame(self, frame: Frame) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`."""
        if frame.is_video and frame.key:
            assert isinstance(frame.format, VideoFormat)
            self.video, self.error = frame.format, None
            self._live.set()
        arrived = time.monotonic_ns() // 1_000
        at = self._timeline.place(frame.is_video, frame.time, arrived)
        offset = frame.offset if 0 <= frame.offset <= MAX_OFFSET else 0
        placed = Frame(frame.format, at, frame.data, frame.key, offset)
        self._broadcast.publish(placed, arrived / 1e6)

    def hurry(self) -> None:
        """Start a source that has failed at once: what it lacked is there."""
        self._hurried.set()

    def end(self) -> None:
        """Tell the viewers of now that there is no more."""
        self._broadcast.end(CameraError(TAKEN_AWAY))
        now = asyncio.get_running_loop().time()
        ended, self._waiting = self._waiting, set()
        for waiting in ended:
            if not waiting.expired():
                waiting.reschedule(now)

    async def close(self) -> None:
        """Stop the source, tell viewers, and take no other ones. Idempotent."""
        self._closed = True
        self.end()
        if self._stopping is not None:
            self._stopping.cancel()
        running = self._running
        self._stop()
        if running is not None:
            await asyncio.wait((running,))
