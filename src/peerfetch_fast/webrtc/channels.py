"""Data channels on the native path, with the names that the standard gives them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Literal

from peerfetch_fast.errors import InvalidState
from peerfetch_fast.webrtc._path import DataPath
from peerfetch_fast.webrtc._sctp.association import Association
from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.errors import AssociationError, TooManyChannels
from peerfetch_fast.webrtc._sctp.events import (
    BufferedAmountLow,
    ChannelClosed,
    ChannelClosing,
    ChannelOpen,
    Connected,
    Disconnected,
    Event,
)
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings
from peerfetch_fast.webrtc.listeners import HeldChannel

__all__ = ["Channels", "DataChannel"]

logger = logging.getLogger(__name__)

Message = bytes | str
ReadyState = Literal["connecting", "open", "closing", "closed"]


class DataChannel(HeldChannel):
    """A data channel (WebRTC section 6.2). Emits ``open``, ``message``, ``closing``, ``close`` and
    ``bufferedamountlow``.

    :ivar native: the association's channel; None before there is an association.

    Raises ValueError if both limits on retransmission are given, or a negotiated channel has no id.
    """

    native: Channel | None = None
    invalid_state: type[InvalidState] = InvalidState
    """The error of a call that needs another state."""

    on_low: Callable[[], object] | None = None
    """Called in place of emitting ``bufferedamountlow``, which costs more than sending what there
    is room for."""

    def __init__(
        self,
        channels: Channels,
        label: str,
        *,
        ordered: bool = True,
        maxPacketLifeTime: int | None = None,
        maxRetransmits: int | None = None,
        protocol: str = "",
        negotiated: bool = False,
        id: int | None = None,
    ) -> None:
        super().__init__()
        if maxPacketLifeTime is not None and maxRetransmits is not None:
            raise ValueError("Cannot specify both maxPacketLifeTime and maxRetransmits")
        if negotiated and (id is None or not 0 <= id < 65_535):
            raise ValueError("a negotiated data channel needs an ID from 0 to 65534")
        self._channels = channels
        self.label = label
        self.ordered = ordered
        self.maxPacketLifeTime = maxPacketLifeTime
        self.maxRetransmits = maxRetransmits
        self.protocol = protocol
        self.negotiated = negotiated
        self._id = id
        self._state: ReadyState = "connecting"
        self._threshold = 0
        self._on_message: Callable[[Message], object] | None = None

    def __repr__(self) -> str:
        return f"<DataChannel {self.label!r} {self._state}>"

    @property
    def readyState(self) -> ReadyState:
        """``connecting``, ``open``, ``closing`` or ``closed``."""
        return self._state

    @property
    def id(self) -> int | None:
        """The stream's number; None before there is one."""
        return self._id if self.native is None else self.native.id

    @property
    def on_message(self) -> Callable[[Message], object]:
        """Called with each message. By default emits ``message``; setting it saves that, for
        whoever wants one call a message and nothing else."""
        return self._on_message or partial(self.emit, "message")

    @on_message.setter
    def on_message(self, callback: Callable[[Message], object]) -> None:
        self._on_message = callback
        if self._unheard is not None:
            self._heard()
        elif self.native is not None:
            self.native.on_message = callback

    @property
    def bufferedAmount(self) -> int:
        """Bytes of messages that have not left yet."""
        return 0 if self.native is None else self.native.buffered_amount

    @property
    def held(self) -> int:
        """Bytes of memory that the association of this and all other channels holds."""
        association = self._channels.association
        return 0 if association is None else association.held

    @property
    def received(self) -> int:
        """A count that grows with every byte of a message on the association, whole or not."""
        association = self._channels.association
        return 0 if association is None else association.receiver.copied

    @property
    def bufferedAmountLowThreshold(self) -> int:
        """Bytes: ``bufferedamountlow`` is emitted when the buffered amount falls to this."""
        return self._threshold

    @bufferedAmountLowThreshold.setter
    def bufferedAmountLowThreshold(self, value: int) -> None:
        if not 0 <= value < 2**32:
            raise ValueError("bufferedAmountLowThreshold must be in range 0 - 4294967295")
        self._threshold = value
        if self.native is not None:
            self.native.buffered_amount_low_threshold = value

    def send(self, data: Message) -> None:
        """Queue one message.

        Raises InvalidState if the channel is not open; ValueError if the message is neither
        bytes nor str, or longer than the peer takes; BufferError if too much is waiting:
        ``bufferedamountlow`` says when to go on.
        """
        if self._state != "open":
            raise self.invalid_state(f"the data channel is {self._state}, not open")
        if not isinstance(data, (bytes, str)):
            raise ValueError(f"cannot send {type(data)}: only bytes and str")
        self.put(data)

    def put(self, data: Message) -> None:
        """Queue one message, without effect unless the channel is open. Otherwise as :meth:`send`,
        for a link: what was written when the channel closed is lost anyway.
        """
        if self._state == "open" and self.native is not None:
            self._channels.wire.send(self.native, data)

    def put_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        """The same of a message in two parts (:meth:`Channel.send_parts`)."""
        if self._state == "open" and self.native is not None:
            self._channels.wire.send_parts(self.native, head, body, start, length)

    def flush(self) -> None:
        """Have what was sent leave now, and not with the turn."""
        if self._channels.association is not None:
            self._channels.wire.flush()

    def take_parts(self, splitter: object, on_parts: Callable[[bytes, bytes], object]) -> None:
        """As :meth:`Channel.take_parts`. Raises InvalidState for one that was never open."""
        if self.native is None:
            raise self.invalid_state("the data channel was not opened yet")
        self.native.take_parts(splitter, on_parts)

    def close(self) -> None:
        """Close it, after what was sent. Idempotent."""
        self._channels.close(self)

    def _low(self) -> None:
        if self.on_low is not None:
            self.on_low()
        else:
            self.emit("bufferedamountlow")

    def _set_state(self, state: ReadyState) -> None:
        if state != self._state:
            self._state = state
            self.emit({"closed": "close"}.get(state, state))
            if state == "closed":
                self.remove_all_listeners()  # they hold on to much

    def _listened(self) -> bool:
        return self._on_message is not None or super()._listened()

    def _divert(self) -> None:
        if self.native is not None:
            self.native.on_message = self.on_message if self._unheard is None else self._keep

    def _hand(self, message: Message) -> None:
        self.on_message(message)

    def _bind(self, native: Channel) -> None:
        self.native = native
        native.on_message = self.on_message
        native.buffered_amount_low_threshold = self._threshold


