"""IP addresses as those stand for who has them."""

from __future__ import annotations

import ipaddress

__all__ = ["network_of"]


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
