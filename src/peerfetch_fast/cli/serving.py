"""The options, the start and the URL of a signaling server, for the commands that run one."""

from __future__ import annotations

import functools
import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from peerfetch_fast.cli.options import F, first_line
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.interfaces import LOOPBACK, lan_address
from peerfetch_fast.signaling.origins import parse_origin
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.turn_logins import TurnLogins

if TYPE_CHECKING:
    from cryptography import x509

    from peerfetch_fast.signaling.peerjs.server import SignalingServer
    from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

__all__ = [
    "allow_origin_option",
    "at_host",
    "max_per_address_option",
    "named_url",
    "reachable_url",
    "start_signaling",
    "tls_options",
    "tls_pin",
    "turn_options",
]


MAX_SECRET = 1024
"""Characters of the longest secret of a TURN server."""


def tls_options(command: F) -> F:
    """``--tls-certificate`` and ``--tls-key``."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    key = click.option(
        "--tls-key", type=file, help="Its private key in PEM, if that is in a file of its own."
    )
    certificate = click.option(
        "--tls-certificate",
        type=file,
        help="Certificate chain in PEM, to serve the page and signaling by HTTPS. Browsers allow "
        "much only there, or on localhost.",
    )
    return certificate(key(command))


def turn_options(command: F) -> F:
    """``--turn-server`` and ``--turn-secret-file``, as the parameter ``turn``."""

    @click.option(
        "--turn-server",
        "turn_urls",
        multiple=True,
        metavar="URL",
        help="TURN server at which whoever connects here gets a login that expires: "
        "turn:HOST:PORT or turns:HOST:PORT of one that runs with use-auth-secret, as coturn does. "
        "May be given several times.",
    )
    @click.option(
        "--turn-secret-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file whose first line is its static-auth-secret.",
    )
    @functools.wraps(command)
    def with_turn(
        *arguments: Any, turn_urls: tuple[str, ...], turn_secret_file: Path | None, **options: Any
    ) -> Any:
        turn = None
        if turn_urls and turn_secret_file is not None:
            secret = first_line(turn_secret_file, "the secret", MAX_SECRET)
            try:
                turn = TurnLogins(turn_urls, secret)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
        elif turn_urls or turn_secret_file is not None:
            raise click.UsageError("--turn-server and --turn-secret-file go together")
        return command(*arguments, turn=turn, **options)

    return with_turn  # type: ignore[return-value]


def allow_origin_option(command: F) -> F:
    """``--allow-origin``, repeatable, as the parameter ``allowed_origins``."""

    def check(
        ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
    ) -> tuple[str, ...]:
        try:
            return tuple(map(parse_origin, values))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return click.option(
        "--allow-origin",
        "allowed_origins",
        multiple=True,
        metavar="ORIGIN",
        callback=check,
        help="Pages of this origin may use the signaling server, as in https://app.example, and "
        "those of others but its own may not. May be given several times. Default: all may.",
    )(command)


def max_per_address_option(command: F) -> F:
    """``--max-per-address``."""
    return click.option(
        "--max-per-address",
        type=click.IntRange(min=1),
        default=SignalingServerSettings().max_per_address,
        show_default=True,
        help="Connections that one IP address (of IPv6: one /64 network) may have.",
    )(command)


def peernet_option(command: F) -> F:
    """``--peernet``."""
    return click.option(
        "--peernet",
        is_flag=True,
        help="Serve PeerNet, too, below /v1: signaling by plain HTTP, where WebSockets are "
        "blocked.",
    )(command)


async def start_signaling(
    listen: tuple[str, int],
    tls_certificate: Path | None,
    tls_key: Path | None,
    settings: SignalingServerSettings,
    peernet: PeerNetSettings | None = None,
) -> SignalingServer:
    """A signaling server with the web endpoint before it, listening.

    :param peernet: the settings of a PeerNet server beside it; None for none.

    Raises click.ClickException where it cannot listen, and click.UsageError for a
    certificate or key that cannot be used.
    """
    tls: ssl.SSLContext | None = None
    if tls_certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            tls.load_cert_chain(tls_certificate, tls_key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise click.UsageError(
                f"{tls_certificate} cannot be used as a certificate: {error}"
            ) from None
    elif tls_key is not None:
        raise click.UsageError("--tls-key needs --tls-certificate")
    # Imported late: commands without a server need no HTTP server.
    from peerfetch_fast.signaling.peerjs.server import SignalingServer
    from peerfetch_fast.web.endpoint import web_endpoint

    server = SignalingServer(
        settings, middlewares=[web_endpoint(settings.allowed_origins)], peernet=peernet
    )
    try:
        await server.start(*listen, tls)
    except SignalingError as error:
        await server.close()
        raise click.ClickException(f"{error}: --listen names another place") from None
    except BaseException:
        await server.close()
        raise
    return server


def tls_pin(certificate: Path) -> str:
    """The pin by which a client knows a server with this certificate file."""
    from cryptography.hazmat.primitives.hashes import SHA256

    from peerfetch_fast.identity import format_pin

    return format_pin(_leaf(certificate).fingerprint(SHA256()))


def named_url(url: str, certificate: Path | None) -> str:
    """``url`` of a server with this certificate file, under a name that the certificate is for."""
    if certificate is None:
        return url
    from cryptography import x509

    try:
        names = _leaf(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return url
    parts = urlsplit(url)
    addresses = list(map(str, names.value.get_values_for_type(x509.IPAddress)))
    hosts = [name for name in names.value.get_values_for_type(x509.DNSName) if "*" not in name]
    if parts.hostname in addresses or not hosts:
        return url
    return parts._replace(netloc=f"{hosts[0]}:{parts.port}").geturl()


def _leaf(certificate: Path) -> x509.Certificate:
    """The server's own certificate, which is the first in its file."""
    from cryptography import x509

    return x509.load_pem_x509_certificates(certificate.read_bytes())[0]


def reachable_url(url: str) -> str:
    """``url`` of a server that listens on all addresses, with one by which others can reach it."""
    parts = urlsplit(url)
    try:
        if not ipaddress.ip_address(parts.hostname or "").is_unspecified:
            return url
    except ValueError:
        return url
    return at_host(url, lan_address() or LOOPBACK)


def at_host(url: str, host: str) -> str:
    """``url`` with another host, of the same port."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"[{host}]{port}" if ":" in host else f"{host}{port}").geturl()
