"""One end of a data channel in Python, over aiortc or over our native data path.

``python -m bench.peers.channel offer|answer PATTERN PERIOD HIGH LOW aiortc [DATAGRAM]``, or
``native [CONGESTION]`` in place of the last two.

Speaks with the benchmark in JSON lines (bench/peers/README.md). DATAGRAM is the largest UDP
payload in bytes: aiortc's own are larger than those of the others. CONGESTION is the name of a
congestion controller.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiortc
import uvloop
from aiortc import RTCConfiguration, RTCSessionDescription, rtcsctptransport

from bench.pattern import Arrivals, Pattern
from bench.peers.lines import read_commands, tell
from peerfetch_fast.webrtc.transports import (
    DEFAULT_CONGESTION,
    Connection,
    connection_options,
    open_connection,
)

# Of a DTLS 1.2 record with AES-GCM (RFC 5246 §6.2.1, RFC 5288 §3), of an SCTP packet and of its
# only DATA chunk (RFC 9260 §3.1, §3.3.1).
OVERHEAD = 13 + 8 + 16 + 12 + 16

Message = bytes | str


def main() -> None:
    role, pattern, _, high, low, transport, *option = sys.argv[1:]
    if transport == "aiortc" and option:
        user_data = int(option[0]) - OVERHEAD
        rtcsctptransport.USERDATA_MAX_LENGTH = user_data - user_data % 4
    uvloop.run(_main(role, Pattern(Path(pattern)), int(high), int(low), transport, *option))


async def _main(
    role: str, pattern: Pattern, high: int, low: int, transport: str, *option: str
) -> None:
    commands = await read_commands()
    connection: Any
    if transport == "native":
        connection = native_connection(*option)
    else:
        connection = aiortc.RTCPeerConnection(RTCConfiguration(iceServers=[]))
    opened: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def ready(channel: Any) -> None:
        opened.set_result(End(channel, pattern, high, low))
        tell("open")

    if role == "offer":
        channel = connection.createDataChannel("bench", ordered=False)
        channel.on("open", lambda: ready(channel))
    else:
        connection.on("datachannel", ready)
    await set_up(role, connection, commands)
    end = await opened
    while line := await commands.readline():
        command = json.loads(line)
        if command.pop("type") == "bulk":
            tell("sent", **await end.bulk(**command))
        else:
            tell("pinged", **await end.ping(**command))


def native_connection(congestion: Any = DEFAULT_CONGESTION) -> Connection:
    """Ours, with the congestion controller of that name."""
    return open_connection(connection_options((), "native", congestion, None))


async def set_up(role: str, connection: Any, commands: asyncio.StreamReader) -> None:
    """Carry offer and answer."""
    if role == "offer":
        await connection.setLocalDescription()
        _describe(connection)
    signal = json.loads(await commands.readline())
    await connection.setRemoteDescription(RTCSessionDescription(**signal["data"]))
    if role == "answer":
        await connection.setLocalDescription()
        _describe(connection)


def _describe(connection: Any) -> None:
    description = connection.localDescription
    tell("signal", data={"type": description.type, "sdp": description.sdp})


def _cpu() -> float:
    """Microseconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


class End:
    """Both roles on an open channel: who was asked to send, and who answers."""

    def __init__(self, channel: Any, pattern: Pattern, high: int, low: int) -> None:
        self._channel = channel
        self._pattern = pattern
        self._high = high
        self._low = asyncio.Event()
        self._ready = asyncio.Event()
        self._done = asyncio.Event()
        self._echoed: Callable[[bytes], None] | None = None
        self._echoing = False
        self._arrivals = Arrivals(pattern)
        self._began = self._cpu = 0.0
        self._last = self._stall = 0.0
        self._first = 0
        self._total: int | None = None
        channel.bufferedAmountLowThreshold = low
        channel.on("bufferedamountlow", self._low.set)
        if hasattr(channel, "on_message"):
            channel.on_message = self._on_message  # ours: one call a message
        else:
            channel.on("message", self._on_message)

    async def bulk(self, message_bytes: int, seconds: float) -> dict[str, float]:
        channel = self._channel
        await self._agree("bulk")
        cpu, at = _cpu(), 0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            if channel.bufferedAmount > self._high:
                self._low.clear()
                await self._low.wait()
            channel.send(self._pattern.piece(at, message_bytes))
            at += message_bytes
        channel.send(f"end {at}")
        await self._done.wait()
        return {"bytes": at, "cpu_us": _cpu() - cpu}

    async def ping(self, message_bytes: int, seconds: float) -> dict[str, list[float]]:
        channel = self._channel
        await self._agree("ping")
        message = self._pattern.piece(0, message_bytes)
        latencies: list[float] = []
        done = asyncio.Event()
        until = time.perf_counter() + seconds
        began = time.perf_counter()

        def echoed(data: bytes) -> None:
            nonlocal began
            now = time.perf_counter()
            latencies.append((now - began) * 1e6)
            if data != message:
                tell("wrong", message="an echo differs from what was sent")
            if now > until:
                done.set()
                return
            began = time.perf_counter()
            channel.send(message)

        self._echoed = echoed
        channel.send(message)
        await done.wait()
        return {"latencies_us": latencies}

    async def _agree(self, kind: str) -> None:
        """Return when the other end knows what is coming, as messages may overtake each other."""
        self._ready.clear()
        self._done.clear()
        self._channel.send(kind)
        await self._ready.wait()

    def _on_message(self, message: Message) -> None:
        if isinstance(message, str):
            self._on_text(message)
        elif self._echoed is not None:
            self._echoed(message)
        elif self._echoing:
            self._channel.send(message)
        else:
            now = time.perf_counter()
            if not self._arrivals.count:
                self._first = len(message)
                self._began = self._last = now
                self._stall = 0.0
            self._stall = max(self._stall, now - self._last)
            self._last = now
            if not self._arrivals.take(message):
                tell("wrong", message=f"{len(message)} bytes that were not sent, or came before")
            self._end_if_complete()

    def _on_text(self, text: str) -> None:
        kind, _, total = text.partition(" ")
        if kind in ("bulk", "ping"):
            self._echoing = kind == "ping"
            self._arrivals = Arrivals(self._pattern)
            self._total = None
            self._cpu = _cpu()
            self._channel.send("ready")
        elif kind == "end":
            self._total = int(total)
            self._end_if_complete()
        elif kind == "ready":
            self._ready.set()
        elif kind == "done":
            self._done.set()

    def _end_if_complete(self) -> None:
        if self._arrivals.count != self._total:
            return
        tell(
            "received",
            bytes=self._total,
            bytes_after_first=self._total - self._first,
            seconds=time.perf_counter() - self._began,
            stall_s=self._stall,
            cpu_us=_cpu() - self._cpu,
        )
        self._channel.send("done")


if __name__ == "__main__":
    main()
