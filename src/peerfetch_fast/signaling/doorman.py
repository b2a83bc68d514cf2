"""Whom a server lets in: so many connections of one address, and so many in all. Sans-I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from peerfetch_fast.addresses import network_of
from peerfetch_fast.signaling.refusals import Refusal
from peerfetch_fast.signaling.rooms import is_within

__all__ = ["Doorman"]

G = TypeVar("G", bound=Hashable)


class Doorman(Generic[G]):
    """Counts guests: connections, known by any hashable object.

    A guest who has said nothing yet gives way when all places are taken, or all of its address, so
    that silence keeps nobody out; one who has begun to speak does not.

    :param most: guests at once.
    :param most_each: guests of one address; of IPv6, of one /64 network.
    :param trusted: networks whose guests are not counted by address: reverse proxies, which bring
        those of many.
    """

    def __init__(self, most: int, most_each: int, trusted: Sequence[str] = ()) -> None:
        self._most = most
        self._most_each = most_each
        self._trusted = trusted
        self._keys: dict[G, str | None] = {}
        self._counts: Counter[str] = Counter()
        # The one who came first is first; of all, and of each address.
        self._silent: dict[G, None] = {}
        self._silent_of: dict[str, dict[G, None]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def refusal(self, address: str | None) -> Refusal | None:
        """Why nobody more is let in from ``address``; None if somebody is."""
        key = self._key(address)
        if key is not None and self._counts[key] >= self._most_each:
            return Refusal.TOO_MANY_OF_ADDRESS
        if len(self._keys) >= self._most:
            return Refusal.TOO_MANY_CONNECTIONS
        return None

    def enter(self, guest: G, address: str | None) -> None:
        """``guest`` is in, until :meth:`leave`, and silent, until it has :meth:`spoken`."""
        key = self._keys[guest] = self._key(address)
        if key is not None:
            self._counts[key] += 1
            self._silent_of.setdefault(key, {})[guest] = None
        self._silent[guest] = None

    def spoken(self, guest: G) -> None:
        """``guest`` has sent a whole request."""
        self._silent.pop(guest, None)
        key = self._keys.get(guest)
        silent = None if key is None else self._silent_of.get(key)
        if key is not None and silent is not None:
            silent.pop(guest, None)
            if not silent:
                del self._silent_of[key]

    def leave(self, guest: G) -> None:
        """``guest`` is gone. Idempotent."""
        self.spoken(guest)
        key = self._keys.pop(guest, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def longest_silent(self, refusal: Refusal, address: str | None) -> G | None:
        """Who has been in for longest without a word, of those who can make room for ``address``,
        which was refused.
        """
        if refusal is Refusal.TOO_MANY_CONNECTIONS:
            return next(iter(self._silent), None)
        key = self._key(address)
        return None if key is None else next(iter(self._silent_of.get(key, ())), None)

    def _key(self, address: str | None) -> str | None:
        if address is None or is_within(address, self._trusted):
            return None
        return network_of(address)
