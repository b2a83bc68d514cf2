"""What the commands share: running a loop, options, files and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import json
import logging
import os
import signal
import ssl
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

import click
import ifaddr
from aiohttp.http_exceptions import BadHttpMessage
from aiortc import RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri
from click.core import ParameterSource
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from peerfetch_fast.access import MAX_TOKEN, token_key
from peerfetch_fast.descriptors import raise_descriptor_limit
from peerfetch_fast.errors import InvalidAccessToken, SignalingError
from peerfetch_fast.identity import format_pin
from peerfetch_fast.signaling.endpoint import Endpoint
from peerfetch_fast.signaling.origins import parse_origin
from peerfetch_fast.signaling.server import SignalingServer
from peerfetch_fast.signaling.settings import ClientSettings, ServerSettings
from peerfetch_fast.web.endpoint import web_endpoint
from peerfetch_fast.webrtc.connection import DEFAULT_CONGESTION, Congestion, Transport

__all__ = [
    "DEFAULT_SIGNALING",
    "ListenAddress",
    "access_token_option",
    "allow_origin_option",
    "congestion_option",
    "given",
    "ice_server_option",
    "log_level_option",
    "named_url",
    "reachable_url",
    "ready_file",
    "ready_file_option",
    "run",
    "sentence",
    "signaling_option",
    "start_signaling",
    "stop_event",
    "tls_options",
    "tls_pin",
    "transport_option",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_LISTEN = "127.0.0.1:9000"
DEFAULT_SIGNALING = f"ws://{DEFAULT_LISTEN}"

logger = logging.getLogger("peerfetch_fast")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on the fastest event loop that this machine has, with all the descriptors that
    it may have.
    """
    raise_descriptor_limit()
    try:
        import uvloop
    except ImportError:
        logger.info("uvloop is not installed: the event loop is slower than it could be")
        return asyncio.run(work)
    return uvloop.run(work)


def stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, so that the program can end in order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


class ListenAddress(click.ParamType[tuple[str, int]]):
    """``HOST:PORT``, with an IPv6 address in brackets."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        try:
            parts = urlsplit(f"//{value}")
            if parts.hostname and parts.port is not None and not parts.path:
                return parts.hostname, parts.port
        except ValueError:
            pass
        return self.fail(
            f"{value!r} is no address to listen on: write HOST:PORT, as in 0.0.0.0:9000"
        )


class _IceServer(click.ParamType[RTCIceServer]):
    """``URL[,USERNAME,CREDENTIAL]``."""

    name = "url"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> RTCIceServer:
        if isinstance(value, RTCIceServer):
            return value
        url, *login = value.split(",", 2)
        try:
            parse_stun_turn_uri(url)
        except ValueError:
            self.fail(f"{url!r} is no ICE server: write stun:HOST:PORT or turn:HOST:PORT")
        if url.startswith("turn") and len(login) != 2:
            self.fail(f"{url!r} needs a login: write turn:HOST:PORT,USERNAME,CREDENTIAL")
        return RTCIceServer(url, *login)


def ice_server_option(command: F) -> F:
    """``--ice-server``, repeatable."""
    return click.option(
        "--ice-server",
        "ice_servers",
        type=_IceServer(),
        multiple=True,
        metavar="URL[,USER,PASSWORD]",
        help="STUN or TURN server, for connections beyond the local network: one of each, of "
        "several the first counts. None by default.",
    )(command)


def transport_option(command: F) -> F:
    """``--transport``."""
    return click.option(
        "--transport",
        type=click.Choice(get_args(Transport)),
        default="auto",
        show_default=True,
        help="What carries the data.",
    )(command)


def congestion_option(command: F) -> F:
    """``--congestion``."""
    return click.option(
        "--congestion",
        type=click.Choice(get_args(Congestion)),
        default=DEFAULT_CONGESTION,
        show_default=True,
        help="What decides how fast we send, on the native transport.",
    )(command)


class _SignalingUrl(click.ParamType[str]):
    """URL of a signaling server."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return Endpoint(value, ClientSettings()).url
        except SignalingError as error:
            self.fail(str(error))


