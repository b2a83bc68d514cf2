"""``--https``: HTTPS by this device's own authority, and the page that tells how to trust it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from peerfetch_fast.cli.options import F
from peerfetch_fast.cli.serving import at_host
from peerfetch_fast.interfaces import LOOPBACK
from peerfetch_fast.web.page_link import page_url

if TYPE_CHECKING:
    from peerfetch_fast.local_authority import LocalCertificate

__all__ = ["https_option", "show_trust"]


def https_option(command: F) -> F:
    """``--https``."""
    return click.option(
        "--https",
        is_flag=True,
        help="Serve the page by HTTPS on a local network without a domain: with an authority of "
        "this device's own, which phones trust once. A page on the next port, by HTTP, says how.",
    )(command)


async def show_trust(
    local: LocalCertificate, host: str, url: str, stack: contextlib.AsyncExitStack
) -> None:
    """Serve the page that tells how to trust our authority, until the stack closes. Raises
    SignalingError.

    :param host: the address to listen on.
    :param url: of the signaling server, whose port the page's follows.
    """
    from peerfetch_fast.web.trust_page import TrustPage

    port = (urlsplit(url).port or 443) + 1
    page = TrustPage(local.authority, local.pin)
    await page.start(host, port, page_url(url))
    stack.push_async_callback(page.close)
    place = at_host(f"http://host:{port}", urlsplit(url).hostname or LOOPBACK)
    click.echo(f"trust        {place} says what to tap on a phone, once\nauthority    {local.pin}")
