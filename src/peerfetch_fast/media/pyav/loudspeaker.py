"""Plays Opus on a device of this machine, or by a program."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.pyav.alsa import use_system_configuration
from peerfetch_fast.media.pyav.opus import RATE
from peerfetch_fast.media.threaded import described

__all__ = ["AlsaOutput", "ProgramOutput"]

END_TIMEOUT = 2.0
"""Seconds that a program may take to end."""


class _Decoder:
    """Makes frames of samples, mono, of Opus packets. One that is broken is silence."""

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate, self._decoder.layout = RATE, "stereo"
        self._resampler = AudioResampler("s16", "mono", RATE)

    def frames(self, packet: bytes) -> Iterator[av.AudioFrame]:
        with contextlib.suppress(av.error.InvalidDataError):
            for frame in self._decoder.decode(av.Packet(packet)):
                frame.pts = None
                yield from self._resampler.resample(frame)


class ProgramOutput:
    """A program that reads samples from its standard input."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """See :class:`~peerfetch_fast.media.speaker.Output`."""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                self._command, stdin=subprocess.PIPE, start_new_session=True, bufsize=0
            )
        except OSError as error:
            raise CameraError(f"{self._command[0]} cannot be started: {error.strerror}") from None
        self._decoder = _Decoder()

    def play(self, packet: bytes) -> None:
        """See :class:`~peerfetch_fast.media.speaker.Output`."""
        assert self._process is not None
        assert self._process.stdin is not None
        for frame in self._decoder.frames(packet):
            try:
                self._process.stdin.write(bytes(frame.planes[0])[: 2 * frame.samples])
            except OSError:
                raise CameraError(f"{self._command[0]} has ended") from None

    def close(self) -> None:
        """See :class:`~peerfetch_fast.media.speaker.Output`."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class AlsaOutput:
    """ALSA's device of that name; PulseAudio and PipeWire are behind ``default``."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._container: Any = None

    def open(self) -> None:
        """See :class:`~peerfetch_fast.media.speaker.Output`."""
        use_system_configuration()
        try:
            self._container = av.open(self._device, "w", format="alsa")
            self._stream = self._container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        except (av.error.FFmpegError, OSError) as error:
            self._container = None
            raise described(error, "the speaker takes nothing") from None
        self._decoder = _Decoder()

    def play(self, packet: bytes) -> None:
        """See :class:`~peerfetch_fast.media.speaker.Output`."""
        try:
            for frame in self._decoder.frames(packet):
                self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise described(error, "the speaker takes nothing") from None

    def close(self) -> None:
        """See :class:`~peerfetch_fast.media.speaker.Output`."""
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                container.close()
