"""The room of this network, as commands use it: who shares there, and who takes files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import partial
from typing import Literal

import click

from peerfetch_fast.cli.meeting import MAX_NEARBY, NEARBY_TIMEOUT, found_by
from peerfetch_fast.codes import looks_like_code
from peerfetch_fast.discovery import Found, ask_room, browse
from peerfetch_fast.errors import PeerfetchError, PeerUnavailable
from peerfetch_fast.sharing.receive import Offered, offered, own_name
from peerfetch_fast.sharing.room import Member, ask_for, members
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_SIGNALING
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["in_room", "is_name", "offered_by", "tell_of_room"]

logger = logging.getLogger(__name__)

LOOK_EACH = 5.0
"""Seconds between two looks into the room."""

MAX_TOLD = 16
"""Lines about those who have come since the last look."""


async def in_room(signaling: str | None, kind: Literal["gives", "takes"]) -> list[Member]:
    """Who gives or takes in the rooms of this network: in that of ``signaling``; without it, in
    those of this machine's server and of all that announce themselves.
    """
    found = [] if signaling is not None else await _quietly(browse(NEARBY_TIMEOUT))
    places = [signaling] if signaling is not None else [DEFAULT_SIGNALING]
    if signaling is None:
        places = list(dict.fromkeys([*places, *(one.signaling for one in found)]))[:MAX_NEARBY]
    for told in await asyncio.gather(*(_quietly(ask_room(place)) for place in places)):
        found += told
    pairs = [(one.peer_id, one.signaling) for one in found]
    return [member for member in members(pairs) if member.kind == kind]


async def _quietly(looking: Awaitable[list[Found]]) -> list[Found]:
    try:
        return await looking
    except (PeerfetchError, OSError) as error:
        logger.info("somebody in the room may not be seen: %s", error)
        return []


def is_name(text: str) -> bool:
    """Whether ``text`` can be the name of somebody in the room, and is no code or link."""
    plain = text.replace("-", "").isalnum() and text.isascii()
    return plain and not looks_like_code(text)


@contextlib.asynccontextmanager
async def offered_by(
    where: str | None, signaling: str | None, ways: ConnectionOptions
) -> AsyncIterator[Offered | None]:
    """What a code or link leads to, or what somebody in the room of that name shares; where no name
    is given, one of them whom the user chooses. None where nobody is chosen.

    Raises PeerfetchError.
    """
    opening = partial(offered, ice_servers=ways.ice_servers, direct_only=ways.direct_only)
    if where is not None and not is_name(where):
        async with found_by(where, signaling, opening) as found:
            yield found
        return
    there = await in_room(signaling, "gives")
    member = _chosen(there) if where is None else next((m for m in there if m.name == where), None)
    if member is not None:
        click.echo(f"Asking {member.name} …", err=True)
        link = await ask_for(member, own_name(), ways)
        async with opening(link, signaling=None) as found:
            yield found
    elif where is None:
        yield None
    else:
        async with found_by(where, signaling, opening) as found:  # which says what is wrong with it
            yield found


def _chosen(there: Sequence[Member]) -> Member | None:
    if not there:
        raise PeerUnavailable(
            "nobody shares in this network with `peerfetch share --room`: use the code or the link"
        )
    for number, member in enumerate(there, 1):
        click.echo(f"{number}  {member.name}")
    if not sys.stdin.isatty():
        return None
    choice: int = click.prompt("Which", type=click.IntRange(1, len(there)), default=1, err=True)
    return there[choice - 1]


async def tell_of_room(signaling: str) -> None:
    """Print a line about each who comes into the room and takes files, until cancelled."""
    known: set[str] = set()
    while True:
        there = {member.peer_id: member for member in await in_room(signaling, "takes")}
        for new in [peer_id for peer_id in there if peer_id not in known][:MAX_TOLD]:
            name = there[new].name
            click.echo(f"here  {name}: peerfetch share PATH --to {name}")
        known = set(there)  # who comes under a new name each time is not remembered for ever
        await asyncio.sleep(LOOK_EACH)
