"""Do sound and picture of a camera stay in step, from its source through RTP to who receives it?

The test picture shows the time, and beeps at each full second. What comes is decoded: how far is
each beep from the picture of that second?
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import struct
import sys
import time
from collections.abc import Iterator

import av

from bench.processes import run
from bench.report import Row, environment, parser, percentile, report
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.feed import Feed
from peerfetch_fast.media.frames import Frame
from peerfetch_fast.media.h264 import byte_stream
from peerfetch_fast.media.inlet import Inlet
from peerfetch_fast.media.pyav.testpicture import CLOCK_BITS
from peerfetch_fast.media.rtc.descriptions import read_offer
from peerfetch_fast.media.rtc.publishing import Publishing
from peerfetch_fast.media.rtc.viewing import Viewing
from peerfetch_fast.webrtc.transports import ConnectionOptions

SOURCE = "test:?width=320&height=180&rate=15&bitrate=300000"
RATE = 48_000
LOUD = 1_000
"""Of 32,768; the beep has 8,000."""


class Judge:
    """Decodes what comes, and notes for each beep how far it is from its picture.

    :ivar found: of each the milliseconds by which the sound is late.
    """

    def __init__(self) -> None:
        self._video = av.CodecContext.create("h264", "r")
        self._audio = av.CodecContext.create("libopus", "r")
        self._ahead: float | None = None
        self._silent = False
        self.found: list[float] = []

    def take(self, frame: Frame) -> None:
        """Take a frame."""
        if frame.is_video:
            packet = av.Packet(byte_stream(frame))
            packet.pts = frame.time  # the decoder keeps some pictures back
            for picture in self._video.decode(packet):
                assert picture.pts is not None
                self._ahead = _clock(picture) - picture.pts / 1e6
            return
        for sound in self._audio.decode(av.Packet(frame.data)):
            loud = next(_loud(sound), None)
            if loud is not None and self._silent and self._ahead is not None:
                self._note(frame.time / 1e6 + loud / RATE + self._ahead)
            self._silent = loud is None

    def _note(self, shown: float) -> None:
        """The beep began when the picture's clock would show ``shown``: that is a full second."""
        self.found.append(((shown + 0.5) % 1 - 0.5) * 1e3)


def _clock(picture: av.VideoFrame) -> float:
    """Seconds since 1970, as the squares at the lower edge show them but for their highest bits."""
    plane = picture.planes[0]
    side = picture.width // CLOCK_BITS
    row = bytes(plane)[(picture.height - side // 2) * plane.line_size :]
    clock = 0
    for bit in range(CLOCK_BITS):
        clock = clock * 2 + (row[bit * side + side // 2] > 128)
    turn = 1 << CLOCK_BITS
    return (clock + round((time.time() * 1e3 - clock) / turn) * turn) / 1e3


def _loud(sound: av.AudioFrame) -> Iterator[int]:
    """The numbers of its samples that are loud."""
    data = bytes(sound.planes[0])
    if sound.format.name.startswith("flt"):
        samples = [value * 32_768 for (value,) in struct.iter_unpack("<f", data)]
    else:
        samples = [value for (value,) in struct.iter_unpack("<h", data)]
    step = 1 if sound.format.is_planar else sound.layout.nb_channels
    each = samples[: sound.samples * step : step]
    return (number for number, value in enumerate(each) if abs(value) > LOUD)


async def _measure(minutes: float) -> Judge:
    judge, camera, inlet = Judge(), Camera(SOURCE), Inlet()
    received = Feed(inlet, "what was received")
    viewing = Viewing(camera.feed, ConnectionOptions())
    publishing = Publishing(inlet, ConnectionOptions())
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(camera.close)
        stack.push_async_callback(received.close)
        viewer = await stack.enter_async_context(camera.feed.join())
        inlet.begin(publishing)
        viewing.take_answer(await publishing.answer(read_offer(await viewing.offer())))
        viewing.start(viewer, contextlib.AsyncExitStack())
        publishing.start(contextlib.AsyncExitStack())
        stack.callback(publishing.close)
        stack.callback(viewing.close)
        shown = await stack.enter_async_context(received.join())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(minutes * 60):
                while True:
                    judge.take(await shown.next())
    return judge


def main() -> None:
    made = parser("bench.media_sync", __doc__ or "", runs=1)
    made.add_argument("--minutes", type=float, default=10.0, help="(%(default)g)")
    arguments = made.parse_args()
    rows = [_row(run(_measure(arguments.minutes))) for _ in range(arguments.runs)]
    settings = {"minutes": arguments.minutes, "source": SOURCE}
    report(arguments.json, rows, line=_line, settings=settings, facts=environment())


def _row(judge: Judge) -> Row:
    if len(judge.found) < 2:
        sys.exit("there were fewer than two beeps")
    late = judge.found
    tenth = max(len(late) // 10, 1)
    return {
        "beeps": len(late),
        "late_ms": statistics.median(late),
        "p5_ms": percentile(late, 5),
        "p95_ms": percentile(late, 95),
        "drift_ms": statistics.median(late[-tenth:]) - statistics.median(late[:tenth]),
    }


def _line(row: Row) -> str:
    return (
        f"{row['beeps']} beeps, {row['late_ms']:+.1f} ms late in the median "
        f"({row['p5_ms']:+.1f} to {row['p95_ms']:+.1f} but for a tenth), and in the last tenth "
        f"{row['drift_ms']:+.1f} ms later than in the first"
    )


if __name__ == "__main__":
    main()
