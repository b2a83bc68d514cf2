"""How a hostile peer meets its victims: over the signaling that everybody uses."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, cast

from aiortc import RTCCertificate, RTCSessionDescription
from tests.hostile.sctp import Ended, RawAssociation

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.signaling.peerjs.client import SignalingClient, SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from peerfetch_fast.webrtc.transports import close_connection

__all__ = ["Device", "HostileConnection", "NotMet", "certificate", "dial"]

MEETING_TIMEOUT = 15.0
"""Seconds in which a connection comes about, if it does."""

OURS = {"protocol": "peerfetch.2"}

Rewrite = Callable[[str], str]
Prepare = Callable[["HostileConnection"], object]


class NotMet(Exception):
    """No connection came about, which is the victim's right."""


@cache
def certificate() -> RTCCertificate:
    """One for all connections, or its victims would know it for another device."""
    return RTCCertificate.generateCertificate()


class HostileConnection(RTCPeerConnection):
    """A peer connection of stock aiortc's, but for SCTP."""

    def __init__(self) -> None:
        super().__init__(transport="aiortc", certificate=certificate())

    def _RTCPeerConnection__createSctpTransport(self) -> None:
        cast(Any, super())._RTCPeerConnection__createSctpTransport()
        self.raw = RawAssociation(self)
        cast(Any, self.sctp).start = self.raw.start


async def _established(connection: HostileConnection) -> RawAssociation:
    try:
        await asyncio.wait_for(connection.raw.established.wait(), MEETING_TIMEOUT)
    except TimeoutError:
        await close_connection(connection)
        raise NotMet("no association came about") from None
    return connection.raw


def _description(connection: HostileConnection, rewrite: Rewrite) -> dict[str, str]:
    # Host candidates are all in it, and there are no others.
    described = connection.localDescription
    return {"type": described.type, "sdp": rewrite(described.sdp)}


async def dial(
    signaling: str,
    peer_id: str,
    *,
    metadata: object = OURS,
    rewrite: Rewrite = str,
    prepare: Prepare = lambda _: None,
) -> RawAssociation:
    """Connect to a peer; its association is up. Close it in the end.

    :param metadata: of the offer, which says what protocol is meant.
    :param rewrite: changes the description that is offered.
    :param prepare: changes the connection before it is offered.
    :raises NotMet: it did not come about.
    """
    answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def heard(message: SignalMessage) -> None:
        if message.type is MessageType.ANSWER and not answer.done():
            answer.set_result(cast(dict[str, Any], message.payload))

    connection = HostileConnection()
    connection.createDataChannel("never opened")
    prepare(connection)
    await connection.setLocalDescription(await connection.createOffer())
    payload: dict[str, Any] = {
        "type": "data",
        "connectionId": f"hostile_{secrets.token_hex(8)}",
        "sdp": _description(connection, rewrite),
    }
    if metadata is not None:
        payload["metadata"] = metadata
    try:
        async with SignalingClient(signaling, on_message=heard) as client:
            await client.send(MessageType.OFFER, peer_id, payload)
            described = await asyncio.wait_for(answer, MEETING_TIMEOUT)
            sdp = RTCSessionDescription(described["sdp"]["sdp"], "answer")
            await connection.setRemoteDescription(sdp)
            return await _established(connection)
    except (TimeoutError, PeerfetchError) as error:
        await close_connection(connection)
        raise NotMet(repr(error)) from None
    except asyncio.CancelledError:
        await close_connection(connection)
        raise


class Device:
    """A device that keeps its id, and does to whoever comes what it is told at the time.

    Whoever comes meanwhile waits.
    """

    def __init__(self, signaling: str, peer_id: str) -> None:
        self._offers: asyncio.Queue[SignalMessage] = asyncio.Queue()
        self._client = SignalingClient(signaling, peer_id, on_message=self._heard)

    async def start(self) -> None:
        """Take the id. Raises SignalingError."""
        await self._client.start()

    async def close(self) -> None:
        """Give it up."""
        await self._client.close()

    def _heard(self, message: SignalMessage) -> None:
        if message.type is MessageType.OFFER:
            self._offers.put_nowait(message)

    async def serve(self, use: Callable[[RawAssociation], Awaitable[None]]) -> None:
        """Do ``use`` to whoever comes, until cancelled."""
        came: set[asyncio.Task[None]] = set()
        try:
            while True:
                came.add(asyncio.ensure_future(self._meet(await self._offers.get(), use)))
        finally:
            for task in came:
                task.cancel()
            await asyncio.gather(*came, return_exceptions=True)

    async def _meet(
        self, message: SignalMessage, use: Callable[[RawAssociation], Awaitable[None]]
    ) -> None:
        payload = cast(dict[str, Any], message.payload)
        connection = HostileConnection()
        await connection.setRemoteDescription(RTCSessionDescription(payload["sdp"]["sdp"], "offer"))
        connection.raw.offered = False
        await connection.setLocalDescription(await connection.createAnswer())
        about = {"type": "data", "connectionId": payload["connectionId"], "metadata": OURS}
        about["sdp"] = _description(connection, str)
        try:
            await self._client.send(MessageType.ANSWER, message.src, about)
            await use(await _established(connection))
        except (Ended, NotMet, PeerfetchError):
            pass
        finally:
            await close_connection(connection)
