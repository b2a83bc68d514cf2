"""A data connection between two peers, as PeerJS has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import orjson

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import MessageError, PeerfetchError
from peerfetch_fast.negotiation import (
    MAX_OLD_TAKEN,
    Connected,
    Negotiation,
    as_browsers_take,
    complete,
)
from peerfetch_fast.peerfetch1 import LABEL as OLD_LABEL
from peerfetch_fast.peerfetch1 import MAX_OLD_MESSAGE
from peerfetch_fast.peerjs.binarypack import Chunks, TooManyChunks, chunk, pack, unpack
from peerfetch_fast.peerjs.enums import ConnectionEventType, ConnectionType, SerializationType
from peerfetch_fast.peerjs.util import Configuration, util
from peerfetch_fast.signaling.seam import Signal
from peerfetch_fast.streams.link import Link
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc.listeners import SafeEmitter
from peerfetch_fast.webrtc.transports import Connection, ConnectionOptions, close_connection

__all__ = ["DataConnection", "Provider"]

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 30.0
"""Seconds that a connection may take to open."""

MAX_BUFFERED = 1024 * 1024
"""Bytes that wait to be sent, above which ``send`` waits."""

_AS_IT_IS = (SerializationType.Raw, SerializationType.Unserialized)

_CLOSE = {"__peerData": {"type": "close"}}
"""The message with which PeerJS closes, after all that it has sent before."""


def _octets(message: bytes | str) -> int:
    return len(message if isinstance(message, bytes) else message.encode())


def _stringify(value: Any) -> str:
    return orjson.dumps(value).decode()


def reads_text(payload: Mapping[str, object]) -> bool:
    """Whether the sender of this offer or answer reads JSON as text. Only PeerJS before 1.5 and
    peerjs-python do, and only they name their browser."""
    return bool(payload.get("browser"))


class _Negotiation(Negotiation):
    """A negotiation of a channel as PeerJS has it."""

    about: dict[str, object]
    restartable = False  # PeerJS closes a connection that is offered again
    reads_text = False
    """See :func:`reads_text`, of the answer."""

    def open_channel(self, offer: Signal) -> Signal:
        """See :class:`Negotiation`."""
        ordered = bool(self.about["reliable"])
        channel = self.connection.createDataChannel(str(self.about["label"]), ordered=ordered)
        self.watch(channel, old=True)
        return replace(offer, about=self.about)

    def about_answer(self, answer: Signal) -> Signal:
        """Add nothing: this side presents itself as PeerJS."""
        return answer

    def take_answer(self, answer: Signal) -> None:
        """Accept any answer."""
        self.reads_text = reads_text(answer.about)

    def take_channel(self, channel: Any) -> bool:
        """Accept any channel: the offer has named its purpose."""
        self.watch(channel, old=True)
        return True


class Provider(Protocol):
    """The parts of a peer that its connections use. They are for this package alone."""

    @property
    def _configuration(self) -> Configuration | None: ...

    @property
    def _switchboard(self) -> Switchboard: ...

    @property
    def _chunk_budget(self) -> Budget: ...

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` as a task that the peer waits for when it is destroyed."""

    def _connection_failed(self, connection: DataConnection, error: PeerfetchError) -> None:
        """Tell the program of a connection that did not come about."""

    def _forget(self, connection: DataConnection) -> None:
        """Keep ``connection`` no longer: it has ended."""


