"""The bounds and times of PeerNet, each with its name."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["PeerNetClientSettings", "PeerNetSettings"]


@dataclass(frozen=True, slots=True)
class PeerNetSettings:
    """How a PeerNet server behaves. Sizes are in bytes, times in seconds.

    Raises ValueError if a setting makes no sense.
    """

    max_body: int = 64 * 1024
    max_servers: int = 5000
    #: Servers of one address; of IPv6, of one /64.
    max_servers_per_address: int = 256
    #: Servers in one room.
    max_room: int = 256
    #: Knocks at one server that are not answered.
    max_knocks: int = 64
    #: Knocks of one address that are not answered.
    max_knocks_per_address: int = 8
    #: Candidates that one session gets, those that were claimed included.
    max_candidates: int = 64
    #: The bound of all servers, knocks and sessions together.
    max_bytes: int = 64 * 1024 * 1024
    #: Of that, what one address has left; of IPv6, one /64.
    max_bytes_per_address: int = 8 * 1024 * 1024
    #: Requests that wait for one server's knocks, for one knock or for one session.
    max_waiting: int = 8
    #: Requests of one address at once, and then per second.
    request_burst: int = 500
    request_rate: float = 50.0
    #: Wrong tokens of one address, of which each is forgotten after a sixth of a minute.
    max_wrong_tokens: int = 10
    #: Addresses whose requests are counted; the oldest is forgotten for another.
    max_addresses: int = 4096
    #: A server that its owner has not asked anything for so long is dropped.
    server_timeout: float = 60.0
    knock_timeout: float = 30.0
    #: A knock that was claimed and not answered for so long is handed out again, once.
    claim_timeout: float = 15.0
    #: A session is dropped that nobody used for so long.
    session_timeout: float = 60.0
    #: The longest time for which a request waits for something to tell.
    max_wait: float = 30.0
    #: How often a server may look for knocks without waiting.
    poll_interval: float = 0.2

    def __post_init__(self) -> None:
        _check_positive(self)
        if self.claim_timeout >= self.knock_timeout:
            raise ValueError("claim_timeout must be shorter than knock_timeout")
        if self.max_wait >= self.server_timeout:
            raise ValueError("max_wait must be shorter than server_timeout")


@dataclass(frozen=True, slots=True)
class PeerNetClientSettings:
    """How a PeerNet client behaves. Times are in seconds.

    Raises ValueError if a setting makes no sense.
    """

    #: How long the server may hold a request until there is something to tell.
    wait: float = 25.0
    #: How long any answer may take beyond that.
    answer_timeout: float = 10.0
    #: How long a knock waits for a device that is not there, which may be starting.
    absent_after: float = 5.0
    #: For how long candidates of the other side are asked for after a description of ours.
    candidates_time: float = 30.0
    #: How long logins are used on before another attempt to renew them, if one failed.
    renewal_retry: float = 15.0
    backoff_initial: float = 0.5
    backoff_maximum: float = 10.0
    #: A server that answered for so long starts the back-off afresh.
    stable_after: float = 10.0

    def __post_init__(self) -> None:
        _check_positive(self)


def _check_positive(settings: PeerNetSettings | PeerNetClientSettings) -> None:
    for field in fields(settings):
        if getattr(settings, field.name) <= 0:
            raise ValueError(f"{field.name} must be positive")
