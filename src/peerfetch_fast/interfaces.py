"""The addresses of this machine's interfaces.

On Linux they come from the kernel (rtnetlink(7)). The package ifaddr imports ctypes and runs
ldconfig to find the C library, which takes longer than ``peerfetch --help`` does. The messages come
from the kernel alone: no peer can put a byte into them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable, Iterator

__all__ = [
    "KERNEL",
    "LOOPBACK",
    "host_addresses",
    "interface_addresses",
    "is_ours",
    "lan_address",
    "netlink_messages",
    "source_addresses",
]

LOOPBACK = "127.0.0.1"

FAR_AWAY = {
    socket.AF_INET: ("198.51.100.1", 9),
    socket.AF_INET6: ("2001:db8::1", 9),
}
"""Documentation addresses (RFC 5737, RFC 3849): routes to them are looked up, nothing is sent."""

# linux/netlink.h and linux/rtnetlink.h
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_OPTIMISTIC, _IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x04, 0x08, 0x40

KERNEL = 0
"""The netlink port of the kernel. Other programs can send to ours, and are ignored."""

# linux/if.h and linux/sockios.h
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_SIOCGIFFLAGS = 0x8913
_IFREQ = struct.Struct("=16sH22x")  # name, flags; padded to the size on 64-bit systems

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # length, type

_SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}
"""Bytes of an address."""

_DUMP_SIZE = 64 * 1024
"""Bytes of one datagram of the kernel's answer, at most. The kernel uses 32 KiB."""


def interface_addresses() -> list[tuple[str, str]]:
    """Each address of this machine, with the name of its interface; IPv6 addresses without a scope.
    On Linux, interfaces that are down are left out. Raises OSError.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # some sandboxes have no netlink
            return list(_from_kernel())
    import ifaddr

    return [
        (ip.ip if isinstance(ip.ip, str) else ip.ip[0], adapter.name)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]


def host_addresses(found: Iterable[tuple[str, str]] | None = None) -> list[str]:
    """The addresses at which other machines may reach this one, interface by interface. Link-local
    addresses are used only if there are no others, with their scope after a ``%``; the loopback
    address only if there are none at all. Raises OSError.

    :param found: a recent result of :func:`interface_addresses`; by default it is called.
    """
    interfaces: dict[str, list[str]] = {}
    for host, name in interface_addresses() if found is None else found:
        interfaces.setdefault(name, []).append(host)
    wide: dict[str, None] = {}
    near: dict[str, None] = {}
    for name, addresses in interfaces.items():
        for host in addresses:
            address = ipaddress.ip_address(host)
            if address.is_loopback or address.is_unspecified or address.is_multicast:
                continue
            if not address.is_link_local:
                wide[host] = None
            else:
                near[host if address.version == 4 else f"{host}%{name}"] = None
    return list(wide or near) or [LOOPBACK]


def is_ours(address: str) -> bool:
    """Whether an address is this machine's, on an interface that is up or down."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True


def source_addresses() -> frozenset[str]:
    """The source addresses for the internet: at most one of IPv4 and one of IPv6."""
    found = set()
    for family, place in FAR_AWAY.items():
        with (
            contextlib.suppress(OSError),  # no route
            socket.socket(family, socket.SOCK_DGRAM) as sock,
        ):
            sock.connect(place)
            found.add(sock.getsockname()[0])
    return frozenset(found)


def lan_address() -> str | None:
    """The address by which others in this network reach this machine: the one from which the
    internet is reached, or the first of those that others may reach; IPv4 before IPv6. None if
    there is none. Raises OSError.
    """
    candidates = [*sorted(source_addresses(), key=lambda host: ":" in host), *host_addresses()]
    usable = [
        host
        for host in candidates
        if "%" not in host and not ipaddress.ip_address(host).is_loopback
    ]
    return next((host for host in usable if ":" not in host), next(iter(usable), None))


if sys.platform == "linux":

    def _from_kernel() -> Iterator[tuple[str, str]]:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            size = _HEADER.size + _ADDRESS.size
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            kernel.send(
                _HEADER.pack(size, _RTM_GETADDR, flags, 1, 0)
                + _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            )
            while True:
                answer, (sender, _) = kernel.recvfrom(_DUMP_SIZE)
                for kind, body in netlink_messages(answer if sender == KERNEL else b""):
                    if kind == _NLMSG_DONE:
                        return
                    if kind == _NLMSG_ERROR:
                        number = -struct.unpack_from("=i", body.ljust(4, b"\0"))[0]
                        raise OSError(number, "the kernel does not tell its addresses")
                    if kind == _RTM_NEWADDR:
                        yield from _address(body)

    def _is_up(name: str) -> bool:
        """Whether an interface has a carrier; True where that is unknown."""
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                told = fcntl.ioctl(sock, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
            except OSError:
                return True
        flags = _IFREQ.unpack(told)[1]
        return bool(flags & _IFF_UP and flags & _IFF_RUNNING)


def netlink_messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each whole message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, *_ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= size <= len(data) - at:
            return
        yield kind, data[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def _address(body: bytes) -> Iterator[tuple[str, str]]:
    """The address in one RTM_NEWADDR. Nothing for families other than IPv4 and IPv6, and for an
    address that another machine may have as well (RFC 4862 section 5.4).
    """
    if len(body) < _ADDRESS.size:
        return
    family, _, flags, _, index = _ADDRESS.unpack_from(body)
    tentative = flags & _IFA_F_TENTATIVE and not flags & _IFA_F_OPTIMISTIC
    if family not in _SIZES or tentative or flags & _IFA_F_DADFAILED:
        return
    told: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        if not _ATTRIBUTE.size <= size <= len(body) - at:
            break
        told[kind] = body[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    # On a point-to-point interface, IFA_ADDRESS is the other end's.
    ours = told.get(_IFA_LOCAL) or told.get(_IFA_ADDRESS)
    if ours is None or len(ours) != _SIZES[family]:
        return
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return  # the interface is gone meanwhile
    if _is_up(name):
        yield socket.inet_ntop(family, ours), name
