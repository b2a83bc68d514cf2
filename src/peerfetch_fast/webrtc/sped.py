"""DTLS within the checks of ICE, so that the two take place at once (draft-hancke-webrtc-sped).

Sans-I/O: what checks carry goes in and out. It hears only of checks that the peer has signed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

from peerfetch_fast.webrtc.ice.events import Address

__all__ = ["ACK", "DATA", "Sped"]

DATA = 0xC070
"""The STUN attribute that holds one datagram of the handshake."""

ACK = 0xC071
"""The attribute that holds the CRC-32s of received datagrams of the handshake."""

MAX_ACKS = 4
"""CRC-32s that are sent: of a DTLS 1.2 handshake as many as either side sends flights, twice."""

MAX_HEARD = 16
"""CRC-32s that are read of one attribute."""

MAX_CARRIED = 14_600
"""Bytes of flights that checks carry between two answers of the peer's, so that many pairs do not
make of a handshake a flood (RFC 8445 appendix B.1). Checks themselves go on."""


class Sped:
    """Hands a handshake's datagrams to checks and answers, and takes the peer's out of them.

    :param flight: returns the datagrams that DTLS has sent last.
    :param deliver: called with each datagram of the peer's.
    :ivar agreed: whether the peer has said that it takes part; None: it has not spoken.
    """

    def __init__(
        self, flight: Callable[[], Sequence[bytes]], deliver: Callable[[bytes], object]
    ) -> None:
        self.agreed: bool | None = None
        self._flight = flight
        self._deliver = deliver
        self._next = 0
        self._carried = 0
        self._unheard: list[bytes] = []
        self._sent: Sequence[bytes] = ()
        self._came: dict[int, None] = {}
        self._asked = False  # by the request that is being answered

    def pending(self) -> list[bytes]:
        """The datagrams of the last DTLS flight that the peer has not acknowledged."""
        flight = self._flight()
        if list(flight) != self._sent:
            self._sent, self._unheard = list(flight), list(flight)
        return self._unheard

    @property
    def received(self) -> int:
        """The number of received datagrams that we acknowledge, at most MAX_ACKS."""
        return len(self._came)

    def _hear(self, data: bytes) -> None:
        digest = zlib.crc32(data)
        if digest not in self._came:
            if len(self._came) == MAX_ACKS:
                del self._came[next(iter(self._came))]
            self._came[digest] = None

    # -- what the agent asks and tells ---------------------------------------------------------

    def outgoing(
        self, request: bool, base: int, address: Address, now: float
    ) -> Sequence[tuple[int, bytes]]:
        """See :class:`~peerfetch_fast.webrtc.ice.checks.Extension`."""
        asked, self._asked = self._asked, False
        # Before the peer has agreed to SPED it gets the attributes only if it sends them itself.
        if not self.agreed and (request or not asked):
            return ()
        attributes = [(ACK, struct.pack(f">{len(self._came)}I", *self._came))]
        pending = self.pending()
        if pending:
            self._next = (self._next + 1) % len(pending)
            datagram = pending[self._next - 1]
            if not request or self._carried + len(datagram) <= MAX_CARRIED:
                self._carried += len(datagram) if request else 0
                attributes.append((DATA, datagram))
        return attributes

    def incoming(
        self, attributes: Mapping[int, bytes], base: int, address: Address, now: float
    ) -> None:
        """See :class:`~peerfetch_fast.webrtc.ice.checks.Extension`."""
        data, acks = attributes.get(DATA), attributes.get(ACK)
        self._asked = data is not None or acks is not None
        self._carried = 0
        if acks:
            size = min(len(acks) // 4, MAX_HEARD)
            known = set(struct.unpack_from(f">{size}I", acks))
            self._unheard = [one for one in self.pending() if zlib.crc32(one) not in known]
        # Alerts and application data are no part of a handshake (RFC 7983 section 7).
        if data and data[0] in (20, 22):
            self._hear(data)
            self._deliver(data)
