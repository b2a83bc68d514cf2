"""What the commands share: running a loop, options, files and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import ifaddr
from aiortc import RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.endpoint import Endpoint
from peerfetch_fast.signaling.settings import ClientSettings

__all__ = [
    "DEFAULT_SIGNALING",
    "ListenAddress",
    "ice_server_option",
    "log_level_option",
    "reachable_url",
    "ready_file",
    "ready_file_option",
    "run",
    "signaling_option",
    "stop_event",
    "transport_option",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_LISTEN = "127.0.0.1:9000"
DEFAULT_SIGNALING = f"ws://{DEFAULT_LISTEN}"

logger = logging.getLogger("peerfetch_fast")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` on the fastest event loop that this machine has."""
    try:
        import uvloop
    except ImportError:
        logger.info("uvloop is not installed: the event loop is slower than it could be")
        return asyncio.run(work)
    if sys.version_info >= (3, 11):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    uvloop.install()
    return asyncio.run(work)


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
        help="STUN or TURN server, for connections beyond the local network. None by default.",
    )(command)


def transport_option(command: F) -> F:
    """``--transport``."""
    return click.option(
        "--transport",
        type=click.Choice(["auto", "native", "aiortc"]),
        default="auto",
        show_default=True,
        help="What carries the data.",
    )(command)


class _SignalingUrl(click.ParamType[str]):
    """URL of a signaling server."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return Endpoint(value, "peerjs", ClientSettings()).url
        except SignalingError as error:
            self.fail(str(error))


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


def log_level_option(command: F) -> F:
    """``--log-level``: set up logging to standard error."""

    def set_up(ctx: click.Context, param: click.Parameter, value: str) -> None:
        logging.basicConfig(
            level=value.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        # These tell of every packet and check, which drowns what we say.
        for noisy in ("aioice", "aiortc", "aiohttp.access"):
            logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))

    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="warning",
        show_default=True,
        expose_value=False,
        callback=set_up,
    )(command)


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
def ready_file(path: Path | None, content: Mapping[str, object]) -> Iterator[None]:
    """Let ``path`` hold ``content`` and our pid as JSON while the block runs; never half of it.

    Raises click.ClickException when it cannot be written.
    """
    if path is None:
        yield
        return
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({**content, "pid": os.getpid()}, file)
                file.write("\n")
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


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
                return f"{parts.scheme}://{ip.ip}:{parts.port}"
    return f"{parts.scheme}://127.0.0.1:{parts.port}"
