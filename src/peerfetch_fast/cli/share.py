"""``peerfetch share``: offer files to whoever has the code or the link."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from peerfetch_fast.aside import aside
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.loop import run, stop_event, until_stopped
from peerfetch_fast.cli.meeting import (
    Meeting,
    Place,
    announced,
    meeting_options,
    meeting_place,
    permanent_option,
    tell_way_in,
)
from peerfetch_fast.cli.options import given, log_level_option, told_ice_server_option, ways_options
from peerfetch_fast.cli.ready_file import ready_file, ready_file_option
from peerfetch_fast.cli.receivers import Board, size_of
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.sharing.names import shown
from peerfetch_fast.sharing.share import Identity, Share
from peerfetch_fast.sharing.share import share as share_files
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["share"]

HOURS = 24.0
"""Hours after which a share ends that is not permanent."""

MAX_TEXT = 16 * 1024
"""Characters of a text."""

STANDARD_INPUT = "-"

_OF_OFFERS = ("text", "once", "expire", "ask", "permanent", "room", "listen", "ready_path")
"""Parameters of what is offered to others, who come for it."""


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--text", help="Share this text, alone or beside files.")
@click.option(
    "--to",
    metavar="CODE|LINK|DEVICE|NAME",
    help="Send to this inbox, or into a folder of a device that takes files (NAME or "
    "peer://ID/FOLDER/, of a proxy with --upload), a directory as a ZIP; or to somebody of that "
    "NAME who has the page open in this network. Then end.",
)
@click.option("--once", is_flag=True, help="End when the first receiver has all.")
@click.option(
    "--expire",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HOURS",
    help=f"End after so long. Default: {HOURS:g}; with --permanent never.",
)
@click.option("--ask", is_flag=True, help="Ask about each receiver before it is told anything.")
@permanent_option("share")
@click.option(
    "--room",
    is_flag=True,
    help="Let those on the same network see that something is shared, and ask for it; and show who "
    "is there.",
)
@meeting_options("receivers")
@ways_options(told_ice_server_option)
@ready_file_option("code, link")
@log_level_option
def share(
    paths: Sequence[str],
    text: str | None,
    to: str | None,
    once: bool,
    expire: float | None,
    ask: bool,
    permanent: str | None,
    room: bool,
    signaling: str | None,
    listen: tuple[str, int],
    ways: ConnectionOptions,
    ready_path: Path | None,
) -> None:
    """Share files and folders, standard input (-), or a text.

    Prints a code, a link and a QR code. Receivers type `peerfetch get CODE`, or open the link in a
    browser. Any number may receive, until Ctrl-C.
    """
    if not paths and text is None:
        raise click.UsageError("say what to share: files, folders, - or --text TEXT")
    if text is not None and len(text) > MAX_TEXT:
        raise click.UsageError(f"the text is longer than {MAX_TEXT} characters: share it as a file")
    if ask and not sys.stdin.isatty():
        raise click.UsageError("--ask asks in a terminal, and there is none")
    if to is not None:
        for parameter in _OF_OFFERS:
            if given(parameter):
                option = f"--{parameter.replace('_path', '-file')}"
                raise click.UsageError(f"{option} is for what is offered, and --to sends it")
        try:
            run(_deliver(paths, to, signaling, ways))
        except (PeerfetchError, OSError) as error:
            raise Failure(error) from None
        return
    if permanent is None and expire is None:
        expire = HOURS
    sharing = _Sharing(tuple(paths), text, once, expire, ask, permanent, room, ready_path)
    try:
        run(sharing.run(Meeting(signaling, listen, ways)))
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None


@dataclass(frozen=True, slots=True)
class _Sharing:
    """A share as the command line describes it."""

    paths: Sequence[str]
    text: str | None
    once: bool
    expire: float | None
    ask: bool
    permanent: str | None
    room: bool
    ready_path: Path | None

    async def run(self, meeting: Meeting) -> None:
        """Share until there is a reason to end. Raises PeerfetchError, OSError."""
        stop = stop_event()
        await until_stopped(stop, self._share(meeting, stop))

    async def _share(self, meeting: Meeting, stop: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            paths = [await _kept(stack, path) for path in self.paths]
            place = await stack.enter_async_context(meeting_place(meeting))
            identity = self._identity(stack, place.own_url)
            board = Board(self.once, stop)
            sharing = await stack.enter_async_context(
                share_files(
                    paths,
                    text=self.text,
                    signaling=place.own_url,
                    public_signaling=place.url,
                    identity=identity,
                    ice_servers=meeting.ways.ice_servers,
                    direct_only=meeting.ways.direct_only,
                    seen_as=socket.gethostname() if self.room else None,
                    on_knock=board.knock,
                    admit=board.ask if self.ask else None,
                    on_receiver=board.changed,
                    on_code=board.code_changed,
                )
            )
            if place.embedded or self.room:
                await announced(stack, sharing, place.url)
            told = {"code": str(sharing.code), "link": sharing.link, "signaling": place.url}
            with ready_file(self.ready_path, told) as ready:
                await self._print(sharing, place)
                ready()
                with board.showing(sharing):
                    if self.room:
                        from peerfetch_fast.cli.room import tell_of_room

                        looking = asyncio.ensure_future(tell_of_room(place.own_url))
                        stack.callback(looking.cancel)
                    seconds = None if self.expire is None else self.expire * 3600
                    if await until_stopped(stop, sharing.wait_closed(), seconds):
                        click.echo("The time is over: this is not shared any more.")

    def _identity(self, stack: contextlib.AsyncExitStack, url: str) -> Identity:
        if self.permanent is None:
            return Identity.new()
        from peerfetch_fast.sharing.kept import kept_identity

        return stack.enter_context(kept_identity(self.permanent, url))

    async def _print(self, sharing: Share, place: Place) -> None:
        files = f"{sharing.files} file{'s' if sharing.files != 1 else ''}"
        what = f"{files}, {size_of(sharing.total)}" if sharing.files else "a text"
        click.echo(f"Sharing {shown(sharing.title)} ({what})")
        for left_out in sharing.left_out[:10]:
            click.echo(f"peerfetch: left out: {left_out}", err=True)
        if len(sharing.left_out) > 10:
            click.echo(f"peerfetch: and {len(sharing.left_out) - 10} more", err=True)
        click.echo(f"code  peerfetch get {sharing.code}")
        await tell_way_in(sharing.link, place)
        ends = "" if self.expire is None else f", or in {self.expire:g} h"
        click.echo(f"Ends with Ctrl-C{ends}.")


async def _deliver(
    paths: Sequence[str], to: str, signaling: str | None, ways: ConnectionOptions
) -> None:
    # Imported late, as others are here: who waits for receivers receives nothing.
    from peerfetch_fast.cli.deliver import deliver

    async with contextlib.AsyncExitStack() as stack:
        kept = [await _kept(stack, path) for path in paths]
        await deliver(kept, to, signaling, ways)


async def _kept(stack: contextlib.AsyncExitStack, path: str) -> Path:
    """A path that can be shared: of standard input, a file with all that came of it."""
    if path != STANDARD_INPUT:
        return Path(path)
    import tempfile

    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-"))
    kept = Path(directory, "stdin")
    await aside(partial(_copy, sys.stdin.fileno(), kept), "peerfetch-stdin")
    return kept


def _copy(source: int, kept: Path) -> None:
    """Not by ``sys.stdin``: Python does not end while a thread reads from that."""
    with kept.open("wb") as file:
        while data := os.read(source, 1024 * 1024):
            file.write(data)
