"""A microphone of this machine, and pictures with its sound."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import av
import av.error

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.pyav.alsa import use_system_configuration
from peerfetch_fast.media.pyav.opus import OpusEncoder
from peerfetch_fast.media.sources import Output, Source
from peerfetch_fast.media.threaded import Handover, Threaded, described

__all__ = ["Microphone", "WithSound"]

logger = logging.getLogger(__name__)

CHANNELS = 1

SOUND_TIMEOUT = 3.0
"""Seconds that a microphone may take until its first sound."""


class Microphone(Threaded):
    """ALSA's device of that name; PulseAudio and PipeWire are behind ``default``."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.format = AudioFormat(CHANNELS)

    def work(self, output: Handover) -> None:
        """See :class:`Threaded`."""
        use_system_configuration()
        try:
            with av.open(self._device, format="alsa", options={"channels": str(CHANNELS)}) as found:
                encoder = OpusEncoder(CHANNELS)
                for frame in found.decode(audio=0):
                    length = frame.samples * 1_000_000 // frame.sample_rate
                    began = time.monotonic_ns() // 1_000 - length
                    for made in encoder.encode(frame, began):
                        output.frame(made)
        except (av.error.FFmpegError, OSError) as error:
            raise described(error, "the microphone gives nothing") from None
        raise CameraError("the microphone has ended")


class WithSound:
    """Pictures of one source, whose clock is this machine's, and the sound of a microphone.

    A microphone that gives nothing at the beginning is left out: the pictures come without.
    """

    def __init__(self, pictures: Source, microphone: Microphone) -> None:
        self._pictures, self._microphone = pictures, microphone

    async def run(self, output: Output) -> None:
        """See :class:`~peerfetch_fast.media.sources.Source`."""
        sound = _Sound(output)
        listening = asyncio.ensure_future(self._microphone.run(sound))
        try:
            await asyncio.wait(
                (listening, sound.heard), timeout=SOUND_TIMEOUT, return_when="FIRST_COMPLETED"
            )
            if sound.heard.done():
                await self._run_both(output, listening)
                return
            error = listening.exception() if listening.done() else None
            logger.warning("%s; there is no sound", error or "the microphone gives nothing")
            listening.cancel()
            await self._pictures.run(_Pictures(output, None))
        finally:
            listening.cancel()
            await asyncio.wait((listening,))

    async def _run_both(self, output: Output, listening: asyncio.Future[None]) -> None:
        async def listen() -> None:
            await listening

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pictures.run(_Pictures(output, self._microphone.format)))
                group.create_task(listen())
        except* CameraError as errors:
            raise errors.exceptions[0] from None


class _Sound:
    """Passes sound on.

    :ivar heard: done when something has come.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, audio: AudioFormat | None) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`: the pictures begin."""

    def frame(self, frame: Frame) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`."""
        if not self.heard.done():
            self.heard.set_result(None)
        self._output.frame(frame)


class _Pictures:
    """Puts pictures out with the times at which they came: sound is told by this machine's clock
    too. A sound of their own is left out.
    """

    def __init__(self, output: Output, audio: AudioFormat | None) -> None:
        self._output, self._audio = output, audio

    def begin(self, audio: AudioFormat | None) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`."""
        self._output.begin(self._audio)

    def frame(self, frame: Frame) -> None:
        """See :class:`~peerfetch_fast.media.sources.Output`."""
        if frame.is_video:
            self._output.frame(replace(frame, time=time.monotonic_ns() // 1_000))
