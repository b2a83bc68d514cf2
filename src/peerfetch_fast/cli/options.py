"""The options that several commands have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from peerfetch_fast.cli.logs import F, log_level_option
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.finding import RENDEZVOUS_VARIABLE, SIGNALING_VARIABLE, rendezvous_url
from peerfetch_fast.signaling.peernet.address import is_peernet, with_rooms
from peerfetch_fast.signaling.seam import checked_service
from peerfetch_fast.webrtc.ice.gathering import IceServer, servers_of
from peerfetch_fast.webrtc.transports import (
    DEFAULT_CONGESTION,
    Congestion,
    ConnectionOptions,
    Transport,
    check_transport,
)

__all__ = [
    "F",
    "at_path",
    "congestion_option",
    "counts_more",
    "direct_only_option",
    "first_line",
    "given",
    "ice_server_option",
    "log_level_option",
    "map_ports_option",
    "room_option",
    "signaling_option",
    "state_option",
    "told_ice_server_option",
    "transport_option",
    "ways_options",
]


def given(parameter: str) -> bool:
    """Whether the user of the running command chose the value of ``parameter``."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not ParameterSource.DEFAULT


_RANKS = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)


def counts_more(parameter: str, other: str) -> bool:
    """Whether ``parameter`` was said where it counts more than where ``other`` was. Raises
    click.UsageError where both are options.
    """
    source = click.get_current_context().get_parameter_source
    if source(parameter) == source(other) == ParameterSource.COMMANDLINE:
        names = [f"--{name.replace('_', '-')}" for name in (parameter, other)]
        raise click.UsageError(f"{names[0]} and {names[1]} exclude each other")
    ranks = [
        _RANKS.index(one) if one in _RANKS else len(_RANKS)
        for one in map(source, (parameter, other))
    ]
    return ranks[0] < ranks[1]


def first_line(path: Path, what: str, at_most: int) -> str:
    """The first line of a file, of which one character more than ``at_most`` is read.

    :param what: it is, for the click.UsageError where it cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(at_most + 2).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise click.UsageError(f"cannot read {what} in {path}: {reason}") from None


def state_option(of: str) -> Callable[[F], F]:
    """``--state-dir``, as the parameter ``state_dir``; ``of`` says which one is meant."""
    return click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help=f"{of} Default: $PEERFETCH_STATE_DIR, or ~/.local/state/peerfetch.",
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


def _ice_server_option(more: str) -> Callable[[F], F]:
    return click.option(
        "--ice-server",
        "ice_servers",
        type=_IceServer(),
        multiple=True,
        metavar="URL[,USER,PASSWORD]",
        help="STUN or TURN server, for connections beyond the local network; may be given several "
        f"times. {more}None by default, beside those that the signaling server hands out.",
    )


def ice_server_option(command: F) -> F:
    """``--ice-server``, repeatable."""
    return _ice_server_option("")(command)


def told_ice_server_option(command: F) -> F:
    """``--ice-server`` of a program that runs a signaling server."""
    told = "Pages that connect by the signaling server here are told of them, logins included. "
    return _ice_server_option(told)(command)


def direct_only_option(command: F) -> F:
    """``--direct-only``."""
    return click.option(
        "--direct-only",
        is_flag=True,
        help="Connect without a relay, of this side or the other, or not at all.",
    )(command)


def ways_options(ice_servers_option: Callable[[F], F]) -> Callable[[F], F]:
    """``--direct-only`` and the option of ICE servers, as the parameter ``ways``."""

    def decorated(command: F) -> F:
        @functools.wraps(command)
        def with_ways(
            *arguments: Any, ice_servers: Sequence[IceServer], direct_only: bool, **options: Any
        ) -> Any:
            if direct_only and check_transport("auto") != "native":
                raise click.UsageError("--direct-only needs the native transport")
            ways = ConnectionOptions(tuple(ice_servers), direct_only=direct_only)
            return command(*arguments, ways=ways, **options)

        return ice_servers_option(direct_only_option(with_ways))  # type: ignore[arg-type]

    return decorated


def map_ports_option(command: F) -> F:
    """``--map-ports``."""
    return click.option(
        "--map-ports",
        is_flag=True,
        help="Ask the router to open a port for each connection (PCP, NAT-PMP, UPnP-IGD), where "
        "that helps connections through it.",
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
    """The URL of a signaling server."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return checked_service(value)
        except SignalingError as error:
            self.fail(str(error))


class _Rendezvous(click.ParamType[str]):
    """The name of a rendezvous server, as the URL of its signaling."""

    name = "domain"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return rendezvous_url(value)
        except SignalingError as error:
            self.fail(str(error))


def signaling_option(**attributes: Any) -> Callable[[F], F]:
    """``--signaling`` and ``--rendezvous``, as the parameter ``signaling``, which counts as
    :func:`given` where either is on the command line.
    """

    def decorated(command: F) -> F:
        @click.option(
            "--rendezvous",
            type=_Rendezvous(),
            metavar="DOMAIN",
            envvar=RENDEZVOUS_VARIABLE,
            show_envvar=True,
            help="The rendezvous server (docs/rendezvous.md), in place of --signaling.",
        )
        @click.option(
            "--signaling",
            type=_SignalingUrl(),
            metavar="URL",
            envvar=SIGNALING_VARIABLE,
            show_envvar=True,
            **attributes,
        )
        @functools.wraps(command)
        def with_signaling(
            *arguments: Any, rendezvous: str | None, signaling: str | None, **options: Any
        ) -> Any:
            if rendezvous is not None and counts_more("rendezvous", "signaling"):
                signaling = rendezvous
                context = click.get_current_context()
                source = context.get_parameter_source("rendezvous")
                if source is ParameterSource.COMMANDLINE:
                    context.set_parameter_source("signaling", source)
            return command(*arguments, signaling=signaling, **options)

        return with_signaling  # type: ignore[return-value]

    return decorated


def room_option(*, help: str) -> Callable[[F], F]:
    """``--room``, repeatable, which becomes part of the parameter ``signaling``. Stands before
    :func:`signaling_option`.
    """

    def decorated(command: F) -> F:
        @click.option("--room", "rooms", multiple=True, metavar="ROOM", help=help)
        @functools.wraps(command)
        def with_room(
            *arguments: Any, rooms: tuple[str, ...], signaling: str | None, **options: Any
        ) -> Any:
            if rooms:
                if signaling is None or not is_peernet(signaling):
                    raise click.UsageError(
                        "--room is for PeerNet: give --signaling peernet+https://HOST with it"
                    )
                try:
                    signaling = with_rooms(signaling, rooms)
                except SignalingError as error:
                    raise click.BadParameter(str(error), param_hint="--room") from None
            return command(*arguments, signaling=signaling, **options)

        return with_room  # type: ignore[return-value]

    return decorated


def at_path(value: str) -> tuple[str, str]:
    """The path and the target of ``/PATH=TARGET``, or of ``TARGET`` alone."""
    path, equals, target = value.partition("=")
    if equals and path.startswith("/"):
        return path, target
    return "/", value
