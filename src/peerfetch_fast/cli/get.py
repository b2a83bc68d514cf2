"""``peerfetch get``: receive what somebody shares."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.loop import run
from peerfetch_fast.cli.options import (
    ice_server_option,
    log_level_option,
    signaling_option,
    ways_options,
)
from peerfetch_fast.cli.progress import Bar
from peerfetch_fast.cli.receivers import size_of
from peerfetch_fast.cli.room import offered_by
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.sharing.names import shown
from peerfetch_fast.sharing.receive import Offered, Progress, Received
from peerfetch_fast.sharing.storing import IfExists
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["get"]

SHOWN = 20
"""Entries of an offer that are shown."""


class NotWhole(PeerfetchError):
    """Some files were not received."""

    exit_code = 18


@click.command()
@click.argument("where", metavar="[CODE|LINK|NAME]", required=False)
@click.option(
    "-o",
    "--output",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="here",
    metavar="DIR",
    help="Where to put it; made if need be.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether to receive it.")
@click.option("--list", "only_list", is_flag=True, help="Show all that is offered, and end.")
@click.option("--overwrite", "if_exists", flag_value="overwrite", help="Overwrite files.")
@click.option("--rename", "if_exists", flag_value="rename", help="Give new files other names.")
@click.option("--skip", "if_exists", flag_value="skip", help="Leave out files that exist.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@signaling_option(
    help="Where to look for a code. Default: ws://127.0.0.1:9000, then the local network."
)
@ways_options(ice_server_option)
@log_level_option
def get(
    where: str | None,
    directory: Path,
    yes: bool,
    only_list: bool,
    if_exists: IfExists | None,
    quiet: bool,
    signaling: str | None,
    ways: ConnectionOptions,
) -> None:
    """Receive what somebody shares with `peerfetch share`, or on the page.

    Without a code or link, those are listed who share in this network with --room; by their NAME
    they are asked whether we may have it. Shows what is offered, asks, and goes on where an
    earlier transfer broke off. What is here already is not overwritten.
    """
    try:
        run(
            _get(
                offered_by(where, signaling, ways),
                directory,
                yes,
                only_list,
                if_exists or "refuse",
                quiet,
            )
        )
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None


async def _get(
    looking: contextlib.AbstractAsyncContextManager[Offered | None],
    directory: Path,
    yes: bool,
    only_list: bool,
    if_exists: IfExists,
    quiet: bool,
) -> None:
    async with looking as offer:
        if offer is None:
            return
        if not quiet or only_list or not yes:
            _show(offer, len(offer.entries) if only_list else SHOWN)
        if only_list:
            return
        if offer.heading.files and not (yes or _agreed(directory)):
            await offer.tell(event="failed", why="they would rather not")
            raise click.Abort
        with Bar(shown(offer.heading.title)[:40], quiet=quiet) as bar:

            def show(progress: Progress) -> None:
                bar.show(progress.have, progress.total)

            received = await offer.save(directory, if_exists=if_exists, on_progress=show)
    _tell(received, directory, quiet)


def _show(offer: Offered, most: int) -> None:
    heading = offer.heading
    if heading.text is not None:
        click.echo("\n".join(shown(line) for line in heading.text.splitlines()))
    if not heading.files:
        return
    who, size = shown(heading.by)[:64], size_of(heading.total)
    click.echo(f"{who} offers {heading.files} files, {size}:", err=True)
    files = [entry for entry in offer.entries if not entry.is_directory]
    hidden = [entry for entry in files if entry.path.startswith(".")]
    if hidden:
        # In a home directory shells, SSH and desktops obey them: nobody may have to look for them.
        click.echo(f"  {len(hidden)} of them begin with a dot, which programs may obey:", err=True)
        files = hidden + [entry for entry in files if not entry.path.startswith(".")]
    for entry in files[:most]:
        click.echo(f"  {size_of(entry.size):>7}  {shown(entry.path)}", err=True)
    if len(files) > most:
        click.echo(f"  and {len(files) - most} more", err=True)


def _agreed(directory: Path) -> bool:
    """Whether the user wants it. Raises click.UsageError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked whether to receive it: --yes says so")
    return click.confirm(f"Receive it into {directory.resolve()}?", default=True, err=True)


def _tell(received: Received, directory: Path, quiet: bool) -> None:
    """The one line at the end, and what is missing. Raises NotWhole."""
    for failure in received.failed:
        click.echo(f"peerfetch: not received: {shown(failure)}", err=True)
    if not quiet and received.files:
        click.echo(
            f"{received.files} files are in {directory.resolve()}, verified "
            f"({size_of(received.received)} came)",
            err=True,
        )
    if received.failed:
        count = len(received.failed)
        raise NotWhole(f"{count} file{'s were' if count > 1 else ' was'} not received")
