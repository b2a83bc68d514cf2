"""How much an address may have relayed in a day, in bytes and in time. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MAX_ACCOUNTS", "PERIOD", "QuotaSettings", "Quotas"]

PERIOD = 86_400.0
"""Seconds after whose end an account begins anew; they begin with its first relay."""

MAX_ACCOUNTS = 65_536
"""Accounts that are remembered; of more, the one that came first and has no relay is forgotten."""


@dataclass(frozen=True, slots=True)
class QuotaSettings:
    """What one account may have relayed in a :data:`PERIOD`. 0: as much as it likes.

    Raises ValueError if a setting makes no sense.
    """

    size: int = 50_000_000_000
    """Bytes, to it and from it."""
    time: float = 20 * PERIOD
    """Seconds, of all its relays together."""

    def __post_init__(self) -> None:
        if self.size < 0 or not self.time >= 0:
            raise ValueError("quotas must not be negative")


@dataclass(slots=True)
class _Used:
    """What an account has used since ``began``."""

    began: float
    settled: float
    """Until when the time of its relays was counted."""
    relays: int = 0
    size: int = 0
    time: float = 0.0


class Quotas:
    """What was relayed for whom. Times are in seconds, of any clock that never goes back.

    :ivar relayed: bytes that were relayed, for all.
    """

    def __init__(self, settings: QuotaSettings) -> None:
        self._settings = settings
        self._accounts: dict[str, _Used] = {}
        self._relays: dict[str, str] = {}
        self.relayed = 0

    @property
    def relays(self) -> int:
        """How many relays there are."""
        return len(self._relays)

    def began(self, relay: str, account: str, now: float) -> None:
        """There is a relay for ``account``. Idempotent."""
        if relay in self._relays:
            return
        self._relays[relay] = account
        used = self._accounts.get(account)
        if used is None:
            self._make_room()
            used = self._accounts[account] = _Used(now, now)
        self._settle(used, now)
        used.relays += 1

    def carried(self, relay: str, size: int, now: float) -> None:
        """A relay has carried so many bytes more."""
        account = self._relays.get(relay)
        if account is None:
            return
        used = self._accounts[account]
        self._settle(used, now)
        used.size += size
        self.relayed += size

    def ended(self, relay: str, now: float) -> None:
        """There is that relay no more. Idempotent."""
        account = self._relays.pop(relay, None)
        if account is not None:
            used = self._accounts[account]
            self._settle(used, now)
            used.relays -= 1

    def all_ended(self, now: float) -> None:
        """There is no relay any more: the TURN server has ended."""
        for relay in list(self._relays):
            self.ended(relay, now)

    def refuses(self, account: str, now: float) -> bool:
        """Whether an account has used all that it may."""
        used = self._accounts.get(account)
        if used is None:
            return False
        self._settle(used, now)
        size, time = self._settings.size, self._settings.time
        return 0 < size <= used.size or 0 < time <= used.time

    def refused(self, now: float) -> list[str]:
        """The relays that are to end, because their account has used all that it may."""
        accounts = {one for one in set(self._relays.values()) if self.refuses(one, now)}
        return [relay for relay, account in self._relays.items() if account in accounts]

    def _settle(self, used: _Used, now: float) -> None:
        """Count the time of an account's relays until ``now``."""
        if now - used.began >= PERIOD:
            used.began, used.settled, used.size, used.time = now, now, 0, 0.0
        used.time += used.relays * (now - used.settled)
        used.settled = now

    def _make_room(self) -> None:
        """Forget who came first, if there are too many."""
        if len(self._accounts) < MAX_ACCOUNTS:
            return
        for account, used in self._accounts.items():
            if not used.relays:
                del self._accounts[account]
                return
