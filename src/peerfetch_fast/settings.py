"""The limits of a session and of a server, each with its unit, default and reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DEFAULT_MAX_DATA",
    "DEFAULT_MAX_STREAMS",
    "DEFAULT_MAX_STREAM_DATA",
    "MAX_RESUME_TIMEOUT",
    "Limits",
    "Settings",
    "UpstreamSettings",
]

# The values that hold until the other side's SETTINGS arrive (docs/protocol.md, section 3).
DEFAULT_MAX_DATA = 262_144
DEFAULT_MAX_STREAM_DATA = 65_536
DEFAULT_MAX_STREAMS = 16

# The largest MAX_STREAMS (section 2), and far from where sums of credit leave a varint.
_MOST = 1 << 60

MAX_RESUME_TIMEOUT = 300.0
"""Seconds for which a silent session can be kept at most: what the association below waits for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of one side of a session. Sizes are in bytes, times in seconds.

    What a peer can make this side hold: ``max_data`` of unread stream data, ``fragments`` times
    about 100 bytes of bookkeeping, and ``send_buffer`` for each of ``max_streams`` answers; all of
    it together, and what lies above and below, at most ``memory``.

    The two windows of unread data double when half of one is read in less than two round trips.
    """

    max_data: int = 16 * 1024 * 1024
    """Unread bytes over all streams, at most: where the window of MAX_DATA stops growing. At least
    twice ``max_stream_data``, or one stream that nobody reads can hold up the others."""

    max_stream_data: int = 8 * 1024 * 1024
    """Unread bytes of one stream, at most: where the window of MAX_STREAM_DATA stops growing. The
    default is twice what 300 Mbit/s hold at a round trip of 100 ms."""

    initial_max_data: int = 8 * 1024 * 1024
    """The window of MAX_DATA at first; ``max_data`` if that is less."""

    initial_max_stream_data: int = 2 * 1024 * 1024
    """The window of MAX_STREAM_DATA at first; ``max_stream_data`` if that is less."""

    max_streams: int = 256
    """Streams that the other side may have open at once."""

    chunk_size: int = 16 * 1024
    """Stream bytes in one message, at most, until the link's rate is known."""

    fast_chunk_size: int = 64 * 1024
    """The same from then on, when a message is what the link carries in a millisecond: an urgent
    frame may have to wait behind it."""

    send_buffer: int = 256 * 1024
    """Unsent bytes of one stream above which a writer waits."""

    link_buffer: int = 64 * 1024
    """Bytes handed to the link and not yet sent, above which it is asked for no more. A slow link
    is given no more than it carries in a few milliseconds."""

    memory: int = 128 * 1024 * 1024
    """Bytes held for the other side in all: unread, unsent, waiting for what comes before, in
    messages of WebSockets that are not whole, and in the link below. The session that would hold
    more is closed."""

    fragments: int = 16_384
    """Pieces of stream data that may wait for an earlier one, over all streams."""

    pings: int = 64
    """PINGs of the other side that may wait for their PONG."""

    max_websockets: int = 32
    """WebSockets that the other side may have open at once, as each may hold a message of
    ``websocket_frames.MAX_MESSAGE_SIZE`` bytes (else 429)."""

    max_tunnels: int = 64
    """Tunnels that the other side may have open at once, as each holds a socket (else 429)."""

    head_timeout: float = 10.0
    """Time for the head of a request once its stream is open."""

    settings_timeout: float = 10.0
    """Time for the other side's SETTINGS to arrive."""

    access_timeout: float = 10.0
    """Time for the other side's proof of the access token, where there is one."""

    keep_alive: float = 1.5
    """Silence after which a PING is sent."""

    idle_keep_alive: float = 15.0
    """The same of a session without streams, where the link looks after its path itself."""

    dead_after: float = 5.0
    """Silence after which the other side is taken for dead, or, where the link can move to another
    path, for one whose network has changed."""

    resume_timeout: float = 60.0
    """Time for which such a silent session is kept with its streams, if the other side does so too;
    0: not at all."""

    close_timeout: float = 2.0
    """Time for an orderly end once no stream is open."""

    def __post_init__(self) -> None:
        for name, least in (
            ("max_data", DEFAULT_MAX_DATA),
            ("max_stream_data", DEFAULT_MAX_STREAM_DATA),
            ("initial_max_data", DEFAULT_MAX_DATA),
            ("initial_max_stream_data", DEFAULT_MAX_STREAM_DATA),
            ("max_streams", DEFAULT_MAX_STREAMS),
            ("chunk_size", 1),
            ("fast_chunk_size", 1),
            ("send_buffer", 1),
            ("link_buffer", 1),
            ("memory", 1024 * 1024),
            ("fragments", 1),
            ("pings", 1),
            ("max_websockets", 0),
            ("max_tunnels", 0),
        ):
            if not least <= getattr(self, name) <= _MOST:
                raise ValueError(f"Settings.{name} must be at least {least} and at most 2^60")
        for name in (
            "head_timeout",
            "settings_timeout",
            "access_timeout",
            "keep_alive",
            "idle_keep_alive",
            "dead_after",
            "close_timeout",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"Settings.{name} must be positive")
        if not 0 <= self.resume_timeout <= MAX_RESUME_TIMEOUT:
            raise ValueError(
                f"Settings.resume_timeout must be between 0 and {MAX_RESUME_TIMEOUT:g}"
            )
        if self.dead_after <= self.keep_alive:
            # Otherwise a PING would have no time to be answered.
            raise ValueError("Settings.dead_after must be longer than keep_alive")


