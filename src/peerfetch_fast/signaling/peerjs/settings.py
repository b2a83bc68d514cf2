"""The bounds and times of signaling, each with its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network

from peerfetch_fast.signaling.origins import parse_origin
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import IceServer, servers_of

__all__ = [
    "DEFAULT_KEY",
    "DEFAULT_LISTEN",
    "DEFAULT_SIGNALING",
    "MAX_MESSAGE_SIZE",
    "SignalingClientSettings",
    "SignalingServerSettings",
]

#: The largest message that either side sends or takes, in bytes. An offer with audio, video and
#: a screenful of candidates is about 10 kB; programs that put files into ``metadata`` send more.
MAX_MESSAGE_SIZE = 256 * 1024

#: The key that PeerJS's servers and clients take where none is given.
DEFAULT_KEY = "peerjs"

#: The address that a server listens on by default; other machines do not reach it.
DEFAULT_LISTEN = "127.0.0.1:9000"

#: The server that is asked where none is named.
DEFAULT_SIGNALING = f"ws://{DEFAULT_LISTEN}"

_PATH = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*")
_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(frozen=True, slots=True)
class SignalingServerSettings:
    """How a signaling server behaves. Sizes are in bytes, times in seconds.

    Messages in memory take at most ``max_queued_total`` for peers that are not connected,
    ``max_outgoing_total`` for connected ones, and ``max_incoming_total`` for incomplete ones (on
    connections that the server itself listens for). Beside them are the buffers that asyncio and
    aiohttp keep for each client, bounded by them.

    Raises ValueError if a setting makes no sense.
    """

    #: The path of the server's URLs; begins and ends with a slash.
    path: str = "/"
    #: PeerJS's API key: not a secret, every client names it.
    key: str = DEFAULT_KEY
    #: Whether ``{path}{key}/peers`` tells who is connected.
    allow_discovery: bool = False
    #: Whether ``{path}smoke`` is a hub for Smoke's nodes.
    smoke: bool = False
    #: Networks of reverse proxies whose X-Forwarded-For is believed, as in ``10.0.0.0/8``.
    trusted_proxies: tuple[str, ...] = ()
    #: Origins whose pages may use the server, as in ``https://app.example``, beside its own; all
    #: if there are none, as PeerJS's servers have it.
    allowed_origins: tuple[str, ...] = ()
    #: STUN and TURN servers that clients are told of, logins included.
    ice_servers: tuple[IceServer, ...] = ()
    #: TURN servers at which each client gets a login of its own, which expires.
    turn: TurnLogins | None = None
    #: Peers in one plug and play room.
    max_room: int = 256
    max_clients: int = 5000
    #: TCP connections at once, those included that have not asked for anything yet.
    max_connections: int = 6000
    #: TCP connections, and clients behind trusted proxies, of one address; of IPv6, of one /64.
    max_per_address: int = 256
    #: Descriptors that connections leave to all else, whatever ``max_connections`` allows.
    descriptor_reserve: int = 256
    #: Time for a connection's TLS handshake, and then for the whole head of a request.
    head_timeout: float = 15.0
    #: How often a node at the hub is pinged; one that does not answer in half of that is dropped.
    smoke_ping_interval: float = 16.0
    #: Time for a client's first sign of life, once it is let in.
    first_message_timeout: float = 30.0
    #: A client that sent nothing for so long, no HEARTBEAT and no ping, is dropped.
    alive_timeout: float = 90.0
    #: Time for which a message waits for its destination to connect.
    message_queue_time: float = 5.0
    max_message_size: int = MAX_MESSAGE_SIZE
    #: Bytes of incomplete messages and heads of requests, of all connections together; beyond
    #: them, the connection that has most of them is cut.
    max_incoming_total: int = 64 * 1024 * 1024
    #: Bytes that may wait for one absent destination, and bytes of one sender that may wait.
    max_queue: int = 512 * 1024
    #: Bytes that may wait for all absent destinations together.
    max_queued_total: int = 16 * 1024 * 1024
    #: Bytes that may wait to be sent to one client; a client that reads more slowly is dropped.
    max_outgoing: int = 1024 * 1024
    #: Bytes that may wait to be sent to all connected clients together.
    max_outgoing_total: int = 64 * 1024 * 1024
    #: Messages and pings that a client may send at once, and then per second. The server reads
    #: no faster than that.
    message_burst: int = 500
    message_rate: float = 50.0
    #: Time for a WebSocket to close in order.
    close_timeout: float = 2.0

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"path must begin and end with a slash, not be {self.path!r}")
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"key must be letters, digits, '-', '.', '_' or '~', not {self.key!r}")
        for origin in self.allowed_origins:
            parse_origin(origin)
        servers_of(self.ice_servers)
        for network in self.trusted_proxies:
            try:
                ip_network(network)
            except ValueError:
                raise ValueError(
                    f"trusted_proxies must be networks like 10.0.0.0/8, not {network!r}"
                ) from None
        for name in (
            "max_clients",
            "max_room",
            "max_connections",
            "max_per_address",
            "head_timeout",
            "smoke_ping_interval",
            "first_message_timeout",
            "alive_timeout",
            "message_queue_time",
            "max_message_size",
            "max_incoming_total",
            "max_queue",
            "max_queued_total",
            "max_outgoing_total",
            "message_rate",
            "close_timeout",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.descriptor_reserve < 0:
            raise ValueError("descriptor_reserve must be at least 0")
        if self.message_burst < 1:
            raise ValueError("message_burst must be at least 1")
        if self.max_outgoing < self.max_queue + self.max_message_size:
            # Otherwise a full queue would drop the very client that it waited for.
            raise ValueError("max_outgoing must be at least max_queue + max_message_size")


@dataclass(frozen=True, slots=True)
class SignalingClientSettings:
    """How a signaling client behaves. Sizes are in bytes, times in seconds.

    Raises ValueError if a setting makes no sense.
    """

    heartbeat_interval: float = 5.0
    #: A server that sent nothing for so long, not even the answer to a ping, is given up.
    dead_after: float = 15.0
    #: Time for the server to give a sign of life when this machine's networks change.
    probe_timeout: float = 3.0
    #: Time for the server to give an id, and again to open.
    open_timeout: float = 10.0
    #: Time for which a message waits while the client reconnects.
    send_timeout: float = 10.0
    close_timeout: float = 2.0
    #: Time from an attempt to renew logins that failed to the next.
    renewal_retry: float = 15.0
    backoff_initial: float = 0.5
    backoff_maximum: float = 30.0
    #: A connection that held for so long starts the back-off afresh.
    stable_after: float = 10.0
    max_message_size: int = MAX_MESSAGE_SIZE

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.dead_after <= self.heartbeat_interval:
            raise ValueError("dead_after must be longer than heartbeat_interval")
        if self.backoff_maximum < self.backoff_initial:
            raise ValueError("backoff_maximum must be at least backoff_initial")
