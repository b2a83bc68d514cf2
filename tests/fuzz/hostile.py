"""``python -m tests.fuzz.hostile``: a peer that breaks off, repeats and reorders.

It sends a proxy valid frames in orders that are mostly not: each session goes on until it is ended
for it, and the next begins. Meanwhile a neighbour, on a session of its own, asks for small answers
and the memory of the proxy is watched.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from peerfetch_fast import Peer, connect
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.blocks import DATA, block
from peerfetch_fast.http.heads import encode_request, encode_trailers
from peerfetch_fast.negotiation import Connected, Switchboard, dial
from peerfetch_fast.signaling.client import SignalingClient
from peerfetch_fast.webrtc.connection import close_connection

sys.path.insert(0, str(Path(__file__).parents[1]))  # as tests/conftest.py does

from processes import Process, start_proxy
from wire import Frame, decode, encode, stream

SESSION_FRAMES = 5_000
"""Frames after which a session that is still there is left."""

FATAL = 1 / 2_000
"""How often a frame is one that ends the session, if the proxy is right."""

HIGH = 256 * 1024
"""Bytes in the channel above which the driver waits."""

STALLED = 5.0
"""Seconds after which a session in which nothing moves is left."""

VERDICT = 0.5
"""Seconds that the proxy has to end a session after a frame that should, before more are sent."""

REQUESTS = [
    encode_request("GET", "/small", []),
    encode_request("GET", "/large", [("priority", "u=1")]),
    encode_request("POST", "/small", [("content-length", "3")]) + block(DATA, b"abc"),
    encode_request("POST", "/small", []) + block(DATA, b"x" * 500) + encode_trailers([]),
    encode_request("GET", "/never", []),
    block(DATA, b"no head"),
    b"\x01\x05{}",
    bytes(64),
]


@dataclass
class Model:
    """What the driver knows of its session, so that most of its frames do not end it."""

    rng: random.Random
    opened: int = 0
    stream_limit: int = 16
    credit: int = 262_144
    fatal: bool = False
    streams: dict[int, tuple[bytes, int, bool]] = field(default_factory=dict)

    def frame(self) -> Frame:
        rng = self.rng
        if rng.random() < FATAL:
            self.fatal = True
            return self._fatal()
        known = rng.choice(list(self.streams)) if self.streams else 0
        match rng.randrange(12):
            case 0 | 1 | 2 if self.opened < self.stream_limit:
                return self._open()
            case 3 | 4 | 5 if self.streams:
                return self._go_on(known)
            case 6 if self.streams:
                return {"type": "STOP_SENDING", "stream": known, "code": rng.choice((0x100, 0x10C))}
            case 7 if self.streams:
                _, sent, _ = self.streams[known]
                self.streams[known] = b"", sent, True
                return {"type": "RESET_STREAM", "stream": known, "code": 0x10C, "final_size": sent}
            case 8 if self.streams:
                most = rng.choice((0, 1000, 100_000, 1 << 30))
                return {"type": "MAX_STREAM_DATA", "stream": known, "maximum": most}
            case 9:
                return {"type": "MAX_DATA", "maximum": rng.choice((0, 1 << 20, 1 << 28))}
            case 10:
                return {"type": "MAX_STREAMS", "maximum": rng.randrange(1 << 20)}
            case _:
                return {"type": rng.choice((0x21, 0x4000, 0x13)), "data": bytes(20).hex()}

    def _open(self) -> Frame:
        rng = self.rng
        number = self.opened + (rng.random() < 0.1 and self.opened + 1 < self.stream_limit)
        stream_id = 2 * number
        self.opened = number + 1
        self.streams[stream_id] = rng.choice(REQUESTS), 0, False
        if len(self.streams) > 200:  # those before are left as they are, at either end
            del self.streams[next(iter(self.streams))]
        return self._go_on(stream_id)

    def _go_on(self, stream_id: int) -> Frame:
        """A piece of a stream, its end, or after that what is too late and harmless."""
        left, sent, over = self.streams[stream_id]
        rng = self.rng
        size = min(rng.choice((0, 1, 10, len(left))), len(left), self.credit)
        if over:
            return stream(stream_id, sent, b"", fin=True)
        end = size == len(left) and rng.random() < 0.8
        self.credit -= size
        self.streams[stream_id] = left[size:], sent + size, end
        return stream(stream_id, sent, left[:size], fin=end)

    def _fatal(self) -> Frame:
        rng = self.rng
        return rng.choice(
            [
                {"type": "SETTINGS", "settings": []},
                stream(2 * self.stream_limit + 2_000_000, 0, b"x"),
                stream(1, 0, b"never opened"),
                stream(0, 1 << 40, b"x"),
                {"type": "RESET_STREAM", "stream": 0, "code": 0, "final_size": 1 << 50},
                {"type": "MAX_STREAM_DATA", "stream": 1, "maximum": 1},
                {"type": "GOAWAY", "stream": 0, "code": 0, "reason": ""},
                {"type": "GOAWAY", "stream": 0, "code": 0x10, "reason": "enough"},
                {"type": "PING", "data": "00" * 7},
                {"type": "ACCESS", "proof": "00" * 31},
            ]
        )

    def heard(self, frame: Frame) -> None:
        """Take in what the proxy grants."""
        if frame["type"] == "MAX_STREAMS":
            self.stream_limit = max(self.stream_limit, frame["maximum"])
        elif frame["type"] == "MAX_DATA":
            self.credit += 1 << 16


class Session:
    """One connection of the driver's, as the receiver of its link."""

    def __init__(self, connected: Connected, model: Model) -> None:
        self._link = connected.link
        self._model = model
        self.over = asyncio.Event()
        self.room = asyncio.Event()
        self._link.low_water = HIGH // 2
        self._link.attach(self)

    def message_received(self, message: bytes | str) -> None:
        assert isinstance(message, bytes)
        for frame in decode(message):
            self._model.heard(frame)
            if frame["type"] == "GOAWAY":
                self.over.set()

    def parts_received(self, head: bytes, body: bytes) -> None:
        self.message_received(head + body)

    def buffered_low(self) -> None:
        self.room.set()

    def link_closed(self, error: Exception | None) -> None:
        self.over.set()
        self.room.set()

    async def send(self, frames: list[Frame]) -> None:
        self.room.clear()
        self._link.send(encode(*frames))
        if self._link.buffered_amount > HIGH:
            try:
                await asyncio.wait_for(self.room.wait(), STALLED)
            except asyncio.TimeoutError:
                self.over.set()
        else:
            await asyncio.sleep(0)


