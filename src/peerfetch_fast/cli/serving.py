"""What the commands that run a signaling server share: its options, its start and its URL."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from peerfetch_fast.cli.common import F
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.interfaces import interface_addresses
from peerfetch_fast.signaling.origins import parse_origin
from peerfetch_fast.signaling.settings import ServerSettings

if TYPE_CHECKING:
    from cryptography import x509

    from peerfetch_fast.signaling.server import SignalingServer

__all__ = [
    "allow_origin_option",
    "named_url",
    "reachable_url",
    "start_signaling",
    "tls_options",
    "tls_pin",
]


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


async def start_signaling(
    listen: tuple[str, int],
    tls_certificate: Path | None,
    tls_key: Path | None,
    settings: ServerSettings,
) -> SignalingServer:
    """A signaling server with the web endpoint before it, listening.

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
    # An HTTP server is imported where one runs.
    from peerfetch_fast.signaling.server import SignalingServer
    from peerfetch_fast.web.endpoint import web_endpoint

    server = SignalingServer(settings, middlewares=[web_endpoint(settings.allowed_origins)])
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
    for address, _ in interface_addresses():
        found = ipaddress.ip_address(address)
        if found.version == 4 and not found.is_loopback:
            return parts._replace(netloc=f"{address}:{parts.port}").geturl()
    return parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