def access_token_option(command: F) -> F:
    """``--access-token`` and ``--access-token-file``, as the parameter ``access_token``."""

    @click.option(
        "--access-token",
        envvar="PEERFETCH_ACCESS_TOKEN",
        show_envvar=True,
        metavar="TOKEN",
        help="What both sides must know. None by default. On the command line, other users of this "
        "machine can see it.",
    )
    @click.option(
        "--access-token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A file whose first line is the access token.",
    )
    @functools.wraps(command)
    def with_token(
        *arguments: Any, access_token: str | None, access_token_file: Path | None, **options: Any
    ) -> Any:
        if access_token_file is not None:
            source = click.get_current_context().get_parameter_source("access_token")
            if source == ParameterSource.COMMANDLINE:
                raise click.UsageError("--access-token and --access-token-file exclude each other")
            access_token = _first_line(access_token_file)
        if access_token is not None:
            try:
                token_key(access_token)
            except InvalidAccessToken as error:
                raise click.UsageError(str(error)) from None
        return command(*arguments, access_token=access_token, **options)

    return with_token  # type: ignore[return-value]


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(MAX_TOKEN + 2).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise click.UsageError(f"cannot read the access token in {path}: {reason}") from None


def signaling_option(**attributes: Any) -> Callable[[F], F]:
    """``--signaling``."""
    return click.option(
        "--signaling",
        type=_SignalingUrl(),
        metavar="URL",
        envvar="PEERFETCH_SIGNALING",
        show_envvar=True,
        **attributes,
    )


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

    Raises SignalingError, and click.UsageError for a certificate or key that cannot be used.
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
    server = SignalingServer(settings, middlewares=[web_endpoint(settings.allowed_origins)])
    try:
        await server.start(*listen, tls)
    except BaseException:
        await server.close()
        raise
    return server


def tls_pin(certificate: Path) -> str:
    """The pin by which a client knows a server with this certificate file."""
    return format_pin(_leaf(certificate).fingerprint(SHA256()))


def named_url(url: str, certificate: Path | None) -> str:
    """``url`` of a server with this certificate file, under a name that the certificate is for."""
    if certificate is None:
        return url
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
    return x509.load_pem_x509_certificates(certificate.read_bytes())[0]


def _tells_of_a_request(record: logging.LogRecord) -> bool:
    """Whether a record of aiohttp's server is worth a line: not the traceback that it has for bytes
    which are no request, as anybody can send them.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], BadHttpMessage)


def log_level_option(command: F) -> F:
    """``--log-level``: set up logging to standard error."""

    def set_up(ctx: click.Context, param: click.Parameter, value: str) -> None:
        logging.basicConfig(
            level=value.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        # These tell of every packet and check, which drowns what we say.
        for noisy in ("aioice", "aiortc", "aiohttp.access"):
            logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
        logging.getLogger("aiohttp.server").addFilter(_tells_of_a_request)

    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="warning",
        show_default=True,
        expose_value=False,
        callback=set_up,
        help="What is told on standard error.",
    )(command)


def sentence(error: Exception) -> str:
    """``error`` as a user is to read it: of the system's errors, without their numbers."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def given(parameter: str) -> bool:
    """Whether the user of the running command chose the value of ``parameter``."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not ParameterSource.DEFAULT


def ready_file_option(content: str) -> Callable[[F], F]:
    """``--ready-file``, as the parameter ``ready_path``; ``content`` says what will be there."""

    def forget(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
        if value is not None:
            # One that a killed program left behind would speak for this one.
            with contextlib.suppress(OSError):
                value.unlink()
        return value

    return click.option(
        "--ready-file",
        "ready_path",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=forget,
        help=f"Write {content} and pid here, as JSON, for as long as it can be reached.",
    )


@contextlib.contextmanager
def ready_file(path: Path | None, content: Mapping[str, object]) -> Iterator[Callable[[], None]]:
    """Let ``path`` hold ``content`` and our pid as JSON until the block ends; never half of it.

    The block gets a function that puts it there: after all is printed that whoever waits for the
    file may look for. Raises click.ClickException when the file cannot be written.
    """
    if path is None:
        yield lambda: None
        return
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    temporary = Path(name)

    def put() -> None:
        try:
            temporary.write_text(json.dumps({**content, "pid": os.getpid()}) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise click.ClickException(f"cannot write {path}: {error.strerror}") from None

    try:
        os.close(handle)
        yield put
    finally:
        for file in (temporary, path):
            with contextlib.suppress(OSError):
                file.unlink()


def reachable_url(url: str) -> str:
    """``url`` of a server that listens on all addresses, with one by which others can reach it."""
    parts = urlsplit(url)
    try:
        if not ipaddress.ip_address(parts.hostname or "").is_unspecified:
            return url
    except ValueError:
        return url
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if ip.is_IPv4 and not ipaddress.ip_address(str(ip.ip)).is_loopback:
                return parts._replace(netloc=f"{ip.ip}:{parts.port}").geturl()
    return parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
