"""TCP ports of this side by name: the handler of ``peerfetch proxy --tcp``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.tunnel import is_port_name, relay_socket, reset_socket

__all__ = ["Ports"]

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
"""Seconds that a port may take to accept a connection, before the answer is 504."""


class Ports:
    """Connects tunnels to the ports that it was given, by name, and to no others.

    :param addresses: ``HOST:PORT`` by name.

    Raises ValueError for an invalid name or address.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        for name in addresses:
            if not is_port_name(name):
                raise ValueError(
                    f"{name!r} is no name for a port: use letters, digits, '.', '_' and '-'"
                )
        self._addresses = {name: _address(text) for name, text in addresses.items()}

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request for a tunnel, and pass its bytes on."""
        name = exchange.target[1:]
        address = self._addresses.get(name)
        if address is None or not exchange.target.startswith("/"):
            exchange.refuse(404, "This device serves no port of that name.")
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(*address)
        except TimeoutError:
            exchange.refuse(504, f"The port {name} did not take the connection in time.")
            return
        except OSError as error:
            logger.info("the port %s did not take a connection: %s", name, error)
            exchange.refuse(502, f"The port {name} did not take the connection.")
            return
        try:
            tunnel = exchange.accept_tunnel()
        except BaseException:
            reset_socket(writer.transport)
            raise
        await relay_socket(tunnel, reader, writer)


def _address(text: str) -> tuple[str, int]:
    try:
        found = urlsplit(f"//{text}")
        if found.hostname and found.port and text == found.netloc and "@" not in text:
            return found.hostname, found.port
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no address of a port: write HOST:PORT, as in 127.0.0.1:22")
