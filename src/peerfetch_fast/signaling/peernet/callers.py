"""Callers: bounds on the requests and on the wrong tokens of an address. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from peerfetch_fast.addresses import network_of
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.signaling.ratelimit import TokenBucket

__all__ = ["Caller", "Callers"]

UNKNOWN = "unknown"
"""Stands for the address of callers that have none, as on a Unix socket."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The maker of a request."""

    address: str | None = None
    token: str | None = None

    @property
    def network(self) -> str:
        """The key under which its requests are counted."""
        return UNKNOWN if self.address is None else network_of(self.address)


class Callers:
    """Counts requests and wrong tokens by address."""

    def __init__(self, settings: PeerNetSettings) -> None:
        self._settings = settings
        self._requests: OrderedDict[str, TokenBucket] = OrderedDict()
        self._wrong: OrderedDict[str, TokenBucket] = OrderedDict()

    def asks(self, caller: Caller, now: float) -> None:
        """Count a request. Raises Problem if there are too many."""
        settings = self._settings
        bucket = self._bucket(
            self._requests, caller, settings.request_rate, settings.request_burst, now
        )
        delay = bucket.take_if_there(now)
        if delay > 0:
            raise Problem(
                Status.RESOURCE_EXHAUSTED,
                "too many requests come from your address: let them wait with ?wait=25",
                retry_after=delay,
            )

    def guesses(self, caller: Caller, now: float) -> None:
        """Count a wrong token. Raises Problem if there were too many."""
        most = self._settings.max_wrong_tokens
        delay = self._bucket(self._wrong, caller, most / 60.0, most, now).take_if_there(now)
        if delay > 0:
            raise Problem(
                Status.RESOURCE_EXHAUSTED,
                "too many wrong tokens came from your address",
                retry_after=delay,
            )

    def _bucket(
        self,
        buckets: OrderedDict[str, TokenBucket],
        caller: Caller,
        rate: float,
        burst: float,
        now: float,
    ) -> TokenBucket:
        network = caller.network
        bucket = buckets.get(network)
        if bucket is None:
            bucket = buckets[network] = TokenBucket(rate, burst, now)
            if len(buckets) > self._settings.max_addresses:
                buckets.popitem(last=False)
        else:
            buckets.move_to_end(network)
        return bucket
