"""``peerfetch inbox``: a directory into which others send files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from peerfetch_fast.cli.arrivals import tell_arrived
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.loop import run, stop_event, until_stopped
from peerfetch_fast.cli.meeting import (
    Meeting,
    meeting_options,
    meeting_place,
    permanent_option,
    tell_way_in,
)
from peerfetch_fast.cli.options import log_level_option, told_ice_server_option, ways_options
from peerfetch_fast.cli.ready_file import ready_file, ready_file_option
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.sharing.inbox import InboxResources
from peerfetch_fast.sharing.kept import kept_identity
from peerfetch_fast.sharing.share import Door, Identity, open_door
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["inbox"]

QUOTA = 10.0
"""Gigabytes."""


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--quota",
    type=click.FloatRange(min=0, min_open=True),
    default=QUOTA,
    show_default=True,
    metavar="GB",
    help="Take so much in all.",
)
@permanent_option("inbox")
@meeting_options("senders")
@ways_options(told_ice_server_option)
@ready_file_option("code, link")
@log_level_option
def inbox(
    directory: Path,
    quota: float,
    permanent: str | None,
    signaling: str | None,
    listen: tuple[str, int],
    ways: ConnectionOptions,
    ready_path: Path | None,
) -> None:
    """Let others send files into DIRECTORY, of which they see nothing.

    Prints a code, a link and a QR code. Who opens the link, or enters the code on the page, can
    send. Names are cleaned, and nothing is overwritten. Ends with Ctrl-C.
    """
    meeting = Meeting(signaling, listen, ways)
    try:
        run(_inbox(directory, int(quota * 1e9), permanent, meeting, ready_path))
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None


async def _inbox(
    directory: Path, quota: int, permanent: str | None, meeting: Meeting, ready_path: Path | None
) -> None:
    stop = stop_event()
    await until_stopped(stop, _take(directory, quota, permanent, meeting, ready_path))


async def _take(
    directory: Path, quota: int, permanent: str | None, meeting: Meeting, ready_path: Path | None
) -> None:
    """Take files until cancelled. Raises SignalingError when the signaling server is lost."""
    door: Door | None = None

    def code_changed() -> None:
        if door is not None and door.code is not None:
            click.echo(f"code  {door.code}")

    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(meeting_place(meeting))
        identity = Identity.new("inbox")
        if permanent is not None:
            kept = kept_identity(permanent, place.own_url, kind="inbox")
            identity = stack.enter_context(kept)
        door = await open_door(
            InboxResources(directory, quota, tell_arrived),
            identity,
            signaling=place.own_url,
            public=place.url,
            code=True,
            options=meeting.ways,
            discoverable=False,
            on_code=code_changed,
        )
        stack.push_async_callback(door.close)
        told = {"code": str(door.code), "link": str(door.link), "signaling": place.url}
        with ready_file(ready_path, told) as ready:
            click.echo(f"Files that are sent come into {directory}")
            click.echo(f"code  {door.code}")
            await tell_way_in(str(door.link), place)
            ready()
            await door.server.wait_closed()
