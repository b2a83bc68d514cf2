"""A viewer of a camera that notes when each picture came, and decodes none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiortc
from aiortc.rtcdtlstransport import RTCDtlsTransport

from peerfetch_fast.media.records import FrameReader

__all__ = ["SDP", "Watching", "counting_viewer"]

SDP = {"content-type": "application/sdp"}
VIDEO_CLOCK = 90_000


class Watching:
    """Watches the camera at ``/cam``.

    :param fetch: asks its device.
    """

    def __init__(self, fetch: Callable[..., Awaitable[Any]]) -> None:
        self._fetch = fetch
        self._pictures: list[tuple[float, float]] = []
        self._first = asyncio.Event()
        self._leave = contextlib.AsyncExitStack()

    async def start(self, way: str) -> None:
        """Watch as frames on a stream of the session (``frames``) or by a connection of its own
        (``rtp``); return when the first picture is there.
        """
        self._pictures.clear()
        self._first.clear()
        if way == "frames":
            response = await self._leave.enter_async_context(await self._fetch("/cam/frames"))
            reading = asyncio.ensure_future(self._read(response))
            self._leave.callback(reading.cancel)
        else:
            connection = await counting_viewer(self._offer, self._on_packet)
            self._leave.push_async_callback(connection.close)
        await self._first.wait()

    async def stop(self) -> list[tuple[float, float]]:
        """Watch no more. Of each picture the second in which it came, by the clock of all processes
        of this machine, and the second that it is of, by the camera's.
        """
        await self._leave.aclose()
        return self._pictures

    def _note(self, of: float) -> None:
        self._pictures.append((time.monotonic(), of))
        self._first.set()

    async def _read(self, response: Any) -> None:
        reader = FrameReader()
        async for piece in response:
            for frame in reader.feed(piece):
                if frame.is_video:
                    self._note(frame.time / 1e6)

    async def _offer(self, sdp: str) -> str:
        answer = await self._fetch("/cam/live", method="POST", headers=SDP, body=sdp)
        text: str = await answer.text()
        assert answer.status == 201, text
        return text

    def _on_packet(self, data: bytes) -> None:
        if data[1] & 0x80:  # the last of a picture
            self._note(int.from_bytes(data[4:8], "big") / VIDEO_CLOCK)


async def counting_viewer(
    offer: Callable[[str], Awaitable[str]], on_packet: Callable[[bytes], object]
) -> aiortc.RTCPeerConnection:
    """A connection whose RTP packets are handed on as they come, still protected: aiortc's
    receivers would take more than the device, which is what is measured.

    :param offer: takes the offer, and gives the answer.
    """
    connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    answer = await offer(connection.localDescription.sdp)
    [transceiver] = connection.getTransceivers()

    async def take(data: bytes, *_: object, **__: object) -> None:
        on_packet(data)

    transport: RTCDtlsTransport = transceiver.receiver.transport
    transport._handle_rtp_data = take  # type: ignore[method-assign]
    await connection.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    while connection.connectionState != "connected":
        await asyncio.sleep(0.02)
    return connection
