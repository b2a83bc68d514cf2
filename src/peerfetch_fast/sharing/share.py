"""Share files: :func:`share` offers them to whoever has the code or the link."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from peerfetch_fast.codes import PairingCode, draw_code
from peerfetch_fast.errors import PeerfetchError, SignalingError
from peerfetch_fast.finding import find_signaling
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.opening import Opening
from peerfetch_fast.pairing import wait_with_code
from peerfetch_fast.server import Server, serve
from peerfetch_fast.settings import Limits
from peerfetch_fast.sharing.links import ShareLink
from peerfetch_fast.sharing.receivers import Receiver, Receivers
from peerfetch_fast.sharing.resources import ShareResources
from peerfetch_fast.sharing.room import GivingResources, Member, member_id, offer_to
from peerfetch_fast.sharing.source import Offer, collect
from peerfetch_fast.streams.access import Code
from peerfetch_fast.webrtc.certificate import Certificate, generate_certificate
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["Door", "Identity", "Share", "open_door", "share"]

logger = logging.getLogger(__name__)

LIMITS = Limits(max_peers=64, peer_connections=8)
"""Whom a share takes."""

CODE_PAUSE = 2.0
"""Seconds until there is another code after one was guessed at too often."""


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a share is found and known again."""

    peer_id: str
    token: str
    certificate: Certificate
    signaling_token: str | None = None

    @classmethod
    def new(cls, kind: str = "share") -> Identity:
        """One that nobody has seen yet, whose id says what it is: ``share`` or ``inbox``."""
        return cls(f"{kind}-{secrets.token_hex(12)}", secrets.token_hex(16), generate_certificate())


class Door:
    """What lets others in to a server of ours: a link, and a code that is made anew when it was
    guessed at, or cannot be found any more. It is closed by ``close()``.
    """

    def __init__(
        self,
        server: Server,
        link: ShareLink,
        signaling: str,
        certificate: Certificate,
        options: ConnectionOptions,
        on_code: Callable[[], object],
    ) -> None:
        self._certificate = certificate
        self.options = options
        self.server = server
        self.link = link
        self._signaling = signaling
        self.code: PairingCode | None = None
        """None for as long as there is none, for example because it was guessed at."""
        self._on_code = on_code
        self._waiting: asyncio.Task[None] | None = None
        self.seen: Server | None = None
        """By which those on the same network see it."""

    async def wait(self, identity: Identity) -> None:
        """Let in by a code from now on. Raises SignalingError."""
        ready = asyncio.get_running_loop().create_future()
        self._waiting = asyncio.ensure_future(self._codes(identity, ready))
        await asyncio.wait((self._waiting, ready), return_when=asyncio.FIRST_COMPLETED)
        if self._waiting.done():
            self._waiting.result()

    async def _codes(self, identity: Identity, ready: asyncio.Future[None]) -> None:
        told = orjson.dumps({"peer_id": identity.peer_id, "token": identity.token})
        while True:
            burnt = asyncio.Event()
            waiting = wait_with_code(
                _Telling(told),
                identity.certificate,
                partial(_set, burnt),
                on_lost=partial(_set, burnt),
                signaling=self._signaling,
                options=self.options,
                for_many=True,
                draw=partial(draw_code, secrets.randbelow),
            )
            try:
                async with waiting as drawn:
                    self.code = drawn
                    if ready.done():
                        self._on_code()
                    else:
                        ready.set_result(None)
                    await burnt.wait()
                    self.code = None
                    self._on_code()
                    # The last guesser is told so.
                    await asyncio.sleep(CODE_PAUSE)
            except PeerfetchError as error:
                if not ready.done():
                    raise
                logger.warning("there is no code just now: %s", error)
                await asyncio.sleep(CODE_PAUSE)

    async def be_seen(self, name: str, admit: Callable[[str], Awaitable[bool]]) -> None:
        """Be seen by those on the same network, who may ask to be let in. Raises SignalingError."""
        self.seen = await serve(
            GivingResources(lambda: self.link, admit),
            signaling=self._signaling,
            peer_id=member_id("gives", name),
            certificate=self._certificate,
            ice_servers=self.options.ice_servers,
            direct_only=self.options.direct_only,
            limits=LIMITS,
            discoverable=True,
        )

    async def close(self) -> None:
        """Let nobody in any more."""
        if self.seen is not None:
            await self.seen.close(timeout=1.0)
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait((self._waiting,))
        await self.server.close(timeout=1.0)


def _set(burnt: asyncio.Event, _: Code | SignalingError) -> None:
    burnt.set()


class _Telling(Resources):
    """Tells who has proved to know the code how the share is reached."""

    def __init__(self, told: bytes) -> None:
        self._told = told

    async def __call__(self, exchange: Exchange) -> None:
        exchange.respond(200, [("content-type", "application/json")], self._told)


async def open_door(
    resources: Resources,
    identity: Identity,
    *,
    signaling: str,
    public: str | None,
    code: bool,
    options: ConnectionOptions,
    discoverable: bool,
    on_code: Callable[[], object],
) -> Door:
    """Serve ``resources`` to whoever has the code or the link.

    :param public: the signaling server's URL as others know it. Raises as :func:`serve` does.
    """
    server = await serve(
        resources,
        signaling=signaling,
        peer_id=identity.peer_id,
        signaling_token=identity.signaling_token,
        certificate=identity.certificate,
        access_token=identity.token,
        ice_servers=options.ice_servers,
        direct_only=options.direct_only,
        limits=LIMITS,
        discoverable=discoverable,
    )
    link = ShareLink(public or signaling, identity.peer_id, server.fingerprint, identity.token)
    door = Door(server, link, signaling, identity.certificate, options, on_code)
    try:
        if code:
            await door.wait(identity)
    except BaseException:
        await door.close()
        raise
    return door


