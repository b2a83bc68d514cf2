"""What does it cost a device to pass a camera on to viewers by WebRTC, undecoded?"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import random
import resource
import time
from collections.abc import AsyncIterator
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import aiortc
import av
import uvloop
from aiohttp import web

from bench.peers.watching import SDP, counting_viewer
from bench.report import Row, environment, medians, parser, report, some_of
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.door import Door
from peerfetch_fast.media.frames import Frame, VideoFormat

RATE = 30
BIT_RATE = 4_000_000
KEY_EACH = 2 * RATE
KEY_SHARE = 4
"""Times that a key frame is as large as another."""

SPS = bytes.fromhex("6764001facd940780227e5c05a808080a0000003002000000781e30632c0")
PPS = bytes.fromhex("68ebe3cb22c0")
STACKS = ("peerfetch", "aiortc")


def pictures() -> list[tuple[bytes, bool]]:
    """Two seconds of NAL units of the right sizes; nobody decodes them."""
    chance = random.Random(1)
    each = BIT_RATE // 8 * KEY_EACH // RATE // (KEY_EACH - 1 + KEY_SHARE)
    found = []
    for number in range(KEY_EACH):
        key = number == 0
        size = each * (KEY_SHARE if key else 1)
        unit = bytes([0x65 if key else 0x41, 0x88]) + chance.randbytes(size).replace(b"\0", b"\1")
        found.append((unit, key))
    return found


class Source:
    """Gives the pictures at their rate."""

    async def run(self, output: Any) -> None:
        """See :class:`peerfetch_fast.media.sources.Source`."""
        output.begin(None)
        format = VideoFormat("h264", 1920, 1080, SPS, PPS)
        units = [(len(unit).to_bytes(4, "big") + unit, key) for unit, key in pictures()]
        began, number = time.monotonic(), 0
        while True:
            data, key = units[number % KEY_EACH]
            output.frame(Frame(format, number * 1_000_000 // RATE, data, key))
            number += 1
            await asyncio.sleep(max(began + number / RATE - time.monotonic(), 0))


class PacketTrack(aiortc.MediaStreamTrack):
    """The same for aiortc, which passes packets on undecoded too."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        start = b"\0\0\0\1"
        sets = start + SPS + start + PPS
        self._units = [(sets if key else b"") + start + unit for unit, key in pictures()]
        self._began: float | None = None
        self._number = 0

    async def recv(self) -> Any:
        if self._began is None:
            self._began = time.monotonic()
        packet = av.Packet(self._units[self._number % KEY_EACH])
        packet.pts, packet.time_base = self._number * 90_000 // RATE, Fraction(1, 90_000)
        self._number += 1
        await asyncio.sleep(max(self._began + self._number / RATE - time.monotonic(), 0))
        return packet


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[str]:
    """The URL of our device."""
    camera = Camera(Source())
    async with Door({"/cam": camera}) as door:
        yield f"http://127.0.0.1:{await door.start('127.0.0.1', 0)}/cam/whep"
    await camera.close()


@contextlib.asynccontextmanager
async def theirs() -> AsyncIterator[str]:
    """The URL of a device on stock aiortc."""
    connections = set()

    async def answer(request: web.Request) -> web.Response:
        connection = aiortc.RTCPeerConnection()
        connections.add(connection)
        offer = aiortc.RTCSessionDescription(await request.text(), "offer")
        await connection.setRemoteDescription(offer)
        connection.addTrack(PacketTrack())
        [transceiver] = connection.getTransceivers()
        known = aiortc.RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([one for one in known if one.mimeType == "video/H264"])
        await connection.setLocalDescription(await connection.createAnswer())
        text = connection.localDescription.sdp
        return web.Response(text=text, status=201, headers=SDP)

    app = web.Application()
    app.router.add_post("/cam/whep", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/cam/whep"
    await asyncio.gather(*(connection.close() for connection in connections))
    await runner.cleanup()


def device(stack: str, pipe: Connection) -> None:
    """A process of its own: tells its URL, and at each word its CPU time and memory."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with ours() if stack == "peerfetch" else theirs() as url:
            pipe.send(url)
            while await loop.run_in_executor(None, pipe.recv):
                used = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send((used.ru_utime + used.ru_stime, resident()))

    uvloop.run(run())


def resident() -> int:
    """Bytes of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def watch(session: aiohttp.ClientSession, url: str, counts: list[int]) -> Any:
    """A viewer that counts packets, and opens none."""

    async def offer(sdp: str) -> str:
        async with session.post(url, data=sdp, headers=SDP) as answer:
            text = await answer.text()
            assert answer.status == 201, text
            return text

    def count(_: bytes) -> None:
        counts[0] += 1

    return await counting_viewer(offer, count)


async def measure(stack: str, viewers: int, seconds: float) -> Row:
    """One stack with so many viewers."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=device, args=(stack, there))
    process.start()
    loop = asyncio.get_running_loop()

    async def ask() -> tuple[float, int]:
        here.send(True)
        told: tuple[float, int] = await loop.run_in_executor(None, here.recv)
        return told

    try:
        url = await loop.run_in_executor(None, here.recv)
        counts = [0]
        async with aiohttp.ClientSession() as session:
            connections = [await watch(session, url, counts)]
            await asyncio.sleep(0.5)
            _, of_one = await ask()
            for _ in range(viewers - 1):
                connections.append(await watch(session, url, counts))
            await asyncio.sleep(1)
            before, _ = await ask()
            counted, began = counts[0], time.monotonic()
            await asyncio.sleep(seconds)
            after, memory = await ask()
            packets, took = counts[0] - counted, time.monotonic() - began
            await asyncio.gather(*(connection.close() for connection in connections))
    finally:
        here.send(False)
        await loop.run_in_executor(None, process.join, 10)
        process.kill()
    return {
        "stack": stack,
        "viewers": viewers,
        "packets_per_second": packets / took,
        "core_percent": 100 * (after - before) / took,
        "us_per_packet": 1e6 * (after - before) / max(packets, 1),
        "mb_per_viewer": (memory - of_one) / 1e6 / max(viewers - 1, 1),
    }


def _line(row: Row) -> str:
    return (
        f"{row['stack']:10} {row['viewers']:3} viewers: {row['core_percent']:6.1f} % of a core, "
        f"{row['us_per_packet']:6.1f} µs a packet at {row['packets_per_second']:6.0f}/s, "
        f"{row['mb_per_viewer']:4.1f} MB a further viewer"
    )


def main() -> None:
    arguments_parser: argparse.ArgumentParser = parser("bench.media", __doc__, runs=3)
    arguments_parser.add_argument("--stacks", type=some_of(STACKS), default=list(STACKS))
    arguments_parser.add_argument("--viewers", default="1,20", help="(%(default)s)")
    arguments_parser.add_argument("--seconds", type=float, default=5.0, help="(%(default)s)")
    arguments = arguments_parser.parse_args()

    async def run() -> list[Row]:
        return [
            await measure(stack, int(viewers), arguments.seconds)
            for _ in range(arguments.runs)
            for viewers in arguments.viewers.split(",")
            for stack in arguments.stacks
        ]

    rows = uvloop.run(run())
    report(
        arguments.json,
        medians(rows, "stack", "viewers"),
        line=_line,
        settings={"runs": arguments.runs, "seconds": arguments.seconds, "bit_rate": BIT_RATE},
        facts=environment(),
    )


if __name__ == "__main__":
    main()
