"""IP addresses as the identities of their owners."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["in_same_realm", "network_of"]


def network_of(remote: str) -> str:
    """``remote``, or its /64 network if it is an IPv6 address: one host can use all of a /64.

    Any other text is returned unchanged.
    """
    try:
        address = ipaddress.IPv6Address(remote.partition("%")[0])
    except ValueError:
        return remote
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address.packed, 128)).supernet(new_prefix=64))


def in_same_realm(addresses: Iterable[str], here: str) -> list[str]:
    """The ``addresses`` that name the same machine for a host at ``here`` as they do for us.

    A private address names another machine in each network. It is kept only if ``here`` is private
    as well, and thus on our network. Text that is no address is left out.
    """
    kinds = (True,) if _is_global(here) else (True, False)
    return [one for one in addresses if _is_global(one) in kinds]


def _is_global(text: str) -> bool | None:
    """Whether an address is globally unique; None for text that is no address."""
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_global
    except ValueError:
        return None
