"""``peerfetch signal``: the signaling server alone."""

from __future__ import annotations

import os
from pathlib import Path

import click

from peerfetch_fast.cli.common import (
    DEFAULT_LISTEN,
    ListenAddress,
    log_level_option,
    reachable_url,
    run,
    stop_event,
    write_ready_file,
)
from peerfetch_fast.signaling.server import SignalingServer

__all__ = ["signal"]


@click.command()
@click.option("--listen", type=ListenAddress(), default=DEFAULT_LISTEN, show_default=True)
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write signaling URL and pid here, as JSON, once it can be reached.",
)
@log_level_option
def signal(listen: tuple[str, int], ready_file: Path | None) -> None:
    """Run a PeerJS-compatible signaling server."""
    run(_signal(listen, ready_file))


async def _signal(listen: tuple[str, int], ready_file: Path | None) -> None:
    stop = stop_event()
    server = SignalingServer()
    try:
        await server.start(*listen)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {listen[0]}:{listen[1]}: {error}") from None
    try:
        url = reachable_url(server.url)
        click.echo(f"signaling  {url}")
        if ready_file is not None:
            write_ready_file(ready_file, {"signaling": url, "pid": os.getpid()})
        await stop.wait()
    finally:
        await server.close()
