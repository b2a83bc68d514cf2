"""``peerfetch proxy``: the device's side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import click
from aiortc import RTCIceServer

from peerfetch_fast.cli.common import (
    DEFAULT_LISTEN,
    ListenAddress,
    ice_server_option,
    log_level_option,
    reachable_url,
    ready_file,
    ready_file_option,
    run,
    signaling_option,
    stop_event,
    transport_option,
)
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.server import serve
from peerfetch_fast.signaling.messages import is_peer_id
from peerfetch_fast.signaling.server import SignalingServer
from peerfetch_fast.state import load_peer_id, state_directory
from peerfetch_fast.webrtc.connection import Transport

__all__ = ["proxy"]


def _check_peer_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_peer_id(value):
        raise click.BadParameter(f"{value!r} is no peer id: use letters, digits, '-' and '_'")
    return value


@click.command()
@click.option(
    "--target",
    required=True,
    metavar="URL",
    help="The HTTP server to which requests are forwarded, as in http://127.0.0.1:8778.",
)
@signaling_option(help="Join this signaling server instead of embedding one.")
@click.option(
    "--listen",
    type=ListenAddress(),
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where the embedded signaling server listens.",
)
@click.option(
    "--peer-id",
    callback=_check_peer_id,
    help="The id to be reached by. Default: a random one that is kept.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the id is kept. Default: $PEERFETCH_STATE_DIR, or ~/.local/state/peerfetch.",
)
@ready_file_option("peer id, signaling URL")
@ice_server_option
@transport_option
@log_level_option
def proxy(
    target: str,
    signaling: str | None,
    listen: tuple[str, int],
    peer_id: str | None,
    state_dir: Path | None,
    ready_path: Path | None,
    ice_servers: Sequence[RTCIceServer],
    transport: Transport,
) -> None:
    """Make an HTTP server on this device reachable for peers."""
    run(_proxy(target, signaling, listen, peer_id, state_dir, ready_path, ice_servers, transport))


async def _proxy(
    target: str,
    signaling: str | None,
    listen: tuple[str, int],
    peer_id: str | None,
    state_dir: Path | None,
    ready_path: Path | None,
    ice_servers: Sequence[RTCIceServer],
    transport: Transport,
) -> None:
    stop = stop_event()
    embedded: SignalingServer | None = None
    async with contextlib.AsyncExitStack() as stack:
        try:
            if peer_id is None:
                peer_id = load_peer_id(state_dir or state_directory())
            if signaling is None:
                embedded = SignalingServer()
                stack.push_async_callback(embedded.close)
                await embedded.start(*listen)
                signaling = reachable_url(embedded.url)
            server = await stack.enter_async_context(
                await serve(
                    target,
                    signaling=signaling,
                    peer_id=peer_id,
                    ice_servers=ice_servers,
                    transport=transport,
                )
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        except (PeerfetchError, OSError) as error:
            raise click.ClickException(str(error)) from None
        with ready_file(ready_path, {"peer_id": server.peer_id, "signaling": signaling}):
            click.echo(
                f"target     {target}\n"
                f"peer id    {server.peer_id}\n"
                f"signaling  {signaling}\n"
                f"try        peerfetch fetch peer://{server.peer_id}/ --signaling {signaling}"
            )
            stopped = asyncio.ensure_future(stop.wait())
            lost = asyncio.ensure_future(server.wait_closed())
            await asyncio.wait((stopped, lost), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if lost.done():
            try:
                lost.result()
            except PeerfetchError as error:
                raise click.ClickException(str(error)) from None
        lost.cancel()
