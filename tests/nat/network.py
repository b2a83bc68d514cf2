"""Homes behind routers that translate addresses, and the internet between them, in network
namespaces (Linux, as root).

::

    device, laptop --- router 1 ---+--- server (signaling, STUN, TURN)
    192.168.1.2, .3      203.0.113.11  |   203.0.113.1
    phone ------------ router 2 ---+
    192.168.2.2          203.0.113.12
    whoever moves ---- router 3, 4 +
    192.168.3.9, .4.9    203.0.113.13, .14
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

__all__ = ["SERVER", "WAN_ADDRESSES", "Network", "Unavailable", "network"]

SERVER = "203.0.113.1"
ELSEWHERE = "203.0.113.254"
"""Where everything goes that is for no place here, private addresses included; nobody answers. An
unreachable network, which the internet is not, would be an error that coturn closes a session for.
"""
WAN_ADDRESSES = {
    "router1": "203.0.113.11",
    "router2": "203.0.113.12",
    "router3": "203.0.113.13",
    "router4": "203.0.113.14",
}

HOMES = {
    "router1": ("192.168.1.1", {"device": "192.168.1.2", "laptop": "192.168.1.3"}),
    "router2": ("192.168.2.1", {"phone": "192.168.2.2"}),
    "router3": ("192.168.3.1", {}),
    "router4": ("192.168.4.1", {}),
}

FORGET = """
import socket, struct
kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)  # NETLINK_NETFILTER
# IPCTNL_MSG_CT_DELETE of everything, to be acknowledged (linux/netfilter/nfnetlink_conntrack.h)
kernel.send(struct.pack("=IHHIIBBH", 20, 0x102, 0x5, 1, 0, 0, 0, 0))
assert struct.unpack_from("=i", kernel.recv(4096), 16)[0] == 0
"""
"""Has the kernel forget which connections it has seen (conntrack -F)."""

# What home routers do: translate what leaves, and let nothing in that nobody inside asked for.
# Without the second half, a check that comes too early takes its own port from the answer.
RULES = """
flush ruleset
table ip home {{
    chain nat {{
        type nat hook postrouting priority srcnat
        oifname wan masquerade {how}
    }}
    chain in {{
        type filter hook input priority filter; policy drop
        iifname != wan accept
        ct state established,related accept
    }}
    chain through {{
        type filter hook forward priority filter; policy drop
        iifname != wan accept
        ct state established,related accept
    }}
}}
"""

Translation = Literal["one port for all", "another port for each"]

HOW = {
    # Ports are kept, whoever is spoken to: hole punching works (RFC 4787 §4.1).
    "one port for all": "",
    # What STUN tells is of no use to others: hole punching cannot work, on either side.
    "another port for each": "fully-random",
}


class Unavailable(Exception):
    """Such a network cannot be made here; says why."""


class Network:
    """The namespaces, by what stands in them. Made by :func:`network`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def inside(self, place: str) -> list[str]:
        """What goes before a command that is to run there."""
        return ["ip", "netns", "exec", self._prefix + place]

    def translate(self, how: Translation) -> None:
        """Set the routers up, for connections that they do not know yet."""
        for router in WAN_ADDRESSES:
            _run(*self.inside(router), "nft", "-f", "-", stdin=RULES.format(how=HOW[how]))

    def forget(self) -> None:
        """Have the routers forget the connections that they know."""
        for router in WAN_ADDRESSES:
            _run(*self.inside(router), sys.executable, "-c", FORGET)

    def leave(self, host: str) -> None:
        """Have a host lose its interface."""
        _run(*self.inside(host), "ip", "link", "delete", "lan")

    def join(self, host: str, router: str, address: str) -> None:
        """Have a host that has no interface come into a home."""
        gateway, _ = HOMES[router]
        self._plug(host, "lan", address, router, "lan")
        _run(*self.inside(host), "ip", "route", "add", "default", "via", gateway)

    def _add(self, place: str) -> None:
        _run("ip", "netns", "add", self._prefix + place)
        for name in ("all", "default"):
            _run(*self.inside(place), "sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
        _run(*self.inside(place), "ip", "link", "set", "lo", "up")

    def _bridge(self, place: str, name: str, address: str) -> None:
        inside = self.inside(place)
        _run(*inside, "ip", "link", "add", name, "type", "bridge")
        _run(*inside, "ip", "address", "add", f"{address}/24", "dev", name)
        _run(*inside, "ip", "link", "set", name, "up")

    def _plug(self, place: str, name: str, address: str, into: str, bridge: str) -> None:
        """Connect ``place``, as its interface ``name``, to ``bridge`` in another namespace."""
        port = f"to-{place}"
        _run(
            *("ip", "link", "add", port, "netns", self._prefix + into, "type", "veth"),
            *("peer", "name", name, "netns", self._prefix + place),
        )
        _run(*self.inside(into), "ip", "link", "set", port, "master", bridge, "up")
        _run(*self.inside(place), "ip", "address", "add", f"{address}/24", "dev", name)
        _run(*self.inside(place), "ip", "link", "set", name, "up")

    def _route_elsewhere(self, place: str) -> None:
        inside = self.inside(place)
        neighbour = ("lladdr", "02:00:00:00:00:01", "dev", "wan", "nud", "permanent")
        _run(*inside, "ip", "neighbour", "add", ELSEWHERE, *neighbour)
        _run(*inside, "ip", "route", "add", "default", "via", ELSEWHERE)

    def _build(self) -> None:
        self._add("server")
        self._bridge("server", "wan", SERVER)
        self._route_elsewhere("server")
        for router, (gateway, hosts) in HOMES.items():
            self._add(router)
            self._bridge(router, "lan", gateway)
            self._plug(router, "wan", WAN_ADDRESSES[router], "server", "wan")
            self._route_elsewhere(router)
            _run(*self.inside(router), "sysctl", "-qw", "net.ipv4.ip_forward=1")
            for host, address in hosts.items():
                self._add(host)
                self.join(host, router, address)

    def _remove(self) -> None:
        for place in ("server", *HOMES, *(host for _, hosts in HOMES.values() for host in hosts)):
            with contextlib.suppress(Unavailable):
                _run("ip", "netns", "delete", self._prefix + place)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """The network, until the block ends. Raises Unavailable."""
    made = Network(f"peerfetch-{os.getpid()}-")
    try:
        made._build()
        made.translate("one port for all")
        yield made
    finally:
        made._remove()


def _run(*command: str, stdin: str | None = None) -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Unavailable(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
