"""``peerfetch invite`` and ``peerfetch people``: who is let in by name, and what they may."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.links import tell_link
from peerfetch_fast.cli.loop import run, stop_event
from peerfetch_fast.cli.options import (
    F,
    log_level_option,
    signaling_option,
    state_option,
    told_ice_server_option,
)
from peerfetch_fast.codes import Digits, waiting_name
from peerfetch_fast.devices import Device
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.finding import find_signaling
from peerfetch_fast.identity import InvitationLink, certificate_pin
from peerfetch_fast.people import EVERYTHING, Invitation, People, Person, check_person
from peerfetch_fast.state import load_certificate, load_peer_id, state_directory
from peerfetch_fast.status import ask_all
from peerfetch_fast.web.page_link import page_url
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.ice.gathering import IceServer

if TYPE_CHECKING:
    from peerfetch_fast.pairing import ShownCode

__all__ = ["invite", "people"]

LINK_DAYS = 7
"""Days that a link is worth something unless told otherwise."""

VALID = 10.0
"""Minutes that a code is worth something unless told otherwise."""

proxy_state_option = state_option("The one that the proxy was started with.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def limit_options(command: F) -> F:
    """The options that limit a person: ``--paths``, ``--read-only`` and ``--until``."""
    for option in (
        click.option(
            "--until",
            type=click.DateTime(["%Y-%m-%d"]),
            metavar="YYYY-MM-DD",
            help="The last day (UTC) on which they are let in. Default: no end.",
        ),
        click.option(
            "--read-only/--read-write",
            "read_only",
            default=None,
            help="Whether they may only ask with GET, HEAD and OPTIONS, and open no WebSocket nor "
            "tunnel. Default: they may all.",
        ),
        click.option(
            "--paths",
            "paths",
            multiple=True,
            metavar="/PATH",
            help="What they may see: this path and what is below it. May be given several times. "
            "Default: all.",
        ),
    ):
        command = option(command)
    return command


def _limited(
    person: Person,
    paths: Sequence[str],
    read_only: bool | None,
    until: datetime.datetime | None,
) -> Person:
    """``person`` with what the options say, where they say anything. Raises click.UsageError."""
    if paths:
        person = replace(person, paths=tuple(paths))
    if read_only is not None:
        person = replace(person, read_only=read_only)
    if until is not None:
        person = replace(person, until=until.date())
    try:
        return check_person(person)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@click.command()
@click.argument("name")
@limit_options
@click.option(
    "--valid",
    type=click.FloatRange(0.1, 60 * 24),
    default=VALID,
    show_default=True,
    metavar="MINUTES",
    help="How long the code is worth something.",
)
@click.option(
    "--link-days",
    type=click.IntRange(0, 366),
    default=LINK_DAYS,
    show_default=True,
    metavar="DAYS",
    help="How long the link is worth something; 0 to have none.",
)
@click.option(
    "--wait",
    is_flag=True,
    help="Wait in the list of this network's devices, which the page and `peerfetch discover` "
    "show, and show digits to who comes, in place of a code and a link.",
)
@signaling_option(
    help="Where the device is found. Default: where the proxy is that runs with this state "
    "directory."
)
@proxy_state_option
@told_ice_server_option
@json_option
@log_level_option
def invite(
    name: str,
    paths: Sequence[str],
    read_only: bool | None,
    until: datetime.datetime | None,
    valid: float,
    link_days: int,
    wait: bool,
    signaling: str | None,
    state_dir: Path | None,
    ice_servers: Sequence[IceServer],
    as_json: bool,
) -> None:
    """Let somebody in by NAME: show a code that they type, and wait until they have.

    The code is used with `peerfetch pair DEVICE CODE`, or on the page. Who has used it is known by
    certificate from then on, under NAME, and needs no access token. A name that is known gets one
    more device. Three wrong guesses burn the code.

    With --wait it is in reach of who is in this network: they tap the device in the page's list and
    enter the digits that are shown here. Three wrong guesses end that, too.

    The link does the same as often as it is used, while the proxy runs: for who has cleared what a
    browser kept. Whoever has it is NAME, so it must travel by a way that you trust.
    """
    person = _limited(Person(name), paths, read_only, until)
    state = state_dir or state_directory()
    link_days = 0 if wait else link_days
    try:
        people = People(state)
        known = people.all().get(name)
        if known is not None:
            person = _limited(replace(known, certificates=()), paths, read_only, until)
        device = _own_device(state, signaling)
        certificate = load_certificate(state)
        if link_days:
            expires = int(time.time()) + link_days * 86_400
            person = replace(person, invitation=Invitation(secrets.token_hex(16), expires))
            people.add(person)
        waiting = _Waiting(person, people, device, certificate, valid, link_days, wait, as_json)
        let_in = run(waiting.invite(ice_servers))
    except (PeerfetchError, OSError, ValueError) as error:
        raise Failure(error) from None
    if not let_in and link_days and not as_json:
        click.echo(f"The code is worth nothing any more; the link is, for {link_days} days.")
        return
    if not let_in and not link_days:
        raise click.ClickException(
            f"nobody has {'come' if wait else 'used the code'}, or wrongly three times: {name} was "
            "not let in"
        )
    if as_json:
        click.echo(json.dumps({"name": name, "let_in": let_in}))
    else:
        click.echo(f"{name} is let in from now on.")


def _own_device(state: Path, signaling: str | None) -> Device:
    """How the device is reached whose state directory that is: as the proxy does that runs there.

    Raises PeerfetchError and OSError for an id that cannot be read.
    """
    running = [told for told in ask_all(state) if told["program"] == "proxy"]
    for told in reversed(running):
        peer_id, there = told.get("peer_id"), told.get("signaling")
        if isinstance(peer_id, str) and isinstance(there, str) and signaling in (None, there):
            return Device(peer_id, there)
    return Device(load_peer_id(state), find_signaling(signaling))


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An invitation as the command line asks for it."""

    person: Person
    people: People
    device: Device
    certificate: Certificate
    valid: float
    link_days: int
    in_room: bool
    as_json: bool

    async def invite(self, ice_servers: Sequence[IceServer]) -> bool:
        """Show code and link, and wait for the end of the code; whether that let somebody in."""
        from peerfetch_fast.pairing import invite as wait_for_code

        stop = stop_event()
        waiting = wait_for_code(
            self.person,
            self.people,
            self.device,
            self.certificate,
            ice_servers=ice_servers,
            seen_as=socket.gethostname().partition(".")[0] if self.in_room else None,
        )
        async with waiting as made:
            telling = asyncio.ensure_future(self._tell(made))
            stopped = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait(
                    (made.over, stopped),
                    timeout=60 * self.valid,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                return made.over.done() and made.over.result() is not None
            finally:
                stopped.cancel()
                telling.cancel()
                await asyncio.wait((telling,))

    async def _tell(self, made: ShownCode) -> None:
        if isinstance(made.code, Digits):
            await self._tell_digits(made, made.code)
        else:
            await self._tell_code(str(made.code))

    async def _tell_digits(self, made: ShownCode, digits: Digits) -> None:
        """The device's name in the list, and once somebody is there, the digits."""
        signaling, name = self.device.signaling, self.person.name
        if self.as_json:
            told = {"name": name, "waits_as": digits.peer_id, "signaling": signaling}
            click.echo(json.dumps(told))
        else:
            click.echo(f"waits as     {waiting_name(digits.peer_id)}")
            click.echo(f"for          {name}, {_may(self.person)}")
            await tell_link("in the list  ", signaling, listen=None)
        await made.met.wait()
        if self.as_json:
            click.echo(json.dumps({"digits": digits.digits}))
        else:
            click.echo(f"digits       {digits.digits[:3]} {digits.digits[3:]}")

    async def _tell_code(self, code: str) -> None:
        signaling, name = self.device.signaling, self.person.name
        if self.as_json:
            told: dict[str, object] = {"name": name, "code": code, "signaling": signaling}
            if self.person.invitation is not None:
                told["link"] = page_url(signaling, self._link)
            click.echo(json.dumps(told))
            return
        click.echo(
            f"code         {code}\n"
            f"for          {name}, {_may(self.person)}\n"
            f"try there    peerfetch pair DEVICE {code} --signaling {signaling}\n"
            f"It is worth something for {self.valid:g} minutes, once."
        )
        if self.person.invitation is not None:
            await tell_link("link         ", signaling, self._link, listen=None)
            click.echo(f"Whoever has it is {name}, for {self.link_days} days.")

    @property
    def _link(self) -> str:
        assert self.person.invitation is not None
        pin, secret = certificate_pin(self.certificate), self.person.invitation.secret
        return str(InvitationLink(self.device.peer_id, pin, secret))


def _may(person: Person) -> str:
    """The limits of a person, in words."""
    what = "everything" if person.paths == EVERYTHING else ", ".join(person.paths)
    how = "may read" if person.read_only else "may use"
    until = "" if person.until is None else f" until {person.until.isoformat()}"
    return f"{how} {what}{until}"


@click.group(invoke_without_command=True)
@json_option
@proxy_state_option
@log_level_option
@click.pass_context
def people(ctx: click.Context, as_json: bool, state_dir: Path | None) -> None:
    """List the people whom this device has let in; rename, limit and revoke them.

    With when each was here last, and what they may. Changes have their effect on a running proxy of
    the same state directory within a second.
    """
    ctx.obj = People(state_dir or state_directory())
    if ctx.invoked_subcommand is not None:
        return
    with _in_words():
        known, visits = ctx.obj.all(), ctx.obj.visits()
    rows = [_row(person, visits.get(name)) for name, person in sorted(known.items())]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("Nobody was let in by name: see peerfetch invite.")
    else:
        click.echo("\n".join(_text(known[row["name"]], row["last_visit"]) for row in rows))


def _row(person: Person, visit: int | None) -> dict[str, Any]:
    return {
        "name": person.name,
        "devices": len(person.certificates),
        "paths": list(person.paths),
        "read_only": person.read_only,
        "until": None if person.until is None else person.until.isoformat(),
        "expired": person.expired(time.time()),
        "last_visit": visit,
    }


def _text(person: Person, visit: int | None) -> str:
    count = len(person.certificates)
    devices = f"{count} device{'' if count == 1 else 's'}"
    when = "never here yet"
    if visit is not None:
        when = f"last here {datetime.datetime.fromtimestamp(visit):%Y-%m-%d %H:%M}"
    over = ", which is over" if person.expired(time.time()) else ""
    return f"{person.name}  {devices}, {when}\n  {_may(person)}{over}"


@contextlib.contextmanager
def _in_words(name: str = "") -> Iterator[None]:
    """Turn errors into failures with the texts that the user reads."""
    try:
        yield
    except KeyError:
        raise click.UsageError(f"nobody is let in as {name!r}: see peerfetch people") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None


def _changed(as_json: bool, name: str, sentence: str, change: Callable[[], object]) -> None:
    with _in_words(name):
        change()
    click.echo(json.dumps({"name": name, "changed": True}) if as_json else sentence)


@people.command()
@click.argument("old", metavar="NAME")
@click.argument("new", metavar="NEW-NAME")
@json_option
@click.pass_obj
def rename(known: People, old: str, new: str, as_json: bool) -> None:
    """Give somebody another name."""
    _changed(as_json, old, f"{old} is {new} from now on.", lambda: known.rename(old, new))


@people.command()
@click.argument("name")
@limit_options
@click.option("--all", "everything", is_flag=True, help="Let them see all that is served again.")
@click.option("--forever", is_flag=True, help="Let their time have no end again.")
@json_option
@click.pass_obj
def limit(
    known: People,
    name: str,
    paths: Sequence[str],
    read_only: bool | None,
    until: datetime.datetime | None,
    everything: bool,
    forever: bool,
    as_json: bool,
) -> None:
    """Change what somebody may; what is not given stays as it is."""
    if everything and paths:
        raise click.UsageError("--all and --paths exclude each other")
    if forever and until is not None:
        raise click.UsageError("--forever and --until exclude each other")

    def change(person: Person) -> Person:
        if forever:
            person = replace(person, until=None)
        return _limited(person, EVERYTHING if everything else paths, read_only, until)

    with _in_words(name):
        person = known.limit(name, change)
    click.echo(json.dumps(_row(person, None)) if as_json else f"{name} {_may(person)}.")


@people.command()
@click.argument("name")
@json_option
@click.pass_obj
def revoke(known: People, name: str, as_json: bool) -> None:
    """Show somebody out: their sessions end at once, and no device of theirs is let in again."""
    _changed(as_json, name, f"{name} is not let in any more.", lambda: known.revoke(name))
