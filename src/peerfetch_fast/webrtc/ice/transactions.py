"""Requests that wait for an answer (RFC 8489 section 6.2.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from peerfetch_fast.webrtc.ice.events import Address

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.ice.pairs import Pair

__all__ = ["Transaction", "Transactions"]


class Transaction:
    """A request of ours.

    :ivar pair: what it checks; None: it asks a STUN server, which signs nothing.
    :ivar key: what the answer is signed with.
    :ivar nominates: it has USE-CANDIDATE.
    :ivar controlling: the role that it names.
    :ivar tries: how often it may still be sent.
    """

    __slots__ = (
        "address",
        "base",
        "controlling",
        "data",
        "deadline",
        "id",
        "key",
        "last_wait",
        "nominates",
        "pair",
        "sent_at",
        "tries",
        "wait",
    )

    def __init__(
        self,
        id: bytes,
        data: bytes,
        base: int,
        address: Address,
        now: float,
        *,
        tries: int,
        wait: float,
        last_wait: float,
        pair: Pair | None = None,
        nominates: bool = False,
        controlling: bool = False,
    ) -> None:
        self.id = id
        self.data = data
        self.base = base
        self.address = address
        self.sent_at = now
        self.tries = tries - 1
        self.wait = wait
        self.last_wait = last_wait
        self.deadline = now + (wait if self.tries else last_wait)
        self.pair = pair
        self.key = b"" if pair is None else pair.credentials.remote_key
        self.nominates = nominates
        self.controlling = controlling

    def repeat(self, now: float) -> bool:
        """Whether it is sent once more; False: it has had its time."""
        if not self.tries:
            return False
        self.tries -= 1
        self.wait = min(2 * self.wait, self.last_wait)
        self.deadline = now + (self.wait if self.tries else self.last_wait)
        return True

    def rest(self, now: float) -> None:
        """Send it no more: another has taken its place. An answer is still taken."""
        self.tries = 0
        self.deadline = min(self.deadline, now + self.last_wait)


class Transactions:
    """All of them, by their ids."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[bytes, Transaction] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, id: bytes) -> Transaction | None:
        """The request with this id."""
        return self._waiting.get(id)

    def add(self, transaction: Transaction) -> list[Transaction]:
        """Wait for an answer.

        :returns: those that have had to make room.
        """
        self._waiting[transaction.id] = transaction
        if len(self._waiting) <= self._limit:
            return []
        oldest = next(iter(self._waiting))
        return [self._waiting.pop(oldest)]

    def remove(self, transaction: Transaction) -> None:
        """It has been answered, or nobody waits any more."""
        self._waiting.pop(transaction.id, None)

    def remove_where(self, unwanted: Callable[[Transaction], bool]) -> list[Transaction]:
        """Forget those for which ``unwanted(transaction)`` holds."""
        gone = [transaction for transaction in self._waiting.values() if unwanted(transaction)]
        for transaction in gone:
            del self._waiting[transaction.id]
        return gone

    def due(self, now: float) -> list[Transaction]:
        """The transactions whose time has come."""
        return [one for one in self._waiting.values() if one.deadline <= now]

    def deadline(self) -> float:
        """When the next one's time comes; infinite if there is none."""
        if not self._waiting:
            return math.inf
        return min(one.deadline for one in self._waiting.values())
