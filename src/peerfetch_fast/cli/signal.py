"""``peerfetch signal``: the signaling server alone."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click

from peerfetch_fast.cli.addresses import ListenAddress
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.links import tell_link
from peerfetch_fast.cli.logs import say
from peerfetch_fast.cli.loop import run, stop_event
from peerfetch_fast.cli.options import log_level_option, told_ice_server_option
from peerfetch_fast.cli.ready_file import ready_file, ready_file_option
from peerfetch_fast.cli.serving import (
    allow_origin_option,
    max_per_address_option,
    named_url,
    peernet_option,
    reachable_url,
    start_signaling,
    tls_options,
    turn_options,
)
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.peerjs.settings import (
    DEFAULT_KEY,
    DEFAULT_LISTEN,
    SignalingServerSettings,
)
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import IceServer

__all__ = ["signal"]


@click.command()
@click.option(
    "--listen",
    type=ListenAddress(),
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where it listens.",
)
@click.option("--path", default="/", show_default=True, help="Where the server's URLs begin.")
@click.option(
    "--key", default=DEFAULT_KEY, show_default=True, help="What clients must name: no secret."
)
@click.option("--allow-discovery", is_flag=True, help="Tell everybody who is connected.")
@click.option("--smoke", is_flag=True, help="Be a hub for Smoke's nodes too, at /smoke.")
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="NETWORK",
    help="A reverse proxy whose X-Forwarded-For is believed, for plug and play rooms and for "
    "--max-per-address. May be given several times.",
)
@peernet_option
@max_per_address_option
@allow_origin_option
@told_ice_server_option
@turn_options
@tls_options
@ready_file_option("signaling URL")
@log_level_option
def signal(
    listen: tuple[str, int],
    path: str,
    key: str,
    allow_discovery: bool,
    smoke: bool,
    trusted_proxies: tuple[str, ...],
    peernet: bool,
    max_per_address: int,
    allowed_origins: tuple[str, ...],
    ice_servers: tuple[IceServer, ...],
    turn: TurnLogins | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    ready_path: Path | None,
) -> None:
    """Run a PeerJS-compatible signaling server, and the page for browsers."""
    try:
        settings = SignalingServerSettings(
            path=f"/{path.strip('/')}/".replace("//", "/"),
            key=key,
            allow_discovery=allow_discovery,
            smoke=smoke,
            trusted_proxies=trusted_proxies,
            max_per_address=max_per_address,
            allowed_origins=allowed_origins,
            ice_servers=ice_servers,
            turn=turn,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    beside = PeerNetSettings() if peernet else None
    run(_signal(listen, settings, beside, tls_certificate, tls_key, ready_path))


async def _signal(
    listen: tuple[str, int],
    settings: SignalingServerSettings,
    peernet: PeerNetSettings | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    ready_path: Path | None,
) -> None:
    stop = stop_event()
    try:
        server = await start_signaling(listen, tls_certificate, tls_key, settings, peernet)
    except SignalingError as error:
        raise Failure(error) from None
    try:
        url = named_url(reachable_url(server.url), tls_certificate)
        told = {"signaling": url}
        if peernet is not None:
            told["peernet"] = "peernet+http" + url.partition("?")[0].removeprefix("ws")
        with ready_file(ready_path, told) as ready:
            click.echo("\n".join(f"{name:11}{where}" for name, where in told.items()))
            if settings.smoke:
                click.echo(f"hub        {urlsplit(url)._replace(query='').geturl()}/smoke")
            # The page expects signaling at the default path and key of PeerJS's clients.
            if (settings.path, settings.key) == ("/", DEFAULT_KEY):
                lets = f"--listen 0.0.0.0:{urlsplit(url).port}"
                await tell_link("page       ", url, listen=lets)
            else:
                say("peerfetch: with --path or --key, there is no page")
            ready()
            await stop.wait()
    finally:
        await server.close()
