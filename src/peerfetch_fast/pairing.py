"""Pair by a code: who types it learns which device it is from, and the device lets them in by name.

The device waits at an id of its own, which is in the code, and nobody else; both prove by the code
that nobody stands between (docs/protocol.md, section 9).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from peerfetch_fast import negotiation
from peerfetch_fast.codes import Digits, PairingCode, draw_code, draw_digits
from peerfetch_fast.devices import Device
from peerfetch_fast.errors import (
    AccessDenied,
    ConnectError,
    IdTaken,
    PeerfetchError,
    SignalingError,
)
from peerfetch_fast.http.client import fetch
from peerfetch_fast.identity import format_pin
from peerfetch_fast.settings import Limits
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.signaling.seam import join
from peerfetch_fast.streams.access import Code, CodeAccess
from peerfetch_fast.streams.cpace import SHARE_LENGTH
from peerfetch_fast.streams.session import Session
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import ConnectionOptions, close_connection

if TYPE_CHECKING:
    from peerfetch_fast.http.asgi.types import Application
    from peerfetch_fast.http.routing import Resources
    from peerfetch_fast.people import People, Person

__all__ = ["ShownCode", "invite", "knock", "pair", "redeem", "visit", "wait_with_code"]

Drawn = TypeVar("Drawn", bound=PairingCode | Digits)

PAIR_TIMEOUT = 30.0
"""Seconds that all of a pairing may take on the side that has typed the code."""

MAX_ABOUT = 4096
"""Bytes of what the device says of itself."""

ATTEMPTS = 8
"""Numbers that are tried until one is found that nobody else has."""

_LIMITS = Limits(max_peers=8, peer_connections=2)
"""Of a device that waits for one person."""


@dataclass(frozen=True, slots=True)
class ShownCode:
    """A code that waits to be used."""

    code: PairingCode | Digits
    met: asyncio.Event
    """Set once somebody has come who may know it."""
    over: asyncio.Future[bytes | None]
    """Settled once the code is worth nothing any more: with the SHA-256 of the certificate of whom
    it has let in, or None where it was guessed at too often."""


@contextlib.asynccontextmanager
async def invite(
    person: Person,
    people: People,
    device: Device,
    certificate: Certificate,
    *,
    signaling_pin: str | None = None,
    ice_servers: Sequence[IceServer] = (),
    seen_as: str | None = None,
    below: Callable[[int], int] = secrets.randbelow,
) -> AsyncIterator[ShownCode]:
    """Wait at the device's signaling server for who types a code, and let them in as ``person``.

    The code is worth something until it was used once, was guessed at wrongly three times, or the
    block ends.

    :param device: how the device itself is reached; it need not run.
    :param certificate: the device's.
    :param seen_as: a name: the device waits in the network's room by it, with digits for a code.
    :param below: see :func:`.codes.draw_code`.

    Raises SignalingError, InvalidPin; ``ShownCode.over`` raises what :meth:`.People.add` does, and
    SignalingError where the code can be found no more.
    """
    welcome, met = _Welcome(person, people, device), asyncio.Event()

    def draw(attempt: int) -> PairingCode | Digits:
        return draw_code(below, attempt) if seen_as is None else draw_digits(below, seen_as)

    async with contextlib.AsyncExitStack() as stack:
        drawn = await stack.enter_async_context(
            wait_with_code(
                welcome,
                certificate,
                welcome.begin,
                signaling=device.signaling,
                signaling_pin=signaling_pin,
                options=ConnectionOptions(tuple(ice_servers)),
                draw=draw,
                on_met=met.set,
                on_lost=welcome.lost,
                discoverable=seen_as is not None,
            )
        )
        stack.push_async_callback(welcome.close)
        yield ShownCode(drawn, met, welcome.over)


@contextlib.asynccontextmanager
async def wait_with_code(
    target: Application | Resources,
    certificate: Certificate,
    on_over: Callable[[Code], object],
    *,
    signaling: str,
    signaling_pin: str | None = None,
    options: ConnectionOptions | None = None,
    for_many: bool = False,
    draw: Callable[[int], Drawn],
    on_met: Callable[[], object] | None = None,
    on_lost: Callable[[SignalingError], object],
    discoverable: bool = False,
) -> AsyncIterator[Drawn]:
    """Draw a code, and wait with it: ``target`` answers who proves to know it.

    :param on_over: called once the code lets nobody in any more. It must not raise.
    :param for_many: whether it lets in as many as know it, and not one.
    :param draw: a new code; it is told how many were drawn before whose place was taken.
    :param on_met: called when somebody has connected who may know it. It must not raise.
    :param on_lost: called when nobody finds who waits any more, for example because another has
        taken their place at a server that was restarted. It must not raise.
    :param discoverable: see :func:`peerfetch_fast.serve`.

    Raises SignalingError, InvalidPin.
    """

    def tell(waiting: asyncio.Future[None]) -> None:
        error = None if waiting.cancelled() else waiting.exception()
        if isinstance(error, SignalingError):
            on_lost(error)

    # Imported late: who types a code serves nothing.
    from peerfetch_fast.server import serve

    options = options or ConnectionOptions()
    for attempt in range(ATTEMPTS):
        drawn = draw(attempt)
        code = Code(str(drawn), for_many=for_many)
        code.on_met = on_met
        code.on_over = partial(on_over, code)
        try:
            server = await serve(
                target,
                signaling=signaling,
                signaling_pin=signaling_pin,
                peer_id=drawn.peer_id,
                certificate=certificate,
                code=code,
                ice_servers=options.ice_servers,
                direct_only=options.direct_only,
                limits=_LIMITS,
                discoverable=discoverable,
            )
            break
        except IdTaken:
            if attempt == ATTEMPTS - 1:
                raise
    async with server:
        waiting = asyncio.ensure_future(server.wait_closed())
        waiting.add_done_callback(tell)
        try:
            yield drawn
        finally:
            waiting.cancel()


class _Welcome:
    """Remembers who has used a code, and tells them which device it is: an ASGI application."""

    def __init__(self, person: Person, people: People, device: Device) -> None:
        self._person = person
        self._people = people
        self._about = orjson.dumps({"peer_id": device.peer_id})
        self._status = 200
        self._tried = asyncio.Event()
        self._told = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self.over: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def begin(self, code: Code) -> None:
        """The code is over: remember who has used it, if anybody has."""
        if code.used_by is None:
            self._settle(None)
        else:
            self._keeping = asyncio.get_running_loop().create_task(self._keep(code.used_by))

    async def _keep(self, certificate: bytes) -> None:
        person = replace(self._person, certificates=(certificate,))
        try:
            await asyncio.to_thread(self._people.add, person)
        except (PeerfetchError, ValueError, OSError) as error:
            self._status = 500
            self._tried.set()
            if not self.over.done():
                self.over.set_exception(error)
            return
        self._tried.set()
        # A client that was let in asks which device this is before the invitation ends.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAIR_TIMEOUT):
                await self._told.wait()
        self._settle(certificate)

    def lost(self, error: SignalingError) -> None:
        """Nobody finds who waits any more."""
        if not self.over.done():
            self.over.set_exception(error)

    def _settle(self, certificate: bytes | None) -> None:
        if not self.over.done():
            self.over.set_result(certificate)

    async def close(self) -> None:
        """Remember nobody any more."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
        self.over.cancel()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await self._tried.wait()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._about})
        self._told.set()


