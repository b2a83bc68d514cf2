"""How the commands that ask a peer reach it: their options, and the devices that were paired."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from peerfetch_fast.cli.common import (
    F,
    access_token_option,
    congestion_option,
    given,
    ice_server_option,
    signaling_option,
    transport_option,
)
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.errors import InvalidPin, PeerfetchError
from peerfetch_fast.finding import find_peer
from peerfetch_fast.identity import PeerUrl, parse_pin
from peerfetch_fast.signaling.settings import DEFAULT_SIGNALING

if TYPE_CHECKING:
    from peerfetch_fast.peer import Peer

__all__ = ["Connecting", "check_pin", "connecting", "reaching_options"]

Connecting = Callable[[], "AbstractAsyncContextManager[Peer]"]
"""Connects to the peer, for as long as the block runs."""


def reaching_options(command: F) -> F:
    """The options that :func:`connecting` takes, as parameters of the same names."""
    for option in (
        congestion_option,
        transport_option,
        ice_server_option,
        access_token_option,
        click.option(
            "--pin",
            metavar="sha256:…",
            help="Fingerprint that the peer's certificate must have. Default: the one that it had "
            "the first time, which is kept in the state directory.",
        ),
        signaling_option(
            default=DEFAULT_SIGNALING, show_default=True, help="The server that knows the peer."
        ),
    ):
        command = option(command)
    return command


def check_pin(pin: str | None) -> None:
    """Raises click.UsageError for a pin that is none."""
    try:
        if pin is not None:
            parse_pin(pin)
    except InvalidPin as error:
        raise click.UsageError(str(error)) from None


def connecting(
    address: PeerUrl, *, signaling: str, pin: str | None, give_up_after: float, **options: Any
) -> Connecting:
    """What connects to the peer at ``address``, or to the device that was paired under that name.

    The other parameters are those of :func:`peerfetch_fast.connect`. Raises click.UsageError for a
    pin that is none, and click.ClickException where the devices cannot be read.
    """
    check_pin(pin or address.pin)
    try:
        address, signaling = find_peer(address, signaling if given("signaling") else None)
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None
    from peerfetch_fast.peer import connect

    return partial(
        connect,
        address.peer_id,
        signaling=signaling,
        pin=pin or address.pin,
        give_up_after=give_up_after,
        **options,
    )
