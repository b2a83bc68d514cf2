"""The pairs of one run of ICE, and which of them is checked next (RFC 8445 section 6.1)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace

from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.credentials import Credentials
from peerfetch_fast.webrtc.ice.events import Address
from peerfetch_fast.webrtc.ice.pairs import Pair, PairState, pair_priority
from peerfetch_fast.webrtc.ice.settings import AgentSettings

__all__ = ["CheckList", "Family", "family_of", "reflexive"]

Family = tuple[int, bool]
"""The IP version, and whether an address is of the link only."""

_ACTIVE = (PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS)
_BUSY = (PairState.WAITING, PairState.IN_PROGRESS)


def family_of(host: str) -> Family | None:
    """The kind of address to pair one with (RFC 8445 section 6.1.2.2); None: it reaches nobody."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.is_multicast or address.is_unspecified:
        return None
    return address.version, address.version == 6 and address.is_link_local


class CheckList:
    """Remote candidates of one run, and their pairs, best first.

    :ivar pairs: by descending priority.
    :ivar triggered: pairs that are checked next, as the peer has checked them.
    :ivar early: checks that came before the peer's credentials: priority, USE-CANDIDATE, and the
        peer's fragment, by socket and address.
    """

    def __init__(self, credentials: Credentials, settings: AgentSettings) -> None:
        self.credentials = credentials
        self.remotes: dict[Address, Candidate] = {}
        self.hidden: set[Address] = set()
        self.pairs: list[Pair] = []
        self.triggered: dict[Pair, None] = {}
        self.early: dict[tuple[int, Address], tuple[int, bool, bytes]] = {}
        self._by_way: dict[tuple[int, Address], Pair] = {}
        self._settings = settings

    # -- candidates --------------------------------------------------------------------------

    def add_remote(self, candidate: Candidate, keep: Pair | None) -> list[Pair] | None:
        """Take up a candidate of the peer.

        :param keep: a pair that is not given up to make room.
        :returns: pairs that were given up to make room; None: the candidate was refused.
        """
        address = candidate.host, candidate.port
        known = self.remotes.get(address)
        if known is not None:
            return self._replace(address, candidate) if known.type == "prflx" else None
        gone: list[Pair] = []
        if len(self.remotes) >= self._settings.max_remote_candidates:
            oldest = self._oldest_learned(keep)
            if oldest is None:
                return None
            gone = self.remove(lambda pair: pair.address == oldest)
            del self.remotes[oldest]
        self.remotes[address] = candidate
        return gone

    def _replace(self, address: Address, candidate: Candidate) -> list[Pair]:
        """The peer signals what was learned from its checks (RFC 8838 section 11.4)."""
        self.remotes[address] = candidate
        for pair in self.pairs:
            if pair.address == address:
                pair.remote = candidate
                pair.foundation = pair.foundation[0], candidate.foundation
        return []

    def _oldest_learned(self, keep: Pair | None) -> Address | None:
        kept = None if keep is None else keep.address
        for address, candidate in self.remotes.items():
            if candidate.type == "prflx" and address != kept:
                return address
        return None

    def learn(self, address: Address, priority: int) -> Candidate:
        """The candidate that a check has come from (RFC 8445 section 7.3.1.3)."""
        known = self.remotes.get(address)
        if known is not None:
            return known
        host, port = address
        return Candidate(f"prflx{len(self.remotes)}", 1, "udp", priority, host, port, "prflx")

    # -- pairs -------------------------------------------------------------------------------

    def find(self, base: int, address: Address) -> Pair | None:
        """The pair of this socket and this address."""
        return self._by_way.get((base, address))

    def add_pair(
        self, base: int, local: Candidate, remote: Candidate, controlling: bool
    ) -> list[Pair]:
        """Pair a socket with a candidate of the peer, if there is room.

        :returns: pairs that were given up for it.
        """
        pair = Pair(base, local, remote, self.credentials, controlling)
        way = base, pair.address
        if way in self._by_way:
            return []
        gone: list[Pair] = []
        if len(self.pairs) >= self._settings.max_pairs:
            gone = self._make_room(pair)
            if not gone:
                return []
        # RFC 8838 section 12: checked soon, unless another of its kind is being checked.
        alike = {other.state for other in self.pairs if other.foundation == pair.foundation}
        if not alike.intersection(_BUSY):
            pair.state = PairState.WAITING
        self._by_way[way] = pair
        self.pairs.append(pair)
        self._sort()
        return gone

    def _make_room(self, pair: Pair) -> list[Pair]:
        """Give up a failed pair, or the worst, for a better one (RFC 8445 section 6.1.2.5)."""
        failed = [other for other in self.pairs if other.state is PairState.FAILED]
        waiting = [other for other in self.pairs if other.state in _ACTIVE and other.check is None]
        if failed:
            worst = failed[-1]
        elif waiting and waiting[-1].priority < pair.priority:
            worst = waiting[-1]
        else:
            return []
        return self.remove(lambda other: other is worst)

    def remove(self, unwanted: Callable[[Pair], bool]) -> list[Pair]:
        """Give up the pairs for which ``unwanted(pair)`` holds."""
        gone = [pair for pair in self.pairs if unwanted(pair)]
        for pair in gone:
            del self._by_way[pair.base, pair.address]
            self.triggered.pop(pair, None)
        self.pairs = [pair for pair in self.pairs if pair not in gone]
        return gone

    def exclude(self, address: Address) -> list[Pair]:
        """Forget an address of the peer; the pairs that there were of it."""
        self.remotes.pop(address, None)
        self.early = {way: found for way, found in self.early.items() if way[1] != address}
        return self.remove(lambda pair: pair.address == address)

    def switch(self, controlling: bool) -> None:
        """Our role is another, and with it all priorities."""
        for pair in self.pairs:
            pair.priority = pair_priority(pair.local.priority, pair.remote.priority, controlling)
            pair.nominated = pair.wanted = False
        self._sort()

    def _sort(self) -> None:
        self.pairs.sort(key=lambda pair: -pair.priority)

    # -- checks ------------------------------------------------------------------------------

    @property
    def active(self) -> int:
        """Pairs that have not come to an end."""
        return sum(pair.state in _ACTIVE for pair in self.pairs)

    @property
    def valid(self) -> list[Pair]:
        """Pairs of which a check was answered, best first."""
        return [pair for pair in self.pairs if pair.state is PairState.SUCCEEDED]

    def next_ordinary(self) -> Pair | None:
        """The pair to be checked when it is time for one (RFC 8445 section 6.1.4.2)."""
        for pair in self.pairs:
            if pair.state is PairState.WAITING and pair not in self.triggered:
                return pair
        busy = {pair.foundation for pair in self.pairs if pair.state in _BUSY}
        for pair in self.pairs:
            if pair.state is PairState.FROZEN and pair.foundation not in busy:
                return pair
        return None

    def unfreeze(self, foundation: tuple[str, str]) -> None:
        """One of this kind has succeeded, so that the others are worth a check."""
        for pair in self.pairs:
            if pair.state is PairState.FROZEN and pair.foundation == foundation:
                pair.state = PairState.WAITING

    def trigger(self, pair: Pair) -> None:
        """The peer has checked this pair: so do we, before others."""
        self.triggered[pair] = None


def reflexive(candidate: Candidate, mapped: Address) -> Candidate:
    """The local candidate that an answer has shown (RFC 8445 section 7.2.5.3.1)."""
    host, port = mapped
    return replace(
        candidate,
        type="prflx",
        host=host,
        port=port,
        related_address=candidate.host,
        related_port=candidate.port,
    )
