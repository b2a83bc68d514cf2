"""aiortc's SCTP transport over the native association."""

from __future__ import annotations

import logging
from typing import cast

from aiortc import RTCSctpCapabilities, RTCSctpTransport
from aiortc.exceptions import InvalidStateError

from peerfetch_fast.errors import InvalidState
from peerfetch_fast.webrtc._path import DataPath
from peerfetch_fast.webrtc._sctp.errors import AssociationError
from peerfetch_fast.webrtc._sctp.settings import (
    UNANNOUNCED_MESSAGE_SIZE,
    AssociationSettings,
    Congestion,
)
from peerfetch_fast.webrtc._seam.native import NativeDtlsTransport
from peerfetch_fast.webrtc.channels import Channels, DataChannel
from peerfetch_fast.webrtc.listeners import SafeEmitter

__all__ = ["NativeDataChannel", "NativeSctpTransport"]

logger = logging.getLogger(__name__)


class _InvalidState(InvalidState, InvalidStateError):
    """The error of a call in a wrong state, as aiortc's programs and our own catch it."""


class NativeDataChannel(DataChannel):
    """A data channel with what aiortc's has besides the standard's."""

    invalid_state = _InvalidState
    transport: NativeSctpTransport


class NativeSctpTransport(SafeEmitter, RTCSctpTransport):
    """SCTP on the native path, with aiortc's interface.

    :param max_channels: data channels open at once.
    :param max_label: bytes of the label and of the protocol of a channel that the peer opens.
    """

    def __init__(
        self,
        transport: NativeDtlsTransport,
        congestion: Congestion,
        *,
        max_channels: int,
        max_label: int,
    ) -> None:
        super().__init__(transport)
        self._congestion: Congestion = congestion
        self._max_channels = max_channels
        self._max_label = max_label
        self._phase = "new"
        self.channels = Channels(
            on_channel=self._on_channel, on_ended=self._on_ended, kind=NativeDataChannel
        )

    @property
    def path(self) -> DataPath:
        return cast(NativeDtlsTransport, self.transport).path

    @property
    def state(self) -> str:
        """``new``, ``connecting``, ``connected`` or ``closed``."""
        if self._phase == "connecting" and self.channels.connected:
            return "connected"
        return self._phase

    @property
    def maxChannels(self) -> int | None:
        """Data channels that can be open at once; None before the association is up."""
        return self._max_channels if self.state == "connected" else None

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
        self.channels.start(
            path,
            AssociationSettings(
                local_port=self.port,
                remote_port=remotePort,
                max_packet_size=path.dtls.max_plaintext,
                remote_max_message_size=min(size, 1 << 40),
                max_channels=self._max_channels,
                max_label=self._max_label,
                congestion=self._congestion,
            ),
            client=not self.is_server,
        )

    async def stop(self) -> None:
        self.channels.stop("the peer connection was closed")

    def open(self, channel: NativeDataChannel) -> NativeDataChannel:
        """Open a channel of ours. Raises as :meth:`Channels.open`."""
        channel.transport = self
        self.channels.open(channel)
        return channel

    def _on_channel(self, channel: DataChannel) -> None:
        cast(NativeDataChannel, channel).transport = self
        self.emit("datachannel", channel)

    def _on_ended(self, error: AssociationError | None) -> None:
        self._phase = "closed"
        logger.debug("SCTP has ended: %s", error or "shut down")
        # As in aiortc: nothing more is emitted, and listeners hold on to much.
        self.remove_all_listeners()
