"""A peer that others reach through a PeerJS server, with peerjs-python's interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import IdTaken, PeerfetchError, PeerUnavailable, SignalingError
from peerfetch_fast.peerjs.binarypack import MAX_CHUNKED
from peerfetch_fast.peerjs.dataconnection import DataConnection
from peerfetch_fast.peerjs.enums import (
    ConnectionType,
    PeerErrorType,
    PeerEventType,
    SerializationType,
)
from peerfetch_fast.peerjs.mediaconnection import MediaConnection
from peerfetch_fast.peerjs.util import Configuration, util
from peerfetch_fast.signaling.peerjs.client import ClientState, SignalingClient
from peerfetch_fast.signaling.peerjs.service import PeerJsSignaling
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_KEY, SignalingClientSettings
from peerfetch_fast.signaling.seam import Signal
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc.listeners import SafeEmitter

__all__ = [
    "PEER_DEFAULT_KEY",
    "DataConnection",
    "MediaConnection",
    "Peer",
    "PeerConnectOption",
    "PeerError",
    "PeerOptions",
]

PEER_DEFAULT_KEY = DEFAULT_KEY

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
"""Connections at once, those in the making included; further offers are ignored."""


class PeerError(PeerfetchError, RuntimeError):
    """The argument of a peer's event ``Error``.

    :ivar type: a :class:`~peerfetch_fast.peerjs.enums.PeerErrorType`.
    """

    def __init__(self, type: PeerErrorType, message: str) -> None:
        super().__init__(message)
        self.type = type


def unspoken(peer_id: str, serialization: object) -> PeerError:
    """The error for a serialization that is not one of ours."""
    return PeerError(
        PeerErrorType.WebRTC,
        f"the connection with {peer_id} would be serialized as {str(serialization)[:40]!r}, "
        f"which is not spoken here: use one of {', '.join(SerializationType)}",
    )


@dataclass
class PeerConnectOption:
    """The options of a connection."""

    label: str | None = None
    metadata: Any = None
    serialization: str | None = None
    reliable: bool | None = None


@dataclass
class PeerOptions:
    """The server of a peer, and its options. ``pingInterval`` is in seconds."""

    host: str = util.CLOUD_HOST
    port: int = util.CLOUD_PORT
    path: str = "/"
    key: str = DEFAULT_KEY
    token: str | None = None
    config: Configuration | None = field(default_factory=lambda: util.defaultConfig)
    secure: bool = False
    pingInterval: float = 5


class Peer(SafeEmitter):
    """A peer. Emits ``Open`` with its id, ``Connection`` with each connection that others make,
    ``Call`` with each call of others, ``Disconnected`` with its id when the server is lost,
    ``Close`` when destroyed, and ``Error``.

    :param id: None for one that the server gives.
    """

    def __init__(self, id: str | None = None, peer_options: PeerOptions | None = None) -> None:
        super().__init__()
        self.options = peer_options or PeerOptions()
        self.options.token = self.options.token or util.randomToken()
        # Programs written for peerjs-python set these two.
        self._id = id
        self._lastServerId: str | None = None
        self._destroyed = False
        self._disconnected = False
        self._open = False
        self._client: SignalingClient | None = None
        self._switchboard = Switchboard(self._on_offer)
        self._connections: set[DataConnection | MediaConnection] = set()
        self._chunk_budget = Budget(MAX_CHUNKED)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Peer {self._id}>"

    @property
    def id(self) -> str | None:
        """The id by which others connect; None before the server gave one."""
        return self._id

    @property
    def open(self) -> bool:
        """Whether the server is connected."""
        return self._open

    @property
    def disconnected(self) -> bool:
        """Whether the server was lost or left; connections go on."""
        return self._disconnected

    @property
    def destroyed(self) -> bool:
        """Whether the peer was destroyed."""
        return self._destroyed

    @property
    def connections(self) -> dict[str, list[DataConnection | MediaConnection]]:
        """The connections that are open or being made, by the id of the other peer."""
        found: dict[str, list[DataConnection | MediaConnection]] = {}
        for connection in self._connections:
            found.setdefault(connection.peer, []).append(connection)
        return found

    def getConnection(
        self, peerId: str, connectionId: str
    ) -> DataConnection | MediaConnection | None:
        """One of :attr:`connections`; None if there is none of that id."""
        of_peer = self.connections.get(peerId, [])
        return next((one for one in of_peer if one.connectionId == connectionId), None)

    def emitError(self, type: PeerErrorType, err: str | Exception) -> None:
        """Emit ``Error``, with a ``type``."""
        self.emit(PeerEventType.Error, PeerError(type, str(err)))

    async def start(self) -> None:
        """Connect to the server; events tell how that ends."""
        if self._destroyed:
            raise PeerError(PeerErrorType.Disconnected, "the peer was destroyed: make a new one")
        options = self.options
        url = (
            f"{'wss' if options.secure else 'ws'}://{options.host}:{options.port}"
            f"/{options.path.strip('/')}?key={options.key}"
        )
        interval = float(options.pingInterval)
        try:
            if not util.validateId(self._id):
                raise PeerError(PeerErrorType.InvalidID, f"{self._id!r} cannot be a peer's id")
            settings = SignalingClientSettings(heartbeat_interval=interval, dead_after=3 * interval)
            signaling = PeerJsSignaling(
                url,
                self._id,
                token=options.token,
                on_signal=self._switchboard.take,
                settings=settings,
            )
            await signaling.start()
        except PeerError as error:
            await self._abort(error)
            return
        except IdTaken as error:
            await self._abort(PeerError(PeerErrorType.UnavailableID, str(error)))
            return
        except (SignalingError, ValueError) as error:
            await self._abort(PeerError(PeerErrorType.ServerError, str(error)))
            return
        self._switchboard.signaling = signaling
        self._client = client = signaling.client
        self._id = self._lastServerId = client.peer_id
        self._open, self._disconnected = True, False
        loop = asyncio.get_running_loop()
        self._watching = loop.create_task(self._watch(client))
        # Later, because programs add their listeners when this has returned.
        loop.call_soon(self.emit, PeerEventType.Open, self._id)

    async def _watch(self, client: SignalingClient) -> None:
        """Emit that the server is lost. The program reconnects, as with peerjs-python."""
        await client.wait_for(ClientState.RECONNECTING, ClientState.CLOSED)
        self._watching = None
        self.emit(PeerEventType.Error, PeerError(PeerErrorType.Network, "the server has been lost"))
        await self.disconnect()

    async def _abort(self, error: PeerError) -> None:
        self.emit(PeerEventType.Error, error)
        if self._lastServerId is None:
            await self.destroy()
        else:
            await self.disconnect()

    async def connect(
        self, peer: str, options: PeerConnectOption | dict[str, Any] | None = None
    ) -> DataConnection | None:
        """Begin a connection to another peer; its events tell how that ends.

        None, and an error is emitted, while the server is not connected.
        """
        if self._client is None:
            error = PeerError(
                PeerErrorType.Disconnected, "the server is not connected: reconnect first"
            )
            self.emit(PeerEventType.Error, error)
            return None
        found = PeerConnectOption(**options) if isinstance(options, dict) else options
        found = found or PeerConnectOption()
        if found.serialization not in (None, *SerializationType):
            raise unspoken(peer, found.serialization)
        connection = DataConnection(
            peer,
            self,
            label=found.label,
            metadata=found.metadata,
            serialization=found.serialization,
            reliable=found.reliable,
        )
        self._connections.add(connection)
        connection.start()
        return connection

    def call(
        self, peer: str, stream: Iterable[Any] = (), options: dict[str, Any] | None = None
    ) -> MediaConnection | None:
        """Call another peer, and send it these tracks (aiortc's); its events tell how that ends.

        None, and an error is emitted, while the server is not connected.

        :param options: ``metadata``, which the other side sees.
        """
        if self._client is None:
            error = PeerError(
                PeerErrorType.Disconnected, "the server is not connected: reconnect first"
            )
            self.emit(PeerEventType.Error, error)
            return None
        metadata = (options or {}).get("metadata")
        call = MediaConnection(peer, self, metadata=metadata, stream=stream)
        self._connections.add(call)
        call.start()
        return call

    async def reconnect(self) -> None:
        """Connect to the server again, by the same id."""
        if self._destroyed:
            raise PeerError(PeerErrorType.Disconnected, "the peer was destroyed: make a new one")
        if self._client is None:
            self._id = self._id or self._lastServerId
            await self.start()

    async def disconnect(self) -> None:
        """Leave the server; connections go on."""
        if self._disconnected:
            return
        self._open, self._disconnected = False, True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
            self._watching = None
        if self._client is not None:
            client, self._client = self._client, None
            self._switchboard.signaling = None
            await client.close()
        self.emit(PeerEventType.Disconnected, self._id)

    async def destroy(self) -> None:
        """Close all connections and leave the server for good."""
        if self._destroyed:
            return
        self._destroyed = True
        await self.disconnect()
        for connection in list(self._connections):
            await connection.close()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        self.emit(PeerEventType.Close)

    # -- connections -------------------------------------------------------------------------------

    @property
    def _configuration(self) -> Configuration | None:
        return self.options.config

    def _on_offer(self, offer: Signal) -> bool:
        payload = offer.about
        if payload.get("type") == ConnectionType.Media and len(self._connections) < MAX_CONNECTIONS:
            return self._on_call(offer)
        if payload.get("type") != ConnectionType.Data or len(self._connections) >= MAX_CONNECTIONS:
            logger.info("an offer of %s was ignored", offer.peer_id)
            return False
        label, kind = payload.get("label"), payload.get("serialization")
        if not isinstance(label, str | None):
            logger.info("an offer of %s is malformed", offer.peer_id)
            return False
        spoken = kind in tuple(SerializationType)
        connection = DataConnection(
            offer.peer_id,
            self,
            connectionId=offer.connection_id,
            label=label,
            serialization=str(kind) if spoken else None,
            reliable=bool(payload.get("reliable")),
            metadata=payload.get("metadata"),
            refused=not spoken,
        )
        self._connections.add(connection)
        connection.start(offer)
        if spoken:
            self.emit(PeerEventType.Connection, connection)
        else:
            # Answered and closed, which tells the other side; an offer that is ignored keeps it
            # waiting.
            self._connection_failed(connection, unspoken(offer.peer_id, kind))
        return True

    def _on_call(self, offer: Signal) -> bool:
        """Somebody calls. Where nobody listens for calls it is left unanswered, as PeerJS does."""
        if not self.listeners(PeerEventType.Call):
            return False
        call = MediaConnection(
            offer.peer_id,
            self,
            connectionId=offer.connection_id,
            metadata=offer.about.get("metadata"),
            offer=offer,
        )
        self._connections.add(call)
        self.emit(PeerEventType.Call, call)
        return True

    def _connection_failed(
        self, connection: DataConnection | MediaConnection, error: PeerfetchError
    ) -> None:
        if isinstance(error, PeerUnavailable):
            failure = PeerError(PeerErrorType.PeerUnavailable, str(error))
        else:
            failure = PeerError(PeerErrorType.WebRTC, str(error))
        self.emit(PeerEventType.Error, failure)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _forget(self, connection: DataConnection | MediaConnection) -> None:
        self._connections.discard(connection)
