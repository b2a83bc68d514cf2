"""``peerfetch signal``: the signaling server alone."""

from __future__ import annotations

from pathlib import Path

import click

from peerfetch_fast.cli.common import (
    ListenAddress,
    log_level_option,
    ready_file,
    ready_file_option,
    run,
    stop_event,
)
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.serving import (
    allow_origin_option,
    named_url,
    reachable_url,
    start_signaling,
    tls_options,
)
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.settings import DEFAULT_KEY, DEFAULT_LISTEN, ServerSettings
from peerfetch_fast.web.link import page_url

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
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="NETWORK",
    help="A reverse proxy whose X-Forwarded-For is believed, for plug and play rooms and for "
    "--max-per-address. May be given several times.",
)
@click.option(
    "--max-per-address",
    type=click.IntRange(min=1),
    default=ServerSettings().max_per_address,
    show_default=True,
    help="Connections that one IP address (of IPv6: one /64 network) may have.",
)
@allow_origin_option
@tls_options
@ready_file_option("signaling URL")
@log_level_option
def signal(
    listen: tuple[str, int],
    path: str,
    key: str,
    allow_discovery: bool,
    trusted_proxies: tuple[str, ...],
    max_per_address: int,
    allowed_origins: tuple[str, ...],
    tls_certificate: Path | None,
    tls_key: Path | None,
    ready_path: Path | None,
) -> None:
    """Run a PeerJS-compatible signaling server, and the page for browsers."""
    try:
        settings = ServerSettings(
            path=f"/{path.strip('/')}/".replace("//", "/"),
            key=key,
            allow_discovery=allow_discovery,
            trusted_proxies=trusted_proxies,
            max_per_address=max_per_address,
            allowed_origins=allowed_origins,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    run(_signal(listen, settings, tls_certificate, tls_key, ready_path))


async def _signal(
    listen: tuple[str, int],
    settings: ServerSettings,
    tls_certificate: Path | None,
    tls_key: Path | None,
    ready_path: Path | None,
) -> None:
    stop = stop_event()
    try:
        server = await start_signaling(listen, tls_certificate, tls_key, settings)
    except SignalingError as error:
        raise Failure(error) from None
    try:
        url = named_url(reachable_url(server.url), tls_certificate)
        with ready_file(ready_path, {"signaling": url}) as ready:
            click.echo(f"signaling  {url}")
            # The page looks for signaling where PeerJS's clients do by default.
            if (settings.path, settings.key) == ("/", DEFAULT_KEY):
                click.echo(f"page       {page_url(url)}")
            else:
                click.echo("peerfetch: with --path or --key, there is no page", err=True)
            ready()
            await stop.wait()
    finally:
        await server.close()
