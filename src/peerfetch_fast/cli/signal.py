"""``peerfetch signal``: the signaling server alone."""

from __future__ import annotations

from pathlib import Path

import click

from peerfetch_fast.cli.common import (
    DEFAULT_LISTEN,
    ListenAddress,
    log_level_option,
    reachable_url,
    ready_file,
    ready_file_option,
    run,
    stop_event,
)
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.server import SignalingServer

__all__ = ["signal"]


@click.command()
@click.option("--listen", type=ListenAddress(), default=DEFAULT_LISTEN, show_default=True)
@ready_file_option("signaling URL")
@log_level_option
def signal(listen: tuple[str, int], ready_path: Path | None) -> None:
    """Run a PeerJS-compatible signaling server."""
    run(_signal(listen, ready_path))


async def _signal(listen: tuple[str, int], ready_path: Path | None) -> None:
    stop = stop_event()
    server = SignalingServer()
    try:
        await server.start(*listen)
    except SignalingError as error:
        raise click.ClickException(str(error)) from None
    try:
        url = reachable_url(server.url)
        with ready_file(ready_path, {"signaling": url}):
            click.echo(f"signaling  {url}")
            await stop.wait()
    finally:
        await server.close()