class _Anybody:
    """Trusts whom it sees: whether it is the right one, the code says."""

    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        """See :class:`.known_peers.Trust`."""


async def knock(
    peer_id: str,
    signaling: str,
    *,
    ice_servers: Sequence[IceServer] = (),
    timeout: float = PAIR_TIMEOUT,
) -> None:
    """Have a device that waits in a room show its digits. Raises as :func:`pair` does."""
    async with _reached(peer_id, signaling, None, ConnectionOptions(tuple(ice_servers)), timeout):
        pass


@contextlib.asynccontextmanager
async def visit(
    peer_id: str,
    signaling: str,
    *,
    options: ConnectionOptions | None = None,
    timeout: float = PAIR_TIMEOUT,
) -> AsyncIterator[Session]:
    """A session with somebody who is seen in a room, and of whom nothing else is known.

    :param timeout: seconds that all of it may take. Raises as :func:`pair` does.
    """
    async with _reached(peer_id, signaling, None, options, timeout) as connected:
        session = Session(connected.link, opener=True, accepting=False)
        try:
            yield session
        finally:
            await session.close()


async def pair(
    code: PairingCode | Digits,
    signaling: str,
    certificate: Certificate | None,
    *,
    ice_servers: Sequence[IceServer] = (),
    timeout: float = PAIR_TIMEOUT,
) -> Device:
    """The device whose code was typed, which from then on knows us by ``certificate``.

    Raises PeerUnavailable where nobody waits with a code of that number, AccessDenied where the
    code is another, ConnectError, SignalingError.
    """
    told, fingerprint = await redeem(
        code,
        signaling,
        certificate,
        options=ConnectionOptions(tuple(ice_servers)),
        timeout=timeout,
    )
    return Device(str(told["peer_id"]), signaling, format_pin(fingerprint))


