"""Signaling by a PeerJS-compatible server: the seam's signals as PeerJS's messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.peerjs.client import SignalingClient, SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.signaling.peerjs.settings import SignalingClientSettings
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.webrtc.ice.servers import IceServer

__all__ = ["PeerJsSignaling", "from_message", "to_message"]

logger = logging.getLogger(__name__)

MAX_CONNECTION_ID = 128
"""Characters of the longest connection id."""

_OF_ALL = {MessageType.LEAVE: SignalKind.LEFT, MessageType.EXPIRE: SignalKind.ABSENT}


def to_message(signal: Signal) -> tuple[MessageType, dict[str, object]]:
    """PeerJS's message for a signal: its type and its payload (docs/protocol.md, section 1)."""
    payload: dict[str, object] = {"type": "data", "connectionId": signal.connection_id}
    if signal.kind is SignalKind.CANDIDATE:
        return MessageType.CANDIDATE, payload | {"candidate": signal.candidate} | dict(signal.about)
    if signal.kind is SignalKind.GONE:
        return MessageType.ANSWER, payload | {"gone": True}
    payload["sdp"] = {"type": signal.kind.value, "sdp": signal.sdp}
    if signal.protocol is not None:
        # By the protocol's name the other side sees that we are no old proxy.
        payload["metadata"] = {"protocol": signal.protocol}
    if signal.kind is SignalKind.ANSWER:
        return MessageType.ANSWER, payload | dict(signal.about)
    if signal.kind is not SignalKind.OFFER:
        raise SignalingError(f"a peer does not send {signal.kind.value!r} to another")
    if signal.restart:
        payload["restart"] = True
    else:
        payload |= {"label": signal.label, "reliable": True, "serialization": "raw"}
    return MessageType.OFFER, payload | dict(signal.about)


def from_message(message: SignalMessage) -> Signal | None:
    """The signal in another peer's message, which may hold anything; None if there is none."""
    kind = _OF_ALL.get(message.type)
    if kind is not None:
        return Signal(kind, message.src)
    payload = message.payload if isinstance(message.payload, dict) else {}
    connection_id = payload.get("connectionId")
    if not isinstance(connection_id, str) or not 0 < len(connection_id) <= MAX_CONNECTION_ID:
        logger.info("%s from %s without a connection id", message.type.value, message.src)
        return None
    if message.type is MessageType.CANDIDATE:
        candidate = payload.get("candidate")
        return Signal(SignalKind.CANDIDATE, message.src, connection_id, candidate=candidate)
    if message.type is MessageType.ANSWER and payload.get("gone") is True:
        return Signal(SignalKind.GONE, message.src, connection_id)
    kind = SignalKind.OFFER if message.type is MessageType.OFFER else SignalKind.ANSWER
    metadata = payload.get("metadata")
    protocol = metadata.get("protocol") if isinstance(metadata, dict) else None
    label = payload.get("label")
    return Signal(
        kind,
        message.src,
        connection_id,
        sdp=_sdp_of(payload, kind.value),
        protocol=protocol if isinstance(protocol, str) else None,
        label=label if isinstance(label, str) else None,
        restart=payload.get("restart") is True,
        about=payload,
    )


def _sdp_of(payload: dict[str, object], kind: str) -> str:
    description = payload.get("sdp")
    if not isinstance(description, dict) or description.get("type") != kind:
        return ""
    sdp = description.get("sdp")
    return sdp if isinstance(sdp, str) else ""


class PeerJsSignaling:
    """See :class:`~peerfetch_fast.signaling.seam.Signaling`, and :class:`.client.SignalingClient`
    for the parameters.
    """

    def __init__(
        self,
        url: str,
        peer_id: str | None = None,
        *,
        on_signal: Callable[[Signal], None],
        on_lost: Callable[[SignalingError], None] | None = None,
        token: str | None = None,
        pin: str | None = None,
        settings: SignalingClientSettings | None = None,
    ) -> None:
        self._url = url
        self._on_signal = on_signal
        self._on_lost = on_lost
        self._pin = pin
        self._settings = settings
        self.client = self._make(peer_id, token)
        """The client of the latest start."""
        self._started = False

    def _make(self, peer_id: str | None, token: str | None) -> SignalingClient:
        return SignalingClient(
            self._url,
            peer_id,
            token=token,
            on_message=self._on_message,
            on_closed=self._on_lost,
            pin=self._pin,
            settings=self._settings,
        )

    def _on_message(self, message: SignalMessage) -> None:
        signal = from_message(message)
        if signal is not None:
            self._on_signal(signal)

    @property
    def peer_id(self) -> str:
        return self.client.peer_id

    @property
    def token(self) -> str:
        return self.client.token

    @property
    def ice_servers(self) -> Sequence[IceServer]:
        return self.client.ice_servers

    async def start(self) -> None:
        if self._started:
            self.client = self._make(self.client.known_id, self.client.token)
        self._started = True
        await self.client.start()

    async def send(self, signal: Signal) -> None:
        kind, payload = to_message(signal)
        await self.client.send(kind, signal.peer_id, payload)

    async def peers(self) -> list[str]:
        from peerfetch_fast.signaling.peerjs.room import Room

        async with Room(self.client) as room:
            return [member for member in await room.members() if member != self.peer_id]

    async def be_found(self) -> None:
        from peerfetch_fast.signaling.peerjs.room import stay_in_room

        await stay_in_room(self.client)

    async def close(self) -> None:
        await self.client.close()
