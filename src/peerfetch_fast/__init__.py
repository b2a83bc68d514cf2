"""HTTP over WebRTC data channels, straight to a small device behind a home router.

::

    import peerfetch_fast as peerfetch

    async with peerfetch.connect("PEER-ID", signaling="ws://192.168.1.20:9000") as peer:
        response = await peer.fetch("/api/hello")
        print(await response.json())
"""

from typing import TYPE_CHECKING

from peerfetch_fast._lazy import lazily
from peerfetch_fast._version import __version__
from peerfetch_fast.errors import *  # noqa: F403
from peerfetch_fast.errors import __all__ as _errors

if TYPE_CHECKING:
    from peerfetch_fast import httpx as httpx
    from peerfetch_fast.http.client import Response
    from peerfetch_fast.http.tunnel import Tunnel
    from peerfetch_fast.http.websocket import WebSocket
    from peerfetch_fast.media.camera import Camera
    from peerfetch_fast.opening import Opening
    from peerfetch_fast.peer import Peer, PeerState, connect
    from peerfetch_fast.server import Server, serve
    from peerfetch_fast.settings import Limits, Settings
    from peerfetch_fast.sharing.delivering import Sent, send
    from peerfetch_fast.sharing.receive import Received, offered, receive
    from peerfetch_fast.sharing.share import Share, share
    from peerfetch_fast.webrtc.ice.gathering import IceServer

__all__ = [
    "Camera",
    "IceServer",
    "Limits",
    "Opening",
    "Peer",
    "PeerState",
    "Received",
    "Response",
    "Sent",
    "Server",
    "Settings",
    "Share",
    "Tunnel",
    "WebSocket",
    "__version__",
    "connect",
    "offered",
    "receive",
    "send",
    "serve",
    "share",
]
__all__ += _errors

# A client imports no server, and a program that only catches errors imports neither.
__getattr__ = lazily(
    __name__,
    {
        "Camera": "media.camera",
        "IceServer": "webrtc.ice.gathering",
        "Limits": "settings",
        "Opening": "opening",
        "Peer": "peer",
        "PeerState": "reconnecting",
        "Received": "sharing.receive",
        "Response": "http.response",
        "Sent": "sharing.delivering",
        "Server": "server",
        "Settings": "settings",
        "Share": "sharing.share",
        "Tunnel": "http.tunnel",
        "WebSocket": "http.websocket",
        "connect": "peer",
        "offered": "sharing.receive",
        "receive": "sharing.receive",
        "send": "sharing.delivering",
        "serve": "server",
        "share": "sharing.share",
    },
    # httpx is an optional dependency: the module is imported on request.
    modules=("httpx",),
)
