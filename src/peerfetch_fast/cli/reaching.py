"""Connecting to a peer from a command: the options, and the devices that were paired."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from peerfetch_fast.cli.access_token import access_token_option
from peerfetch_fast.cli.exit_codes import Failure, sentence
from peerfetch_fast.cli.options import (
    F,
    congestion_option,
    direct_only_option,
    given,
    ice_server_option,
    map_ports_option,
    signaling_option,
    transport_option,
)
from peerfetch_fast.errors import InvalidPin, PeerfetchError, PeerUnavailable
from peerfetch_fast.finding import find_peer
from peerfetch_fast.identity import PeerUrl, parse_pin
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_SIGNALING

if TYPE_CHECKING:
    from peerfetch_fast.peer import Peer

__all__ = ["Connecting", "check_pin", "connecting", "explained", "reaching_options"]

RANDOM_ID = 32
"""Characters of the ids that proxies make."""

Connecting = Callable[[], "AbstractAsyncContextManager[Peer]"]
"""Connects to the peer, for as long as the block runs."""


def reaching_options(command: F) -> F:
    """The options that :func:`connecting` takes, as parameters of the same names."""
    for option in (
        congestion_option,
        transport_option,
        map_ports_option,
        direct_only_option,
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


def _check_transport(options: dict[str, Any]) -> None:
    """Raises click.UsageError for an option that the transport does not know."""
    from peerfetch_fast.webrtc.transports import check_transport

    asks = options["direct_only"] or options["map_ports"]
    if asks and check_transport(options["transport"]) != "native":
        raise click.UsageError("--direct-only and --map-ports need --transport native")


def connecting(
    address: PeerUrl, *, signaling: str, pin: str | None, give_up_after: float, **options: Any
) -> Connecting:
    """Connects to the peer at ``address``, or to the device that was paired under that name.

    The other parameters are those of :func:`peerfetch_fast.connect`. Raises click.UsageError for a
    pin that is none, and click.ClickException where the devices cannot be read.
    """
    check_pin(pin or address.pin)
    _check_transport(options)
    try:
        address, signaling = find_peer(
            address, signaling if given("signaling") else None, default=signaling
        )
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


def explained(error: Exception, name: str) -> str:
    """The message of ``error``. If no peer ``name`` was found, a hint is added that ``name`` may be
    meant as the name of a paired device.
    """
    return sentence(error) + (_unpaired(name) if isinstance(error, PeerUnavailable) else "")


def _unpaired(name: str) -> str:
    """The hint that no device is paired as ``name``; "" if ``name`` is not meant as a name."""
    from peerfetch_fast.devices import is_name, load_devices
    from peerfetch_fast.state import state_directory

    # Nobody types the random ids of proxies as names.
    if not is_name(name) or len(name) >= RANDOM_ID:
        return ""
    with contextlib.suppress(PeerfetchError, OSError):
        if name in load_devices(state_directory()):
            return ""
    return (
        f"; and no device is paired as {name} here: `peerfetch pair {name} peer://PEER-ID` does "
        "that, and `peerfetch discover` finds devices"
    )
