"""HTTP over WebRTC data channels, straight to a small device behind a home router.

::

    import peerfetch_fast as peerfetch

    async with peerfetch.connect("PEER-ID", signaling="ws://192.168.1.20:9000") as peer:
        response = await peer.fetch("/api/hello")
        print(await response.json())
"""

from typing import TYPE_CHECKING

from peerfetch_fast._lazy import lazily
from peerfetch_fast.errors import *  # noqa: F403
from peerfetch_fast.errors import __all__ as _errors

if TYPE_CHECKING:
    from peerfetch_fast import httpx as httpx
    from peerfetch_fast.http.client import Response
    from peerfetch_fast.http.tunnel import Tunnel
    from peerfetch_fast.http.websocket import WebSocket
    from peerfetch_fast.peer import Peer, PeerState, connect
    from peerfetch_fast.server import Server, serve

__all__ = [
    "Peer",
    "PeerState",
    "Response",
    "Server",
    "Tunnel",
    "WebSocket",
    "connect",
    "serve",
]
__all__ += _errors

# Who asks needs no server, and a program that only catches our errors neither.
__getattr__ = lazily(
    __name__,
    {
        "Peer": "peer",
        "PeerState": "line",
        "Response": "http.response",
        "Server": "server",
        "Tunnel": "http.tunnel",
        "WebSocket": "http.websocket",
        "connect": "peer",
        "serve": "server",
    },
    # What it stands on is an extra's.
    modules=("httpx",),
)
