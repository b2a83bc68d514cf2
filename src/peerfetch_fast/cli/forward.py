"""``peerfetch forward``: a peer as a local HTTP port, and its TCP ports as local ones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from peerfetch_fast.cli.addresses import port_in_words
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.logs import say
from peerfetch_fast.cli.loop import run, stop_event
from peerfetch_fast.cli.options import given, log_level_option
from peerfetch_fast.cli.reaching import Connecting, connecting, explained, reaching_options
from peerfetch_fast.cli.ready_file import ready_file, ready_file_option
from peerfetch_fast.cli.waiting import wait_option, when_there
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.tunnel import is_port_name
from peerfetch_fast.identity import parse_peer_url
from peerfetch_fast.local_http_port import LocalHttpPort
from peerfetch_fast.local_tcp_port import LocalTcpPort
from peerfetch_fast.peer import Peer, PeerState
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.state import state_directory
from peerfetch_fast.status import told

__all__ = ["forward"]


@click.command()
@click.argument("peer", metavar="PEER-ID[#PIN]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="For HTTP, on 127.0.0.1; 0 for any that is free. With --tcp, only if it is given.",
)
@click.option(
    "--tcp",
    "tcp",
    multiple=True,
    metavar="PORT:NAME",
    help="Carry what connects to this port of 127.0.0.1 to the one that the device serves under "
    "that name (`peerfetch proxy --tcp`), as in 2222:ssh. May be given several times.",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Another name by which this machine may be asked. Others are refused, so that no page "
    "can reach the device by a name of its own. May be given several times.",
)
@reaching_options
@wait_option
@ready_file_option("URL")
@log_level_option
def forward(
    peer: str,
    port: int,
    tcp: Sequence[str],
    hosts: Sequence[str],
    wait: float | None,
    ready_path: Path | None,
    **options: Any,
) -> None:
    """Make a peer a local HTTP server, for curl, VLC, browsers and whatever else speaks HTTP.

    With --tcp, make TCP ports of its side local ones, for ssh and the like.

    In place of its id there may be the name that peerfetch pair gave it.
    """
    address = parse_peer_url(peer)
    if not is_peer_id(address.peer_id) or address.target != "/":
        raise click.UsageError(f"{peer!r} is no peer: write its id, or peer://PEER-ID")
    # Reconnect without an end: devices come back, and nobody may be there to restart this program.
    reach = connecting(address, give_up_after=math.inf, **options)
    http_port = port if given("port") or not tcp else None

    def explain(error: Exception) -> str:
        return explained(error, address.peer_id)

    try:
        ports = [_port_and_name(text) for text in tcp]
        run(_forward(reach, http_port, ports, hosts, wait, explain, ready_path))
    except (PeerfetchError, OSError) as error:
        raise Failure(error, explain(error)) from None


def _port_and_name(text: str) -> tuple[int, str]:
    port, _, name = text.partition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535 and is_port_name(name)):
        raise click.UsageError(f"{text!r} is no PORT:NAME: write --tcp 2222:ssh")
    return int(port), name


async def _forward(
    reach: Connecting,
    port: int | None,
    tcp: Sequence[tuple[int, str]],
    hosts: Sequence[str],
    wait: float | None,
    explain: Callable[[Exception], str],
    ready_path: Path | None,
) -> None:
    stop = stop_event()
    async with contextlib.AsyncExitStack() as stack:
        peer = await when_there(lambda: stack.enter_async_context(reach()), wait, stop, explain)
        if peer is None:
            return
        lines = []
        refused: Counter[str] = Counter()
        content: dict[str, Any] = {"peer_id": peer.id}
        if port is not None:
            forwarder = LocalHttpPort(peer, hosts)
            forwarder.refused = refused
            stack.push_async_callback(forwarder.close)
            with port_in_words(port, "--port"):
                content["url"] = f"http://127.0.0.1:{await forwarder.start(port)}"
            lines.append(f"forwarding {content['url']} to peer://{peer.id}")
        for local, name in tcp:
            local_port = LocalTcpPort(peer, name)
            local_port.refused = refused
            stack.push_async_callback(local_port.close)
            with port_in_words(local, "--tcp"):
                address = f"127.0.0.1:{await local_port.start(local)}"
            content.setdefault("tcp", {})[name] = address
            lines.append(f"forwarding {address} to {name} of peer://{peer.id}")
        await stack.enter_async_context(
            told(state_directory(), "forward", content, lambda: [peer], lambda: refused)
        )
        with ready_file(ready_path, content) as ready:
            click.echo("\n".join(lines))
            ready()
            watching = asyncio.ensure_future(_watch(peer))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait((watching, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (watching, stopped):
            task.cancel()
        if peer.error is not None:
            raise peer.error


async def _watch(peer: Peer) -> None:
    """Report changes of the connection, until the peer is closed."""
    while await peer.wait_for(PeerState.RECONNECTING, PeerState.CLOSED) != PeerState.CLOSED:
        say("the device is away: connecting again", logging.WARNING)
        if await peer.wait_for(PeerState.CONNECTED, PeerState.CLOSED) == PeerState.CONNECTED:
            say("connected again")
