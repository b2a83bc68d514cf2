"""The devices that ``bench.media`` compares: each a process of its own that passes pictures on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import random
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import aiortc
import av
import uvloop
from aiohttp import web
from aiortc.codecs.h264 import H264Encoder

from bench.peers.watching import SDP, answering_viewer, counting_viewer
from bench.processes import Failed
from bench.stacks import PEERS, make
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.door import Door
from peerfetch_fast.media.feed import Feed
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.rtc.viewing import Viewing
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["BIT_RATE", "DEVICES", "Device"]

RATE = 30
BIT_RATE = 4_000_000
KEY_EACH = 2 * RATE
KEY_SHARE = 4
"""Times that a key frame is as large as another."""

SPS = bytes.fromhex("6764001facd940780227e5c05a808080a0000003002000000781e30632c0")
PPS = bytes.fromhex("68ebe3cb22c0")
START = b"\0\0\0\1"

PION = PEERS / "pion"
PION_URL = "http://127.0.0.1:8080"
"""Where its example listens, whatever it is told."""

JANUS_PAYLOAD = 96
START_TIMEOUT = 20.0
EVENT_TIMEOUT = 30.0


class Device:
    """A running one.

    :ivar pid: of its process.
    :ivar watch: connects a viewer that hands on each RTP packet.
    """

    def __init__(
        self, pid: int, watch: Callable[[Callable[[bytes], object]], Awaitable[Any]]
    ) -> None:
        self.pid, self.watch = pid, watch

    def used(self) -> float:
        """Seconds of CPU that its threads have used."""
        total = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # it has ended
                total += int(path.read_text().split()[0])
        return total / 1e9

    def resident(self) -> int:
        """Bytes of its memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096


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


def until_due(began: float, number: int) -> float:
    """Seconds until a picture is due whose first was at ``began``."""
    return max(began + number / RATE - time.monotonic(), 0)


def byte_stream(unit: bytes, key: bool) -> bytes:
    """A picture with start codes, and parameter sets where there must be some."""
    return (START + SPS + START + PPS if key else b"") + START + unit


