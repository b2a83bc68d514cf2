"""Sound as Opus: passed on where it is, made where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import av.error
from av.audio.resampler import AudioResampler

from peerfetch_fast.media.frames import AudioFormat, Frame

__all__ = ["OpusEncoder", "SoundFrames"]

RATE = 48_000
"""Samples a second: the clock of Opus, whatever it was made of (RFC 7587 section 4.1)."""

PACKET = 960
"""Samples of a packet: 20 ms."""

MAX_DRIFT = 100_000
"""Microseconds by which times that are counted may differ from those that the source gives."""

BIT_RATE = {1: 32_000, 2: 64_000}
"""By the number of channels: speech and surroundings."""


class OpusEncoder:
    """Encodes frames of PyAV."""

    def __init__(self, channels: int) -> None:
        self.format = AudioFormat(channels)
        self._layout = layout = "mono" if channels == 1 else "stereo"
        self._taken: tuple[str, str, int] | None = None
        encoder = av.CodecContext.create("libopus", "w")
        encoder.sample_rate, encoder.layout, encoder.format = RATE, layout, "s16"
        encoder.bit_rate = BIT_RATE[channels]
        # Made for people who speak to each other: less delay, and 20 ms a packet.
        encoder.options = {"application": "lowdelay", "frame_duration": "20"}
        self._encoder = encoder
        self._next: int | None = None

    def encode(self, frame: av.AudioFrame, came: int) -> Iterator[Frame]:
        """The packets that are whole with ``frame``, whose first sample is of the time ``came``, in
        microseconds.
        """
        # Packets are cut from frames of another length: their times go on from each other, until
        # the source's differ by more than that explains.
        if self._next is None or abs(came - self._next) > MAX_DRIFT:
            self._next = came
        taken = frame.format.name, frame.layout.name, frame.sample_rate
        if taken != self._taken:
            # A stream may change what it gives, and a resampler is made for one.
            self._taken = taken
            self._resampler = AudioResampler("s16", self._layout, RATE, frame_size=PACKET)
        for piece in self._resampler.resample(frame):
            piece.pts = None
            for packet in self._encoder.encode(piece):
                yield Frame(self.format, self._next, bytes(packet))
                self._next += PACKET * 1_000_000 // RATE


class SoundFrames:
    """Makes frames of the packets of a container's sound.

    :param context: the codec as the container tells it.
    """

    def __init__(self, context: Any) -> None:
        channels = min(context.channels or 1, 2)
        self._encoder = None if context.name in ("opus", "libopus") else OpusEncoder(channels)
        self.format = AudioFormat(channels)

    def frames(self, packet: Any) -> Iterator[Frame]:
        """Those of a packet."""
        at = packet.pts if packet.pts is not None else packet.dts
        base = packet.time_base
        if self._encoder is None:
            if at is not None:
                yield Frame(self.format, int(at * base * 1_000_000), bytes(packet))
            return
        try:
            decoded = packet.decode()
        except av.error.InvalidDataError:
            return  # what is broken is silence
        for frame in decoded:
            if frame.pts is not None:
                yield from self._encoder.encode(frame, int(frame.pts * frame.time_base * 1_000_000))
