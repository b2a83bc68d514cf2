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

__all__ = ["SDP", "Watching", "answering_viewer", "counting_viewer"]

SDP = {"content-type": "application/sdp"}

Picture = tuple[float, float]
"""The second in which it came, by the clock of all processes of this machine, and the second that
it is of, by the camera's."""


class Watching:
    """Watches the camera at ``/cam`` as frames on a stream of a session.

    :param fetch: asks its device.
    """

    def __init__(self, fetch: Callable[..., Awaitable[Any]]) -> None:
        self._fetch = fetch
        self._pictures: list[Picture] = []
        self._first = asyncio.Event()
        self._leave = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Return when the first picture is there."""
        response = await self._leave.enter_async_context(await self._fetch("/cam/frames"))
        reading = asyncio.ensure_future(self._read(response))
        self._leave.callback(reading.cancel)
        await self._first.wait()

    async def stop(self) -> list[Picture]:
        """Watch no more; the pictures that came."""
        await self._leave.aclose()
        return self._pictures

    async def _read(self, response: Any) -> None:
        reader = FrameReader()
        async for piece in response:
            for frame in reader.feed(piece):
                if frame.is_video:
                    self._pictures.append((time.monotonic(), frame.time / 1e6))
                    self._first.set()

    async def offer(self, sdp: str) -> str:
        """The device's answer to the offer of a connection for RTP."""
        answer = await self._fetch("/cam/live", method="POST", headers=SDP, body=sdp)
        text: str = await answer.text()
        assert answer.status == 201, text
        return text


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
    _divert(connection, on_packet)
    await connection.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))
    await _connected(connection)
    return connection


async def answering_viewer(
    offer: str, answer: Callable[[str], Awaitable[None]], on_packet: Callable[[bytes], object]
) -> aiortc.RTCPeerConnection:
    """The same for a device that makes the offer.

    :param answer: takes the answer.
    """
    connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    await connection.setRemoteDescription(aiortc.RTCSessionDescription(offer, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    _divert(connection, on_packet)
    await answer(connection.localDescription.sdp)
    await _connected(connection)
    return connection


def _divert(connection: aiortc.RTCPeerConnection, on_packet: Callable[[bytes], object]) -> None:
    async def take(data: bytes, *_: object, **__: object) -> None:
        on_packet(data)

    [transceiver] = connection.getTransceivers()
    transport: RTCDtlsTransport = transceiver.receiver.transport
    transport._handle_rtp_data = take  # type: ignore[method-assign]


async def _connected(connection: aiortc.RTCPeerConnection) -> None:
    while connection.connectionState != "connected":
        await asyncio.sleep(0.02)
