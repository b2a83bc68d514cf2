"""A picture to test with: bars, a clock that people and programs can read, and beeps."""

from __future__ import annotations

import math
import struct
import time

import av
from av.video.codeccontext import VideoCodecContext

from peerfetch_fast.media.h264 import H264Frames, nal_units
from peerfetch_fast.media.pyav.opus import PACKET, RATE, OpusEncoder
from peerfetch_fast.media.threaded import Handover, Threaded

__all__ = ["CLOCK_BITS", "TestPicture"]

CLOCK_BITS = 32
"""Squares at the lower edge, black or white: the milliseconds since 1970 as a binary number, its
highest bits cut off, the highest first. They take the picture's whole width, and as much of its
height as each is wide."""

BEEP_MILLISECONDS = 100
TONE = 400
"""Hertz: eight whole waves a packet."""

_BARS = ((180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198),
         (65, 100, 212), (35, 212, 114), (16, 128, 128))  # fmt: skip
"""White, yellow, cyan, green, magenta, red, blue and black, as BT.601 has them."""

_DIGITS = {
    "0": (14, 17, 19, 21, 25, 17, 14), "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31), "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2), "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14), "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14), "9": (14, 17, 17, 15, 1, 2, 12),
    ":": (0, 12, 12, 0, 12, 12, 0), ".": (0, 0, 0, 0, 0, 12, 12),
}  # fmt: skip
"""Five by seven dots."""

_WHITE, _BLACK = 235, 16


class TestPicture(Threaded):
    """The picture.

    :param width: and ``height``: in pixels, at least 160 by 120, even.
    :param rate: pictures a second.
    :param bitrate: bits a second.
    :param interval: seconds between key frames.

    Raises ValueError.
    """

    __test__ = False  # pytest takes it for a class of tests

    def __init__(
        self,
        width: int = 640,
        height: int = 360,
        rate: int = 30,
        bitrate: int = 1_000_000,
        interval: int = 2,
    ) -> None:
        if not (160 <= width <= 3840 and 120 <= height <= 2160 and 1 <= rate <= 60):
            raise ValueError("a test picture has 160x120 to 3840x2160 pixels, and a rate up to 60")
        self._width, self._height, self._rate = width & ~1, height & ~1, rate
        self._bitrate, self._interval = max(bitrate, 50_000), max(interval, 1)
        self._luma = self._bars(0, self._width)
        self._side = self._width // CLOCK_BITS
        # The squares have no colour (a sample of colour is of two by two pixels).
        grey = b"\x80" * (self._width // 2) * ((self._side + 1) // 2)
        lines = self._height // 2 - (self._side + 1) // 2
        self._chroma = [self._bars(plane, self._width // 2) * lines + grey for plane in (1, 2)]

    def _bars(self, plane: int, width: int) -> bytes:
        edges = [width * number // len(_BARS) for number in range(len(_BARS) + 1)]
        return b"".join(
            bytes((bar[plane],)) * (end - begin)
            for bar, begin, end in zip(_BARS, edges, edges[1:], strict=False)
        )

    def work(self, output: Handover) -> None:
        """See :class:`Threaded`."""
        encoder = self._encoder()
        frames, opus = H264Frames(), OpusEncoder(1)
        output.begin(opus.format)
        began = time.monotonic()
        number = sounded = 0
        while True:
            at = number * 1_000_000 // self._rate
            output.wait_until(began + at / 1e6)
            picture = self.picture(int(time.time() * 1000))
            picture.pts = number
            for packet in encoder.encode(picture):
                frame = frames.frame(nal_units(bytes(packet)), at)
                if frame is not None:
                    output.frame(frame)
            number += 1
            begun = time.time() - (time.monotonic() - began)
            while (heard := sounded * PACKET * 1_000_000 // RATE) <= at:
                for sound in opus.encode(_sound(begun + heard / 1e6), heard):
                    output.frame(sound)
                sounded += 1

    def _encoder(self) -> VideoCodecContext:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = self._width, self._height, "yuv420p"
        encoder.framerate, encoder.bit_rate = self._rate, self._bitrate  # type: ignore[assignment]
        encoder.gop_size = self._rate * self._interval
        encoder.options = {
            "preset": "ultrafast", "tune": "zerolatency", "profile": "baseline",
            "x264-params": "scenecut=0:repeat-headers=1",
        }  # fmt: skip
        return encoder

    def picture(self, milliseconds: int) -> av.VideoFrame:
        """The picture of a time since 1970."""
        frame = av.VideoFrame(self._width, self._height, "yuv420p")
        rows = [self._luma] * self._height
        self._draw_time(rows, milliseconds)
        side = self._side
        dots = b"".join(
            bytes((_WHITE if milliseconds >> bit & 1 else _BLACK,)) * side
            for bit in reversed(range(CLOCK_BITS))
        )
        rows[-side:] = [dots.ljust(self._width, bytes((_BLACK,)))] * side
        _fill(frame.planes[0], b"".join(rows), self._width)
        for plane, data in zip(frame.planes[1:], self._chroma, strict=True):
            _fill(plane, data, self._width // 2)
        return frame

    def _draw_time(self, rows: list[bytes], milliseconds: int) -> None:
        seconds, rest = divmod(milliseconds, 1000)
        text = time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest:03}"
        scale = self._width // (6 * len(text) + 6)
        top = self._height // 3
        for line in range(7):
            dots = "".join(f"{_DIGITS[digit][line]:05b}0" for digit in text)
            drawn = b"".join(
                bytes((_WHITE if dot == "1" else _BLACK,)) * scale for dot in f"0{dots}"
            )
            left = (self._width - len(drawn)) // 2
            row = self._luma[:left] + drawn + self._luma[left + len(drawn) :]
            rows[top + line * scale : top + (line + 1) * scale] = [row] * scale


def _fill(plane: av.video.plane.VideoPlane, data: bytes, width: int) -> None:
    """Set a plane, whose lines may be longer than they are wide."""
    if plane.line_size != width:
        rest = bytes(plane.line_size - width)
        lines = range(0, len(data), width)
        data = b"".join(data[begin : begin + width] + rest for begin in lines)
    plane.update(data.ljust(plane.buffer_size, b"\0"))


_TONE = struct.pack(
    f"<{PACKET}h",
    *(round(8_000 * math.sin(2 * math.pi * TONE * n / RATE)) for n in range(PACKET)),
)


def _sound(now: float) -> av.AudioFrame:
    """A packet's worth: the beep at the beginning of each second."""
    frame = av.AudioFrame(format="s16", layout="mono", samples=PACKET)
    frame.sample_rate = RATE
    beeping = now % 1 * 1000 < BEEP_MILLISECONDS
    frame.planes[0].update(_TONE if beeping else bytes(len(_TONE)))
    return frame