class Share:
    """Files that are offered until it is closed. :func:`share` makes it."""

    def __init__(self, offer: Offer, receivers: Receivers, door: Door) -> None:
        self._offer = offer
        self._receivers = receivers
        self._door = door

    @property
    def code(self) -> PairingCode | None:
        """The code that receivers type; None for as long as there is none."""
        return self._door.code

    @property
    def peer_id(self) -> str:
        """By which it is known at the signaling server."""
        return self._door.link.peer_id

    @property
    def seen_id(self) -> str | None:
        """By which it is seen in the network's room; None where it is not."""
        return None if self._door.seen is None else self._door.seen.peer_id

    @property
    def pin(self) -> str:
        """The fingerprint of its certificate: ``sha256:…``."""
        return self._door.link.pin

    @property
    def link(self) -> str:
        """The link that receivers open, in a browser or with ``peerfetch get``."""
        return str(self._door.link)

    async def offer_to(self, member: Member, name: str) -> None:
        """Offer it to somebody in the room. Raises SharingError where they would rather not."""
        await offer_to(member, self._door.link, self._offer.heading(), name, self._door.options)

    @property
    def title(self) -> str:
        """The name of the share, in short."""
        return self._offer.title

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return self._offer.total

    @property
    def files(self) -> int:
        """How many files there are."""
        return self._offer.files

    @property
    def left_out(self) -> Sequence[str]:
        """Sentences about files that were named, or their folder, and are not offered."""
        return self._offer.left_out

    @property
    def receivers(self) -> list[Receiver]:
        """The receivers so far."""
        return self._receivers.all()

    @property
    def connected(self) -> int:
        """How many are connected to it now."""
        return len(self._door.server.peers)

    def way(self, receiver: Receiver) -> str | None:
        """How a receiver is connected: ``direct`` or ``relayed``; None where it is not."""
        for peer in self._door.server.peers:
            if peer.id == receiver.peer_id:
                way = getattr(peer._sessions.current.connection, "way", None)
                return None if way is None else str(way)
        return None

    async def wait_closed(self) -> None:
        """Return when it was closed. Raises SignalingError when the signaling server is lost."""
        await self._door.server.wait_closed()

    async def close(self) -> None:
        """Offer nothing any more; what is being sent is broken off."""
        await self._door.close()

    async def __aenter__(self) -> Share:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def share(
    paths: Sequence[Path | str],
    *,
    text: str | None = None,
    title: str | None = None,
    signaling: str | None = None,
    public_signaling: str | None = None,
    identity: Identity | None = None,
    code: bool = True,
    ice_servers: Sequence[IceServer] = (),
    direct_only: bool = False,
    seen_as: str | None = None,
    on_knock: Callable[[str], Awaitable[bool]] | None = None,
    admit: Callable[[Receiver], Awaitable[bool]] | None = None,
    on_receiver: Callable[[Receiver], object] = lambda _: None,
    on_code: Callable[[], object] = lambda: None,
) -> Opening[Share]:
    """Offer files and directories to whoever has the code or the link, until it is closed:
    ``await`` it, or use it in ``async with``.

    What is offered is what is there now. A file that changes later is not sent, which both sides
    are told.

    :param text: a text that is offered too, or alone.
    :param title: what receivers see first; by default the names.
    :param signaling: see :func:`peerfetch_fast.serve`.
    :param public_signaling: the URL by which others reach the signaling server, if that is another.
    :param identity: by what it is found; by default a new one.
    :param code: whether there shall be a code beside the link.
    :param ice_servers: and ``direct_only``: see :func:`peerfetch_fast.serve`.
    :param seen_as: a name by which those on the same network see that something is shared, and may
        ask for it; by default they do not.
    :param on_knock: asked about each of them by their name, whether they may have it; needed with
        ``seen_as``.
    :param admit: asked once about each receiver, before it is told anything; by default all are
        admitted who have the code or the link.
    :param on_receiver: called with a receiver of whom there is something new. It must not raise.
    :param on_code: called when the code has changed. It must not raise.

    Raises SharingError for what cannot be shared, OSError for what cannot be read, and what
    :func:`peerfetch_fast.serve` raises.
    """

    async def opened() -> Share:
        places = [Path(path) for path in paths]
        offer = await asyncio.to_thread(collect, places, text=text, title=title)
        receivers = Receivers(on_receiver)
        resources = ShareResources(offer, receivers, admit)
        door: Door | None = None
        try:
            door = await open_door(
                resources,
                identity or Identity.new(),
                signaling=find_signaling(signaling),
                public=public_signaling,
                code=code,
                options=ConnectionOptions(tuple(ice_servers), direct_only=direct_only),
                discoverable=False,
                on_code=on_code,
            )
            if seen_as is not None and on_knock is not None:
                await door.be_seen(seen_as, on_knock)
        except BaseException:
            if door is not None:
                await door.close()
            with contextlib.suppress(OSError):
                await resources.close()
            raise
        return Share(offer, receivers, door)

    return Opening(opened())
