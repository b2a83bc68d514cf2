"""A camera whose pictures somebody publishes, as a page its own camera and microphone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.sources import Output

__all__ = ["Inlet", "Publisher"]


class Publisher(Protocol):
    """Whoever publishes."""

    @property
    def audio(self) -> AudioFormat | None:
        """The format of the sound that comes; None for none."""

    def want_key(self) -> None:
        """A viewer has come, who needs a key frame."""


class Inlet:
    """A source that is fed by one publisher at a time.

    :ivar publisher: the one who publishes now.
    :ivar on_begin: called when there is one: viewers may be waiting.
    """

    def __init__(self) -> None:
        self.publisher: Publisher | None = None
        self.on_begin: Callable[[], object] | None = None
        self._output: Output | None = None
        self._ended: asyncio.Future[None] | None = None

    def begin(self, publisher: Publisher) -> None:
        """Take what this one publishes. Raises CameraError while another does."""
        if self.publisher is not None:
            raise CameraError("somebody else sends a picture here: wait until that has ended")
        self.publisher = publisher
        if self.on_begin is not None:
            self.on_begin()

    def end(self, publisher: Publisher) -> None:
        """This one publishes no more."""
        if self.publisher is publisher:
            self.publisher = None
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)

    def frame(self, frame: Frame) -> None:
        """A frame of the publisher's, for whoever watches."""
        if self._output is not None:
            self._output.frame(frame)

    async def run(self, output: Output) -> None:
        """See :class:`~peerfetch_fast.media.sources.Source`."""
        if self.publisher is None:
            raise CameraError("nobody sends a picture here yet")
        output.begin(self.publisher.audio)
        self._output, self._ended = output, asyncio.get_running_loop().create_future()
        self.publisher.want_key()
        try:
            await self._ended
        finally:
            self._output = self._ended = None
        raise CameraError("who sent a picture here has ended")
