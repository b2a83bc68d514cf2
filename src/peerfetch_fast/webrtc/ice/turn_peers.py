"""Whom an allocation sends to: permissions of addresses, and channels of peers (RFC 8656 sections 9
and 12).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peerfetch_fast.webrtc.ice.events import Address

__all__ = ["Peer", "Peers", "Permission"]

PERMISSION_REFRESH = 240.0
"""Seconds after which a permission that was used is asked for again: it lives for 300."""

CHANNEL_REFRESH = 540.0
"""Seconds after which a channel is bound again: it lives for 600."""

CHANNEL_AFTER = 8
"""Datagrams to a peer after which a channel is worth its request: of many addresses that are
checked, few carry data."""

RETRY = 10.0
"""Seconds for which what a server has refused is not asked for again. What is sent meanwhile to an
address without a permission is lost; to a peer without a channel it goes in indications."""

MAX_PEERS = 128
"""Peers that are known; of more, the one that was added first is forgotten."""

MAX_WAITING = 64
"""Datagrams that wait for permissions; more are lost, as on a network."""

FIRST_CHANNEL, LAST_CHANNEL = 0x4000, 0x4FFF


@dataclass(slots=True, eq=False)
class Permission:
    """That of an address: datagrams to and from it pass.

    :ivar asked: a request is on its way.
    :ivar used: something was sent since it was asked for last.
    :ivar due: when it is to be refreshed, or may be asked for again.
    """

    host: str
    granted: bool = False
    refused: bool = False
    asked: bool = False
    used: bool = False
    due: float = math.inf
    waiting: list[tuple[bytes, Address]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Peer:
    """An address and a port.

    :ivar channel: its number, once one was chosen; 0: none was.
    :ivar bound: datagrams go through it.
    :ivar sent: datagrams that were sent without a channel.
    :ivar due: when it is to be bound again, or binding it may be tried again.
    """

    address: Address
    permission: Permission
    channel: int = 0
    bound: bool = False
    asked: bool = False
    sent: int = 0
    due: float = 0.0

    def wants_channel(self, now: float) -> bool:
        """Whether one is to be bound now."""
        if self.asked or self.bound or now < self.due:
            return False
        return self.sent >= CHANNEL_AFTER


class Peers:
    """All of them, bounded by MAX_PEERS and MAX_WAITING."""

    def __init__(self) -> None:
        self._peers: dict[Address, Peer] = {}
        self._permissions: dict[str, Permission] = {}
        self._channels: dict[int, Peer] = {}
        self._next_channel = FIRST_CHANNEL

    def get(self, address: Address) -> Peer | None:
        """The peer with this address."""
        return self._peers.get(address)

    def of(self, address: Address, now: float) -> Peer:
        """A peer, with the permission of its address; new if it is not known."""
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) == MAX_PEERS:
                self._forget(next(iter(self._peers.values())))
            permission = self._permissions.get(address[0])
            if permission is None:
                permission = self._permissions[address[0]] = Permission(address[0])
            peer = self._peers[address] = Peer(address, permission)
        return peer

    def by_channel(self, channel: int) -> Peer | None:
        """The peer whose channel has this number."""
        return self._channels.get(channel)

    def permitted(self, host: str) -> bool:
        """Whether datagrams of an address are wanted."""
        permission = self._permissions.get(host)
        return permission is not None and (permission.granted or permission.asked)

    # -- permissions -------------------------------------------------------------------------------

    def keep(self, permission: Permission, data: bytes, address: Address) -> None:
        """Keep a datagram until its address has a permission."""
        waiting = sum(len(one.waiting) for one in self._permissions.values())
        if not permission.refused and waiting < MAX_WAITING:
            permission.waiting.append((data, address))

    def grant(self, permission: Permission, now: float) -> list[tuple[bytes, Address]]:
        """There is one; what has waited for it."""
        permission.granted, permission.asked, permission.used = True, False, False
        permission.due = now + PERMISSION_REFRESH
        waiting, permission.waiting = permission.waiting, []
        return waiting

    def refuse(self, permission: Permission, now: float) -> None:
        """There is none, for a while."""
        permission.granted = permission.asked = False
        permission.refused = True
        permission.due = now + RETRY
        permission.waiting = []

    def permissions_due(self, now: float) -> list[Permission]:
        """The permissions to ask for again. Unused ones are forgotten."""
        due: list[Permission] = []
        for permission in list(self._permissions.values()):
            if permission.due > now:
                continue
            permission.due = math.inf
            if permission.granted and permission.used:
                due.append(permission)
            else:
                self._forget_host(permission.host)
        return due

    # -- channels ----------------------------------------------------------------------------------

    def number(self, peer: Peer) -> int | None:
        """The number of a peer's channel; None if there is none left. One that was given to a peer
        is given to no other: the server keeps it for ten minutes.
        """
        if not peer.channel:
            if self._next_channel > LAST_CHANNEL:
                return None
            peer.channel = self._next_channel
            self._next_channel += 1
        return peer.channel

    def bind(self, peer: Peer, now: float) -> None:
        """The server has bound it."""
        peer.asked = False
        peer.due = now + CHANNEL_REFRESH
        if self._peers.get(peer.address) is peer:
            peer.bound = True
            self._channels[peer.channel] = peer

    def unbind(self, peer: Peer, now: float) -> None:
        """The server has not."""
        peer.asked = peer.bound = False
        peer.due = now + RETRY
        self._channels.pop(peer.channel, None)

    def channels_due(self, now: float) -> list[Peer]:
        """The channels to bind again."""
        due = [peer for peer in self._channels.values() if peer.due <= now]
        for peer in due:
            peer.due = math.inf
        return due

    # -- their end ---------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When something is due; infinite if nothing is."""
        permissions = (permission.due for permission in self._permissions.values())
        channels = (peer.due for peer in self._channels.values())
        return min(min(permissions, default=math.inf), min(channels, default=math.inf))

    def clear(self) -> None:
        """There is no allocation any more."""
        self._peers.clear()
        self._permissions.clear()
        self._channels.clear()

    def _forget(self, peer: Peer) -> None:
        del self._peers[peer.address]
        self._channels.pop(peer.channel, None)
        if not any(address[0] == peer.address[0] for address in self._peers):
            self._permissions.pop(peer.address[0], None)

    def _forget_host(self, host: str) -> None:
        for peer in [one for one in self._peers.values() if one.address[0] == host]:
            self._forget(peer)
        self._permissions.pop(host, None)
