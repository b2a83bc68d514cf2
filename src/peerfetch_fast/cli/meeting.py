"""Where those who share and those who receive meet: a server that both know, or one that is
embedded, and multicast DNS on the local network.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import click

from peerfetch_fast.cli.addresses import ListenAddress
from peerfetch_fast.cli.links import tell_link
from peerfetch_fast.cli.options import F, given, signaling_option
from peerfetch_fast.cli.serving import reachable_url, start_signaling
from peerfetch_fast.codes import PairingCode, looks_like_code, parse_code
from peerfetch_fast.discovery import advertise, browse
from peerfetch_fast.errors import PeerfetchError, PeerUnavailable, SignalingError
from peerfetch_fast.signaling.peerjs.settings import (
    DEFAULT_LISTEN,
    DEFAULT_SIGNALING,
    SignalingServerSettings,
)
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = [
    "Meeting",
    "Place",
    "announced",
    "found_by",
    "meeting_options",
    "meeting_place",
    "nearby",
    "permanent_option",
    "tell_way_in",
]

logger = logging.getLogger(__name__)

T_co = TypeVar("T_co", covariant=True)

NEARBY_TIMEOUT = 1.5
"""Seconds that the local network is listened to for where a code may be from."""

MAX_NEARBY = 8
"""Signaling servers of the local network that are asked for a code."""


def permanent_option(what: str) -> Callable[[F], F]:
    """``--permanent`` of a share or an inbox."""
    return click.option(
        "--permanent",
        metavar="NAME",
        help=f"Keep the link under this name: it stays the same when the {what} is begun anew.",
    )


def meeting_options(others: str) -> Callable[[F], F]:
    """``--signaling`` and ``--listen``: where ``others`` are met."""

    def decorated(command: F) -> F:
        listen = click.option(
            "--listen",
            type=ListenAddress(),
            default=DEFAULT_LISTEN,
            show_default=True,
            help="Where the embedded server and the page listen; another port if that one is "
            "taken.",
        )
        signaling = signaling_option(
            help=f"Meet {others} at this server. Default: one is embedded, on this network's "
            "address."
        )
        return signaling(listen(command))

    return decorated


@dataclass(frozen=True, slots=True)
class Meeting:
    """The command line's options about it."""

    signaling: str | None
    listen: tuple[str, int]
    ways: ConnectionOptions


@dataclass(frozen=True, slots=True)
class Place:
    """A signaling server."""

    url: str
    """By which others reach it."""
    own_url: str
    """By which we do."""
    embedded: bool


class Found(Protocol):
    """Anything that can be found by a code."""

    @property
    def code(self) -> PairingCode | None: ...

    @property
    def pin(self) -> str: ...

    @property
    def seen_id(self) -> str | None: ...


@contextlib.asynccontextmanager
async def meeting_place(meeting: Meeting) -> AsyncIterator[Place]:
    """The signaling server that is given; else one that is embedded.

    Raises click.ClickException.
    """
    if meeting.signaling is not None:
        if given("listen"):
            raise click.UsageError(
                f"--listen is for the embedded server, and this meets others at "
                f"{meeting.signaling}: leave one of them out"
            )
        yield Place(meeting.signaling, meeting.signaling, False)
        return
    settings = SignalingServerSettings(ice_servers=tuple(meeting.ways.ice_servers))
    try:
        server = await start_signaling(meeting.listen, None, None, settings)
    except click.ClickException:
        if given("listen"):
            raise
        server = await start_signaling((meeting.listen[0], 0), None, None, settings)
    try:
        url = reachable_url(server.url)
        yield Place(url, url, True)
    finally:
        await server.close()


async def tell_way_in(link: str, place: Place) -> None:
    """Print the link of a share or an inbox, which is met at ``place``."""
    _, _, fragment = link.partition("#")
    lets = "--listen 0.0.0.0:9000" if place.embedded else None
    await tell_link("link  ", place.url, fragment, listen=lets)


async def announced(stack: contextlib.AsyncExitStack, found: Found, signaling: str) -> None:
    """Let the code be found on the local network until the stack closes; and what is to be seen by
    everybody there, be seen.
    """
    ids = [] if found.code is None else [found.code.peer_id]
    ids += [] if found.seen_id is None else [found.seen_id]
    for peer_id in ids:
        try:
            await stack.enter_async_context(advertise(peer_id, signaling, found.pin))
        except PeerfetchError as error:
            logger.info("the code is not found by itself: %s", error)
            click.echo(f"      elsewhere on this network: --signaling {signaling}")
            return


class Opening(Protocol[T_co]):
    """Connects by a code, which is looked for at a signaling server, or by a link."""

    def __call__(
        self, where: str | PairingCode, *, signaling: str | None
    ) -> contextlib.AbstractAsyncContextManager[T_co]: ...


@contextlib.asynccontextmanager
async def found_by(
    where: str, signaling: str | None, opening: Opening[T_co]
) -> AsyncIterator[T_co]:
    """What ``opening`` connects to, wherever a code is from. Raises PeerfetchError."""
    if not looks_like_code(where):
        async with opening(where, signaling=signaling) as found:
            yield found
        return
    code = parse_code(where)
    async with contextlib.AsyncExitStack() as stack:
        async for place in _places_of(code, signaling):
            try:
                found = await stack.enter_async_context(opening(code, signaling=place))
            except PeerUnavailable:
                continue
            except SignalingError:
                if signaling is not None:
                    raise
                continue
            yield found
            return
        raise PeerUnavailable(
            f"nobody shares with the code {code.number}-…: is it still shown there, and on this "
            "network? Else use the link, or --signaling"
        )


async def _places_of(code: PairingCode, signaling: str | None) -> AsyncIterator[str]:
    """The signaling servers at which the one with ``code`` may be, the likeliest first."""
    if signaling is not None:
        yield signaling
        return
    yield DEFAULT_SIGNALING
    for place in await nearby(code):
        yield place


async def nearby(code: PairingCode) -> list[str]:
    """The signaling servers of the local network, each once: where ``code`` is announced first."""
    try:
        found = await browse(NEARBY_TIMEOUT)
    except PeerfetchError as error:
        logger.info("the local network is not searched: %s", error)
        return []
    found.sort(key=lambda device: device.peer_id != code.peer_id)
    return list(dict.fromkeys(device.signaling for device in found))[:MAX_NEARBY]