async def misbehave(signaling: str, peer_id: str, rng: random.Random, frames: int) -> int:
    """One session of at most ``frames`` frames; returns how many were sent."""
    switchboard = Switchboard()
    client = SignalingClient(signaling, on_message=switchboard.message)
    async with client as switchboard.signaling:
        connected = await dial(switchboard, peer_id, trust=_Anybody(), timeout=30)
    sent = 0
    try:
        model = Model(rng)
        session = Session(connected, model)
        await session.send([{"type": "SETTINGS", "settings": []}])
        while sent < frames and not session.over.is_set():
            batch = []
            for _ in range(rng.randrange(1, 20)):
                batch.append(model.frame())
                if model.fatal:
                    break
            sent += len(batch)
            await session.send(batch)
            if model.fatal:
                model.fatal = False
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(session.over.wait(), VERDICT)
    finally:
        await close_connection(connected.connection)
    return sent


class _Anybody:
    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        """Whoever it is."""


@contextlib.asynccontextmanager
async def _upstream() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/never":
            await asyncio.Event().wait()
        return web.Response(body=bytes(1_000_000 if request.path == "/large" else 1_000))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _neighbour(peer: Peer, latencies: list[float]) -> None:
    """Ask for small answers, one after the other; all of them must come."""
    while True:
        began = time.perf_counter()
        response = await peer.fetch("/small", timeout=30)
        assert len(await response.bytes()) == 1_000
        latencies.append(time.perf_counter() - began)
        await asyncio.sleep(0.02)


def resident(proxy: Process) -> float:
    """Megabytes of the proxy that are in memory."""
    status = Path(f"/proc/{proxy.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def drive(frames: int, seed: int, directory: Path) -> dict[str, Any]:
    """Send ``frames`` frames in sessions after one another; return what was measured."""
    rng = random.Random(seed)
    async with _upstream() as upstream:
        with start_proxy(directory, upstream, "auto") as proxy:
            ready = proxy.ready
            url = f"{ready['peer_id']}#{ready['fingerprint']}"
            latencies: list[float] = []
            memory: list[float] = []
            sent = sessions = 0
            async with connect(url, signaling=ready["signaling"]) as peer:
                neighbour = asyncio.ensure_future(_neighbour(peer, latencies))
                while sent < frames:
                    most = min(SESSION_FRAMES, frames - sent)
                    try:
                        sent += await misbehave(ready["signaling"], ready["peer_id"], rng, most)
                    except PeerfetchError as error:
                        print(f"a session did not come about: {error}", file=sys.stderr)
                    sessions += 1
                    memory.append(resident(proxy))
                    assert not neighbour.done(), neighbour.exception()
                    assert not proxy.ended, proxy.output
                neighbour.cancel()
                await asyncio.wait((neighbour,))
                assert peer.session.error is None
            assert "Traceback" not in proxy.output, proxy.output
    ordered = sorted(latencies)
    tenth = max(1, len(memory) // 10)
    return {
        "frames": sent,
        "sessions": sessions,
        "memory_mb_first": round(memory[0], 1),
        "memory_mb_after_a_tenth": round(memory[tenth - 1], 1),
        "memory_mb_most": round(max(memory), 1),
        "memory_mb_last": round(memory[-1], 1),
        "neighbour_answers": len(latencies),
        "neighbour_p50_ms": round(ordered[len(ordered) // 2] * 1000, 1),
        "neighbour_most_ms": round(ordered[-1] * 1000, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Misbehave towards a proxy, as JSON says after.")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peerfetch-hostile-") as directory:
        print(json.dumps(asyncio.run(drive(arguments.frames, arguments.seed, Path(directory)))))


if __name__ == "__main__":
    main()
