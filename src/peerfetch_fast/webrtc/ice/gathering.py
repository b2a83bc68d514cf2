"""Gathering for the owner of an agent: names and servers."""

from __future__ import annotations

import logging
import re

from peerfetch_fast.errors import RelayError
from peerfetch_fast.webrtc.ice.servers import IceServer, Server, resolve, servers_of

__all__ = [
    "IceServer",
    "RelayError",
    "Server",
    "is_mdns_name",
    "resolve",
    "resolve_mdns",
    "servers_of",
]

logger = logging.getLogger(__name__)

MDNS_TRIES = 3
"""Times that a name is asked for, a second each: what is sent to all is lost easily in the air."""

_MDNS_NAME = re.compile(r"[A-Za-z0-9-]{1,63}\.local", re.ASCII)


def is_mdns_name(name: str) -> bool:
    """Whether a candidate's host is a name that hides an address."""
    return _MDNS_NAME.fullmatch(name) is not None


async def resolve_mdns(name: str) -> str | None:
    """The address of a name in this network; None: nobody here is called so."""
    if not is_mdns_name(name):
        return None
    try:
        from aioice import mdns
    except ImportError:
        logger.info("names of browsers need aioice: pip install 'peerfetch-fast[media]'")
        return None
    from peerfetch_fast.webrtc.ice.opening import unbroken

    try:
        protocol = await unbroken(mdns.create_mdns_protocol())
    except OSError as exc:
        logger.info("no name can be asked for in this network: %s", exc)
        return None
    try:
        for _ in range(MDNS_TRIES):
            address = await protocol.resolve(name, timeout=1.0)
            if address is not None:
                return address
    except Exception as exc:
        # Any host of this network can choose the bytes that dnspython reads.
        logger.info("%s was not found: %r", name, exc)
    finally:
        await protocol.close()
    return None