class DataConnection(SafeEmitter):
    """Emits ``Open``, ``Data`` with each value, ``Close`` and ``Error``; made by a Peer."""

    type = ConnectionType.Data
    ID_PREFIX = "dc_"
    MAX_BUFFERED_AMOUNT = MAX_BUFFERED

    def __init__(
        self,
        peer: str,
        provider: Provider,
        *,
        connectionId: str | None = None,
        label: str | None = None,
        serialization: str | None = None,
        reliable: bool | None = None,
        metadata: Any = None,
        refused: bool = False,
    ) -> None:
        super().__init__()
        self.peer = peer
        """The id of the other peer."""
        self.provider = provider
        self.peerId = peer
        self.connectionId = connectionId or f"{self.ID_PREFIX}{util.randomToken()}"
        self.label = label or self.connectionId
        self.serialization = SerializationType(serialization or SerializationType.Binary)
        self.reliable = bool(reliable)
        self.metadata = metadata
        self.options = {
            "connectionId": self.connectionId,
            "label": self.label,
            "serialization": self.serialization,
            "reliable": self.reliable,
            "metadata": metadata,
        }
        self.peerConnection: Connection | None = None
        """The connection below; None before it is started."""
        self.stringify: Callable[[Any], str] = _stringify
        """The JSON encoder; programs may replace it."""
        self.parse: Callable[[str | bytes], Any] = orjson.loads
        """The JSON decoder."""
        self._open = False
        self._closed = False
        self._text_json = False
        self._refused = refused
        self._handed_over = False
        self._chunks = Chunks(provider._chunk_budget)
        self._chunked = 0
        self._connected: Connected | None = None
        self._room = asyncio.Event()
        self._sending = asyncio.Lock()
        self._unsent = 0
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<DataConnection {self.label!r} with {self.peer}>"

    @property
    def open(self) -> bool:
        """Whether it is open now."""
        return self._open

    @property
    def dataChannel(self) -> Any:
        """The channel; None before it is open."""
        return None if self._connected is None else self._connected.link.channel

    def bufferSize(self) -> int:
        """The number of values that wait in :meth:`send` for a slow other side."""
        return self._unsent

    # -- coming about ------------------------------------------------------------------------------

    def start(self, offer: Signal | None = None) -> None:
        """Offer the connection, or take an offer; events tell what becomes of it."""
        self._task = asyncio.get_running_loop().create_task(self._run(offer))
        if offer is not None:
            # A task that is cancelled before it begins does not forget the offer itself.
            self._task.add_done_callback(lambda _: self.provider._switchboard.forget(offer))

    async def _run(self, offer: Signal | None) -> None:
        config = self.provider._configuration
        negotiation = _Negotiation(
            self.provider._switchboard,
            self.peer,
            self.connectionId,
            ConnectionOptions((config.iceServers if config is not None else None) or ()),
        )
        negotiation.about = {
            "label": self.label,
            "reliable": self.reliable,
            "serialization": self.serialization.value,
            "metadata": self.metadata,
        }
        self.peerConnection = negotiation.connection
        if self._of_old_proxy:
            negotiation.connection.take_messages(MAX_OLD_TAKEN)
        begin = (
            negotiation.offer if offer is None else partial(negotiation.answer, self._sdp(offer))
        )
        try:
            self._connected = await complete(negotiation, begin, self.peer, CONNECT_TIMEOUT)
        except PeerfetchError as error:
            self.provider._connection_failed(self, error)
            self.emit(ConnectionEventType.Error, error)
            await self._end()
            return
        if self._refused:
            await self._end()
            return
        self._text_json = negotiation.reads_text or (offer is not None and reads_text(offer.about))
        link = self._connected.link
        link.low_water = MAX_BUFFERED // 2
        self._open = True
        self.emit(ConnectionEventType.Open)
        # One turn of the loop later, because listeners of Open may be coroutines that add one of
        # Data.
        await asyncio.sleep(0)
        if not self._handed_over:
            link.attach(self)

    def hand_over(self) -> Link:
        """The channel below, for a listener of Open that reads it in the place of this connection.

        This object emits no more data, and the listener has to close the connection.
        """
        assert self._connected is not None
        self._handed_over = True
        return self._connected.link

    @property
    def _of_old_proxy(self) -> bool:
        """Whether it carries bodies in one message each, as old devices send them."""
        return self.label == OLD_LABEL

    def _sdp(self, offer: Signal) -> str:
        return as_browsers_take(offer.sdp) if self._of_old_proxy else offer.sdp

    # -- what the channel tells --------------------------------------------------------------------

    def message_received(self, message: bytes | str) -> None:
        """One message of the other side."""
        if self._closed:
            return
        try:
            value = self._decode(message)
        except MessageError as error:
            self.emit(ConnectionEventType.Error, MessageError(f"{self.peer} sent {error}"))
            if isinstance(error, TooManyChunks):
                self._start_closing()
            return
        if value == _CLOSE and self.serialization not in _AS_IT_IS:
            self._start_closing()
        elif value is not self._chunks:
            self.emit(ConnectionEventType.Data, value)

    def _decode(self, message: bytes | str) -> Any:
        """The value; ``self._chunks`` where there is none yet."""
        if 4 * len(message) > MAX_OLD_MESSAGE and _octets(message) > MAX_OLD_MESSAGE:
            raise MessageError(f"a message of more than {MAX_OLD_MESSAGE} bytes")
        if self.serialization in _AS_IT_IS:
            return message
        if self.serialization is SerializationType.JSON:
            self._text_json = isinstance(message, str)
            try:
                return self.parse(message)
            except ValueError as error:
                raise MessageError(f"what is no JSON: {error}") from None
        if isinstance(message, str):
            raise MessageError("text where packed values are expected")
        value = unpack(message)
        if isinstance(value, dict) and "__peerData" in value and value != _CLOSE:
            whole = self._chunks.add(value)
            return self._chunks if whole is None else unpack(whole)
        return value

    def parts_received(self, head: bytes, body: bytes) -> None:
        """Never called: connections of PeerJS have no frames."""
        raise AssertionError("a connection of PeerJS holds no frames")

    def buffered_low(self) -> None:
        """There is room to send again."""
        self._room.set()

    def link_closed(self, error: Exception | None) -> None:
        """The other side closed the connection, or it was lost."""
        if error is not None and self._open:
            self.emit(ConnectionEventType.Error, error)
        self._start_closing()

    # -- what the program asks for -----------------------------------------------------------------

    async def send(self, data: Any) -> None:
        """Send a value, waiting while the other side is slow.

        Emits an error, and sends nothing, for what cannot be sent.
        """
        self._unsent += 1
        try:
            await self._send(data)
        finally:
            self._unsent -= 1

    async def _send(self, data: Any) -> None:
        async with self._sending:
            try:
                messages = self._encode(data)
            except (ValueError, TypeError) as error:
                self.emit(ConnectionEventType.Error, error)
                return
            for message in messages:
                while self._connected is not None and self._open:
                    link = self._connected.link
                    if link.buffered_amount <= MAX_BUFFERED:
                        link.send(message)
                        break
                    self._room.clear()
                    await self._room.wait()

    def _encode(self, data: Any) -> list[bytes | str]:
        if not self._open or self._connected is None:
            raise ValueError("the connection is not open: wait for its event Open")
        most = self._connected.link.max_message_size
        message: bytes | str
        if self.serialization in _AS_IT_IS:
            if not isinstance(data, (str, bytes)):
                raise TypeError(f"a raw connection sends str and bytes, not {type(data).__name__}")
            message = data
        elif self.serialization is SerializationType.JSON:
            # PeerJS writes JSON as bytes since 1.5. Before, it wrote text, as peerjs-python does.
            # Each reads only its own form, which the description or the last value has shown.
            text = self.stringify(data)
            message = text if self._text_json else text.encode()
        else:
            packed = pack(data)
            if len(packed) > util.chunkedMTU:
                self._chunked += 1
                return [*chunk(packed, self._chunked, util.chunkedMTU)]
            message = packed
        size = len(message.encode() if isinstance(message, str) else message)
        if size > most:
            raise ValueError(f"{size} bytes are too many: {self.peer} takes {most} at once")
        return [message]

    async def close(self) -> None:
        """Close the connection. Idempotent."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._end()

    def _start_closing(self) -> None:
        if not self._closed:
            self.provider._start(self._end())

    async def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        was_open, self._open = self._open, False
        self._room.set()
        self._chunks.clear()
        self.provider._forget(self)
        if self._connected is not None:
            await close_connection(self._connected.connection)
        if was_open:
            self.emit(ConnectionEventType.Close)
