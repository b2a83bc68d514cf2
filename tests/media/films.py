"""Films to try cameras with."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import av
from tests.media.test_speaker import TONE

from peerfetch_fast.media.pyav.testpicture import TestPicture

__all__ = ["clip"]

SECONDS, RATE = 60, 15


def clip(
    path: Path, video: str = "libx264", audio: str | None = None, *, interval: int = 1
) -> Path:
    """A film of a minute, with a tone, and seconds between key frames."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(video, rate=RATE, width=160, height=120, pix_fmt="yuv420p")
        pictures.codec_context.gop_size = interval * RATE
        options = {"preset": "ultrafast", "tune": "zerolatency"}
        if video == "libx265":
            options["x265-params"] = "log-level=none"
        pictures.options = options
        rate = 8_000 if audio == "pcm_alaw" else 48_000
        sound = None
        if audio is not None:
            sound = container.add_stream(audio, rate=rate, layout="mono")
        source = TestPicture(160, 120)
        for number in range(SECONDS * RATE):
            picture = source.picture(number * 1_000 // RATE)
            picture.pts = number
            container.mux(pictures.encode(picture))
            if sound is not None and number % RATE == 0:
                container.mux(sound.encode(second_of_tone(number // RATE, rate)))
        for stream in (pictures, sound):
            if stream is not None:
                container.mux(stream.encode(None))
    return path


def second_of_tone(number: int, rate: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=rate)
    frame.sample_rate, frame.pts = rate, number * rate
    samples = (round(9_000 * math.sin(2 * math.pi * TONE * n / rate)) for n in range(rate))
    frame.planes[0].update(struct.pack(f"<{rate}h", *samples))
    return frame
