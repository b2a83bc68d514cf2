"""One source, many viewers: each frame is kept once, and no viewer holds up another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame

__all__ = ["Broadcast", "Timeline", "Viewer"]

MAX_KEPT = 8 * 1024 * 1024
"""Bytes kept from the last key frame on, for viewers to come. A camera whose key frames are further
apart shows them the next one first."""

MAX_QUEUED = 8 * 1024 * 1024
"""Bytes that wait for one viewer."""

MAX_FRAMES = 2_048
"""Frames that are kept, or wait for one viewer."""

MAX_BEHIND = 1.0
"""Seconds that a frame may wait for a viewer, who else falls to the next key frame."""

MAX_JUMP = 2_000_000
"""Microseconds by which a source's clock may differ from ours before it counts as set anew."""


MAX_BACK = 100_000
"""Microseconds by which a track's times may go back before its clock counts as set anew."""


class Timeline:
    """Puts the times of a source, which may jump, begin anew or make no sense, on one clock.

    The distance of sound and pictures stays as the source has it.
    """

    def __init__(self) -> None:
        self._shift: int | None = None
        self._last: dict[bool, int] = {}

    def place(self, is_video: bool, time: int, arrived: int) -> int:
        """The time of a frame that came at ``arrived``; both and the result in microseconds.

        The times of each track only grow.
        """
        last = self._last.get(is_video, -1)
        if (
            self._shift is None
            or abs(time + self._shift - arrived) > MAX_JUMP
            or time + self._shift < last - MAX_BACK
        ):
            self._shift = arrived - time
        placed = max(time + self._shift, last + 1)
        self._last[is_video] = placed
        return placed

    def restart(self) -> None:
        """The source begins anew, with any clock."""
        self._shift = None


class Viewer:
    """What waits for one viewer. :meth:`Broadcast.join` makes it.

    :ivar dropped: frames that were left out because the viewer did not take them in time.
    """

    def __init__(self, left: Callable[[Viewer], None]) -> None:
        self._waiting: deque[tuple[float, Frame]] = deque()
        self._size = 0
        self._needs_key = True
        self._wake: asyncio.Future[None] | None = None
        self._error: CameraError | None = None
        self._left = left
        self.dropped = 0

    def _begin(self, kept: list[Frame], now: float) -> None:
        self._waiting = deque((now, frame) for frame in kept)
        self._size = sum(len(frame.data) for frame in kept)
        self._needs_key = not kept
        self._notify()

    def _put(self, frame: Frame, now: float) -> None:
        waiting = self._waiting
        if waiting and (
            now - waiting[0][0] > MAX_BEHIND
            or self._size + len(frame.data) > MAX_QUEUED
            or len(waiting) >= MAX_FRAMES
        ):
            self.dropped += len(waiting)
            self.wait_for_key()
        if frame.is_video and self._needs_key:
            if not frame.key:
                self.dropped += 1
                return
            self._needs_key = False
        waiting.append((now, frame))
        self._size += len(frame.data)
        self._notify()

    def _end(self, error: CameraError) -> None:
        self._error = error
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def wait_for_key(self) -> None:
        """Take nothing more before the next key frame."""
        self._waiting.clear()
        self._size, self._needs_key = 0, True

    async def next(self) -> Frame:
        """The next frame. Raises CameraError when no more come."""
        while not self._waiting:
            if self._error is not None:
                raise CameraError(str(self._error))
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        _, frame = self._waiting.popleft()
        self._size -= len(frame.data)
        return frame

    def close(self) -> None:
        """Leave. Idempotent."""
        self._waiting.clear()
        self._left(self)


class Broadcast:
    """Passes frames on to all viewers, and keeps those from the last key frame on."""

    def __init__(self) -> None:
        self._kept: list[Frame] = []
        self._size = 0
        self._viewers: set[Viewer] = set()

    @property
    def kept(self) -> list[Frame]:
        """The frames from the last key frame on; none where that was too long ago."""
        return list(self._kept)

    @property
    def viewers(self) -> int:
        """How many look on."""
        return len(self._viewers)

    def publish(self, frame: Frame, now: float) -> None:
        """Pass a frame on."""
        self._keep(frame)
        for viewer in self._viewers:
            viewer._put(frame, now)

    def _keep(self, frame: Frame) -> None:
        if frame.is_video and frame.key:
            self._kept, self._size = [], 0
        elif not self._kept:
            return
        self._size += len(frame.data)
        if self._size > MAX_KEPT or len(self._kept) >= MAX_FRAMES:
            self.forget()
        else:
            self._kept.append(frame)

    def forget(self) -> None:
        """Keep nothing: what comes next does not go on from what was."""
        self._kept, self._size = [], 0

    def join(self, now: float) -> Viewer:
        """A viewer, who sees what is kept first."""
        viewer = Viewer(self._viewers.discard)
        self.begin(viewer, now)
        self._viewers.add(viewer)
        return viewer

    def begin(self, viewer: Viewer, now: float) -> None:
        """Have a viewer begin anew with what is kept, whatever still waits for it."""
        viewer._begin(self._kept, now)

    def end(self, error: CameraError) -> None:
        """Tell all viewers that nothing more comes."""
        self.forget()
        for viewer in self._viewers:
            viewer._end(error)
