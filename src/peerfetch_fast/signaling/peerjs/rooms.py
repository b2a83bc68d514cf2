"""Plug and play rooms: the clients behind the same router. Sans-I/O.

The protocol is that of the Ambianic plug and play server: a room's id is a keyed hash of the
public address from which a peer speaks to the server, so that only those behind it can tell it.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Sequence

__all__ = ["Rooms", "client_address", "is_within", "room_id"]

_LOCAL = b"local"


def client_address(
    peer: str | None, forwarded_for: Iterable[str], trusted: Sequence[str]
) -> str | None:
    """The address of a client, which may be behind proxies of ours.

    :param peer: the address that the connection comes from.
    :param forwarded_for: the values of X-Forwarded-For, in order. Each proxy adds the address that
        it sees at the end, so only what trusted ones have added is believed.
    :param trusted: networks of the proxies.
    """
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    address = peer
    while address is not None and hops and is_within(address, trusted):
        address = hops.pop()
    return address


def is_within(address: str, networks: Sequence[str]) -> bool:
    """Whether ``address`` is an IP address in one of ``networks``."""
    found = _parse(address)
    return found is not None and any(found in _network(network) for network in networks)


_network = functools.lru_cache(maxsize=64)(ipaddress.ip_network)


def room_id(secret: bytes, address: str | None) -> str | None:
    """The id of the room for those who speak from ``address``; None if it is no address.

    All private addresses are of one room: a server that sees them stands in their network. Of an
    IPv6 address the first 64 bits count, which all devices behind a router share.
    """
    found = _parse(address)
    if found is None:
        return None
    if not found.is_global:
        network = _LOCAL
    elif isinstance(found, ipaddress.IPv6Address):
        network = found.packed[:8]
    else:
        network = found.packed
    return hmac.new(secret, network, hashlib.sha256).hexdigest()[:32]


def _parse(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


class Rooms:
    """The members of the rooms. A peer is in one room at most, and leaves it when it disconnects.

    :param most: peers in one room.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._members: dict[str, dict[str, None]] = {}
        self._room_of: dict[str, str] = {}

    def join(self, room: str, peer_id: str) -> bool:
        """Add ``peer_id`` to ``room``; False if the room is full."""
        if self._room_of.get(peer_id) != room:
            if len(self._members.get(room, ())) >= self._most:
                return False
            self.leave(peer_id)
            self._members.setdefault(room, {})[peer_id] = None
            self._room_of[peer_id] = room
        return True

    def members(self, room: str) -> list[str]:
        """The ids of the members of ``room``, in the order of joining."""
        return list(self._members.get(room, ()))

    def leave(self, peer_id: str) -> bool:
        """Remove ``peer_id`` from its room, and return whether it was in one."""
        room = self._room_of.pop(peer_id, None)
        if room is None:
            return False
        members = self._members[room]
        del members[peer_id]
        if not members:
            del self._members[room]
        return True
