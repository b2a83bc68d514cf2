"""What the commands share: running a loop, options, files and addresses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from peerfetch_fast.access import MAX_TOKEN, token_key
from peerfetch_fast.cli.exit_codes import sentence
from peerfetch_fast.descriptors import raise_descriptor_limit
from peerfetch_fast.errors import (
    InvalidAccessToken,
    PeerfetchError,
    PeerUnavailable,
    SignalingError,
)
from peerfetch_fast.signaling.endpoint import Endpoint
from peerfetch_fast.signaling.settings import ClientSettings
from peerfetch_fast.webrtc.ice.gathering import IceServer, servers_of
from peerfetch_fast.webrtc.transports import DEFAULT_CONGESTION, Congestion, Transport

__all__ = [
    "ListenAddress",
    "access_token_option",
    "congestion_option",
    "explained",
    "given",
    "ice_server_option",
    "log_level_option",
    "port_in_words",
    "ready_file",
    "ready_file_option",
    "run",
    "signaling_option",
    "stop_event",
    "transport_option",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

RANDOM_ID = 32
"""Characters of the ids that proxies make."""

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
        run_on_loop = asyncio.run
    else:
        run_on_loop = uvloop.run
    gc.freeze()  # all that is there is no garbage, now or later
    gc.enable()
    return run_on_loop(work)


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


class _IceServer(click.ParamType[IceServer]):
    """``URL[,USERNAME,CREDENTIAL]``."""

    name = "url"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IceServer:
        if isinstance(value, IceServer):
            return value
        url, *login = value.split(",", 2)
        try:
            servers_of([IceServer(url)])
        except ValueError:
            self.fail(f"{url!r} is no ICE server: write stun:HOST:PORT or turn:HOST:PORT")
        if url.startswith("turn") and len(login) != 2:
            self.fail(f"{url!r} needs a login: write turn:HOST:PORT,USERNAME,CREDENTIAL")
        return IceServer(url, *login)


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
        help="What is told on standard error.",
    )(command)


@contextlib.contextmanager
def port_in_words(port: int, option: str) -> Iterator[None]:
    """What the system says of listening on ``port``, with the option that helps, as a
    click.ClickException.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        why = {errno.EADDRINUSE: "another program has it", errno.EACCES: "only root may"}.get(
            code, os.strerror(code) if code else str(error)
        )
        raise click.ClickException(
            f"cannot listen on port {port} of 127.0.0.1: {why}; choose another with {option}"
        ) from None


def explained(error: Exception, name: str) -> str:
    """What ``error`` says; where no peer ``name`` was found, also what that name was perhaps meant
    as.
    """
    return sentence(error) + (_unpaired(name) if isinstance(error, PeerUnavailable) else "")


def _unpaired(name: str) -> str:
    """That nobody has paired a device as ``name``, if that may be meant; "" otherwise."""
    from peerfetch_fast.devices import is_name, load_devices
    from peerfetch_fast.state import state_directory

    # The random ids that proxies have are no names that anybody types.
    if not is_name(name) or len(name) >= RANDOM_ID:
        return ""
    with contextlib.suppress(PeerfetchError, OSError):
        if name in load_devices(state_directory()):
            return ""
    return (
        f"; and no device is paired as {name} here: `peerfetch pair {name} peer://PEER-ID` does "
        "that, and `peerfetch discover` finds devices"
    )


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
    import json
    import tempfile

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
