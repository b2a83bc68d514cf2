"""``peerfetch forward``: a peer as a local HTTP port."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import click
from aiortc import RTCIceServer

from peerfetch_fast.cli.common import (
    DEFAULT_SIGNALING,
    access_token_option,
    congestion_option,
    ice_server_option,
    log_level_option,
    pin_option,
    ready_file,
    ready_file_option,
    run,
    signaling_option,
    stop_event,
    transport_option,
)
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.forwarding import Forwarder
from peerfetch_fast.identity import parse_peer_url
from peerfetch_fast.peer import Peer, PeerState, connect
from peerfetch_fast.signaling.messages import is_peer_id
from peerfetch_fast.webrtc.connection import Congestion, Transport

__all__ = ["forward"]


@click.command()
@click.argument("peer", metavar="PEER-ID[#PIN]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="On 127.0.0.1; 0 for any that is free.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which this machine may be asked. Others are refused, so that no page "
    "can reach the device by a name of its own.",
)
@signaling_option(
    default=DEFAULT_SIGNALING, show_default=True, help="The server that knows the peer."
)
@pin_option
@access_token_option
@ready_file_option("URL")
@ice_server_option
@transport_option
@congestion_option
@log_level_option
def forward(
    peer: str,
    port: int,
    hosts: Sequence[str],
    signaling: str,
    pin: str | None,
    access_token: str | None,
    ready_path: Path | None,
    ice_servers: Sequence[RTCIceServer],
    transport: Transport,
    congestion: Congestion,
) -> None:
    """Make a peer a local HTTP server, for curl, VLC, browsers and whatever else speaks HTTP."""
    address = parse_peer_url(peer)
    if not is_peer_id(address.peer_id) or address.target != "/":
        raise click.UsageError(f"{peer!r} is no peer: write its id, or peer://PEER-ID")
    connecting = partial(
        connect,
        address.peer_id,
        signaling=signaling,
        pin=pin or address.pin,
        access_token=access_token,
        ice_servers=ice_servers,
        transport=transport,
        congestion=congestion,
        give_up_after=math.inf,  # devices come back, and whoever started this may be away
    )
    try:
        run(_forward(connecting, port, hosts, ready_path))
    except (PeerfetchError, OSError) as error:
        raise click.ClickException(str(error)) from None


async def _forward(
    connecting: Callable[[], AbstractAsyncContextManager[Peer]],
    port: int,
    hosts: Sequence[str],
    ready_path: Path | None,
) -> None:
    stop = stop_event()
    async with contextlib.AsyncExitStack() as stack:
        peer = await stack.enter_async_context(connecting())
        forwarder = Forwarder(peer, hosts)
        stack.push_async_callback(forwarder.close)
        url = f"http://127.0.0.1:{await forwarder.start(port)}"
        with ready_file(ready_path, {"url": url, "peer_id": peer.id}) as ready:
            click.echo(f"forwarding {url} to peer://{peer.id}")
            ready()
            watching = asyncio.ensure_future(_watch(peer))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait((watching, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, stopped):
            task.cancel()
        if peer.error is not None:
            raise peer.error


async def _watch(peer: Peer) -> None:
    """Tell how it stands, until the peer is closed."""
    while await peer.wait_for(PeerState.RECONNECTING, PeerState.CLOSED) != PeerState.CLOSED:
        click.echo("the device is away: connecting again", err=True)
        if await peer.wait_for(PeerState.CONNECTED, PeerState.CLOSED) == PeerState.CONNECTED:
            click.echo("connected again", err=True)