async def redeem(
    code: PairingCode | Digits,
    signaling: str,
    certificate: Certificate | None,
    *,
    options: ConnectionOptions | None = None,
    timeout: float = PAIR_TIMEOUT,
) -> tuple[dict[str, object], bytes]:
    """What the device whose code was typed tells us, ``peer_id`` at least, and the SHA-256 of its
    certificate. Raises as :func:`pair` does.
    """
    async with _reached(code.peer_id, signaling, certificate, options, timeout) as connected:
        access = CodeAccess(
            Code(str(code)),
            opener=True,
            local=connected.local_fingerprint,
            remote=connected.remote_fingerprint,
            scalar=secrets.token_bytes(SHARE_LENGTH),
        )
        session = Session(connected.link, opener=True, accepting=False, access=access)
        await session.wait_proved()
        told = await _ask(session)
        await session.close()
        return told, connected.remote_fingerprint


@contextlib.asynccontextmanager
async def _reached(
    peer_id: str,
    signaling: str,
    certificate: Certificate | None,
    options: ConnectionOptions | None,
    timeout: float,
) -> AsyncIterator[negotiation.Connected]:
    """A connection to one who waits with a code, for ``timeout`` seconds with all that is done."""
    options = options or ConnectionOptions()
    switchboard = Switchboard(lasting=False)
    switchboard.signaling = join(signaling, on_signal=switchboard.take, takes_offers=False)
    try:
        async with asyncio.timeout(timeout), switchboard.reachable():
            connected = await negotiation.dial(
                switchboard,
                peer_id,
                trust=_Anybody(),
                certificate=certificate,
                options=options,
                timeout=PAIR_TIMEOUT,
            )
            try:
                if connected.old:
                    raise AccessDenied(f"who answers to {peer_id} knows of no codes")
                yield connected
            finally:
                await close_connection(connected.connection)
    except TimeoutError:
        raise ConnectError(
            f"the device that waits as {peer_id} did not answer within {timeout:g} s{options.lack}"
        ) from None


async def _ask(session: Session) -> dict[str, object]:
    """The device's description of itself. Raises ConnectError if it lacks the peer id."""
    response = await fetch(session, "/", decode=False)
    told = bytearray()
    async for piece in response:
        told += piece
        if len(told) > MAX_ABOUT:
            break
    try:
        found = orjson.loads(told)
        if response.status == 200 and is_peer_id(found["peer_id"]):
            return dict(found)
    except (ValueError, TypeError, KeyError):
        pass
    raise ConnectError("the device did not say how it is reached: make a new code there")
