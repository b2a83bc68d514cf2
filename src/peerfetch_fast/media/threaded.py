"""Sources that wait in a thread, as PyAV's do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.sources import Output

__all__ = ["Stopped", "Threaded"]

MAX_HANDED_OVER = 64
"""Frames on their way from the thread to the event loop: with so many, the thread waits."""

STOP_TIMEOUT = 2.0
"""Seconds for which the end of the thread is waited for. One that hangs in a read goes on until
its own deadline."""


class Stopped(Exception):
    """Nobody wants any more: the thread is to end."""


class Handover:
    """The :class:`Output` that a thread writes to."""

    def __init__(self, output: Output, loop: asyncio.AbstractEventLoop) -> None:
        self._output = output
        self._loop = loop
        self._room = threading.Semaphore(MAX_HANDED_OVER)
        self._stop = threading.Event()

    def begin(self, audio: AudioFormat | None) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`. Raises Stopped."""
        self._hand_over(self._output.begin, audio)

    def frame(self, frame: Frame) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`. Raises Stopped."""
        self._hand_over(self._output.frame, frame)

    def wait_until(self, when: float) -> None:
        """Wait until that time of ``time.monotonic()``. Raises Stopped."""
        if self._stop.wait(max(when - time.monotonic(), 0.0)):
            raise Stopped

    def stop(self) -> None:
        """Have the thread end."""
        self._stop.set()
        self._room.release()

    def call(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call something on the event loop, if there still is one."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _hand_over(self, call: Callable[[Any], object], argument: object) -> None:
        self._room.acquire()
        if self._stop.is_set():
            raise Stopped
        self.call(self._take, call, argument)

    def _take(self, call: Callable[[Any], object], argument: object) -> None:
        self._room.release()
        if not self._stop.is_set():
            call(argument)


class Threaded:
    """The base of such sources."""

    def work(self, output: Handover) -> None:
        """Put frames out, in the thread, until there are no more.

        Raises CameraError, Stopped.
        """
        raise NotImplementedError

    async def run(self, output: Output) -> None:
        """See :class:`~peerfetch_fast.media.sources.Source`."""
        loop = asyncio.get_running_loop()
        handover = Handover(output, loop)
        ended: asyncio.Future[None] = loop.create_future()

        def end(error: Exception | None) -> None:
            if ended.done():
                return
            if error is None:
                ended.set_result(None)
            else:
                ended.set_exception(error)

        def body() -> None:
            error: Exception | None = None
            try:
                self.work(handover)
            except Stopped:
                pass
            except Exception as exception:
                error = exception
            handover.call(end, error)

        threading.Thread(target=body, name="peerfetch-camera", daemon=True).start()
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            handover.stop()
            await asyncio.wait((ended,), timeout=STOP_TIMEOUT)
            if ended.done():
                ended.exception()
            else:
                ended.cancel()
            raise


def described(error: Exception, what: str = "the camera gives nothing") -> CameraError:
    """An error of PyAV's, in words that name no address: it may hold a password."""
    text = getattr(error, "strerror", None) or type(error).__name__
    return CameraError(f"{what}: {text}")
