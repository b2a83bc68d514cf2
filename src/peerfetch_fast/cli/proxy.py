"""``peerfetch proxy``: the device's side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from peerfetch_fast.cli.common import (
    ListenAddress,
    access_token_option,
    congestion_option,
    given,
    ice_server_option,
    log_level_option,
    ready_file,
    ready_file_option,
    run,
    signaling_option,
    stop_event,
    transport_option,
)
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.probing import tell_of_silent
from peerfetch_fast.cli.serving import (
    allow_origin_option,
    named_url,
    reachable_url,
    start_signaling,
    tls_options,
    tls_pin,
)
from peerfetch_fast.cli.waiting import wait_option, when_there
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.peerfetch1.config import OldConfig, load_config, load_old_peer_id
from peerfetch_fast.server import Server, Target, serve
from peerfetch_fast.settings import UpstreamSettings
from peerfetch_fast.signaling.messages import is_peer_id
from peerfetch_fast.signaling.settings import DEFAULT_LISTEN, ServerSettings
from peerfetch_fast.state import kept_token, load_certificate, load_peer_id, state_directory
from peerfetch_fast.status import told
from peerfetch_fast.web.link import page_url, qr_code
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import Congestion, Transport

__all__ = ["proxy"]

logger = logging.getLogger(__name__)


SHORT_TOKEN = 12
"""Bytes below which an access token can be guessed by who stands between (docs/access.md)."""

_OF_EMBEDDED_SERVER = {
    "allowed_origins": "--allow-origin",
    "tls_certificate": "--tls-certificate",
    "tls_key": "--tls-key",
}


def _check_peer_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and (not is_peer_id(value) or " " in value):
        raise click.BadParameter(f"{value!r} is no peer id: use letters, digits, '-' and '_'")
    return value


@click.command()
@click.option(
    "--target",
    "upstreams",
    multiple=True,
    metavar="[/PATH=]URL",
    help="The HTTP server to which requests are forwarded, as in http://127.0.0.1:8778; with a "
    "path (/cam=http://127.0.0.1:8081), those below it. Or a Unix socket: unix:/run/app.sock. "
    "May be given several times.",
)
@click.option(
    "--target-ca",
    "upstream_ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates (PEM) that those of https targets may be issued by. Default: the system's.",
)
@click.option(
    "--target-pin",
    "upstream_pin",
    metavar="sha256:…",
    help="The fingerprint of an https target's certificate, to know it by that alone.",
)
@click.option(
    "--target-connect-timeout",
    "upstream_connect_timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that a target may take to accept a connection. Default: 5.",
)
@click.option(
    "--target-answer-timeout",
    "upstream_answer_timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that a target may take until its answer begins. Default: 300.",
)
@click.option(
    "--target-idle-timeout",
    "upstream_idle_timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds that a connection to a target is kept that nobody uses. Default: 15.",
)
@click.option(
    "--serve",
    "directories",
    multiple=True,
    metavar="[/PATH=]DIRECTORY",
    help="Serve the files of this directory, hidden ones left out; or this one file. May be given "
    "several times.",
)
@click.option(
    "--tcp",
    "ports",
    multiple=True,
    metavar="NAME=HOST:PORT",
    help="Let peers open raw streams to this TCP port (ssh=127.0.0.1:22), with `peerfetch forward "
    "--tcp`. May be given several times.",
)
@signaling_option(help="Join this signaling server instead of embedding one.")
@click.option(
    "--listen",
    type=ListenAddress(),
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where the embedded signaling server and the page listen.",
)
@allow_origin_option
@tls_options
@click.option(
    "--peer-id",
    callback=_check_peer_id,
    help="The id to be reached by. Default: a random one that is kept.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where id and certificate are kept. Default: $PEERFETCH_STATE_DIR, or "
    "~/.local/state/peerfetch.",
)
@access_token_option
@click.option(
    "--discoverable",
    is_flag=True,
    help="Tell those on the local network, and those behind the same router who use the same "
    "signaling server, that this device is there. They learn its peer id.",
)
@wait_option
@ready_file_option("peer id, fingerprint, signaling URL")
@ice_server_option
@transport_option
@congestion_option
@log_level_option
def proxy(
    upstreams: Sequence[str],
    directories: Sequence[str],
    ports: Sequence[str],
    state_dir: Path | None,
    **options: Any,
) -> None:
    """Make an HTTP server, files, or TCP ports on this device reachable for peers.

    What is not given is taken from the old proxy's peerjs-config.yaml and .peerjsrc in the working
    directory, where there are such files ($PEERJS_CONFIG_FILE, $PEERJS_PEERID_FILE).
    """
    try:
        old = load_config() or OldConfig()
        if options["peer_id"] is None and state_dir is None:
            options["peer_id"] = load_old_peer_id()
    except (PeerfetchError, OSError) as error:
        raise Failure(error) from None
    if options["signaling"] and given("listen"):
        raise click.UsageError(
            f"--listen is for the embedded signaling server, and this proxy joins "
            f"{options['signaling']}: leave one of them out"
        )
    options["signaling"] = options["signaling"] or old.signaling
    for parameter, option in _OF_EMBEDDED_SERVER.items():
        if options["signaling"] and given(parameter):
            # Where nothing is restricted, say, nobody shall believe that it is.
            raise click.UsageError(
                f"{option} is for the embedded signaling server, and this proxy joins "
                f"{options['signaling']}: give it to `peerfetch signal` there"
            )
    token = options["access_token"]
    if token is not None and len(token.encode()) < SHORT_TOKEN:
        click.echo(
            "peerfetch: the access token is short enough to be guessed: take one of 20 random "
            "letters and digits",
            err=True,
        )
    options["ice_servers"] = options["ice_servers"] or old.ice_servers
    options["upstream"] = _upstream_settings(options)
    if old.log_level is not None and not given("log_level"):
        logging.getLogger().setLevel(old.log_level.upper())
    tcp = _by_name(ports)
    targets = _by_path(upstreams, directories)
    if not targets and not tcp:
        raise click.UsageError("say what to serve: --target URL, --serve DIRECTORY or --tcp PORT")
    run(_proxy(targets, tcp, state_dir or state_directory(), **options))


def _upstream_settings(options: dict[str, Any]) -> UpstreamSettings:
    """What ``--target-…`` say, which are taken out of ``options``."""
    of_upstream = [name for name in options if name.startswith("upstream_")]
    values = {name.removeprefix("upstream_"): options.pop(name) for name in of_upstream}
    try:
        return UpstreamSettings(**{name: v for name, v in values.items() if v is not None})
    except ValueError:
        raise click.UsageError("--target-ca and --target-pin exclude each other") from None


async def _advertise(stack: contextlib.AsyncExitStack, server: Server, signaling: str) -> None:
    """Be found on the local network too; where that fails, the signaling server's room is left."""
    from peerfetch_fast.discovery import advertise

    try:
        await stack.enter_async_context(advertise(server.peer_id, signaling, server.fingerprint))
    except PeerfetchError as error:
        logger.warning("%s", error)


