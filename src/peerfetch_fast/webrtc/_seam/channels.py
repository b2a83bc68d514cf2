"""aiortc's SCTP transport and data channels over the native association."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import cast

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities, RTCSctpTransport
from aiortc.exceptions import InvalidStateError

from peerfetch_fast.webrtc._path import Path
from peerfetch_fast.webrtc._sctp.association import Association
from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.errors import TooManyChannels
from peerfetch_fast.webrtc._sctp.events import (
    BufferedAmountLow,
    ChannelClosed,
    ChannelClosing,
    ChannelOpen,
    Connected,
    Disconnected,
    Event,
)
from peerfetch_fast.webrtc._sctp.settings import (
    UNANNOUNCED_MESSAGE_SIZE,
    AssociationSettings,
    Congestion,
)
from peerfetch_fast.webrtc._seam.listeners import HeldChannel, SafeEmitter
from peerfetch_fast.webrtc._seam.native import NativeDtlsTransport

__all__ = ["NativeDataChannel", "NativeSctpTransport"]

logger = logging.getLogger(__name__)

Message = bytes | str


class NativeDataChannel(HeldChannel, RTCDataChannel):
    """A data channel with aiortc's interface.

    :ivar native: the association's channel; None before there is an association.
    """

    native: Channel | None = None
    _path: Path | None = None
    _threshold = 0
    _on_message: Callable[[Message], object] | None = None
    on_low: Callable[[], object] | None = None
    """Called in place of emitting ``bufferedamountlow``, which costs more than sending what there
    is room for."""

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
    def id(self) -> int | None:
        """The stream's number; None before there is one."""
        return super().id if self.native is None else self.native.id

    @property
    def bufferedAmount(self) -> int:
        """Bytes of messages that have not left yet."""
        return 0 if self.native is None else self.native.buffered_amount

    @property
    def held(self) -> int:
        """Bytes of memory that the association of this and all other channels holds."""
        if self._path is None or self._path.association is None:
            return 0
        return self._path.association.held

    @property
    def received(self) -> int:
        """A count that grows with every byte of a message on the association, whole or not."""
        if self._path is None or self._path.association is None:
            return 0
        receiver = self._path.association.receiver
        return receiver.copied + receiver.discarded

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

        :raises InvalidStateError: the channel is not open.
        :raises ValueError: neither bytes nor str, or longer than the peer takes.
        :raises BufferError: too much is waiting; ``bufferedamountlow`` says when to go on.
        """
        if self.readyState != "open" or self.native is None or self._path is None:
            raise InvalidStateError
        if not isinstance(data, (bytes, str)):
            raise ValueError(f"Cannot send unsupported data type: {type(data)}")
        self._path.send(self.native, data)

    def take_parts(self, splitter: object, on_parts: Callable[[bytes, bytes], object]) -> None:
        """As :meth:`Channel.take_parts`, for an open channel."""
        if self.native is None:
            raise InvalidStateError
        self.native.take_parts(splitter, on_parts)

    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        """Queue a message in two parts on an open channel, as :meth:`Channel.send_parts` does."""
        assert self.native is not None
        assert self._path is not None
        self._path.send_parts(self.native, head, body, start, length)

    def flush(self) -> None:
        """Let what was queued leave now rather than at the end of a turn of the loop."""
        if self._path is not None:
            self._path.flush()

    def low(self) -> None:
        """The buffered amount fell to the threshold."""
        if self.on_low is not None:
            self.on_low()
        else:
            self.emit("bufferedamountlow")

    def _listened(self) -> bool:
        return self._on_message is not None or super()._listened()

    def _divert(self) -> None:
        if self.native is not None:
            self.native.on_message = self.on_message if self._unheard is None else self._keep

    def _hand(self, message: Message) -> None:
        self.on_message(message)

    def _bind(self, path: Path, native: Channel) -> None:
        self._path = path
        self.native = native
        native.on_message = self.on_message
        native.buffered_amount_low_threshold = self._threshold


class NativeSctpTransport(SafeEmitter, RTCSctpTransport):
    """SCTP on the native path, with aiortc's interface.

    :param max_channels: data channels open at once.
    :param max_label: bytes of the label and of the protocol of a channel that the peer opens.
    :param max_message_size: bytes of the longest message that is taken, whatever is announced; a
        longer one ends the connection, or with ``cut_messages`` is delivered up to there. Both are
        read when the transport starts.
    """

    def __init__(
        self,
        transport: NativeDtlsTransport,
        congestion: Congestion,
        *,
        max_channels: int,
        max_label: int,
        max_message_size: int,
    ) -> None:
        super().__init__(transport)
        self._congestion: Congestion = congestion
        self._max_channels = max_channels
        self._max_label = max_label
        self.max_message_size = max_message_size
        self.cut_messages = False
        self._association: Association | None = None
        self._phase = "new"
        self._unopened: list[NativeDataChannel] = []
        self._open: dict[Channel, NativeDataChannel] = {}

    @property
    def path(self) -> Path:
        return cast(NativeDtlsTransport, self.transport).path

    @property
    def state(self) -> str:
        """``new``, ``connecting``, ``connected`` or ``closed``."""
        return self._phase

    @property
    def maxChannels(self) -> int | None:
        """Data channels that can be open at once; None before the association is up."""
        return self._max_channels if self._phase == "connected" else None

    @classmethod
    def getCapabilities(cls) -> RTCSctpCapabilities:
        return RTCSctpCapabilities(maxMessageSize=AssociationSettings.max_message_size)

    async def start(self, remoteCaps: RTCSctpCapabilities | None, remotePort: int) -> None:
        if self._phase != "new":
            return
        self._phase = "connecting"
        path = self.path
        assert path.dtls is not None
        size = UNANNOUNCED_MESSAGE_SIZE if remoteCaps is None else remoteCaps.maxMessageSize
        self._association = Association(
            AssociationSettings(
                local_port=self.port,
                remote_port=remotePort,
                max_packet_size=path.dtls.max_plaintext,
                max_message_size=self.max_message_size,
                cut_messages=self.cut_messages,
                receive_window=max(AssociationSettings.receive_window, 2 * self.max_message_size),
                remote_max_message_size=min(size, 1 << 40),
                max_channels=self._max_channels,
                max_label=self._max_label,
                congestion=self._congestion,
            ),
            os.urandom(32),
            client=not self.is_server,
        )
        self._association.on_channel = self._channel_opened
        path.on_events = self._on_events
        unopened, self._unopened = self._unopened, []
        for channel in unopened:
            try:
                self._open_channel(channel)
            except TooManyChannels:
                channel._setReadyState("closed")
        path.start_sctp(self._association)

    async def stop(self) -> None:
        if self._association is not None and self._phase != "closed":
            path = self.path
            self._association.abort("the peer connection was closed", path.now())
            path.flush()
        self._end()

    # -- what data channels ask for ----------------------------------------------------------------

    def _data_channel_open(self, channel: RTCDataChannel) -> None:
        if self._phase == "closed":
            raise InvalidStateError("the SCTP transport is closed")
        if self._association is None:
            self._unopened.append(cast(NativeDataChannel, channel))
        else:
            self._open_channel(cast(NativeDataChannel, channel))
            self.path.wake()

    def _data_channel_add_negotiated(self, channel: RTCDataChannel) -> None:
        if any(other.id == channel.id for other in [*self._unopened, *self._open.values()]):
            raise ValueError(f"Data channel with ID {channel.id} already registered")
        self._data_channel_open(channel)

    def _data_channel_close(self, channel: RTCDataChannel) -> None:
        native = cast(NativeDataChannel, channel).native
        if channel.readyState in ("closing", "closed"):
            return
        channel._setReadyState("closing")
        if native is not None:
            native.close(self.path.now())
            self.path.wake()
        else:
            self._unopened.remove(cast(NativeDataChannel, channel))
            channel._setReadyState("closed")

    def _open_channel(self, channel: NativeDataChannel) -> None:
        assert self._association is not None
        lifetime = channel.maxPacketLifeTime
        native = self._association.open_channel(
            channel.label,
            channel.protocol,
            ordered=channel.ordered,
            max_retransmits=channel.maxRetransmits,
            max_lifetime=None if lifetime is None else lifetime / 1000,
            id=channel.id if channel.negotiated else None,
        )
        self._open[native] = channel
        channel._bind(self.path, native)

    # -- what the association tells ----------------------------------------------------------------

    def _channel_opened(self, native: Channel) -> None:
        lifetime = native.max_lifetime
        channel = NativeDataChannel(
            self,
            RTCDataChannelParameters(
                label=native.label,
                protocol=native.protocol,
                ordered=native.ordered,
                maxRetransmits=native.max_retransmits,
                maxPacketLifeTime=None if lifetime is None else round(lifetime * 1000),
                id=native.id,
            ),
            send_open=False,
        )
        self._open[native] = channel
        channel._bind(self.path, native)
        channel._setReadyState("open")
        self.emit("datachannel", channel)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            if type(event) is BufferedAmountLow:
                self._open[event.channel].low()
            elif isinstance(event, ChannelOpen):
                self._open[event.channel]._setReadyState("open")
            elif isinstance(event, ChannelClosing):
                self._open[event.channel]._setReadyState("closing")
            elif isinstance(event, ChannelClosed):
                self._open.pop(event.channel)._setReadyState("closed")
            elif isinstance(event, Connected):
                self._phase = "connected"
            elif isinstance(event, Disconnected):
                assert self._association is not None
                logger.debug("SCTP has ended: %s", self._association.error or "shut down")
                self._end()

    def _end(self) -> None:
        self._phase = "closed"
        for channel in [*self._unopened, *self._open.values()]:
            channel._setReadyState("closed")
        self._unopened.clear()
        self._open.clear()
        # As in aiortc: nothing more is emitted, and listeners hold on to much.
        self.remove_all_listeners()
