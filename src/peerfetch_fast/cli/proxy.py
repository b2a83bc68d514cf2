"""``peerfetch proxy``: the device's side."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from peerfetch_fast.cli.access_token import access_token_option
from peerfetch_fast.cli.addresses import ListenAddress
from peerfetch_fast.cli.cameras import camera_options, open_door
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.links import has_page, tell_link
from peerfetch_fast.cli.logs import say
from peerfetch_fast.cli.loop import run, stop_event
from peerfetch_fast.cli.options import (
    congestion_option,
    direct_only_option,
    given,
    log_level_option,
    map_ports_option,
    room_option,
    signaling_option,
    state_option,
    told_ice_server_option,
    transport_option,
)
from peerfetch_fast.cli.probing import tell_of_silent
from peerfetch_fast.cli.ready_file import ready_file, ready_file_option
from peerfetch_fast.cli.serving import (
    allow_origin_option,
    named_url,
    reachable_url,
    start_signaling,
    tls_options,
    tls_pin,
)
from peerfetch_fast.cli.targets import by_name, by_path, is_directory, told_targets
from peerfetch_fast.cli.trust import https_option, show_trust
from peerfetch_fast.cli.waiting import wait_option, when_there
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.peerfetch1.config import OldConfig, load_config, load_old_peer_id
from peerfetch_fast.people import People
from peerfetch_fast.server import Server, Target, serve
from peerfetch_fast.settings import UpstreamSettings
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_LISTEN, SignalingServerSettings
from peerfetch_fast.signaling.peernet.address import without_rooms
from peerfetch_fast.state import kept_token, load_certificate, load_peer_id, state_directory
from peerfetch_fast.status import told
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import Congestion, Transport

__all__ = ["proxy"]

logger = logging.getLogger(__name__)


SHORT_TOKEN = 12
"""Bytes below which an attacker between the peers can guess an access token (docs/access.md)."""

_OF_EMBEDDED_SERVER = {
    "allowed_origins": "--allow-origin",
    "tls_certificate": "--tls-certificate",
    "tls_key": "--tls-key",
    "https": "--https",
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
    "--target-person-header",
    "upstream_person_header",
    metavar="FIELD",
    help="The field in which targets are told who asks, of those whom `peerfetch invite` has let "
    "in. Default: X-Peerfetch-Person.",
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
@camera_options
@click.option(
    "--upload",
    is_flag=True,
    help="Let others send files into the directories of --serve. Nothing is overwritten.",
)
@click.option(
    "--upload-quota",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="GB",
    help="Take so much in all, in each of them.",
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
@room_option(help="Be listed in this room of a PeerNet server. May be given several times.")
@click.option(
    "--listen",
    type=ListenAddress(),
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where the embedded signaling server and the page listen.",
)
@allow_origin_option
@tls_options
@https_option
@click.option(
    "--peer-id",
    callback=_check_peer_id,
    help="The id to be reached by. Default: a random one that is kept.",
)
@state_option("Where id and certificate are kept.")
@access_token_option
@click.option(
    "--people-only",
    is_flag=True,
    help="Let in only whom `peerfetch invite` has let in, and programs that know the access token, "
    "if there is one.",
)
@click.option(
    "--discoverable",
    is_flag=True,
    help="Tell those on the local network, and those behind the same router who use the same "
    "signaling server, that this device is there. They learn its peer id.",
)
@wait_option
@ready_file_option("peer id, fingerprint, signaling URL")
@told_ice_server_option
@direct_only_option
@map_ports_option
@transport_option
@congestion_option
@log_level_option
def proxy(
    upstreams: Sequence[str],
    directories: Sequence[str],
    cameras: Sequence[tuple[str, Target]],
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
            # An option without effect is refused: the user would believe, for example, that origins
            # are restricted.
            raise click.UsageError(
                f"{option} is for the embedded signaling server, and this proxy joins "
                f"{options['signaling']}: give it to `peerfetch signal` there"
            )
    if options["https"] and options["tls_certificate"] is not None:
        raise click.UsageError("--https and --tls-certificate exclude each other")
    token = options["access_token"]
    if token is not None and len(token.encode()) < SHORT_TOKEN:
        say(
            "peerfetch: the access token is short enough to be guessed: take one of 20 random "
            "letters and digits",
            logging.WARNING,
        )
    options["ice_servers"] = options["ice_servers"] or old.ice_servers
    options["upstream"] = _upstream_settings(options)
    if old.log_level is not None and not given("log_level"):
        logging.getLogger().setLevel(old.log_level.upper())
    tcp = by_name(ports)
    targets = by_path(upstreams, directories, cameras)
    if not targets and not tcp:
        raise click.UsageError(
            "say what to serve: --target URL, --serve DIRECTORY, --camera SOURCE or --tcp PORT"
        )
    if options["upload"] and not any(map(is_directory, targets.values())):
        raise click.UsageError("--upload is for directories: name one with --serve")
    if given("upload_quota") and not options["upload"]:
        raise click.UsageError("--upload-quota needs --upload")
    state = state_dir or state_directory()
    run(_Proxy(targets=targets, tcp=tcp, state=state, **options).run())


def _upstream_settings(options: dict[str, Any]) -> UpstreamSettings:
    """The settings of ``--target-…``, which are removed from ``options``."""
    of_upstream = [name for name in options if name.startswith("upstream_")]
    values = {name.removeprefix("upstream_"): options.pop(name) for name in of_upstream}
    try:
        return UpstreamSettings(**{name: v for name, v in values.items() if v is not None})
    except ValueError as error:
        if values["ca"] is not None and values["pin"] is not None:
            raise click.UsageError("--target-ca and --target-pin exclude each other") from None
        raise click.UsageError(str(error)) from None


async def _advertise(stack: contextlib.AsyncExitStack, server: Server, signaling: str) -> None:
    """Announce the server on the local network. If that fails, the room of the signaling server
    still shows it.
    """
    from peerfetch_fast.discovery import advertise

    try:
        await stack.enter_async_context(advertise(server.peer_id, signaling, server.fingerprint))
    except PeerfetchError as error:
        logger.warning("%s", error)


@dataclass(frozen=True, slots=True)
class _Service:
    """The signaling service of a proxy."""

    url: str
    """The URL by which others reach it."""
    own_url: str
    """The URL by which the proxy itself reaches it."""
    pin: str | None
    """The pin of its TLS certificate; None to check the certificate's name and issuer."""
    embedded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proxy:
    """A proxy as the command line describes it."""

    targets: dict[str, Target]
    tcp: dict[str, str]
    upload: bool
    upload_quota: float
    state: Path
    signaling: str | None
    listen: tuple[str, int]
    allowed_origins: tuple[str, ...]
    tls_certificate: Path | None
    tls_key: Path | None
    https: bool
    peer_id: str | None
    access_token: str | None
    ready_path: Path | None
    ice_servers: Sequence[IceServer]
    direct_only: bool
    map_ports: bool
    transport: Transport
    congestion: Congestion
    upstream: UpstreamSettings
    discoverable: bool
    people_only: bool
    wait: float | None
    whep: tuple[str, int] | None

    async def run(self) -> None:
        """Serve until a signal comes. Raises click.ClickException."""
        stop = stop_event()
        async with contextlib.AsyncExitStack() as stack:
            try:
                started = await self._start(stack, stop)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
            except (PeerfetchError, OSError) as error:
                raise Failure(error) from None
            if started is None:
                return
            server, service = started
            content = {
                "peer_id": server.peer_id,
                "fingerprint": server.fingerprint,
                "signaling": service.url,
            }
            await stack.enter_async_context(
                told(self.state, "proxy", content, lambda: server.peers, lambda: server.refused)
            )
            with ready_file(self.ready_path, content) as ready:
                await self._print(server, service)
                ready()
                urls = [target for target in self.targets.values() if isinstance(target, str)]
                looking = asyncio.ensure_future(tell_of_silent(urls))
                stack.callback(looking.cancel)
                await _until(stop, server)

    async def _start(
        self, stack: contextlib.AsyncExitStack, stop: asyncio.Event
    ) -> tuple[Server, _Service] | None:
        """Start serving until the stack closes; None if ``stop`` is set first.

        Raises ValueError, PeerfetchError and OSError.
        """
        peer_id = load_peer_id(self.state) if self.peer_id is None else self.peer_id
        certificate = load_certificate(self.state)
        service = await self._service(stack)
        token = stack.enter_context(kept_token(self.state, peer_id, without_rooms(service.own_url)))
        serving = partial(
            serve,
            tcp=self.tcp,
            signaling=service.own_url,
            signaling_pin=service.pin,
            peer_id=peer_id,
            signaling_token=token,
            certificate=certificate,
            access_token=self.access_token,
            people=People(self.state),
            people_only=self.people_only,
            ice_servers=self.ice_servers,
            direct_only=self.direct_only,
            map_ports=self.map_ports,
            transport=self.transport,
            congestion=self.congestion,
            upstream=self.upstream,
            discoverable=self.discoverable,
        )

        async def attempt() -> Server:
            targets = {path: self._opened(target) for path, target in self.targets.items()}
            return await serving(targets["/"] if targets.keys() == {"/"} else targets)

        server = await when_there(attempt, self.wait, stop)
        if server is None:
            return None
        await stack.enter_async_context(server)
        if self.whep is not None:
            await open_door(stack, self.targets, self.whep)
        if self.discoverable:
            await _advertise(stack, server, service.url)
        return server, service

    def _opened(self, target: Target) -> Target:
        """A directory with all that can be done with it; other targets as they are.

        Raises ValueError, OSError.
        """
        if not is_directory(target):
            return target
        assert isinstance(target, Path)
        from peerfetch_fast.cli.arrivals import tell_arrived
        from peerfetch_fast.sharing.folder import Folder

        quota = int(self.upload_quota * 1e9) if self.upload else None
        return Folder(target, quota, tell_arrived)

    async def _service(self, stack: contextlib.AsyncExitStack) -> _Service:
        """The signaling service to join; without one, an embedded server is started."""
        if self.signaling is not None:
            return _Service(without_rooms(self.signaling), self.signaling, None, False)
        settings = SignalingServerSettings(
            allowed_origins=self.allowed_origins, ice_servers=tuple(self.ice_servers)
        )
        certificate, local = self.tls_certificate, None
        if self.https:
            from peerfetch_fast.local_authority import local_certificate

            local = local_certificate(self.state)
            certificate = local.path
        embedding = await start_signaling(self.listen, certificate, self.tls_key, settings)
        stack.push_async_callback(embedding.close)
        own_url = reachable_url(embedding.url)
        # The proxy reaches it by address, which the certificate need not name.
        pin = None if certificate is None else tls_pin(certificate)
        url = named_url(own_url, certificate)
        if local is not None:
            await show_trust(local, self.listen[0], url, stack)
        return _Service(url, own_url, pin, True)

    async def _print(self, server: Server, service: _Service) -> None:
        """Print what is served and how clients reach it."""
        reached = _how_to_reach(server, service.url, self.access_token, self.people_only)
        click.echo(told_targets(self.targets, self.tcp) + reached)
        if service.embedded or await has_page(service.url):
            port = urlsplit(service.url).port
            lets = f"--listen 0.0.0.0:{port}" if service.embedded else None
            peer = f"{server.peer_id}#{server.fingerprint}"
            await tell_link("link         ", service.url, peer, listen=lets)


def _how_to_reach(
    server: Server, signaling: str, access_token: str | None, people_only: bool
) -> str:
    who = "everybody who knows the peer id"
    if access_token is not None:
        who = "everybody who knows the access token, and whom peerfetch invite has let in"
    elif people_only:
        who = "whom peerfetch invite has let in"
    more = "" if access_token is None else " --access-token TOKEN"
    return (
        f"peer id      {server.peer_id}\n"
        f"fingerprint  {server.fingerprint}\n"
        f"access       for {who}\n"
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
