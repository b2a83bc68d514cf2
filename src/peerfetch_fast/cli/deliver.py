"""``peerfetch share --to``: send files to an inbox, or into a folder of a device."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from peerfetch_fast.cli.meeting import found_by
from peerfetch_fast.cli.progress import Bar
from peerfetch_fast.cli.receivers import size_of
from peerfetch_fast.cli.room import in_room, is_name
from peerfetch_fast.errors import SharingError
from peerfetch_fast.reconnecting import GIVE_UP_AFTER
from peerfetch_fast.sharing.names import shown
from peerfetch_fast.sharing.receive import Progress, own_name
from peerfetch_fast.sharing.receivers import Receiver
from peerfetch_fast.sharing.room import Member
from peerfetch_fast.sharing.share import Share, share
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["deliver"]

GONE = GIVE_UP_AFTER
"""Seconds after which somebody who has accepted and is not connected does not come any more."""

LOOK_EACH = 1.0
"""Seconds between two looks whether they are."""


async def deliver(
    paths: Sequence[Path], to: str, signaling: str | None, ways: ConnectionOptions
) -> None:
    """Send all, and print a line about each. Raises PeerfetchError, OSError."""
    from peerfetch_fast.sharing.delivering import inbox_at

    if is_name(to):
        there = [member for member in await in_room(signaling, "takes") if member.name == to]
        if there:
            await _offer(paths, there[0], ways)
            return
    opening = partial(inbox_at, ice_servers=ways.ice_servers, direct_only=ways.direct_only)
    async with found_by(to, signaling, opening) as inbox:
        with Bar(inbox.by[:40]) as bar:

            def show(progress: Progress) -> None:
                bar.show(progress.have, progress.total)

            sent = await inbox.send(paths, on_progress=show)
    for one in sent:
        renamed = "" if one.name == one.path.name else f" as {one.name}"
        click.echo(f"✓ {shown(one.path.name)} ({size_of(one.size)}) to {inbox.by}{renamed}")


async def _offer(paths: Sequence[Path], member: Member, ways: ConnectionOptions) -> None:
    """Share with one who is in the room, until they have all. Raises PeerfetchError, OSError."""
    over: asyncio.Future[Receiver] = asyncio.get_running_loop().create_future()

    def changed(receiver: Receiver) -> None:
        if receiver.over and not over.done():
            over.set_result(receiver)

    async with share(
        paths,
        signaling=member.signaling,
        code=False,
        ice_servers=ways.ice_servers,
        direct_only=ways.direct_only,
        on_receiver=changed,
    ) as sharing:
        click.echo(f"Waiting until {member.name} accepts …", err=True)
        await sharing.offer_to(member, own_name())
        receiver = await _outcome(sharing, member, over)
    if receiver.state != "done":
        raise SharingError(f"{member.name} has not all of it: {receiver.why or receiver.state}")
    click.echo(f"✓ {shown(sharing.title)} ({size_of(sharing.total)}) to {member.name}")


async def _outcome(sharing: Share, member: Member, over: asyncio.Future[Receiver]) -> Receiver:
    """The member once they want nothing more. Raises SharingError where they have gone, and
    SignalingError when the signaling server is lost.
    """
    loop = asyncio.get_running_loop()
    seen = loop.time()
    lost = asyncio.ensure_future(sharing.wait_closed())
    try:
        while not over.done():
            both = (over, lost)
            await asyncio.wait(both, timeout=LOOK_EACH, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
            if sharing.connected:
                seen = loop.time()
            elif loop.time() - seen >= GONE and not over.done():
                raise SharingError(f"{member.name} has accepted, and is not there any more")
    finally:
        lost.cancel()
    return over.result()
