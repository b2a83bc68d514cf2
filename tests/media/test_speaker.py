"""What viewers say, as it is heard at the camera."""

from __future__ import annotations

import asyncio
import itertools
import math
import struct
import sys
from pathlib import Path

import av
import pytest

from peerfetch_fast.media import speaker as module
from peerfetch_fast.media.pyav.opus import PACKET, RATE, OpusEncoder
from peerfetch_fast.media.speaker import MAX_WAITING, Speaker, make_speaker
from support import until

TONE = 1_000
"""Hertz."""


def tone(count: int) -> list[bytes]:
    """Opus packets of a tone."""
    encoder = OpusEncoder(1)
    packets = []
    for number in range(count):
        frame = av.AudioFrame(format="s16", layout="mono", samples=PACKET)
        frame.sample_rate = RATE
        samples = (
            round(9_000 * math.sin(2 * math.pi * TONE * (number * PACKET + n) / RATE))
            for n in range(PACKET)
        )
        frame.planes[0].update(struct.pack(f"<{PACKET}h", *samples))
        packets += [made.data for made in encoder.encode(frame, number * 20_000)]
    return packets


def crossings(samples: bytes) -> float:
    """How often a second the sound goes from below to above."""
    values = struct.unpack(f"<{len(samples) // 2}h", samples)
    ups = sum(before < 0 <= after for before, after in itertools.pairwise(values))
    return ups * RATE / len(values)


async def test_a_tone_is_heard_as_it_was_said(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    program = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, open(sys.argv[1], 'wb'))"
    (tmp_path / "play.py").write_text(program)
    speaker = make_speaker(f"exec:{sys.executable} {tmp_path}/play.py {heard}")
    for packet in tone(12):
        speaker.hear(packet, "one")
        speaker.hear(b"somebody else, who waits", "two")
    speaker.hear(b"\xff nonsense", "one")
    await speaker.close()
    await until(lambda: heard.exists() and heard.stat().st_size > 8 * 2 * PACKET)
    await until(lambda: not speaker._thread.is_alive())  # type: ignore[union-attr]
    samples = heard.read_bytes()
    assert 0.9 * TONE < crossings(samples[4 * PACKET :]) < 1.1 * TONE


class Stuck:
    """A device that takes nothing."""

    def __init__(self) -> None:
        self.opened = 0

    def open(self) -> None:
        self.opened += 1
        raise RuntimeError("no such device")

    def play(self, packet: bytes) -> None:
        """It never comes to that."""

    def close(self) -> None:
        """There is nothing to close."""


async def test_a_device_that_fails_is_left_alone_for_a_while() -> None:
    device = Stuck()
    speaker = Speaker(device)
    for _ in range(3):
        speaker.hear(b"x", "one")
        await asyncio.to_thread(speaker._thread.join)  # type: ignore[union-attr]
    assert device.opened == 1


async def test_what_waits_to_be_heard_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[bytes] = []
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(Stuck):
        def open(self) -> None:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

        def play(self, packet: bytes) -> None:
            played.append(packet)

    speaker = Speaker(Slow())
    for number in range(100):
        speaker.hear(b"%d" % number, "one")
    gate.set()
    await speaker.close()
    await asyncio.to_thread(speaker._thread.join)  # type: ignore[union-attr]
    assert played == [b"%d" % number for number in range(100 - MAX_WAITING, 100)]


async def test_another_may_speak_after_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    speaker = Speaker(Stuck())
    speaker.hear(b"x", "one")
    now[0] += module.TURN / 2
    speaker.hear(b"x", "two")
    assert speaker._who == "one"
    now[0] += module.TURN
    speaker.hear(b"x", "two")
    assert speaker._who == "two"
    await asyncio.to_thread(speaker._thread.join)  # type: ignore[union-attr]


@pytest.mark.parametrize("address", ["pulse", "exec:", "file:/tmp/x", "alsa"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="is no speaker"):
        make_speaker(address)
