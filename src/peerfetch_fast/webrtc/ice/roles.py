"""Which end nominates, and what happens if both believe that they do (RFC 8445 section 7.3.1.1)."""

from __future__ import annotations

import random
import struct
from typing import Literal

from peerfetch_fast.webrtc.ice import stun

__all__ = ["Role"]

_ATTRIBUTE = struct.Struct(">HHQ")


class Role:
    """Our role.

    :ivar controlling: whether we nominate.
    :ivar lite_peer: the peer makes no checks, so that we nominate whatever it says (section 6.1.1).
    """

    def __init__(self, controlling: bool, rng: random.Random) -> None:
        self.controlling = controlling
        self.lite_peer = False
        self._random = rng
        self._tie_breaker = rng.getrandbits(64)

    def attribute(self) -> bytes:
        """The attribute of our role in checks, encoded."""
        name = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        return _ATTRIBUTE.pack(name, 8, self._tie_breaker)

    def conflict(self, request: stun.Message) -> Literal["ours", "theirs"] | None:
        """The side that must change its role if a request claims ours, else None."""
        name = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        claimed = request.attributes.get(name)
        if claimed is None:
            return None
        larger = self._tie_breaker >= int.from_bytes(claimed, "big")
        return "theirs" if larger == self.controlling or self.lite_peer else "ours"

    def refused(self) -> None:
        """The peer has answered 487, and our role is another now (section 7.2.5.1)."""
        self._tie_breaker = self._random.getrandbits(64)
