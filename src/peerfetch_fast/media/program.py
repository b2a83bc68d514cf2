"""Pictures that a program writes to its standard output, as H.264 with start codes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.h264 import AccessUnits, H264Frames
from peerfetch_fast.media.sources import Output

__all__ = ["Program"]

logger = logging.getLogger(__name__)

READ = 256 * 1024
"""Bytes that are read at once, and wait to be."""

END_TIMEOUT = 2.0
"""Seconds that a program may take to end before it is killed."""


class Program:
    """A program that is started for the first viewer, and ended after the last.

    :param command: the program and its arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    async def run(self, output: Output) -> None:
        """See :class:`~peerfetch_fast.media.sources.Source`."""
        name = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None,
                limit=READ,
                # Ctrl+C is for us: who is watching sees an orderly end.
                start_new_session=True,
            )
        except OSError as error:
            raise CameraError(f"{name} cannot be started: {error.strerror}") from None
        assert process.stdout is not None
        output.begin(None)
        try:
            await _read(process.stdout, output)
            code = await process.wait()
        finally:
            await _end(process)
        raise CameraError(f"{name} has ended with {code}")


async def _read(stdout: asyncio.StreamReader, output: Output) -> None:
    pictures, frames = AccessUnits(), H264Frames()
    while data := await stdout.read(READ):
        now = time.monotonic_ns() // 1_000
        for number, units in enumerate(pictures.feed(data)):
            frame = frames.frame(units, now + number)
            if frame is not None:
                output.frame(frame)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_TIMEOUT):
            # What it still writes must be read, or it cannot end.
            assert process.stdout is not None
            while await process.stdout.read(READ):
                pass
            await process.wait()
    except TimeoutError:
        pass
    finally:
        # Also where this is broken off.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    await process.wait()
