"""When this machine's networks change: another address, or another way to the internet.

On Linux the kernel tells (rtnetlink(7)); elsewhere the addresses are looked at every few seconds.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from peerfetch_fast.interfaces import (
    KERNEL,
    host_addresses,
    interface_addresses,
    netlink_messages,
    source_addresses,
)

__all__ = ["Networks", "Watch", "look", "watch_networks"]

logger = logging.getLogger(__name__)

SETTLING = 0.1
"""Seconds from the first change to the look at what has become of it; an address and its route come
in messages of their own."""

POLL_INTERVAL = 3.0
"""Seconds between two looks where the kernel does not tell."""

MAX_MESSAGES = 64
"""Datagrams of the kernel that are read in one turn of the loop."""

MAX_PREFIX = 3
"""Bits of a route that leads to much of the internet: none, one where a VPN halves it, three where
it is all of IPv6 that is given away (``2000::/3``)."""

# linux/rtnetlink.h
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4 and of IPv6
_LINKS_AND_ADDRESSES = frozenset((16, 17, 20, 21))  # RTM_NEWLINK, DELLINK, NEWADDR, DELADDR
_ROUTES = frozenset((24, 25))  # RTM_NEWROUTE, DELROUTE
_ROUTE = struct.Struct("=BB10x")  # family, bits of the destination, and eight fields more

_MESSAGE_SIZE = 64 * 1024
"""Bytes of a datagram of the kernel, at most."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What can be sent from. Equal are those between which nothing has changed that matters."""

    hosts: frozenset[str]
    """The addresses that others may reach (:func:`.interfaces.host_addresses`)."""
    sources: frozenset[str]
    """Those of them from which the internet is reached: one of IPv4, one of IPv6."""
    addresses: frozenset[str] = field(compare=False)
    """All addresses, those of each container's link among them; an IPv6 address without a scope."""

    def has(self, address: str) -> bool:
        """Whether an address can be sent from. All that look like this machine itself can."""
        address = address.partition("%")[0]
        return address in self.addresses or address.startswith("127.")


def look() -> Networks:
    """The networks as they are; none if that cannot be told."""
    try:
        return _look()
    except OSError as error:
        logger.info("this machine's addresses are not told: %s", error)
        return Networks(frozenset(), frozenset(), frozenset())


def _look() -> Networks:
    found = interface_addresses()
    addresses = frozenset(address for address, _ in found)
    return Networks(frozenset(host_addresses(found)), source_addresses(), addresses)


class Watch:
    """One who wants to hear of changes, until :meth:`stop`.

    :ivar networks: as they were when it was told last.
    """

    def __init__(self, watcher: _Watcher, changed: Callable[[Networks], object]) -> None:
        self._watcher = watcher
        self._changed = changed
        self.networks = watcher.networks

    def tell(self, networks: Networks) -> None:
        """Whatever it raises is logged: others want to hear, too."""
        self.networks = networks
        try:
            self._changed(networks)
        except Exception:
            logger.exception("a change of network was not dealt with")

    def stop(self) -> None:
        """Hear of no more changes. Idempotent."""
        self._watcher.remove(self)


def watch_networks(changed: Callable[[Networks], object]) -> Watch:
    """Have ``changed`` called, on the running loop, with what the networks have become.

    All who watch on one loop share a socket, which is closed when the last of them stops.
    """
    loop = asyncio.get_running_loop()
    for other in [other for other in _watchers if other.is_closed()]:
        _watchers.pop(other).close()
    watcher = _watchers.get(loop)
    if watcher is None:
        watcher = _watchers[loop] = _Watcher(loop)
    return watcher.add(changed)


class _Watcher:
    """Looks for changes on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watches: dict[Watch, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        # First listen, then look: what changes in between is told.
        self._kernel = _listen(loop, self._on_told)
        self.networks = look()
        if self._kernel is None:
            self._look_in(POLL_INTERVAL)

    def add(self, changed: Callable[[Networks], object]) -> Watch:
        watch = Watch(self, changed)
        self._watches[watch] = None
        return watch

    def remove(self, watch: Watch) -> None:
        self._watches.pop(watch, None)
        if not self._watches and _watchers.get(self._loop) is self:
            del _watchers[self._loop]
            self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(kernel)
            kernel.close()

    def _on_told(self) -> None:
        assert self._kernel is not None
        for _ in range(MAX_MESSAGES):
            try:
                told, (sender, _) = self._kernel.recvfrom(_MESSAGE_SIZE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # It had more to tell than there was room for.
                self._look_in(SETTLING)
                if error.errno != errno.ENOBUFS:
                    logger.info("the kernel tells of no more changes: %s", error)
                    self._loop.remove_reader(self._kernel)
                    self._kernel.close()
                    self._kernel = None
                return
            if sender == KERNEL and matters(told):
                self._look_in(SETTLING)

    def _look_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._kernel is None:
            self._look_in(POLL_INTERVAL)
        networks = look()
        if networks == self.networks:
            return
        logger.info("the networks have changed: %s", ", ".join(sorted(networks.hosts)))
        self.networks = networks
        for watch in list(self._watches):
            if watch in self._watches:  # another may have stopped it
                watch.tell(networks)


_watchers: dict[asyncio.AbstractEventLoop, _Watcher] = {}


def matters(told: bytes) -> bool:
    """Whether a datagram of the kernel tells of what may be a change."""
    for kind, body in netlink_messages(told):
        if kind in _LINKS_AND_ADDRESSES:
            return True
        if (
            kind in _ROUTES
            and len(body) >= _ROUTE.size
            and _ROUTE.unpack_from(body)[1] <= MAX_PREFIX
        ):
            return True
    return False


def _listen(loop: asyncio.AbstractEventLoop, on_told: Callable[[], object]) -> socket.socket | None:
    """A socket at which the kernel tells of changes; None where it does not."""
    if sys.platform != "linux":
        return None
    kernel: socket.socket | None = None
    try:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        kernel.setblocking(False)
        kernel.bind((0, _GROUPS))
        loop.add_reader(kernel, on_told)
    except (OSError, NotImplementedError) as error:  # of a sandbox, or of a loop
        logger.info("the kernel does not tell of changes: %s", error)
        if kernel is not None:
            kernel.close()
        return None
    return kernel