def _by_path(upstreams: Sequence[str], directories: Sequence[str]) -> dict[str, Target]:
    """What is to be served, by the path that it is served at."""
    targets: dict[str, Target] = {}
    named: list[tuple[str, Target]] = [_at_path(value) for value in upstreams]
    named += [(path, Path(name)) for path, name in map(_at_path, directories)]
    for path, target in named:
        if path in targets:
            raise click.UsageError(
                f"two targets are to be served at {path}: put different paths before them, "
                "as in --target /cam=http://127.0.0.1:8081"
            )
        targets[path] = target
    return targets


def _by_name(ports: Sequence[str]) -> dict[str, str]:
    """The TCP ports that are to be served."""
    tcp: dict[str, str] = {}
    for value in ports:
        name, equals, address = value.partition("=")
        if not equals:
            raise click.UsageError(f"{value!r} names no port: write --tcp ssh=127.0.0.1:22")
        if name in tcp:
            raise click.UsageError(f"two ports are to be served as {name}: give one another name")
        tcp[name] = address
    return tcp


def _at_path(value: str) -> tuple[str, str]:
    """Path and target of ``/PATH=TARGET``, or of ``TARGET`` alone."""
    path, equals, target = value.partition("=")
    if equals and path.startswith("/"):
        return path, target
    return "/", value


