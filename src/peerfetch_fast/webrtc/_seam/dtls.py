"""aiortc's DTLS transport, whose reader no datagram ends."""

from __future__ import annotations

import logging
from typing import Any, cast

from aiortc.rtcdtlstransport import RTCDtlsTransport
from OpenSSL import SSL

from peerfetch_fast.webrtc._seam.ice import TricklingConnection

__all__ = ["GatedDtlsTransport"]

logger = logging.getLogger(__name__)


class GatedDtlsTransport(RTCDtlsTransport):
    """Takes RTP once media was agreed, and drops what cannot be read."""

    async def _recv_next(self) -> None:
        before = self._datagrams_read
        try:
            await super()._recv_next()
        except ConnectionError:
            raise
        except SSL.Error as exc:
            # Of all that OpenSSL can say, aiortc lets through only that the peer fell silent.
            raise ConnectionError(f"the DTLS handshake got no answer: {exc}") from exc
        except Exception as exc:
            # The peer has chosen these bytes. libsrtp's binding, and aiortc's parsers of RTP and
            # SCTP, raise whatever they happen to raise.
            if self._datagrams_read == before:
                raise  # it is of no datagram, and would come again at once
            logger.debug("%s dropped a datagram: %r", self, exc)

    @property
    def _datagrams_read(self) -> int:
        return cast(int, getattr(self, "_RTCDtlsTransport__rx_packets"))  # noqa: B009

    def _register_rtp_receiver(self, receiver: Any, parameters: Any) -> None:
        super()._register_rtp_receiver(receiver, parameters)
        self._expect_rtp()

    def _register_rtp_sender(self, sender: Any, parameters: Any) -> None:
        super()._register_rtp_sender(sender, parameters)
        self._expect_rtp()

    def _expect_rtp(self) -> None:
        cast(TricklingConnection, self.transport._connection).expect_rtp()
