"""The film that a camera of a benchmark plays, so that nothing is encoded while it is measured."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av

__all__ = ["BIT_RATE", "RATE", "make_film"]

WIDTH, HEIGHT, RATE = 1280, 720, 30
BIT_RATE = 4_000_000
KEY_EACH = 2 * RATE
SECONDS = 10


def make_film(path: Path) -> Path:
    """Write it: ten seconds of H.264 with a key frame each two, which move all over the picture."""
    chance = random.Random(1)
    # Another part of the noise in each picture is what costs bits.
    noise = chance.randbytes(WIDTH * HEIGHT * 2)
    with av.open(str(path), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.gop_size = BIT_RATE, KEY_EACH
        stream.options = {
            "preset": "ultrafast",
            "profile": "baseline",
            "maxrate": str(BIT_RATE),
            "bufsize": str(BIT_RATE // 2),
            "x264-params": "scenecut=0",
        }
        for number in range(SECONDS * RATE):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            at = chance.randrange(WIDTH * HEIGHT)
            for plane, data in zip(frame.planes, (noise[at:], b"", b""), strict=True):
                plane.update(data[: plane.buffer_size].ljust(plane.buffer_size, b"\x80"))
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path
