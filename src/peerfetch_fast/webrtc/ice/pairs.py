"""A pair: one of our sockets, and an address of the peer (RFC 8445 section 6.1.2)."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.credentials import Credentials

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.ice.transactions import Transaction

__all__ = ["Pair", "PairState", "pair_priority"]


class PairState(enum.Enum):
    """RFC 8445 section 6.1.2.6."""

    FROZEN = "frozen"
    WAITING = "waiting"
    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


def pair_priority(local: int, remote: int, controlling: bool) -> int:
    """RFC 8445 section 6.1.2.3; higher is better."""
    g, d = (local, remote) if controlling else (remote, local)
    return (min(g, d) << 32) + 2 * max(g, d) + (g > d)


class Pair:
    """A way to the peer, and what checks have shown of it.

    :ivar check: the request whose fate is the pair's.
    :ivar nominated: the controlling side has chosen it.
    :ivar wanted: the peer has nominated it before it was valid.
    :ivar sent_at: when it was last checked.
    :ivar heard: when something of the peer last came this way.
    :ivar answered: when a check was last answered, which is consent to send.
    :ivar rtt: round trip of the last answer, in seconds.
    """

    __slots__ = (
        "address",
        "answered",
        "base",
        "check",
        "credentials",
        "foundation",
        "heard",
        "local",
        "nominated",
        "priority",
        "remote",
        "rtt",
        "sent_at",
        "state",
        "wanted",
    )

    def __init__(
        self,
        base: int,
        local: Candidate,
        remote: Candidate,
        credentials: Credentials,
        controlling: bool,
    ) -> None:
        self.base = base
        self.local = local
        self.remote = remote
        self.address = (remote.host, remote.port)
        self.credentials = credentials
        self.foundation = (local.foundation, remote.foundation)
        self.priority = pair_priority(local.priority, remote.priority, controlling)
        self.state = PairState.FROZEN
        self.check: Transaction | None = None
        self.nominated = False
        self.wanted = False
        self.sent_at = -math.inf
        self.heard = -math.inf
        self.answered = -math.inf
        self.rtt = 0.0

    @property
    def valid(self) -> bool:
        """Whether a check was answered."""
        return self.state is PairState.SUCCEEDED

    @property
    def relayed(self) -> bool:
        """Whether a relay is on the way."""
        return "relay" in (self.local.type, self.remote.type)

    @property
    def rank(self) -> tuple[int, int]:
        """The order of pairs: by directness, relays last, then by priority; higher is better."""
        directness = 0 if self.local.type == self.remote.type == "host" else -1
        return -2 if self.relayed else directness, self.priority