class Channels:
    """The data channels of one connection: those that wait for an association, and those on it.

    :param on_channel: called with each channel that the peer opens.
    :param on_ended: called once when the association has ended, with why, or None.
    :param kind: the class of channels that the peer opens.
    """

    def __init__(
        self,
        *,
        on_channel: Callable[[DataChannel], object],
        on_ended: Callable[[AssociationError | None], object],
        kind: type[DataChannel] = DataChannel,
    ) -> None:
        self.association: Association | None = None
        self.connected = False
        self._path: DataPath | None = None
        self._on_channel = on_channel
        self._on_ended = on_ended
        self._kind = kind
        self._ended = False
        self._unopened: list[DataChannel] = []
        self._open: dict[Channel, DataChannel] = {}

    @property
    def wire(self) -> DataPath:
        """The path that the association is on, once it has begun."""
        assert self._path is not None
        return self._path

    def start(
        self,
        path: DataPath,
        settings: AssociationSettings,
        *,
        client: bool,
        seed: bytes | None = None,
        peer_init: bytes | None = None,
    ) -> None:
        """Begin the association on ``path``, whose DTLS must be connected. Later calls have no
        effect.

        :param client: and ``seed``, ``peer_init``: as of ``Association``; a new seed by default.
        """
        if self.association is not None or self._ended:
            return
        association = Association(
            settings, seed or os.urandom(32), client=client, peer_init=peer_init
        )
        self._path = path
        self.association = association
        association.on_channel = self._opened
        path.on_events = self._on_events
        unopened, self._unopened = self._unopened, []
        for channel in unopened:
            try:
                self._open_on(association, channel)
            except TooManyChannels:
                logger.warning("%r is one too many", channel)
                channel._set_state("closed")
        path.start_sctp(association)

    def open(self, channel: DataChannel) -> None:
        """Open a channel of ours, once there is an association.

        Raises InvalidState if it has ended, ValueError if the number is taken, TooManyChannels
        if no stream is free.
        """
        if self._ended:
            raise self._kind.invalid_state("the connection is closed")
        others = [*self._unopened, *self._open.values()]
        if channel.negotiated and any(other.id == channel.id for other in others):
            raise ValueError(f"a data channel with the id {channel.id} is already registered")
        if self.association is None:
            self._unopened.append(channel)
        else:
            self._open_on(self.association, channel)
            self.wire.wake()

    def close(self, channel: DataChannel) -> None:
        """See :meth:`DataChannel.close`."""
        if channel.readyState in ("closing", "closed"):
            return
        channel._set_state("closing")
        if channel.native is not None:
            channel.native.close(self.wire.now())
            self.wire.wake()
        else:
            self._unopened.remove(channel)
            channel._set_state("closed")

    def stop(self, reason: str) -> None:
        """End the association; the peer is told why."""
        if self.association is not None and not self._ended:
            self.association.abort(reason, self.wire.now())
            self.wire.flush()
        self._end(None)

    def _open_on(self, association: Association, channel: DataChannel) -> None:
        lifetime = channel.maxPacketLifeTime
        native = association.open_channel(
            channel.label,
            channel.protocol,
            ordered=channel.ordered,
            max_retransmits=channel.maxRetransmits,
            max_lifetime=None if lifetime is None else lifetime / 1000,
            id=channel.id if channel.negotiated else None,
        )
        self._open[native] = channel
        channel._bind(native)

    # -- what the association tells ----------------------------------------------------------------

    def _opened(self, native: Channel) -> None:
        lifetime = native.max_lifetime
        channel = self._kind(
            self,
            native.label,
            ordered=native.ordered,
            maxPacketLifeTime=None if lifetime is None else round(lifetime * 1000),
            maxRetransmits=native.max_retransmits,
            protocol=native.protocol,
            id=native.id,
        )
        channel._state = "open"
        self._open[native] = channel
        channel._bind(native)
        self._on_channel(channel)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if type(event) is BufferedAmountLow:
                self._open[event.channel]._low()
            elif isinstance(event, ChannelOpen):
                self._open[event.channel]._set_state("open")
            elif isinstance(event, ChannelClosing):
                self._open[event.channel]._set_state("closing")
            elif isinstance(event, ChannelClosed):
                self._open.pop(event.channel)._set_state("closed")
            elif isinstance(event, Connected):
                self.connected = True
            elif isinstance(event, Disconnected):
                assert self.association is not None
                self._end(self.association.error)

    def _end(self, error: AssociationError | None) -> None:
        if self._ended:
            return
        self._ended = True
        for channel in [*self._unopened, *self._open.values()]:
            channel._set_state("closed")
        self._unopened.clear()
        self._open.clear()
        self._on_ended(error)
