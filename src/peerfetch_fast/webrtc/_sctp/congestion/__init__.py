"""Congestion control: the seam (``control``) and the controllers behind it."""

from __future__ import annotations

from peerfetch_fast.webrtc._sctp.congestion.bbr import Bbr
from peerfetch_fast.webrtc._sctp.congestion.control import CongestionControl
from peerfetch_fast.webrtc._sctp.congestion.cubic import Cubic
from peerfetch_fast.webrtc._sctp.congestion.rfc9260 import Rfc9260

__all__ = ["CongestionControl", "create"]

_CONTROLLERS: dict[str, type[Bbr] | type[Cubic] | type[Rfc9260]] = {
    "bbr": Bbr,
    "cubic": Cubic,
    "rfc9260": Rfc9260,
}


def create(name: str, chunk_size: int, seed: int) -> CongestionControl:
    """The controller of that name.

    :param chunk_size: bytes of the largest DATA chunk that a packet holds (RFC 9260's PMDCS).
    :param seed: what its choices, if it makes any by chance, are to depend on.

    Raises ValueError if there is none of that name.
    """
    if name not in _CONTROLLERS:
        raise ValueError(f"no congestion controller is called {name!r}")
    return _CONTROLLERS[name](chunk_size, seed)
