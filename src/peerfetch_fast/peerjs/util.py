"""peerjs-python's ``util``, as far as programs use it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from peerfetch_fast.webrtc.ice.gathering import IceServer

__all__ = ["Configuration", "Util", "UtilSupports", "default_ice_servers", "util"]

# PeerJS's own servers, as its clients have them.
default_ice_servers: list[dict[str, Any]] = [
    {"urls": ["stun:stun.l.google.com:19302"]},
    {"urls": ["turn:0.peerjs.com:3478"], "username": "peerjs", "credential": "peerjsp"},
]

_ID = re.compile(r"[A-Za-z0-9]+(?:[ _-][A-Za-z0-9]+)*")


@dataclass(frozen=True)
class UtilSupports:
    """The abilities of a peer here."""

    webRTC: bool = True
    browser: str = "aiortc"
    audioVideo: bool = True
    data: bool = True
    binaryBlob: bool = False
    reliable: bool = True


@dataclass
class Configuration:
    """The part of aiortc's ``RTCConfiguration`` that counts here; that class may be given too."""

    iceServers: list[IceServer] | None = None


class Util:
    """The instance is :data:`util`."""

    CLOUD_HOST = "0.peerjs.com"
    CLOUD_PORT = 443
    browser = "peerfetch-fast"
    browserVersion = "0.1"
    supports = UtilSupports()
    chunkedMTU = 16300
    """Bytes of a packed value above which it is sent in several messages of that size."""

    def __init__(self) -> None:
        self.defaultConfig = Configuration(
            iceServers=[IceServer(**server) for server in default_ice_servers]
        )

    def noop(self) -> None:
        """Do nothing."""

    def isSecure(self, url: str) -> bool:
        """Whether ``url`` is one of HTTPS."""
        return url.startswith("https:")

    def binaryStringToArrayBuffer(self, binary: str) -> bytes:
        """``binary`` in UTF-8."""
        return binary.encode()

    def randomToken(self) -> str:
        """A new random token, and a good id for a peer."""
        return str(uuid.uuid4())

    def validateId(self, id: str | None = None) -> bool:
        """Whether PeerJS takes ``id``; None and "" stand for one that the server gives."""
        return not id or _ID.fullmatch(id) is not None


util = Util()
