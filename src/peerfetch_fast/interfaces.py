"""The addresses of this machine's interfaces.

On Linux the kernel is asked itself (rtnetlink(7)): ifaddr brings ctypes, and runs ldconfig to find
the C library, which together takes longer than to show the help.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator

__all__ = ["interface_addresses"]

# linux/netlink.h and linux/rtnetlink.h
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFA_ADDRESS, _IFA_LOCAL = 1, 2

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # length, type

_DUMP_SIZE = 64 * 1024
"""Bytes of one part of the kernel's answer, at most; it takes 32 KiB."""


def interface_addresses() -> list[tuple[str, str]]:
    """Each address with its interface's name; an IPv6 address without a scope. Raises OSError."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # of a sandbox that has no netlink
            return list(_from_kernel())
    import ifaddr

    return [
        (ip.ip if isinstance(ip.ip, str) else ip.ip[0], adapter.name)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]


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
                answer = kernel.recv(_DUMP_SIZE)
                for kind, body in _messages(answer):
                    if kind == _NLMSG_DONE:
                        return
                    if kind == _NLMSG_ERROR:
                        number = -struct.unpack_from("=i", body)[0]
                        raise OSError(number, "the kernel does not tell its addresses")
                    if kind == _RTM_NEWADDR:
                        yield from _address(body)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + size]
        at += (max(size, _HEADER.size) + 3) & ~3


def _address(body: bytes) -> Iterator[tuple[str, str]]:
    """What one RTM_NEWADDR says; nothing of other families than IPv4 and IPv6."""
    family, _, _, _, index = _ADDRESS.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    told: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        told[kind] = body[at + _ATTRIBUTE.size : at + size]
        at += (max(size, _ATTRIBUTE.size) + 3) & ~3
    # Of a point-to-point interface ADDRESS is the other end's.
    ours = told.get(_IFA_LOCAL) or told.get(_IFA_ADDRESS)
    if ours is None:
        return
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return  # gone meanwhile
    yield socket.inet_ntop(family, ours), name
