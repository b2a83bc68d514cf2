"""``peerfetch discover`` and ``peerfetch pair``: find devices, and give them names."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from peerfetch_fast.cli.asking import asked
from peerfetch_fast.cli.devices import (
    check_free,
    check_name,
    may_replace,
    replace_option,
)
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.loop import run
from peerfetch_fast.cli.meeting import nearby
from peerfetch_fast.cli.options import log_level_option, room_option, signaling_option
from peerfetch_fast.cli.reaching import check_pin
from peerfetch_fast.codes import (
    PairingCode,
    looks_like_code,
    parse_code,
    parse_digits,
    waiting_name,
)
from peerfetch_fast.devices import Device, load_devices, save_device
from peerfetch_fast.discovery import Found, ask_room, browse
from peerfetch_fast.errors import InvalidCode, PeerfetchError, SignalingError
from peerfetch_fast.identity import (
    InvitationLink,
    PeerUrl,
    parse_invitation,
    parse_peer_url,
)
from peerfetch_fast.sharing.room import members
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_SIGNALING
from peerfetch_fast.signaling.peernet.address import without_rooms
from peerfetch_fast.state import own_certificate, state_directory

__all__ = ["discover", "pair"]


@click.command()
@signaling_option(help="Ask this server's room, beside the local network.")
@room_option(help="The room of a PeerNet server. May be given several times.")
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
        waits = waiting_name(device.peer_id)
        where = device.name or ("in the room" if waits is None else f"{waits}, which waits for you")
        click.echo(f"{where}{known}\n  {_pair_command(device)}")
    for failure in failures:
        click.echo(f"peerfetch: {failure}", err=True)
    if not found:
        click.echo("No device was found.", err=True)
        sys.exit(1)


def _pair_command(device: Found) -> str:
    """The command to type. Its words come from the device's announcement, so they are quoted."""
    url = str(PeerUrl(device.peer_id, "/", device.pin))
    signaling = without_rooms(device.signaling)
    return f"peerfetch pair NAME {shlex.quote(url)} --signaling {shlex.quote(signaling)}"


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
                if not members([(device.peer_id, device.signaling)]):  # who shares is no device
                    found.setdefault(device.peer_id, device)
    return list(found.values()), failures


@click.command()
@click.argument("name")
@click.argument("url", metavar="CODE|LINK|peer://PEER-ID/[#PIN]")
@signaling_option(
    help="The server that knows the device. Default: the rendezvous server, or "
    "ws://127.0.0.1:9000; for a code, those of the devices on the local network between them.",
)
@replace_option
def pair(name: str, url: str, signaling: str | None, replace: bool) -> None:
    """Keep a device under a NAME, for peerfetch fetch peer://NAME/… and peerfetch forward NAME.

    With a code or a link that `peerfetch invite` shows there, this also proves that it is that
    device, and the device lets us in from then on. So it does with the digits of a device that
    waits in the room (`peerfetch invite --wait`, `peerfetch discover`), which are asked for.
    """
    check_name(name)
    try:
        if looks_like_code(url):
            check_free(name, replace)
            replace = True
            source = click.get_current_context().get_parameter_source("signaling")
            alone = source is ParameterSource.COMMANDLINE
            device = run(_pair_by_code(parse_code(url), signaling, alone=alone))
        elif (link := parse_invitation(url)) is not None:
            check_free(name, replace)
            replace = True
            place = signaling or _named_by(url) or DEFAULT_SIGNALING
            device = Device(link.peer_id, place, link.pin)
            run(_use(link, device))
        else:
            device = _named_device(url, signaling or DEFAULT_SIGNALING)
            if waiting_name(device.peer_id) is not None:
                check_free(name, replace)
                replace = True
                device = run(_pair_by_digits(device.peer_id, device.signaling))
        if not save_device(
            state_directory(), name, device, replace=lambda other: may_replace(name, other, replace)
        ):
            raise click.ClickException("nothing was changed")
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None
    click.echo(f"try  peerfetch fetch peer://{name}/")


def _named_device(url: str, signaling: str) -> Device:
    """The device of a ``peer://`` URL. Raises click.UsageError."""
    parts = parse_peer_url(url)
    if not is_peer_id(parts.peer_id) or parts.target != "/":
        raise click.UsageError(
            f"{url!r} is no device: write peer://PEER-ID, or a code as in 123-able-boat"
        )
    check_pin(parts.pin)
    return Device(parts.peer_id, signaling, parts.pin)


async def _pair_by_code(code: PairingCode, signaling: str | None, *, alone: bool) -> Device:
    """The device that shows ``code``. Raises PeerUnavailable where it is not found anywhere.

    :param alone: whether ``signaling`` is the only place where to look.
    """
    from peerfetch_fast.pairing import pair as pair_by_code

    certificate = own_certificate()
    failure: SignalingError | None = None
    async for place in _places(code, signaling, alone):
        try:
            return await pair_by_code(code, place, certificate)
        except SignalingError as error:  # nobody waits there
            failure = failure or error
    assert failure is not None
    raise failure


async def _places(code: PairingCode, signaling: str | None, alone: bool) -> AsyncIterator[str]:
    """Where a code may be from, each once, the likeliest first; the network is asked late."""
    if signaling is not None:
        yield signaling
    if signaling is not None and alone:
        return
    for place in dict.fromkeys([*await nearby(code), DEFAULT_SIGNALING]):
        if place != signaling:
            yield place


async def _pair_by_digits(peer_id: str, signaling: str) -> Device:
    """The device that waits as ``peer_id``, once the digits that it shows were entered."""
    from peerfetch_fast.pairing import knock
    from peerfetch_fast.pairing import pair as pair_by_digits

    await knock(peer_id, signaling)
    while True:
        try:
            typed = await asked(f"Digits that {waiting_name(peer_id)} shows: ")
            digits = parse_digits(peer_id, typed)
        except InvalidCode as error:
            click.echo(f"Error: {error}", err=True)
        except EOFError:
            raise click.Abort from None
        else:
            return await pair_by_digits(digits, signaling, own_certificate())


def _named_by(link: str) -> str | None:
    """The signaling server whose page a link leads to; None if it leads to none."""
    parts = urlsplit(link)
    if parts.scheme not in ("http", "https"):
        return None
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"


async def _use(link: InvitationLink, device: Device) -> None:
    """Connect once, so that the device knows us from then on. Raises PeerfetchError."""
    from peerfetch_fast.peer import connect

    async with connect(
        link.peer_id, access_token=link.secret, signaling=device.signaling, pin=link.pin
    ):
        pass
