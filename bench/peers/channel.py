"""One end of a data channel in Python, over aiortc or over our native data path.

``python -m bench.peers.channel offer|answer PATTERN PERIOD HIGH LOW aiortc|native [DATAGRAM]``

Speaks with the benchmark in JSON lines (bench/peers/README.md). DATAGRAM is the largest UDP
payload in bytes, for aiortc, whose own are larger than those of the others.
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

from bench.pattern import Pattern
from peerfetch_fast.webrtc.connection import RTCPeerConnection

# Of a DTLS 1.2 record with AES-GCM (RFC 5246 §6.2.1, RFC 5288 §3), of an SCTP packet and of its
# only DATA chunk (RFC 9260 §3.1, §3.3.1).
OVERHEAD = 13 + 8 + 16 + 12 + 16

Message = bytes | str


def main() -> None:
    role, pattern, _, high, low, transport, *datagram = sys.argv[1:]
    if datagram:
        user_data = int(datagram[0]) - OVERHEAD
        rtcsctptransport.USERDATA_MAX_LENGTH = user_data - user_data % 4
    uvloop.run(_main(role, Pattern(Path(pattern)), int(high), int(low), transport))


async def _main(role: str, pattern: Pattern, high: int, low: int, transport: str) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    connection: aiortc.RTCPeerConnection
    if transport == "native":
        connection = RTCPeerConnection(transport="native")
    else:
        connection = aiortc.RTCPeerConnection(RTCConfiguration(iceServers=[]))
    opened: asyncio.Future[End] = loop.create_future()

    def ready(channel: Any) -> None:
        opened.set_result(End(channel, pattern, high, low))
        tell("open")

    if role == "offer":
        channel = connection.createDataChannel("bench")
        channel.on("open", lambda: ready(channel))
        await connection.setLocalDescription(await connection.createOffer())
        _describe(connection)
    else:
        connection.on("datachannel", ready)
    while line := await commands.readline():
        command = json.loads(line)
        if command["type"] == "signal":
            description = RTCSessionDescription(**command["data"])
            await connection.setRemoteDescription(description)
            if role == "answer":
                await connection.setLocalDescription(await connection.createAnswer())
                _describe(connection)
        elif command["type"] == "bulk":
            end = await opened
            tell("sent", **await end.bulk(command["message_bytes"], command["seconds"]))
        else:
            end = await opened
            tell("pinged", **await end.ping(command["message_bytes"], command["seconds"]))


def tell(kind: str, **fields: Any) -> None:
    """Answer the benchmark."""
    sys.stdout.write(json.dumps({"type": kind, **fields}) + "\n")
    sys.stdout.flush()


def _describe(connection: aiortc.RTCPeerConnection) -> None:
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
        self._done = asyncio.Event()
        self._echoed: Callable[[bytes], None] | None = None
        self._echoing = False
        self._began = self._cpu = 0.0
        self._first = self._at = 0
        channel.bufferedAmountLowThreshold = low
        channel.on("bufferedamountlow", self._low.set)
        if hasattr(channel, "on_message"):
            channel.on_message = self._on_message  # ours: one call a message
        else:
            channel.on("message", self._on_message)

    async def bulk(self, message_bytes: int, seconds: float) -> dict[str, float]:
        channel = self._channel
        self._done.clear()
        channel.send("bulk")
        cpu, at = _cpu(), 0
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            if channel.bufferedAmount > self._high:
                self._low.clear()
                await self._low.wait()
            channel.send(self._pattern.piece(at, message_bytes))
            at += message_bytes
        channel.send("end")
        await self._done.wait()
        return {"bytes": at, "cpu_us": _cpu() - cpu}

    async def ping(self, message_bytes: int, seconds: float) -> dict[str, list[float]]:
        channel = self._channel
        channel.send("ping")
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

    def _on_message(self, message: Message) -> None:
        if isinstance(message, str):
            self._on_text(message)
        elif self._echoed is not None:
            self._echoed(message)
        elif self._echoing:
            self._channel.send(message)
        else:
            if not self._at:
                self._first = len(message)
                self._began = time.perf_counter()
            if not self._pattern.holds(message, self._at):
                tell("wrong", message=f"the message at {self._at} differs from what was sent")
            self._at += len(message)

    def _on_text(self, text: str) -> None:
        if text == "bulk":
            self._echoing = False
            self._at = 0
            self._cpu = _cpu()
        elif text == "ping":
            self._echoing = True
        elif text == "end":
            seconds = time.perf_counter() - self._began
            tell(
                "received",
                bytes=self._at,
                bytes_after_first=self._at - self._first,
                seconds=seconds,
                cpu_us=_cpu() - self._cpu,
            )
            self._channel.send("done")
        elif text == "done":
            self._done.set()


if __name__ == "__main__":
    main()
