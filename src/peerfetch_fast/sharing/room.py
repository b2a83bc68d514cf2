"""The room of a network: who shares there, who takes files, and asking them (docs/sharing.md).

Who is in it is seen by an id that says so. Nobody there has proved who they are: a person at the
other side accepts, and the pin and token that they hand out are for this one transfer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, NamedTuple

import orjson

from peerfetch_fast.errors import InvalidPin, SharingError
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.identity import format_pin, parse_pin
from peerfetch_fast.pairing import visit
from peerfetch_fast.sharing.links import ShareLink
from peerfetch_fast.sharing.manifest import Heading
from peerfetch_fast.sharing.names import shown
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["ROOT", "GivingResources", "Member", "ask_for", "member_id", "members", "offer_to"]

ROOT = "/~room"

PATIENCE = 90.0
"""Seconds that the person at the other side may take to answer."""

MAX_BODY = 4096
"""Bytes of a request, and of its answer."""

MAX_NAME = 40
"""Letters of the name by which somebody is seen."""

MAX_QUESTIONS = 4
"""People about whom is asked at once."""

_MEMBER = re.compile(rf"(gives|takes)-([A-Za-z0-9-]{{1,{MAX_NAME}}})-[0-9a-f]{{8}}")
_TOKEN = re.compile(r"[0-9a-f]{32}")


class Member(NamedTuple):
    """Somebody in the room."""

    peer_id: str
    kind: str
    """``gives``: they share something; ``takes``: somebody can send to them."""
    name: str
    signaling: str


def member_id(kind: Literal["gives", "takes"], name: str) -> str:
    """A new id by which somebody is seen in the room as ``name``."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name)[:MAX_NAME].strip("-") or "somebody"
    return f"{kind}-{plain}-{secrets.token_hex(4)}"


def members(found: Iterable[tuple[str, str]]) -> list[Member]:
    """Those who give or take of ``found``: peer ids, and where they are met. Each once."""
    known: dict[str, Member] = {}
    for peer_id, signaling in found:
        match = _MEMBER.fullmatch(peer_id)
        if match is not None:
            known.setdefault(peer_id, Member(peer_id, match[1], match[2], signaling))
    return list(known.values())


class GivingResources(Resources):
    """Answers those who see in the room that something is shared: with the way to it, once the
    person who shares has let them.

    :param link: by which they get it then.
    :param admit: asks about somebody of that name.
    """

    def __init__(
        self, link: Callable[[], ShareLink], admit: Callable[[str], Awaitable[bool]]
    ) -> None:
        self._link = link
        self._admit = admit
        self._asking: set[asyncio.Future[bool]] = set()

    async def close(self) -> None:
        """Ask nobody any more."""
        for asking in self._asking:
            asking.cancel()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.target != f"{ROOT}/ask" or exchange.method != "POST":
            exchange.refuse(404, f"Whoever wants what is shared asks for it at {ROOT}/ask.")
            return
        body = bytearray()
        while piece := await exchange.read():
            body += piece
            if len(body) > MAX_BODY:
                exchange.refuse(413, "Say who asks, and no more.")
                return
        if len(self._asking) >= MAX_QUESTIONS:
            exchange.refuse(503, "Others are asking just now: try again.")
            return
        asking = asyncio.ensure_future(self._admit(_name(_object(bytes(body)).get("by"))))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        # A question that a person reads cannot be taken back, or who asks and goes, again and
        # again, would have many put to them.
        if not await asyncio.shield(asking):
            exchange.refuse(403, "They would rather not: the code, if they tell it to you, works.")
            return
        link = self._link()
        told = {"peer_id": link.peer_id, "pin": link.pin, "token": link.token}
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        exchange.respond(200, headers, orjson.dumps(told))


async def ask_for(member: Member, name: str, options: ConnectionOptions | None = None) -> ShareLink:
    """Ask somebody who shares in the room to let us have it: the link to it.

    :param name: by which they see us. Raises SharingError where they would rather not.
    """
    status, body = await _post(member, "ask", {"by": name}, options)
    if status != 200:
        raise SharingError(f"{member.name} does not let us have it: {_words(body)}")
    told = _object(body)
    with contextlib.suppress(KeyError, InvalidPin):
        peer_id, pin, token = (str(told[part]) for part in ("peer_id", "pin", "token"))
        if is_peer_id(peer_id) and _TOKEN.fullmatch(token):
            return ShareLink(member.signaling, peer_id, format_pin(parse_pin(pin)), token)
    raise SharingError(f"{member.name} does not say how it is reached")


async def offer_to(
    member: Member,
    link: ShareLink,
    heading: Heading,
    name: str,
    options: ConnectionOptions | None = None,
) -> None:
    """Offer somebody in the room what we share. Raises SharingError where they would rather not."""
    offer: dict[str, object] = {"by": name, "title": heading.title, "files": heading.files}
    offer |= {"total": heading.total, "peer_id": link.peer_id, "pin": link.pin}
    offer["token"] = link.token
    status, body = await _post(member, "offer", offer, options)
    if status != 204:
        raise SharingError(f"{member.name} does not take it: {_words(body)}")


async def _post(
    member: Member, what: str, told: dict[str, object], options: ConnectionOptions | None
) -> tuple[int, bytes]:
    visiting = visit(member.peer_id, member.signaling, options=options, timeout=PATIENCE)
    async with visiting as session:
        response = await fetch(session, f"{ROOT}/{what}", method="POST", json=told, decode=False)
        body = bytearray()
        async for piece in response:
            body += piece
            if len(body) > MAX_BODY:
                break
        return response.status, bytes(body[:MAX_BODY])


def _object(body: bytes) -> dict[str, object]:
    try:
        found = orjson.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _name(told: object) -> str:
    return (shown(told)[:64].strip() if isinstance(told, str) else "") or "somebody"


def _words(body: bytes) -> str:
    return shown(body.decode(errors="replace").strip())[:300]
