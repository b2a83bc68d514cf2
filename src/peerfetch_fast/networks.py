"""Watch this machine's networks for changes of addresses and of the route to the internet.

On Linux the kernel reports changes (rtnetlink(7)); elsewhere the addresses are polled.
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
"""Seconds from the first report of the kernel until the networks are examined: an address and its
route are reported separately."""

POLL_INTERVAL = 3.0
"""Seconds between two polls where the kernel does not report changes."""

MAX_MESSAGES = 64
"""Datagrams of the kernel that are read in one turn of the loop."""

MAX_PREFIX = 3
"""The longest prefix, in bits, of a route to much of the internet. Default routes have 0, a VPN's
routes to both halves of it have 1, and the assigned part of IPv6 (``2000::/3``) has 3."""

# linux/rtnetlink.h
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4 and of IPv6
_LINKS_AND_ADDRESSES = frozenset((16, 17, 20, 21))  # RTM_NEWLINK, DELLINK, NEWADDR, DELADDR
_ROUTES = frozenset((24, 25))  # RTM_NEWROUTE, DELROUTE
_ROUTE = struct.Struct("=BB10x")  # family, bits of the destination, and eight fields more

_MESSAGE_SIZE = 64 * 1024
"""Bytes of a datagram of the kernel, at most."""


@dataclass(frozen=True, slots=True)
class Networks:
    """The addresses that this machine sends from. Two are equal if no difference between them
    matters to a connection.
    """

    hosts: frozenset[str]
    """The addresses that others may reach (:func:`.interfaces.host_addresses`)."""
    sources: frozenset[str]
    """The source addresses for the internet among them: one of IPv4, one of IPv6."""
    addresses: frozenset[str] = field(compare=False)
    """All addresses, those of each container's link among them; an IPv6 address without a scope."""

    def has(self, address: str) -> bool:
        """Whether this machine can send from an address. It can from every loopback address."""
        address = address.partition("%")[0]
        return address in self.addresses or address.startswith("127.")


def look() -> Networks:
    """The networks as they are now; empty if the system does not report them."""
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
    """A subscription to changes, until :meth:`stop`.

    :ivar networks: the networks at the last call.
    """

    def __init__(self, watcher: _Watcher, changed: Callable[[Networks], object]) -> None:
        self._watcher = watcher
        self._changed = changed
        self.networks = watcher.networks

    def tell(self, networks: Networks) -> None:
        """Call the subscriber. An exception is logged, so that other subscribers are called too."""
        self.networks = networks
        try:
            self._changed(networks)
        except Exception:
            logger.exception("a change of network was not dealt with")

    def stop(self) -> None:
        """Cancel the subscription. Idempotent."""
        self._watcher.remove(self)


def watch_networks(changed: Callable[[Networks], object]) -> Watch:
    """Call ``changed`` on the running loop with the new networks after each change.

    All subscriptions on one loop share a socket, which is closed when the last of them stops.
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
        # The order matters: a change between the two is reported.
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
                # The socket's buffer overflowed, so reports were lost.
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
            if watch in self._watches:  # another subscriber may have stopped it
                watch.tell(networks)


_watchers: dict[asyncio.AbstractEventLoop, _Watcher] = {}


def matters(told: bytes) -> bool:
    """Whether a datagram of the kernel reports a change that may matter."""
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
    """A socket on which the kernel reports changes; None where there is no such thing."""
    if sys.platform != "linux":
        return None
    kernel: socket.socket | None = None
    try:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        kernel.setblocking(False)
        kernel.bind((0, _GROUPS))
        loop.add_reader(kernel, on_told)
    except (OSError, NotImplementedError) as error:  # no netlink, or no readers
        logger.info("the kernel does not tell of changes: %s", error)
        if kernel is not None:
            kernel.close()
        return None
    return kernel
