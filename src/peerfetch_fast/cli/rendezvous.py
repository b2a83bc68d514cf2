"""``peerfetch rendezvous``: signaling, the page by HTTPS, and relays."""

from __future__ import annotations

import asyncio
import re
import secrets
from pathlib import Path
from typing import Any

import click

from peerfetch_fast.cli import notify
from peerfetch_fast.cli.addresses import ListenAddress
from peerfetch_fast.cli.exit_codes import Failure
from peerfetch_fast.cli.loop import run, stop_event
from peerfetch_fast.cli.options import log_level_option
from peerfetch_fast.cli.ready_file import ready_file, ready_file_option
from peerfetch_fast.cli.serving import allow_origin_option, max_per_address_option, peernet_option
from peerfetch_fast.errors import PeerfetchError, RendezvousError
from peerfetch_fast.finding import is_host_name
from peerfetch_fast.rendezvous.certificates import CertificateFiles
from peerfetch_fast.rendezvous.challenges import Challenges
from peerfetch_fast.rendezvous.coturn import CoturnSettings
from peerfetch_fast.rendezvous.quotas import QuotaSettings
from peerfetch_fast.rendezvous.server import Authority, Rendezvous, RendezvousSettings
from peerfetch_fast.rendezvous.server import rendezvous as running
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.signaling.turn_logins import DEFAULT_TTL, MIN_TTL
from peerfetch_fast.state import state_directory
from peerfetch_fast.web.page_link import page_url

__all__ = ["rendezvous"]

_PORTS = re.compile(r"(\d{1,5})-(\d{1,5})")


class _Domain(click.ParamType[str]):
    """The name of a host."""

    name = "domain"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_host_name(value):
            self.fail(f"{value!r} is no name of a host, as in meet.example.org")
        return value.lower()


class _Ports(click.ParamType[tuple[int, int]]):
    """``FIRST-LAST``."""

    name = "ports"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = _PORTS.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no range of ports: write FIRST-LAST, as in 49152-65535")
        return int(found[1]), int(found[2])


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PORT = click.IntRange(min=1, max=65_535)
_QUOTAS = QuotaSettings()


@click.command()
@click.option(
    "--domain",
    type=_Domain(),
    required=True,
    help="The name by which everybody reaches this server.",
)
@click.option(
    "--listen",
    type=ListenAddress(),
    metavar="HOST:PORT",
    help="Where HTTPS listens. Default: port 443 of all addresses. Relays are reached there as "
    "well, by TLS, where a network lets nothing else through.",
)
@click.option(
    "--tls-certificate",
    type=_FILE,
    help="Certificate chain in PEM for the domain, which is looked at again now and then. Default: "
    "one that an authority issues by ACME.",
)
@click.option("--tls-key", type=_FILE, help="Its private key, if that is in a file of its own.")
@click.option(
    "--acme-directory",
    default="https://acme-v02.api.letsencrypt.org/directory",
    show_default=True,
    metavar="URL",
    help="The authority; to use it is to agree to its terms.",
)
@click.option("--acme-email", metavar="ADDRESS", help="Where the authority may write to.")
@click.option(
    "--http-listen",
    type=ListenAddress(),
    metavar="HOST:PORT",
    help="Where plain HTTP listens, for the authority and to lead others to HTTPS. Default: port "
    "80 of all addresses.",
)
@click.option(
    "--dns-hook",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A program by which names are proved in DNS: it is run as HOOK present NAME. VALUE and "
    "HOOK cleanup NAME. VALUE. The certificate is for *.DOMAIN as well then, for devices' pages.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the certificate is kept. Default: rendezvous in the state directory.",
)
@click.option(
    "--turn/--no-turn", default=True, show_default=True, help="Run coturn, for STUN and relays."
)
@click.option(
    "--turn-port", type=_PORT, default=3478, show_default=True, help="Its port for UDP and TCP."
)
@click.option(
    "--turn-tls-port", type=_PORT, default=5349, show_default=True, help="Its port for TLS."
)
@click.option(
    "--relay-ports",
    type=_Ports(),
    default="49152-65535",
    show_default=True,
    metavar="FIRST-LAST",
    help="UDP ports of the relays.",
)
@click.option(
    "--external-address",
    metavar="ADDRESS",
    help="This machine's public address, where it has only a private one itself.",
)
@click.option(
    "--private-peers",
    is_flag=True,
    help="Let relays lead to private addresses: for a server within one's own network.",
)
@click.option(
    "--relay-rate",
    type=click.IntRange(min=1),
    default=12_500_000,
    show_default=True,
    metavar="BYTES",
    help="Bytes a second that one relay may carry.",
)
@click.option(
    "--max-relays",
    type=click.IntRange(min=1),
    default=1200,
    show_default=True,
    help="Relays at once.",
)
@click.option(
    "--max-relays-per-address",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Relays at once of one IP address (of IPv6: one /64 network). A connection takes three.",
)
@click.option(
    "--relay-capacity",
    type=click.IntRange(min=0),
    default=0,
    show_default="no bound",
    metavar="BYTES",
    help="Bytes a second that all relays together may carry.",
)
@click.option(
    "--relay-bytes-per-day",
    type=click.IntRange(min=0),
    default=_QUOTAS.size,
    show_default=True,
    metavar="BYTES",
    help="Bytes that are relayed for one IP address (of IPv6: one /64 network) in a day: beyond "
    "them its relays are ended, and it gets no others. 0: no bound.",
)
@click.option(
    "--relay-time-per-day",
    type=click.FloatRange(min=0),
    default=_QUOTAS.time,
    show_default="20 relays all day",
    metavar="SECONDS",
    help="The same for the time of its relays, all of them together. 0: no bound.",
)
@click.option(
    "--login-time",
    type=click.FloatRange(min=MIN_TTL),
    default=DEFAULT_TTL,
    show_default=True,
    metavar="SECONDS",
    help="How long a login at the relays is good; clients renew theirs in time.",
)
@max_per_address_option
@click.option(
    "--metrics-listen",
    type=ListenAddress(),
    metavar="HOST:PORT",
    help="Where /metrics tells Prometheus what is counted, as in 127.0.0.1:9100: for nobody else's "
    "eyes. Nowhere by default.",
)
@peernet_option
@allow_origin_option
@ready_file_option("signaling and page URL")
@log_level_option
def rendezvous(
    domain: str,
    tls_certificate: Path | None,
    tls_key: Path | None,
    acme_directory: str,
    acme_email: str | None,
    http_listen: tuple[str, int] | None,
    dns_hook: Path | None,
    state_dir: Path | None,
    ready_path: Path | None,
    **options: Any,
) -> None:
    """Run a server for everybody: signaling, the page by HTTPS, and relays.

    The relays, by coturn, are for those whose routers let nothing else through.
    """
    settings = _settings(domain, **options)
    try:
        if tls_certificate is not None:
            certificate: CertificateFiles | Authority = CertificateFiles(tls_certificate, tls_key)
        else:
            certificate = _authority(
                domain,
                tls_key,
                acme_directory=acme_directory,
                acme_email=acme_email,
                http_listen=http_listen,
                dns_hook=dns_hook,
                state_dir=state_dir,
            )
    except PeerfetchError as error:
        raise Failure(error) from None
    run(_rendezvous(settings, certificate, ready_path))


