"""Admission of connections to a server: a bound for each address, and one in all. Sans-I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from peerfetch_fast.addresses import network_of
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.rooms import is_within

__all__ = ["Doorman"]

G = TypeVar("G", bound=Hashable)


class Doorman(Generic[G]):
    """Counts guests: connections, identified by any hashable object.

    When all places, or all of an address, are taken, a guest that has not sent a request yet gives
    way, so that idle connections keep nobody out. A guest that has sent one keeps its place.

    :param most: guests at once.
    :param most_each: guests of one address; of IPv6, of one /64 network.
    :param trusted: networks whose guests are not counted by address: those of reverse proxies,
    which connect for many clients.
    """

    def __init__(self, most: int, most_each: int, trusted: Sequence[str] = ()) -> None:
        self._most = most
        self._most_each = most_each
        self._trusted = trusted
        self._keys: dict[G, str | None] = {}
        self._counts: Counter[str] = Counter()
        # Silent guests in the order of arrival: all of them, and those of each address.
        self._silent: dict[G, None] = {}
        self._silent_of: dict[str, dict[G, None]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def refusal(self, address: str | None) -> Refusal | None:
        """The reason why ``address`` gets no more places; None if it gets one."""
        key = self.key(address)
        if key is not None and self._counts[key] >= self._most_each:
            return Refusal.TOO_MANY_OF_ADDRESS
        if len(self._keys) >= self._most:
            return Refusal.TOO_MANY_CONNECTIONS
        return None

    def enter(self, guest: G, address: str | None) -> None:
        """Admit ``guest`` until :meth:`leave`; it counts as silent until :meth:`spoken`."""
        key = self._keys[guest] = self.key(address)
        if key is not None:
            self._counts[key] += 1
            self._silent_of.setdefault(key, {})[guest] = None
        self._silent[guest] = None

    def spoken(self, guest: G) -> None:
        """Take note that ``guest`` has sent a whole request."""
        self._silent.pop(guest, None)
        key = self._keys.get(guest)
        silent = None if key is None else self._silent_of.get(key)
        if key is not None and silent is not None:
            silent.pop(guest, None)
            if not silent:
                del self._silent_of[key]

    def leave(self, guest: G) -> None:
        """Free the place of ``guest``. Idempotent."""
        self.spoken(guest)
        key = self._keys.pop(guest, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def longest_silent(self, refusal: Refusal, address: str | None) -> G | None:
        """The guest that has been silent for longest among those whose place ``address``, which was
        refused, could take.
        """
        if refusal is Refusal.TOO_MANY_CONNECTIONS:
            return next(iter(self._silent), None)
        key = self.key(address)
        return None if key is None else next(iter(self._silent_of.get(key, ())), None)

    def key(self, address: str | None) -> str | None:
        if address is None or is_within(address, self._trusted):
            return None
        return network_of(address)
