"""IP addresses as those stand for who has them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["in_same_realm", "network_of"]


def network_of(remote: str) -> str:
    """``remote``, or its network if it is an IPv6 address: whoever has one has 2^64.

    What is no IPv6 address is returned as it is.
    """
    try:
        address = ipaddress.IPv6Address(remote.partition("%")[0])
    except ValueError:
        return remote
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address.packed, 128)).supernet(new_prefix=64))


def in_same_realm(addresses: Iterable[str], here: str) -> list[str]:
    """Those of ``addresses`` that mean the same to whoever is at ``here`` as to us.

    A private address means another machine in each network: it is one of these only where ``here``
    is private too, and so near. What is no address is left out.
    """
    kinds = (True,) if _is_global(here) else (True, False)
    return [one for one in addresses if _is_global(one) in kinds]


def _is_global(text: str) -> bool | None:
    """Whether an address is unique in the world; None if it is none."""
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_global
    except ValueError:
        return None