def _settings(
    domain: str,
    *,
    listen: tuple[str, int] | None,
    turn: bool,
    turn_port: int,
    turn_tls_port: int,
    relay_ports: tuple[int, int],
    external_address: str | None,
    private_peers: bool,
    relay_rate: int,
    max_relays: int,
    max_relays_per_address: int,
    relay_capacity: int,
    relay_bytes_per_day: int,
    relay_time_per_day: float,
    login_time: float,
    max_per_address: int,
    metrics_listen: tuple[str, int] | None,
    peernet: bool,
    allowed_origins: tuple[str, ...],
) -> RendezvousSettings:
    """The server's settings, from the options. Raises click.UsageError."""
    try:
        relays = CoturnSettings(
            domain,
            secrets.token_urlsafe(32),
            port=turn_port,
            tls_port=turn_tls_port,
            relay_ports=relay_ports,
            external_address=external_address,
            private_peers=private_peers,
            rate=relay_rate,
            total=max_relays,
            per_address=max_relays_per_address,
            capacity=relay_capacity,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    host, port = listen or (None, 443)
    return RendezvousSettings(
        domain,
        host,
        port,
        SignalingServerSettings(max_per_address=max_per_address, allowed_origins=allowed_origins),
        relays if turn else None,
        login_time=login_time,
        quotas=QuotaSettings(relay_bytes_per_day, relay_time_per_day),
        metrics=metrics_listen,
        peernet=PeerNetSettings() if peernet else None,
    )


def _authority(
    domain: str,
    tls_key: Path | None,
    *,
    acme_directory: str,
    acme_email: str | None,
    http_listen: tuple[str, int] | None,
    dns_hook: Path | None,
    state_dir: Path | None,
) -> Authority:
    """The issuer of the certificate. Raises click.UsageError, MissingExtra and RendezvousError."""
    if tls_key is not None:
        raise click.UsageError("--tls-key needs --tls-certificate")
    from peerfetch_fast.rendezvous.issuing import Issuer

    state = state_dir or state_directory() / "rendezvous"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RendezvousError(f"{state} cannot be made: {error.strerror}") from error
    challenges = Challenges(dns_hook)
    if dns_hook is None:
        source = Issuer(acme_directory, [domain], state, challenges, email=acme_email)
    else:
        names = [domain, f"*.{domain}"]
        source = Issuer(
            acme_directory, names, state, challenges, email=acme_email, kinds=["dns-01"]
        )
    return Authority(source, challenges, state / f"{domain}.pem", http_listen or (None, 80))


async def _rendezvous(
    settings: RendezvousSettings,
    certificate: CertificateFiles | Authority,
    ready_path: Path | None,
) -> None:
    stop = stop_event()
    try:
        async with running(settings, certificate) as server:
            if not await _certified(server, stop):
                return
            told = {"signaling": settings.url, "page": page_url(settings.url)}
            if settings.peernet is not None:
                told["peernet"] = f"peernet+{settings.origin}"
            with ready_file(ready_path, told) as ready:
                for name, url in told.items():
                    click.echo(f"{name:<11}{url}")
                ready()
                await stop.wait()
    except PeerfetchError as error:
        raise Failure(error) from None


async def _certified(server: Rendezvous, stop: asyncio.Event) -> bool:
    """Wait for a certificate that others trust; whether it came before ``stop``."""
    if not server.certified.is_set():
        text = "a certificate is asked for: until it is there, nobody trusts this server"
        click.echo(f"peerfetch: {text}", err=True)
        notify.status(text)
    waits = [asyncio.ensure_future(event.wait()) for event in (server.certified, stop)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return not stop.is_set()
