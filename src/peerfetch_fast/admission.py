"""Admission of peers to a server: places, rates, and counts of refusals. Sans-I/O: the time is
passed in.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from peerfetch_fast.addresses import network_of
from peerfetch_fast.settings import Limits
from peerfetch_fast.signaling.ratelimit import TokenBucket

__all__ = ["Admission", "RefusalCounts"]

logger = logging.getLogger(__name__)

LOG_INTERVAL = 10.0
"""Seconds between two log lines about the same reason."""

T = TypeVar("T")


class RefusalCounts:
    """Counts refusals by reason, and logs them at a bounded rate.

    :ivar counts: the number of refusals for each reason.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, int]] = {}

    def add(self, reason: str, remote: str, now: float, hint: str = "") -> None:
        """Count a refusal of ``remote``.

        :param reason: one of a few constant sentences.
        :param hint: what the log says of it besides.
        """
        self.counts[reason] += 1
        last, logged = self._logged.get(reason, (None, 0))
        if last is None or now >= last + LOG_INTERVAL:
            more = self.counts[reason] - logged
            self._logged[reason] = now, self.counts[reason]
            logger.warning(
                "refused %s: %s%s%s",
                *(remote, reason, hint, f" ({more} since last told)" if more > 1 else ""),
            )


class _Remembered(Generic[T]):
    """A table of bounded size that forgets its least recently used entry."""

    def __init__(self, most: int, make: Callable[[], T]) -> None:
        self._most = most
        self._make = make
        self._entries: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> T | None:
        return self._entries.get(key)

    def use(self, key: str) -> T:
        entry = self._entries.pop(key, None)
        if entry is None:
            entry = self._make()
            while len(self._entries) >= self._most:
                self._entries.popitem(last=False)
        self._entries[key] = entry
        return entry


@dataclass(frozen=True, slots=True, eq=False)
class _Failure:
    """A wrong proof, compared by identity: several remotes may be charged with the same one."""

    time: float


class Admission:
    """Enforces :class:`~peerfetch_fast.settings.Limits` over all peers of a server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._connections: Counter[str] = Counter()
        self._requests: dict[str, TokenBucket] = {}
        self._now = 0.0
        self._offers = _Remembered(limits.remotes, self._offer_bucket)
        self._proving: Counter[str] = Counter()
        self._failures: _Remembered[deque[_Failure]] = _Remembered(
            limits.remotes, lambda: deque(maxlen=limits.access_failures)
        )

    def _offer_bucket(self) -> TokenBucket:
        return TokenBucket(self._limits.offer_rate, self._limits.offer_burst, self._now)

    def offer(self, peer_id: str, now: float, make_room: Callable[[], bool]) -> str | None:
        """Why an offer of ``peer_id`` is refused; None if it is taken, until :meth:`leave`.

        :param make_room: called when all places are taken; tells whether one is free now.
        """
        self._now = now
        if self._offers.use(peer_id).take_if_there(now) > 0:
            return "too many offers of one peer"
        if self.locked_out((peer_id,), now):
            return "too many wrong access tokens"
        if self._connections[peer_id] >= self._limits.peer_connections:
            return "too many connections of one peer"
        if self._connections.total() >= self._limits.max_peers and not make_room():
            return "too many peers"
        self._connections[peer_id] += 1
        return None

    def leave(self, peer_id: str) -> None:
        """A connection whose offer was taken has ended."""
        self._connections[peer_id] -= 1
        if not self._connections[peer_id]:
            del self._connections[peer_id]
            self._requests.pop(peer_id, None)

    def request(self, peer_id: str, now: float) -> float:
        """0 if the peer may make a request now, else the seconds until it may."""
        bucket = self._requests.get(peer_id)
        if bucket is None:
            bucket = TokenBucket(self._limits.request_rate, self._limits.request_burst, now)
            self._requests[peer_id] = bucket
        return bucket.take_if_there(now)

    def may_prove(self, remotes: Sequence[str], now: float) -> bool:
        """Whether a peer known by ``remotes`` may show a proof of the access token now, or must
        wait for others: of the guesses that are admitted at the same time, all can be wrong. An
        admitted peer is counted until :meth:`heard`.
        """
        keys = set(map(network_of, remotes))
        begun = max((self._proving[key] for key in keys), default=0)
        since = now - self._limits.access_lockout
        failed = sum(failure.time > since for failure in self._failures_of(keys))
        if begun + failed >= self._limits.access_failures:
            return False
        self._proving.update(keys)
        return True

    def heard(self, remotes: Sequence[str]) -> None:
        """A peer that :meth:`may_prove` admitted has shown a proof, right or wrong, or is gone."""
        for key in set(map(network_of, remotes)):
            self._proving[key] -= 1
            if not self._proving[key]:
                del self._proving[key]

    def failed(self, remotes: Sequence[str], now: float) -> None:
        """A peer known by all of ``remotes`` has shown a wrong proof of the access token.

        ``remotes`` are its peer id and the address that its packets come from. Addresses that it
        only claims do not belong here: with them, anybody could have others locked out.
        """
        failure = _Failure(now)
        for key in set(map(network_of, remotes)):
            self._failures.use(key).append(failure)

    def locked_out(self, remotes: Iterable[str], now: float) -> bool:
        """Whether a peer known by all of ``remotes`` has failed too often under any of them.

        Addresses that it only claims belong here too: a device with several addresses, of IPv4 and
        IPv6 for example, stays one device whichever of them its packets come from.
        """
        failures = self._failures_of(set(map(network_of, remotes)))
        latest = failures[-self._limits.access_failures :]
        return (
            len(latest) == self._limits.access_failures
            and now < latest[-1].time + self._limits.access_lockout
            and latest[-1].time < latest[0].time + self._limits.access_lockout
        )

    def _failures_of(self, keys: Iterable[str]) -> list[_Failure]:
        """The failures of all ``remotes``, each once, the latest last."""
        found = {id(one): one for key in keys for one in self._failures.get(key) or ()}
        return sorted(found.values(), key=lambda failure: failure.time)
