"""The link to the page that a command prints, who can open it, and its QR code."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import sys
from urllib.parse import urlsplit

import click

from peerfetch_fast.cli.serving import at_host
from peerfetch_fast.interfaces import lan_address
from peerfetch_fast.signaling.peernet.address import is_peernet
from peerfetch_fast.web.page_link import page_url, qr_code

__all__ = ["has_page", "tell_link"]

PAGE_TIMEOUT = 3.0
"""Seconds that a signaling server may take to say whether it has the page."""

REACH_TIMEOUT = 1.0
"""Seconds in which a server on this machine is to be reached by another of its addresses."""

MAX_ANSWER = 4096
"""Bytes of its answer that are read."""


async def has_page(signaling: str) -> bool:
    """Whether the signaling server at this URL serves the page, too; foreign ones do not."""
    from yarl import URL

    from peerfetch_fast.signaling.http_client import HttpClient

    parts = urlsplit(signaling)
    if parts.path.strip("/") or parts.query or is_peernet(signaling):
        return False  # the page looks for signaling where PeerJS's clients do by default
    client = HttpClient(None)
    try:
        async with asyncio.timeout(PAGE_TIMEOUT):
            url = URL(f"{page_url(signaling)}~peerfetch/package.json")
            status, body = await client.request("GET", url, max_body=MAX_ANSWER)
        return status == 200 and json.loads(body)["name"] == "peerfetch-fast"
    except Exception:  # of any kind: it is no server of ours
        return False
    finally:
        client.close()


async def tell_link(label: str, signaling: str, peer: str = "", *, listen: str | None) -> None:
    """Print the link to the page of the server at ``signaling``, and in a terminal its QR code.

    It names an address that a phone can reach; where there is none, that is said instead.

    :param label: the word before the link, padded.
    :param listen: the option that would have the server listen for others, such as
        ``--listen 0.0.0.0:9000``; None for a server that is not ours.
    """
    found: str | None = signaling
    if _is_of_this_machine(signaling):
        found = await _at_lan_address(signaling) if listen is None else None
    link = page_url(found or signaling, peer)
    click.echo(f"{label}{link}")
    if found is not None:
        if sys.stdout.isatty():
            click.echo(qr_code(link))
        return
    why = "this machine has no address in a network"
    if lan_address() is not None:
        why = "the server listens for programs here only"
        if listen is not None:
            why += f", {listen} would let others"
    click.echo(f"{' ' * len(label)}Only a browser on this machine can open it: {why}.")


def _is_of_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _at_lan_address(url: str) -> str | None:
    """``url``, of this machine, as others can reach it; None where they cannot."""
    parts = urlsplit(url)
    address = lan_address()
    if address is None:
        return None
    port = parts.port or (443 if parts.scheme in ("wss", "https") else 80)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(REACH_TIMEOUT):
            _, writer = await asyncio.open_connection(address, port)
        writer.close()
        return at_host(url, address)
    return None
