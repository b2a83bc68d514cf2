"""How two peers find each other: a server and a client of the PeerJS signaling protocol.

Nothing here knows WebRTC: offers, answers and candidates are opaque to it.
"""

from typing import TYPE_CHECKING

from peerfetch_fast._lazy import lazily

if TYPE_CHECKING:
    from peerfetch_fast.signaling.client import ClientState, SignalingClient, SignalMessage
    from peerfetch_fast.signaling.messages import MessageType
    from peerfetch_fast.signaling.refusals import Refusal
    from peerfetch_fast.signaling.server import SignalingServer
    from peerfetch_fast.signaling.settings import ClientSettings, ServerSettings

__all__ = [
    "ClientSettings",
    "ClientState",
    "MessageType",
    "Refusal",
    "ServerSettings",
    "SignalMessage",
    "SignalingClient",
    "SignalingServer",
]

# A client needs no server, which stands on aiohttp.
__getattr__ = lazily(
    __name__,
    {
        "ClientSettings": "settings",
        "ClientState": "client",
        "MessageType": "messages",
        "Refusal": "refusals",
        "ServerSettings": "settings",
        "SignalMessage": "client",
        "SignalingClient": "client",
        "SignalingServer": "server",
    },
)
