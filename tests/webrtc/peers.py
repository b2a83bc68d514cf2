"""Two peer connections in one process, for tests."""

from __future__ import annotations

import asyncio
from typing import Any

import aiortc
from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_to_sdp

from peerfetch_fast.webrtc.candidates import IceCandidate, candidate_from_dict, candidate_to_dict
from peerfetch_fast.webrtc.ice.candidate import Candidate


def ours(candidate: Any) -> IceCandidate | None:
    """A candidate of aiortc's kind as one of ours; one of ours stays so."""
    if not isinstance(candidate, RTCIceCandidate):
        return candidate
    found = Candidate.from_sdp(candidate_to_sdp(candidate))
    return IceCandidate(found, candidate.sdpMid, candidate.sdpMLineIndex)


def bare_connection(transport: str = "native", **options: Any) -> Any:
    """A connection for data channels alone, on the transport of that name."""
    if transport == "aiortc":
        from peerfetch_fast.webrtc._seam.stock import StockDataConnection

        return StockDataConnection(**options)
    from peerfetch_fast.webrtc.data_connection import DataConnection

    return DataConnection(**options)


class Peer:
    """One end: a peer connection, what it emits, and the first channel that it is offered."""

    def __init__(self, connection: aiortc.RTCPeerConnection) -> None:
        self.connection = connection
        self.candidates: asyncio.Queue[RTCIceCandidate | None] = asyncio.Queue()
        self.failed = asyncio.Event()
        self.channels: asyncio.Queue[Channel] = asyncio.Queue()
        connection.on("icecandidate", self.candidates.put_nowait)
        connection.on("datachannel", lambda channel: self.channels.put_nowait(Channel(channel)))
        connection.on("connectionstatechange", self._state_changed)

    def _state_changed(self) -> None:
        if self.connection.connectionState == "failed":
            self.failed.set()

    async def all_candidates(self) -> list[RTCIceCandidate]:
        found = []
        while (candidate := await self.candidates.get()) is not None:
            found.append(candidate)
        return found

    async def add(self, line: str | None, **where: Any) -> None:
        """Add a candidate of the other end, or the end of them."""
        candidate = None if line is None else candidate_from_dict({"candidate": line, **where})
        await self.connection.addIceCandidate(candidate)

    async def forward_candidates(self, other: Peer) -> None:
        """Send every candidate to the other end, in the shape that crosses signaling."""
        while True:
            candidate = await self.candidates.get()
            await other.connection.addIceCandidate(
                candidate_from_dict(candidate_to_dict(ours(candidate)))
            )
            if candidate is None:
                return

    def create_channel(self, label: str = "test", **options: Any) -> Channel:
        return Channel(self.connection.createDataChannel(label, **options))


class Channel:
    """A data channel that can be waited for."""

    def __init__(self, channel: Any) -> None:
        self.raw = channel
        self.messages: asyncio.Queue[bytes | str] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.low = asyncio.Event()
        channel.on("message", self.messages.put_nowait)
        channel.on("open", self.opened.set)
        channel.on("close", self.closed.set)
        channel.on("bufferedamountlow", self.low.set)
        if channel.readyState == "open":
            self.opened.set()

    def send(self, data: bytes | str) -> None:
        self.raw.send(data)

    async def send_all(self, messages: list[bytes] | list[str], high: int = 1 << 20) -> None:
        """Send as fast as the buffer empties."""
        self.raw.bufferedAmountLowThreshold = high // 2
        for message in messages:
            if self.raw.bufferedAmount > high:
                self.low.clear()
                await self.low.wait()
            self.raw.send(message)

    async def receive(self, count: int) -> list[bytes | str]:
        return [await self.messages.get() for _ in range(count)]


async def describe(offerer: Peer, answerer: Peer) -> None:
    """Exchange descriptions."""
    await offerer.connection.setLocalDescription()
    await answerer.connection.setRemoteDescription(offerer.connection.localDescription)
    await answerer.connection.setLocalDescription()
    await offerer.connection.setRemoteDescription(answerer.connection.localDescription)


async def join(offerer: Peer, answerer: Peer, **options: Any) -> tuple[Channel, Channel]:
    """Connect with one channel, which is open at both ends on return."""
    channel = offerer.create_channel(**options)
    await describe(offerer, answerer)
    await channel.opened.wait()
    return channel, await answerer.channels.get()


async def exchange(answerer: Peer, channel: Channel) -> None:
    """Pass a message each way."""
    await channel.opened.wait()
    other = await answerer.channels.get()
    for source, sink in ((channel, other), (other, channel)):
        source.send(b"hello")
        assert await sink.messages.get() == b"hello"


async def close(*peers: Peer) -> None:
    for peer in peers:
        await peer.connection.close()