@dataclass(frozen=True, slots=True)
class Limits:
    """Whom a server takes, and how much of it each may have. Times are in seconds.

    "A remote" is a peer id, or an IP address (of IPv6 the network of 64 bits): ids cost nothing,
    and behind one address there may be several peers.
    """

    max_peers: int = 32
    """Peers connected or connecting at once."""

    memory: int = 256 * 1024 * 1024
    """Bytes held for all peers together. If it were more, the session that holds most is closed."""

    peer_connections: int = 8
    """Connections that one peer id may have of these."""

    offer_burst: int = 20
    """Offers that one peer id may make at once,"""

    offer_rate: float = 0.5
    """and then per second."""

    request_burst: int = 20_000
    """Requests that one peer id may make at once,"""

    request_rate: float = 20_000.0
    """and then per second; more are answered with 429."""

    idle_timeout: float = 60.0
    """A session that had no request for so long gives way when there are ``max_peers``."""

    access_failures: int = 5
    """Wrong proofs of the access token after which a remote is refused,"""

    access_lockout: float = 600.0
    """for so long; older failures are forgotten."""

    access_delay: float = 1.0
    """Time until a wrong proof is answered."""

    remotes: int = 4096
    """Remotes that are remembered, for their offers and failures; the oldest is forgotten first."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"Limits.{name} must be positive")


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """The limits on an HTTP server that requests are forwarded to. Times are in seconds."""

    connect_timeout: float = 5.0
    """Time for the server to accept a connection (else 504)."""

    answer_timeout: float = 300.0
    """Time until its answer begins, from when the upload last moved (else 504)."""

    idle_timeout: float = 15.0
    """Time for which an unused connection is kept."""

    max_idle: int = 256
    """Connections that are kept so, for all sessions together. As many as one may have requests, or
    each turn of many requests would open some anew."""

    resend_buffer: int = 256 * 1024
    """Bytes of a request's body that are kept until the answer begins, so that it can be sent again
    on a fresh connection where one that was kept turns out to be closed."""

    person_header: str = "X-Peerfetch-Person"
    """The field that names the person who asks, for servers that let people in by it. What a client
    says in it is dropped."""

    ca: Path | None = None
    """Certificates (PEM) that an ``https`` server's may be issued by; by default the system's."""

    pin: str | None = None
    """``sha256:…`` of an ``https`` server's certificate, to know it by that alone."""

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "answer_timeout", "idle_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"UpstreamSettings.{name} must be positive")
        for name in ("max_idle", "resend_buffer"):
            if getattr(self, name) < 0:
                raise ValueError(f"UpstreamSettings.{name} must not be negative")
        if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", self.person_header) is None:
            raise ValueError("UpstreamSettings.person_header must be the name of a header field")
        if self.ca is not None and self.pin is not None:
            raise ValueError("UpstreamSettings.ca and .pin exclude each other")
