"""Why data takes the way that it takes, and not a better one: for people to read."""

from __future__ import annotations

from collections.abc import Set

from peerfetch_fast.webrtc.ice.events import Selected

__all__ = ["reason"]

_MAPPED = {"srflx", "prflx"}


def reason(way: Selected, ours: Set[str], theirs: Set[str], *, asks: bool) -> str | None:
    """What is known of why ``way`` is not better; None where there is no better.

    :param ours: the types of our candidates.
    :param theirs: the types of the other side's.
    :param asks: whether we have a server that tells our public address.
    """
    ends = {way.local.type, way.remote.type}
    if ends == {"host"}:
        return None
    if "relay" not in ends:
        return "the two are in different networks, and their routers let it through"
    if not asks:
        return "no STUN server is known here, which would tell our public address"
    if not ours & _MAPPED:
        return "no STUN server has answered, or there is no router: UDP may be blocked here"
    if not theirs & _MAPPED:
        return "the other side has told no public address: UDP may be blocked there"
    return "no direct way was answered: a router gives each destination another port"
