"""``peerfetch discover`` and ``peerfetch pair``: find devices, and give them names."""

from __future__ import annotations

import asyncio
import shlex
import sys

import click

from peerfetch_fast.cli.common import (
    log_level_option,
    run,
    signaling_option,
)
from peerfetch_fast.cli.devices import ask_room, check_name, may_replace, replace_option
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.reaching import check_pin
from peerfetch_fast.devices import Device, load_devices, save_device
from peerfetch_fast.discovery import Found, browse
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.identity import PeerUrl, parse_peer_url
from peerfetch_fast.signaling.messages import is_peer_id
from peerfetch_fast.signaling.settings import DEFAULT_SIGNALING
from peerfetch_fast.state import state_directory

__all__ = ["discover", "pair"]


@click.command()
@signaling_option(help="Ask this server's room, beside the local network.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the local network is listened to.",
)
@log_level_option
def discover(signaling: str | None, timeout: float) -> None:
    """List the devices that let themselves be found (peerfetch proxy --discoverable).

    Those on the local network are found without any server. Those behind the same router as this
    machine, old ones too, are found in the room of a signaling server that both use.
    """
    found, failures = run(_discover(signaling, timeout))
    try:
        names = {device.peer_id: name for name, device in load_devices(state_directory()).items()}
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None
    for device in found:
        known = f"  paired as {names[device.peer_id]}" if device.peer_id in names else ""
        click.echo(f"{device.name or 'in the room'}{known}\n  {_pair_command(device)}")
    for failure in failures:
        click.echo(f"peerfetch: {failure}", err=True)
    if not found:
        click.echo("No device was found.", err=True)
        sys.exit(1)


def _pair_command(device: Found) -> str:
    """What to type; whoever announced the device chose its words, so they are quoted."""
    url = str(PeerUrl(device.peer_id, "/", device.pin))
    return f"peerfetch pair NAME {shlex.quote(url)} --signaling {shlex.quote(device.signaling)}"


async def _discover(signaling: str | None, timeout: float) -> tuple[list[Found], list[str]]:
    searches = [browse(timeout)]
    if signaling is not None:
        searches.append(ask_room(signaling))
    found: dict[str, Found] = {}
    failures = []
    for result in await asyncio.gather(*searches, return_exceptions=True):
        if isinstance(result, PeerfetchError):
            failures.append(str(result))
        elif isinstance(result, BaseException):
            raise result
        else:
            for device in result:
                found.setdefault(device.peer_id, device)
    return list(found.values()), failures


@click.command()
@click.argument("name")
@click.argument("url", metavar="peer://PEER-ID/[#PIN]")
@signaling_option(
    default=DEFAULT_SIGNALING, show_default=True, help="The server that knows the device."
)
@replace_option
def pair(name: str, url: str, signaling: str, replace: bool) -> None:
    """Keep a device under a NAME, for peerfetch fetch peer://NAME/… and peerfetch forward NAME."""
    check_name(name)
    parts = parse_peer_url(url)
    if not is_peer_id(parts.peer_id) or parts.target != "/":
        raise click.UsageError(f"{url!r} is no device: write peer://PEER-ID")
    check_pin(parts.pin)
    try:
        device = Device(parts.peer_id, signaling, parts.pin)
        if not save_device(
            state_directory(), name, device, replace=lambda other: may_replace(name, other, replace)
        ):
            raise click.ClickException("nothing was changed")
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None
    click.echo(f"try  peerfetch fetch peer://{name}/")