class Source:
    """Gives the pictures to a camera of ours."""

    async def run(self, output: Any) -> None:
        """See :class:`peerfetch_fast.media.sources.Source`."""
        output.begin(None)
        format = VideoFormat("h264", 1920, 1080, SPS, PPS)
        units = [(len(unit).to_bytes(4, "big") + unit, key) for unit, key in pictures()]
        began = time.monotonic()
        for number in itertools.count():
            data, key = units[number % KEY_EACH]
            output.frame(Frame(format, number * 1_000_000 // RATE, data, key))
            await asyncio.sleep(until_due(began, number + 1))


class PacketTrack(aiortc.MediaStreamTrack):
    """Gives them to aiortc, which passes packets on undecoded too."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._units = [byte_stream(unit, key) for unit, key in pictures()]
        self._began = time.monotonic()
        self._number = 0

    async def recv(self) -> Any:
        number = self._number
        self._number += 1
        await asyncio.sleep(until_due(self._began, number))
        return packet_of(self._units[number % KEY_EACH], number)


def packet_of(data: bytes, number: int) -> Any:
    """The picture of that number as PyAV has it."""
    packet = av.Packet(data)
    packet.pts, packet.time_base = number * 90_000 // RATE, Fraction(1, 90_000)
    return packet


# -- in Python -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _ours() -> AsyncIterator[str]:
    camera = Camera(Source())
    async with Door({"/cam": camera}) as door:
        yield f"http://127.0.0.1:{await door.start('127.0.0.1', 0)}/cam/whep"
    await camera.close()


@contextlib.asynccontextmanager
async def _aiortc() -> AsyncIterator[str]:
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


def _serve(stack: str, pipe: Connection) -> None:
    """What the process of such a device does: it tells its URL, and ends at a word."""

    async def run() -> None:
        async with _ours() if stack == "peerfetch" else _aiortc() as url:
            pipe.send(url)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(run())


@contextlib.asynccontextmanager
async def _python(stack: str) -> AsyncIterator[Device]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(stack, there))
    process.start()
    assert process.pid is not None
    loop = asyncio.get_running_loop()
    try:
        url = await loop.run_in_executor(None, here.recv)
        async with aiohttp.ClientSession() as http:
            yield Device(process.pid, lambda take: _watch(http, url, take))
    finally:
        here.send(None)
        await loop.run_in_executor(None, process.join, 10)
        process.kill()


async def _post(http: aiohttp.ClientSession, url: str, sdp: str) -> str:
    async with http.post(url, data=sdp, headers=SDP) as answer:
        text = await answer.text()
        if answer.status != 201:
            raise Failed(f"{url} answers {answer.status}: {text}")
        return text


def _watch(http: aiohttp.ClientSession, url: str, take: Callable[[bytes], object]) -> Any:
    return counting_viewer(lambda sdp: _post(http, url, sdp), take)


# -- pion's whip-whep ------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _pion() -> AsyncIterator[Device]:
    """The pictures are published to it by WHIP, from this process."""
    make(PION, needs="Go 1.24 and its module proxy")
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(_program("pion", PION / "whip-whep", cwd=PION))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        await _until_reached(http, PION_URL)
        feed = Feed(Source(), "the pictures for pion")
        stack.push_async_callback(feed.close)
        viewer = await stack.enter_async_context(feed.join())
        viewing = Viewing(feed, ConnectionOptions())
        viewing.take_answer(await _post(http, f"{PION_URL}/whip", await viewing.offer()))
        viewing.start(viewer, contextlib.AsyncExitStack())
        stack.callback(viewing.close)
        yield Device(process.pid, lambda take: _watch(http, f"{PION_URL}/whep", take))


# -- janus -----------------------------------------------------------------------------------------

_JANUS = {
    "janus.jcfg": """
general: {{ configs_folder = "{work}" debug_level = 2 session_timeout = 0 }}
nat: {{ ice_enforce_list = "127.0.0.1" ignore_mdns = true }}
plugins: {{ disable = "{others}" }}
transports: {{ disable = "{transports}" }}
""",
    "janus.transport.http.jcfg": """
general: {{ base_path = "/janus" http = true port = {http} ip = "127.0.0.1" https = false }}
admin: {{ admin_http = false admin_https = false }}
""",
    "janus.plugin.streaming.jcfg": """
cam: {{
  type = "rtp" id = 1 audio = false video = true videoport = {rtp} videoiface = "127.0.0.1"
  videopt = 96 videocodec = "h264"
  videofmtp = "profile-level-id=42e01f;packetization-mode=1"
}}
""",
}


@contextlib.asynccontextmanager
async def _janus() -> AsyncIterator[Device]:
    """Its streaming plugin gets the pictures as RTP without protection, from this process."""
    if shutil.which("janus") is None:
        raise Failed("janus is not installed (Debian: apt install janus)")
    async with contextlib.AsyncExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-")))
        ports = {"http": _free_port(), "rtp": _free_port()}
        folder = next(Path("/usr/lib").glob("*/janus"))
        values: Mapping[str, Any] = ports | {
            "work": work,
            "others": _others(folder / "plugins", "libjanus_streaming.so"),
            "transports": _others(folder / "transports", "libjanus_http.so"),
        }
        for name, text in _JANUS.items():
            (work / name).write_text(text.format(**values))
        process = await stack.enter_async_context(
            _program("janus", Path("janus"), f"--configs-folder={work}", "--disable-colors")
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{ports['http']}/janus"
        await _until_reached(http, f"{url}/info")
        feeding = asyncio.ensure_future(_send_plain(ports["rtp"]))
        stack.callback(feeding.cancel)
        yield Device(process.pid, lambda take: _watch_janus(http, url, take))


def _others(folder: Path, kept: str) -> str:
    return ",".join(path.name for path in folder.glob("*.so") if path.name != kept)


async def _send_plain(port: int) -> None:
    """The pictures as RTP."""
    sequence = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.connect(("127.0.0.1", port))
        packer, units = H264Encoder(), [byte_stream(unit, key) for unit, key in pictures()]
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(until_due(began, number))
            payloads, timestamp = packer.pack(packet_of(units[number % KEY_EACH], number))
            for left, payload in zip(range(len(payloads) - 1, -1, -1), payloads, strict=True):
                marked = JANUS_PAYLOAD | (0x80 if left == 0 else 0)
                head = struct.pack(">BBHII", 0x80, marked, sequence & 0xFFFF, timestamp, 1)
                sending.send(head + payload)
                sequence += 1


async def _watch_janus(
    http: aiohttp.ClientSession, url: str, take: Callable[[bytes], object]
) -> Any:
    async def say(place: str, **what: Any) -> Any:
        async with http.post(place, json={"transaction": "bench", **what}) as answer:
            return await answer.json()

    session = f"{url}/{(await say(url, janus='create'))['data']['id']}"
    attached = await say(session, janus="attach", plugin="janus.plugin.streaming")
    handle = f"{session}/{attached['data']['id']}"
    await say(handle, janus="message", body={"request": "watch", "id": 1})
    async with asyncio.timeout(EVENT_TIMEOUT):
        while True:
            async with http.get(session) as answer:
                event = await answer.json()
            if "jsep" in event:
                break

    async def start(sdp: str) -> None:
        jsep = {"type": "answer", "sdp": sdp}
        await say(handle, janus="message", body={"request": "start"}, jsep=jsep)

    return await answering_viewer(event["jsep"]["sdp"], start, take)


# -- programs --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _program(
    name: str, program: Path, *options: str, cwd: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    quiet = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            program, *options, cwd=cwd, stdin=quiet, stdout=quiet, stderr=quiet
        )
    except OSError as error:
        raise Failed(f"{name} cannot be run: {error}") from None
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until_reached(http: aiohttp.ClientSession, url: str) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(url):
                        return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise Failed(f"nothing answers at {url}") from None


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


DEVICES: dict[str, Callable[[], AbstractAsyncContextManager[Device]]] = {
    "peerfetch": lambda: _python("peerfetch"),
    "aiortc": lambda: _python("aiortc"),
    "pion": _pion,
    "janus": _janus,
}
