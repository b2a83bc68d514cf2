"""Pictures to be passed on, and where they come from."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable

import av
import pytest

from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.media.h264 import H264Frames, nal_units
from peerfetch_fast.media.pyav.testpicture import TestPicture

KEY_FRAMES = 10
"""Pictures from one key frame of :func:`annex_b` to the next."""


@functools.cache
def annex_b(count: int = 30, bframes: int = 0) -> tuple[bytes, ...]:
    """H.264 pictures, with start codes and parameter sets before each key frame."""
    picture = TestPicture(160, 120)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 160, 120, "yuv420p"
    encoder.framerate, encoder.gop_size = 30, KEY_FRAMES
    params = f"scenecut=0:repeat-headers=1:bframes={bframes}:b-adapt=0"
    encoder.options = {"preset": "ultrafast", "x264-params": params}
    made = []
    for number in range(count):
        frame = picture.picture(number * 33)
        frame.pts = number
        made += encoder.encode(frame)
    return tuple(bytes(packet) for packet in (*made, *encoder.encode(None)))


def frames_of(pictures: Iterable[bytes]) -> list[Frame]:
    """As frames, 30 a second."""
    maker = H264Frames()
    made = [
        maker.frame(nal_units(data), number * 1_000_000 // 30)
        for number, data in enumerate(pictures)
    ]
    return [frame for frame in made if frame is not None]


class Script:
    """A source whose frames a test puts out."""

    def __init__(self, audio: AudioFormat | None = None) -> None:
        self.audio = audio
        self.started = self.stopped = 0
        self.failing: Exception | None = None
        self.output: object = None
        self._running: asyncio.Future[None] | None = None

    async def run(self, output: object) -> None:
        self.started += 1
        if self.failing is not None:
            raise self.failing
        self.output = output
        output.begin(self.audio)  # type: ignore[attr-defined]
        self._running = asyncio.get_running_loop().create_future()
        try:
            await self._running
        finally:
            self.output = None
            self.stopped += 1

    def put(self, *frames: Frame) -> None:
        assert self.output is not None, "the source does not run"
        for frame in frames:
            self.output.frame(frame)  # type: ignore[attr-defined]

    def fail(self, error: Exception) -> None:
        assert self._running is not None
        self._running.set_exception(error)


def picture(number: int, *, key: bool = False, size: int = 10) -> Frame:
    """A frame that nobody decodes."""
    format = VideoFormat("h264", 160, 120, b"\x67\x42\xc0\x1e\x01", b"\x68\x01\x02\x03")
    return Frame(format, number * 33_333, size.to_bytes(4, "big") + bytes(size), key)


def _code(value: int) -> str:
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def _unit(kind: int, bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    data = bytes((kind,)) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    # Start codes are kept out of it (H.264 7.4.1.1).
    for last in (1, 2, 3, 0):
        data = data.replace(bytes((0, 0, last)), bytes((0, 0, 3, last)))
    return data


def cropped_sps(decoded: int, shown: int, profile: int = 66) -> bytes:
    """The parameter set of square pictures, of which less is shown than is decoded."""
    bits = f"{profile:08b}" + "0" * 8 + f"{62:08b}" + _code(0)
    bits += _code(1) + 2 * _code(0) + "00" if profile == 144 else ""
    bits += "".join(map(_code, (0, 2, 1))) + "0" + 2 * _code(decoded // 16 - 1) + "11"
    edge = _code((decoded - shown) // 2)
    return _unit(0x67, f"{bits}1{_code(0)}{edge}{_code(0)}{edge}01")


def cropped_picture(decoded: int, shown: int) -> Frame:
    """A picture of a few bytes, of which decoders make much."""
    one = _code(0)
    pps = _unit(0x68, f"{one}{one}00{3 * one}000{3 * one}0001")
    key = _unit(0x65, f"{one}{_code(7)}{one}0000{one}00{one}{_code(1)}" + "1" * 200)
    frame = H264Frames().frame([cropped_sps(decoded, shown), pps, key], 0)
    assert frame is not None
    return frame


@pytest.fixture
def pictures() -> tuple[bytes, ...]:
    return annex_b()
