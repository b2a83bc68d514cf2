"""``peerfetch devices``: the paired and the known devices, and whether they are online."""

from __future__ import annotations

import asyncio
import json
import sys

import click

from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.loop import run
from peerfetch_fast.cli.options import F, log_level_option
from peerfetch_fast.devices import Device, is_name, load_devices, remove_device, rename_device
from peerfetch_fast.discovery import Found, ask_room, browse
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.known_peers import KnownPeers
from peerfetch_fast.signaling.peernet.address import is_peernet, without_rooms
from peerfetch_fast.state import state_directory

__all__ = ["check_free", "check_name", "devices", "may_replace", "replace_option"]

MAX_SERVERS = 16
"""Signaling servers that are asked at the same time."""

ROOM_TIMEOUT = 5.0
"""Seconds that a signaling server may take to list the members of its room."""

Row = dict[str, str | None]


def replace_option(command: F) -> F:
    """``--replace``."""
    return click.option(
        "--replace", is_flag=True, help="Take the name from the device that has it, without asking."
    )(command)


def check_name(name: str) -> None:
    """Raises click.UsageError for an invalid name of a device."""
    if not is_name(name):
        raise click.UsageError(f"{name!r} is no name: use small letters, digits and '-'")


def may_replace(name: str, other: Device, replace: bool) -> bool:
    """Whether ``name`` may be taken from ``other``: by the option, or by the user at a terminal.

    Raises click.UsageError if there is no terminal.
    """
    if replace:
        return True
    taken = f"{name} is the name of {other.peer_id}"
    if not sys.stdin.isatty():
        raise click.UsageError(f"{taken}: give --replace to take it from that device")
    return click.confirm(f"{taken}. Take it from that device?", err=True)


def check_free(name: str, replace: bool) -> None:
    """Ask for a name that another device has, before a code is used up for it.

    Raises click.ClickException where it is not given, and as :func:`may_replace` does.
    """
    other = load_devices(state_directory()).get(name)
    if other is not None and not may_replace(name, other, replace):
        raise click.ClickException("nothing was changed")


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of objects.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the local network is listened to; 0 to ask nobody.",
)
@log_level_option
@click.pass_context
def devices(ctx: click.Context, as_json: bool, timeout: float) -> None:
    """List the devices that are paired and known; rename and remove them.

    A device is online if it announces itself on the local network or in the room of its signaling
    server (peerfetch proxy --discoverable). Of others it cannot be told without connecting.
    """
    if ctx.invoked_subcommand is not None:
        return
    try:
        paired = load_devices(state_directory())
        known = KnownPeers(state_directory() / "known_peers").peers()
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None
    online: dict[str, str] = {}
    away: dict[str, str] = {}
    if timeout and (paired or known):
        servers = {device.signaling for device in paired.values() if _lists(device.signaling)}
        online, away = run(_look(sorted(servers), timeout))
    rows = [_row(name, device, known, online, away) for name, device in sorted(paired.items())]
    named = {device.peer_id for device in paired.values()}
    rows += [
        {"name": None, "peer_id": peer_id, "signaling": None, "pin": pin, "kept": "known"}
        | {"state": online.get(peer_id, "not seen")}
        for peer_id, pin in sorted(known.items())
        if peer_id not in named
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("No device is paired or known: see peerfetch discover and peerfetch pair.")
    else:
        click.echo("\n".join(map(_text, rows)))


def _lists(signaling: str) -> bool:
    """Whether a signaling server can be asked who is there: PeerNet lists the servers of rooms."""
    return not is_peernet(signaling) or signaling != without_rooms(signaling)


def _row(
    name: str,
    device: Device,
    known: dict[str, str],
    online: dict[str, str],
    away: dict[str, str],
) -> Row:
    state = online.get(device.peer_id) or away.get(device.signaling) or "not seen"
    pin = device.pin or known.get(device.peer_id)
    about: Row = {"name": name, "peer_id": device.peer_id, "signaling": device.signaling}
    return about | {"pin": pin, "kept": "paired", "state": state}


def _text(row: Row) -> str:
    where = f" at {row['signaling']}" if row["signaling"] else ""
    pin = row["pin"] or "no certificate is known yet"
    return f"{row['name'] or '(no name)'}  {row['state']}\n  {row['peer_id']}{where}\n  {pin}"


async def _look(servers: list[str], timeout: float) -> tuple[dict[str, str], dict[str, str]]:
    """The state of the devices that are seen, by peer id, and the servers that do not answer."""
    free = asyncio.Semaphore(MAX_SERVERS)

    async def room(server: str) -> list[Found]:
        async with free, asyncio.timeout(ROOM_TIMEOUT):
            return await ask_room(server)

    results = await asyncio.gather(browse(timeout), *map(room, servers), return_exceptions=True)
    online: dict[str, str] = {}
    away: dict[str, str] = {}
    for where, result in zip((None, *servers), results, strict=True):
        if isinstance(result, (PeerfetchError, TimeoutError, OSError)):
            if where is not None:
                away[where] = "its signaling server does not answer"
        elif isinstance(result, BaseException):
            raise result
        else:
            place = "on the local network" if where is None else "at its signaling server"
            for found in result:
                online.setdefault(found.peer_id, f"online {place}")
    return online, away


@devices.command()
@click.argument("old", metavar="NAME")
@click.argument("new", metavar="NEW-NAME")
@replace_option
def rename(old: str, new: str, replace: bool) -> None:
    """Give a paired device another name."""
    check_name(new)
    try:
        if not rename_device(
            state_directory(), old, new, replace=lambda other: may_replace(new, other, replace)
        ):
            raise click.ClickException("nothing was changed")
    except KeyError:
        raise click.UsageError(f"no device is paired as {old!r}: see peerfetch devices") from None
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None


@devices.command()
@click.argument("name", metavar="NAME|PEER-ID")
def remove(name: str) -> None:
    """Forget a paired device, or the certificate of a known one."""
    try:
        removed = remove_device(state_directory(), name) or KnownPeers(
            state_directory() / "known_peers"
        ).forget(name)
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None
    if not removed:
        raise click.UsageError(f"nothing is paired or known as {name!r}: see peerfetch devices")