def _told(targets: dict[str, Target], tcp: dict[str, str]) -> str:
    told = "".join(
        f"target       {target}\n" if path == "/" else f"target       {path} = {target}\n"
        for path, target in targets.items()
    )
    return told + "".join(f"port         {name} = {address}\n" for name, address in tcp.items())


async def _proxy(
    targets: dict[str, Target],
    tcp: dict[str, str],
    state: Path,
    *,
    signaling: str | None,
    listen: tuple[str, int],
    allowed_origins: tuple[str, ...],
    tls_certificate: Path | None,
    tls_key: Path | None,
    peer_id: str | None,
    access_token: str | None,
    ready_path: Path | None,
    ice_servers: Sequence[IceServer],
    transport: Transport,
    congestion: Congestion,
    upstream: UpstreamSettings,
    discoverable: bool,
    wait: float | None,
) -> None:
    stop = stop_event()
    async with contextlib.AsyncExitStack() as stack:
        try:
            if peer_id is None:
                peer_id = load_peer_id(state)
            certificate = load_certificate(state)
            embedded = signaling is None
            own_url, pin = signaling, None
            if own_url is None:
                settings = ServerSettings(allowed_origins=allowed_origins)
                embedding = await start_signaling(listen, tls_certificate, tls_key, settings)
                stack.push_async_callback(embedding.close)
                own_url = reachable_url(embedding.url)
                # The way to ourselves leads by the address, which the certificate need not name.
                pin = None if tls_certificate is None else tls_pin(tls_certificate)
            if signaling is None:
                signaling = named_url(own_url, tls_certificate)
            serving = partial(
                serve,
                targets["/"] if targets.keys() == {"/"} else targets,
                tcp=tcp,
                signaling=own_url,
                signaling_pin=pin,
                peer_id=peer_id,
                signaling_token=stack.enter_context(kept_token(state, peer_id, own_url)),
                certificate=certificate,
                access_token=access_token,
                ice_servers=ice_servers,
                transport=transport,
                congestion=congestion,
                upstream=upstream,
                discoverable=discoverable,
            )
            server = await when_there(serving, wait, stop)
            if server is None:
                return
            await stack.enter_async_context(server)
            if discoverable:
                await _advertise(stack, server, signaling)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        except (PeerfetchError, OSError) as error:
            raise Failure(error) from None
        content = {
            "peer_id": server.peer_id,
            "fingerprint": server.fingerprint,
            "signaling": signaling,
        }
        await stack.enter_async_context(
            told(state, "proxy", content, lambda: server.peers, lambda: server.refused)
        )
        with ready_file(ready_path, content) as ready:
            click.echo(_told(targets, tcp) + _how_to_reach(server, signaling, access_token))
            if embedded:
                link = page_url(signaling, f"{server.peer_id}#{server.fingerprint}")
                click.echo(f"link         {link}")
                if sys.stdout.isatty():
                    click.echo(qr_code(link))
            ready()
            urls = [target for target in targets.values() if isinstance(target, str)]
            looking = asyncio.ensure_future(tell_of_silent(urls))
            stack.callback(looking.cancel)
            await _until(stop, server)


def _how_to_reach(server: Server, signaling: str, access_token: str | None) -> str:
    who = "who knows the peer id" if access_token is None else "who knows the access token"
    more = "" if access_token is None else " --access-token TOKEN"
    return (
        f"peer id      {server.peer_id}\n"
        f"fingerprint  {server.fingerprint}\n"
        f"access       for everybody {who}\n"
        f"signaling    {signaling}\n"
        f"try          peerfetch fetch '{server.url}' --signaling {signaling}{more}"
    )


async def _until(stop: asyncio.Event, server: Server) -> None:
    """Wait until ``stop`` is set. Raises Failure when the server is lost first."""
    stopped = asyncio.ensure_future(stop.wait())
    lost = asyncio.ensure_future(server.wait_closed())
    try:
        await asyncio.wait((stopped, lost), return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            lost.result()
    except PeerfetchError as error:
        raise Failure(error) from None
    finally:
        stopped.cancel()
        lost.cancel()
