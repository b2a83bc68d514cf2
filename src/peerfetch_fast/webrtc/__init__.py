"""WebRTC for data: a connection of our own, and aiortc's interface beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.connection import RTCPeerConnection

try:
    from peerfetch_fast.webrtc import _path as _path
except ImportError:
    HAVE_NATIVE = False
else:
    HAVE_NATIVE = True

__all__ = ["HAVE_NATIVE", "RTCPeerConnection"]


def __getattr__(name: str) -> Any:
    # aiortc comes with it, which takes half a second and 50 MB.
    if name == "RTCPeerConnection":
        from peerfetch_fast.webrtc.connection import RTCPeerConnection

        return RTCPeerConnection
    raise AttributeError(name)
