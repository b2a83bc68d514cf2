"""Whom datagrams are taken from: a peer that has shown in ICE that it is the one we speak to.

Anybody can send to an open port. OpenSSL ends a handshake for one forged alert, and each record
costs it work, so that nothing of a stranger may reach it.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MAX_DATAGRAM", "MAX_EARLY", "MAX_SOURCES", "Address", "Gate", "is_stun"]

Address = tuple[str, int]

MAX_DATAGRAM = 1_500
"""Bytes of the longest datagram that is taken: an Ethernet frame's. libsrtp's binding raises for
longer ones, and nobody's DTLS sends them (see ``_dtls.DATAGRAM_SIZE``)."""

MAX_EARLY = 16
"""Datagrams of signaled candidates that are kept until the first check comes."""

MAX_SOURCES = 16
"""Addresses of the peer that datagrams are taken from; of more, the oldest has to show itself
again, as consent checks do every few seconds."""


def is_stun(data: bytes) -> bool:
    """Whether ICE is to read it (RFC 7983 section 7)."""
    return data[:1] < b"\x04"


class Gate:
    """Passes on DTLS and RTP of addresses from which a check has come that the peer has signed.

    :param deliver: called with each datagram that is taken.
    :ivar rtp: whether media was agreed, and RTP and RTCP are taken.
    :ivar refused: datagrams that were not taken.
    """

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._sources: dict[Address, None] = {}
        self._candidates: set[Address] = set()
        self._early: list[tuple[Address, bytes]] = []
        self.rtp = False
        self.refused = 0

    def expect(self, address: Address) -> None:
        """The peer has named an address in signaling: what comes early from it is kept.

        The caller bounds how many there are.
        """
        if not self._sources:
            self._candidates.add(address)

    def admit(self, address: Address) -> bool:
        """A signed check has come from an address; False if it was known."""
        if address in self._sources:
            return False
        if len(self._sources) == MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        self._sources[address] = None
        early, self._early = self._early, []
        self._candidates.clear()
        for source, data in early:
            self.receive(data, source)
        return True

    def receive(self, data: bytes, address: Address) -> None:
        """Take, keep or refuse a datagram that is not STUN."""
        if not self._is_wanted(data):
            self.refused += 1
        elif address in self._sources:
            self._deliver(data)
        elif address in self._candidates and len(self._early) < MAX_EARLY:
            self._early.append((address, data))
        else:
            self.refused += 1

    def _is_wanted(self, data: bytes) -> bool:
        first = data[0] if 0 < len(data) <= MAX_DATAGRAM else 0
        return 20 <= first < 64 or (self.rtp and 128 <= first < 192)
