"""How two peers find each other: a server and a client of the PeerJS signaling protocol.

Nothing here knows WebRTC: offers, answers and candidates are opaque to it.
"""

from typing import TYPE_CHECKING

from peerfetch_fast._lazy import lazily

if TYPE_CHECKING:
    from peerfetch_fast.signaling.peerjs.client import ClientState, SignalingClient, SignalMessage
    from peerfetch_fast.signaling.peerjs.messages import MessageType
    from peerfetch_fast.signaling.peerjs.refusals import Refusal
    from peerfetch_fast.signaling.peerjs.server import SignalingServer
    from peerfetch_fast.signaling.peerjs.settings import (
        SignalingClientSettings,
        SignalingServerSettings,
    )

__all__ = [
    "ClientState",
    "MessageType",
    "Refusal",
    "SignalMessage",
    "SignalingClient",
    "SignalingClientSettings",
    "SignalingServer",
    "SignalingServerSettings",
]

# A client imports no server, which needs aiohttp.
__getattr__ = lazily(
    __name__,
    {
        "SignalingClientSettings": "peerjs.settings",
        "ClientState": "peerjs.client",
        "MessageType": "peerjs.messages",
        "Refusal": "peerjs.refusals",
        "SignalingServerSettings": "peerjs.settings",
        "SignalMessage": "peerjs.client",
        "SignalingClient": "peerjs.client",
        "SignalingServer": "peerjs.server",
    },
)
