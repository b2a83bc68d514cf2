"""Serve peers: :func:`serve` answers the requests of peers that connect through signaling.

This file is longer than others, because every option of :func:`serve` has its line in three
signatures and in one docstring.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from peerfetch_fast._framing import ACCESS_DENIED, NO_ERROR
from peerfetch_fast.addresses import in_same_realm
from peerfetch_fast.admission import Admission, RefusalCounts
from peerfetch_fast.devices import Device
from peerfetch_fast.errors import AccessDenied, PeerfetchError, SignalingError
from peerfetch_fast.finding import find_signaling
from peerfetch_fast.http.asgi.types import Application
from peerfetch_fast.http.origins import UNIX
from peerfetch_fast.http.routing import Ending, Resources, Router, Served, path_prefix
from peerfetch_fast.http.server import ErrorResponse, Exchange, Gate, Handler, serve_session
from peerfetch_fast.identity import PeerUrl, certificate_pin
from peerfetch_fast.negotiation import OCTETS_LABEL, Connected, answer
from peerfetch_fast.opening import Opening
from peerfetch_fast.own_codes import TARGET as OWN_CODE
from peerfetch_fast.own_codes import OwnCodes
from peerfetch_fast.peer import Peer
from peerfetch_fast.reconnecting import Established, ReconnectingSession
from peerfetch_fast.settings import Limits, Settings, UpstreamSettings
from peerfetch_fast.signaling.seam import Signal, join
from peerfetch_fast.state import load_certificate, state_directory
from peerfetch_fast.streams.access import Access, AnyAccess, Code, CodeAccess, token_key
from peerfetch_fast.streams.account import Account
from peerfetch_fast.streams.cpace import SHARE_LENGTH
from peerfetch_fast.streams.link import Link
from peerfetch_fast.streams.session import Session
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.ice.servers import IceServer, with_handed_out
from peerfetch_fast.webrtc.transports import (
    DEFAULT_CONGESTION,
    Congestion,
    ConnectionOptions,
    Transport,
    check_transport,
    close_connection,
    connection_options,
)

if TYPE_CHECKING:
    from peerfetch_fast.people import People, Person

__all__ = ["Server", "Target", "serve"]

Target = str | Path | Application | Resources
"""A target of requests: the URL of an HTTP server, a directory or file, an ASGI application, or a
handler of requests."""

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = 30.0
"""Seconds that an offered connection may take to open."""

PEOPLE_INTERVAL = 1.0
"""Seconds within which one who is shown out is gone."""

VISITS_INTERVAL = 60.0
"""Seconds after which it is written down who was here."""

DRAIN_TIMEOUT = 10.0
"""Seconds that running requests may take to end when the server closes."""


@dataclass(frozen=True, slots=True)
class _Reachable:
    """The signaling server and the id by which a server is found."""

    signaling: str
    pin: str | None
    peer_id: str | None
    token: str | None
    discoverable: bool


# Programs and pages show the sentence to people: how to be invited, each client says itself.
NOT_INVITED = ErrorResponse(403, "This device lets in only whom its owner has invited.")
WANTS_IN = ", and wants in: peerfetch invite NAME lets somebody in"
LIMITED = "What you were given on this device does not include this."


class _Guest(Gate):
    """One admitted connection and its right to make requests."""

    def __init__(self, server: Server, peer_id: str) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._last_request = self._loop.time()
        self._left = False
        self.peer_id = peer_id
        self.peer: Peer | None = None
        self.fingerprint = b""
        self.person: Person | None = None
        self.let_in = True
        self._shown_out = False
        self._joining = False

    @property
    def idle(self) -> float:
        """Seconds since the last request; 0 while the guest connects, has a running request, or
        is leaving; infinite while its session is silent.
        """
        if self._left or self.peer is None:
            return 0.0
        if self.peer.session.silent:
            return math.inf
        if self.peer.session.open_streams:
            return 0.0
        return self._loop.time() - self._last_request

    def refusal(self, session: Session) -> ErrorResponse | None:
        """See :class:`Gate`."""
        refusal = super().refusal(session)
        if refusal is not None:
            self._server._refuse("no access token", self.peer_id)
            return refusal
        if not self.let_in:
            self._server._refuse("not invited", self.peer_id, WANTS_IN)
            return NOT_INVITED
        self._last_request = now = self._loop.time()
        wait = self._server._admission.request(self.peer_id, now)
        if wait > 0:
            self._server._refuse("too many requests", self.peer_id)
            seconds = str(math.ceil(wait))
            return ErrorResponse(
                429, f"Too many requests: wait {seconds} s.", (("retry-after", seconds),)
            )
        return None

    def join(self, person: Person) -> None:
        """This has used the link of ``person``, which is being written down."""
        self._joining, self.person, self.let_in = True, person, True

    def joined(self) -> None:
        """It is written down who this is."""
        self._joining = False

    def recognize(self) -> None:
        """Look anew who this is, and whether it may be here."""
        if self._joining:
            return
        server = self._server
        person = server._who_is(self.fingerprint)
        # A peer that was let in by name is shown out when the name is revoked; one that has proved
        # the token needs no name.
        self._shown_out = person is None and (self._shown_out or self.person is not None)
        self.person = person
        self.let_in = person is not None or not (
            self._shown_out or (server._people_only and server._access_token is None)
        )

    def leave(self) -> None:
        """Free the guest's place. Idempotent."""
        if not self._left:
            self._left = True
            self._server._admission.leave(self.peer_id)


class Server:
    """Answers peers until it is closed. :func:`serve` makes it; close it, or use ``async with``."""

    def __init__(
        self,
        handler: Handler,
        close_handler: Callable[[], Awaitable[None]],
        *,
        upstreams: Mapping[str, str],
        ports: Handler | None,
        certificate: Certificate,
        access_token: str | None,
        code: Code | None,
        people: People | None,
        people_only: bool,
        options: ConnectionOptions,
        settings: Settings | None,
        limits: Limits,
    ) -> None:
        if access_token is not None:
            token_key(access_token)
        self._handler = handler
        self._close_handler = close_handler
        self._upstreams = upstreams
        self._ports = ports
        self._certificate = certificate
        self._options = options
        self._settings = settings or Settings()
        self._account = Account(limits.memory, setting="Limits.memory")
        self._access_token = access_token
        self._code = code
        self._people = people
        self._people_only = people_only
        self._looking: asyncio.Task[None] | None = None
        self._own_codes: OwnCodes | None = None
        self._accepting: set[asyncio.Task[None]] = set()
        self._limits = limits
        self._admission = Admission(limits)
        self._refused = RefusalCounts()
        self._switchboard = Switchboard(self._on_offer)
        self._staying: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._guests: set[_Guest] = set()
        self._closing = False
        # Wakes the guests that wait until others have shown their proofs.
        self._heard: asyncio.Future[None] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def peer_id(self) -> str:
        """The id by which peers reach this side."""
        assert self._switchboard.signaling is not None
        return self._switchboard.signaling.peer_id

    @property
    def fingerprint(self) -> str:
        """The pin of this side's certificate: ``sha256:…``."""
        return certificate_pin(self._certificate)

    @property
    def url(self) -> str:
        """The ``peer://`` URL of this side, its pin included."""
        return str(PeerUrl(self.peer_id, "/", self.fingerprint))

    @property
    def peers(self) -> frozenset[Peer]:
        """The peers that are connected now."""
        return frozenset(guest.peer for guest in self._guests if guest.peer is not None)

    @property
    def refused(self) -> Counter[str]:
        """The number of refusals for each reason."""
        return self._refused.counts

    async def _start(self, reachable: _Reachable) -> None:
        service = join(
            reachable.signaling,
            reachable.peer_id,
            token=reachable.token,
            on_signal=self._switchboard.take,
            on_lost=self._on_signaling_lost,
            pin=reachable.pin,
        )
        self._switchboard.signaling = service
        await service.start()
        if self._people is not None:
            device = Device(self.peer_id, reachable.signaling)
            self._own_codes = OwnCodes(self._people, device, self._certificate, reachable.pin)
            await self._look_for_changes(self._people)
            self._looking = asyncio.get_running_loop().create_task(self._watch_people(self._people))
        if reachable.discoverable:
            self._staying = asyncio.get_running_loop().create_task(service.be_found())

    def _on_signaling_lost(self, error: SignalingError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _on_offer(self, offer: Signal) -> bool:
        if self._closing:
            return False
        loop = asyncio.get_running_loop()
        reason = self._admission.offer(offer.peer_id, loop.time(), self._make_room)
        if reason is not None:
            self._refuse(reason, offer.peer_id)
            return False
        task = loop.create_task(self._serve_peer(offer, _Guest(self, offer.peer_id)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that was cancelled before it began has not freed the place itself.
        task.add_done_callback(lambda _: self._switchboard.forget(offer))
        return True

    def _refuse(self, reason: str, remote: str, hint: str = "") -> None:
        self._refused.add(reason, remote, asyncio.get_running_loop().time(), hint)

    def _make_room(self) -> bool:
        """End the guest that has been idle for longest, if one has been idle for long enough."""
        guest = max(self._guests, key=lambda guest: guest.idle, default=None)
        if guest is None or guest.peer is None or guest.idle < self._limits.idle_timeout:
            return False
        guest.leave()
        guest.peer.session.abort(NO_ERROR, "idle or silent, and others want to connect")
        return True

    async def _serve_peer(self, offer: Signal, guest: _Guest) -> None:
        self._guests.add(guest)
        try:
            connected = await self._answer(offer)
            if connected is not None:
                await self._serve_connected(connected, guest)
        finally:
            guest.leave()
            self._guests.discard(guest)

    async def _answer(self, offer: Signal) -> Connected | None:
        try:
            return await answer(
                self._switchboard,
                offer,
                certificate=self._certificate,
                options=self._options,
                timeout=ANSWER_TIMEOUT,
            )
        except PeerfetchError as error:
            logger.info("no connection with %s: %s", offer.peer_id, error)
        except Exception:
            logger.exception("no connection with %s", offer.peer_id)
        self._refuse("connection failed", offer.peer_id)
        return None

    async def _serve_connected(self, connected: Connected, guest: _Guest) -> None:
        remotes = await self._may_prove(connected)
        if not remotes:
            self._refuse("too many wrong access tokens", connected.peer_id)
            await self._turn_away(connected)
            return
        guest.fingerprint = connected.remote_fingerprint
        try:
            await self._meet(guest)
        except asyncio.CancelledError:
            self._admission.heard(remotes)
            await close_connection(connected.connection)
            raise
        access = self._access_to(connected, guest, remotes)
        link: Link = connected.link
        if connected.old:
            from peerfetch_fast.peerfetch1.old_client import link_to_old_client
            from peerfetch_fast.peerfetch1.urls import locate

            # An old client cannot prove an access token. Where one is set, the client is refused as
            # any peer without a proof.
            refuse = partial(self._refuse, remote=connected.peer_id)
            link = link_to_old_client(link, partial(locate, upstreams=self._upstreams), refuse)
        elif connected.link.channel.label == OCTETS_LABEL:
            from peerfetch_fast.octets_client import link_to_octets_client

            # This client cannot prove an access token either.
            refuse = partial(self._refuse, remote=connected.peer_id)
            link = link_to_octets_client(connected, refuse)
        account = Account(self._settings.memory, setting="Settings.memory", parent=self._account)
        session = Session(
            link, opener=False, settings=self._settings, access=access, account=account
        )
        established = Established(session, connected.connection, connected.remote_fingerprint)
        guest.peer = peer = Peer(connected.peer_id, ReconnectingSession(established))
        logger.info("%s is connected", peer.id)
        watching = asyncio.ensure_future(self._watch_access(session, access, remotes))
        try:
            if self._closing:
                session.abort()
            handler = self._handler_for(peer, guest, self._handler)
            ports = self._ports and self._handler_for(peer, guest, self._ports)
            await serve_session(session, handler, tunnels=ports, gate=guest)
        finally:
            self._note_visit(guest)
            await peer.abort()
            if self._closing:
                watching.cancel()
            # A peer that guesses wrong and leaves keeps its place for the delay.
            await asyncio.wait((watching,))
            logger.info("%s is gone: %s", peer.id, session.error)

    async def _turn_away(self, connected: Connected) -> None:
        """Tell one who is locked out, in the protocol that has words for it, and let go of them."""
        try:
            if not connected.old and connected.link.channel.label != OCTETS_LABEL:
                session = Session(connected.link, opener=False, accepting=False)
                seconds = f"{self._limits.access_lockout:g} s"
                session.abort(ACCESS_DENIED, f"too many wrong access tokens: wait {seconds}")
                await session.wait_closed()
        finally:
            await close_connection(connected.connection)

    async def _may_prove(self, connected: Connected) -> list[str]:
        """Wait until a guest may show a proof of the access token: others with the same id or
        address go first. Return the remotes that it is known by; none if it is locked out.
        """
        loop = asyncio.get_running_loop()
        remotes = [connected.peer_id]
        claimed: list[str] = []
        address = connected.connection.remote_address
        if address is not None:
            remotes.append(address)
            claimed = in_same_realm(connected.claimed, address)
        try:
            while not self._admission.locked_out(remotes + claimed, loop.time()):
                if self._admission.may_prove(remotes, loop.time()):
                    return remotes
                self._heard = self._heard or loop.create_future()
                await asyncio.shield(self._heard)
        except asyncio.CancelledError:
            await close_connection(connected.connection)
            raise
        return []

    async def _watch_access(
        self, session: Session, access: Access | None, remotes: Sequence[str]
    ) -> None:
        """End a session that must prove something, and has shown a wrong proof or none."""
        wrong = False
        try:
            if access is not None and access.required:
                await session.wait_proved()
        except AccessDenied:
            wrong = session.error is None
            self._refuse("wrong access token" if wrong else "no access token in time", remotes[0])
            if wrong:
                self._admission.failed(remotes, asyncio.get_running_loop().time())
        except PeerfetchError:
            pass  # the session has ended for another reason
        finally:
            self._admission.heard(remotes)
            if self._heard is not None:
                heard, self._heard = self._heard, None
                heard.set_result(None)
        if wrong:
            # A delay slows guessing down. The right token has none.
            await asyncio.sleep(self._limits.access_delay)
            session.abort(ACCESS_DENIED, "the access token is wrong")

    def _access_to(
        self, connected: Connected, guest: _Guest, remotes: Sequence[str]
    ) -> Access | None:
        """The secrets of which a connected peer must prove one, or may."""
        ends = {
            "local": connected.local_fingerprint,
            "remote": connected.remote_fingerprint,
        }
        if self._code is not None:
            if self._code.on_met is not None:
                self._code.on_met()
            return CodeAccess(
                self._code, opener=False, scalar=secrets.token_bytes(SHARE_LENGTH), **ends
            )
        token, people = self._access_token, self._people
        invited = {} if people is None else people.open_invitations(time.time())
        known = [*([] if token is None else [token]), *invited]
        if not known:
            return None
        required = token is not None and guest.person is None

        def proved(secret: str | None) -> None:
            if secret is None:
                if not required:  # else it is watched for
                    self._start_task(self._end_guess(guest, remotes))
            elif people is not None and secret != token:
                guest.join(invited[secret])
                accepting = self._start_task(self._accept(guest, people, secret))
                self._accepting.add(accepting)
                accepting.add_done_callback(self._accepting.discard)

        return AnyAccess(known, required=required, on_proof=proved, **ends)

    async def _accept(self, guest: _Guest, people: People, secret: str) -> None:
        """Remember who has used a link; they are let in meanwhile."""
        try:
            await asyncio.to_thread(people.accept, secret, guest.fingerprint, time.time())
        except (PeerfetchError, OSError, ValueError, KeyError) as error:
            logger.warning("who has used a link is not remembered: %s", error)
        guest.joined()
        await self._look_for_changes(people)

    async def _end_guess(self, guest: _Guest, remotes: Sequence[str]) -> None:
        """End a session that was let in, and then has shown a wrong proof."""
        self._refuse("wrong access token", remotes[0])
        self._admission.failed(remotes, asyncio.get_running_loop().time())
        await asyncio.sleep(self._limits.access_delay)
        if guest.peer is not None:
            guest.peer.session.abort(ACCESS_DENIED, "the access token is wrong")

    def _start_task(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _handler_for(self, peer: Peer, guest: _Guest, handler: Handler) -> Handler:
        """``handler``, with requests that know whom they are from, and only those that are let."""
        server = self.peer_id

        async def handle(exchange: Exchange) -> None:
            exchange.client, exchange.server = peer.id, server
            exchange.connecting = self._connecting
            exchange.address = peer._sessions.current.connection.remote_address
            person = guest.person
            if person is not None:
                exchange.person = person.name
                if exchange.target == OWN_CODE and self._own_codes is not None:
                    await self._own_codes.answer(exchange, person.name)
                    return
                upgrade = exchange.protocol is not None
                if not person.may(exchange.method, exchange.target, upgrade=upgrade):
                    exchange.refuse(403, LIMITED)
                    return
            await handler(exchange)

        return handle

    def _connecting(self) -> ConnectionOptions:
        """The options of further connections to a peer, with the servers that are known now."""
        servers = with_handed_out(self._options.ice_servers, self._switchboard.ice_servers)
        return replace(self._options, ice_servers=servers)

    # -- people ----------------------------------------------------------------------------------

    def _who_is(self, fingerprint: bytes) -> Person | None:
        """The person who shows that certificate, if she may be here now."""
        if self._people is None:
            return None
        return self._people.find(fingerprint, time.time())

    async def _meet(self, guest: _Guest) -> None:
        """Find out who has come."""
        if self._people is not None:
            if self._accepting:  # who has used a link may be back before that is on the disk
                await asyncio.wait(tuple(self._accepting))
            await self._look_for_changes(self._people)  # who was let in or shown out just now
        guest.recognize()
        self._note_visit(guest)

    def _note_visit(self, guest: _Guest) -> None:
        if self._people is not None and guest.person is not None:
            self._people.visited(guest.person.name, time.time())

    async def _watch_people(self, people: People) -> None:
        """Let changes of the file, and the end of somebody's time, have their effect at once."""
        loop = asyncio.get_running_loop()
        kept = loop.time()
        while True:
            await asyncio.sleep(PEOPLE_INTERVAL)
            await self._look_for_changes(people)
            if loop.time() >= kept + VISITS_INTERVAL:
                kept = loop.time()
                await self._keep_visits(people)

    async def _look_for_changes(self, people: People) -> None:
        try:
            await asyncio.to_thread(people.refresh)
        except (PeerfetchError, OSError) as error:
            logger.error("nobody is let in by name: %s", error)
        for guest in tuple(self._guests):
            if guest.peer is None:
                continue
            known = guest.person is not None
            guest.recognize()
            if known and not guest.let_in:
                self._refuse("no longer invited", guest.peer_id)
                guest.peer.session.abort(ACCESS_DENIED, "you are no longer let in")

    async def _keep_visits(self, people: People) -> None:
        visits = people.take_visits()
        try:
            await asyncio.to_thread(people.keep_visits, visits)
        except (PeerfetchError, OSError) as error:
            logger.warning("who was here is not kept: %s", error)
            for name, when in visits.items():  # the next time may be better
                people.visited(name, when)

    async def wait_closed(self) -> None:
        """Return when :meth:`close` was called.

        Raises SignalingError when the signaling server is lost for good, for example because
        another program has taken our id.
        """
        await asyncio.shield(self._failed)

    async def close(self, *, timeout: float = DRAIN_TIMEOUT) -> None:
        """Refuse new peers and requests, wait ``timeout`` seconds for running ones, and close."""
        if self._closing:
            return
        self._closing = True
        if self._staying is not None:
            self._staying.cancel()
            await asyncio.wait((self._staying,))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))
        if self._own_codes is not None:
            await self._own_codes.close()
        if self._switchboard.signaling is not None:
            await self._switchboard.signaling.close()
        for peer in self.peers:
            if peer.session.silent:
                peer.session.abort()
        if isinstance(self._handler, Ending):
            self._handler.end()
        closing = [asyncio.ensure_future(peer.session.close()) for peer in self.peers]
        if closing:
            await asyncio.wait(closing, timeout=timeout)
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for waiting in closing:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
        await self._close_handler()
        if self._people is not None:
            await self._keep_visits(self._people)
        if not self._failed.done():
            self._failed.set_result(None)
        else:
            self._failed.exception()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def serve(
    target: Target | Mapping[str, Target],
    *,
    tcp: Mapping[str, str] | None = None,
    signaling: str | None = None,
    signaling_pin: str | None = None,
    peer_id: str | None = None,
    signaling_token: str | None = None,
    certificate: Certificate | None = None,
    access_token: str | None = None,
    code: Code | None = None,
    people: People | None = None,
    people_only: bool = False,
    ice_servers: Sequence[IceServer] = (),
    direct_only: bool = False,
    map_ports: bool = False,
    transport: Transport = "auto",
    congestion: Congestion = DEFAULT_CONGESTION,
    association: AssociationSettings | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
    upstream: UpstreamSettings | None = None,
    discoverable: bool = False,
) -> Opening[Server]:
    """Answer the requests of peers: ``await`` it, or use it in ``async with``.

    :param target: the URL of an HTTP server, or ``unix:/PATH`` of its socket, to which requests are
        forwarded; a directory, whose files are served, or a single file; or an ASGI application,
        which is called in this process; or several of them by the path below which they are seen,
        as in
        ``{"/cam": "http://127.0.0.1:8081", "/api": app, "/": Path("/srv")}``; with ``tcp`` it may
        be none, ``{}``.
    :param tcp: the TCP ports to which peers may open tunnels, by name, as in
        ``{"ssh": "127.0.0.1:22"}``; by default none.
    :param signaling: URL of the PeerJS-compatible server through which we are found; by default
        that of the environment (``PEERFETCH_SIGNALING``), the rendezvous server, that of the old
        proxy's ``peerjs-config.yaml`` in the working directory, or ``ws://127.0.0.1:9000``.
    :param signaling_pin: ``sha256:…`` of the TLS certificate of a ``wss://`` server, to know it by
        that alone; by default its name and issuer are checked.
    :param peer_id: the id by which peers reach us; by default the server assigns one.
    :param signaling_token: proves to the server that the id is ours. With the token of a run that a
    power cut ended, the id is free at once. By default a random one.
    :param certificate: the certificate whose fingerprint is this side's identity; by default the
    one in the state directory, made on first use.
    :param access_token: the secret that clients must know; by default the peer id is enough.
    :param code: what the one client must know that is let in, in place of a token.
    :param people: who is known by certificate, and needs no token; by default nobody.
    :param people_only: whether nobody else is let in, but programs that know the access token.
    :param ice_servers: STUN and TURN servers beside those that the signaling server hands out;
        none by default. On aiortc's transport the first of each kind counts.
    :param direct_only: whether peers connect without a relay, ours or theirs, or not at all; on the
        native transport alone.
    :param map_ports: whether the router is asked to open ports (PCP, NAT-PMP, UPnP-IGD), for direct
        ways through it; on the native transport alone.
    :param transport: the transport that carries the data.
    :param congestion: the congestion controller for the data that we send, on the native transport.
    :param association: the other bounds and timers of SCTP, on the native transport.
    :param settings: limits of each session.
    :param limits: limits on peers, their requests and their memory.
    :param upstream: settings of the requests to HTTP servers.
    :param discoverable: whether those behind the same router who use the same signaling server
        may learn our peer id: it joins the server's plug and play room.

    Raises SignalingError, IdTaken, InvalidAccessToken, InvalidPin, ApplicationError for an
    application that does not start, ValueError for a target that is none of these or for
    ``direct_only`` or ``map_ports`` on another transport, MissingExtra and RuntimeError for a
    transport that is not to be had, and PeerfetchError or OSError for a certificate or
    configuration that cannot be read or kept.
    """
    check_transport(transport)
    return Opening(
        _serve(
            target,
            tcp or {},
            _Reachable(
                find_signaling(signaling), signaling_pin, peer_id, signaling_token, discoverable
            ),
            certificate=certificate,
            access_token=access_token,
            code=code,
            people=people,
            people_only=people_only,
            options=connection_options(
                ice_servers, transport, congestion, association, direct_only, map_ports
            ),
            settings=settings,
            limits=limits or Limits(),
            upstream=upstream,
        )
    )


async def _serve(
    target: Target | Mapping[str, Target],
    tcp: Mapping[str, str],
    reachable: _Reachable,
    *,
    certificate: Certificate | None,
    access_token: str | None,
    code: Code | None,
    people: People | None,
    people_only: bool,
    options: ConnectionOptions,
    settings: Settings | None,
    limits: Limits,
    upstream: UpstreamSettings | None,
) -> Server:
    if certificate is None:
        certificate = load_certificate(state_directory())
    ports = None
    if tcp:
        from peerfetch_fast.http.ports import Ports

        ports = Ports(tcp)
    nothing = isinstance(target, Mapping) and not target
    handler = Router({}) if nothing and tcp else await _handler_of(target, upstream)
    try:
        server = Server(
            handler,
            handler.close,
            upstreams=_upstreams(target),
            ports=ports,
            certificate=certificate,
            access_token=access_token,
            code=code,
            people=people,
            people_only=people_only,
            options=options,
            settings=settings,
            limits=limits,
        )
    except BaseException:
        await handler.close()
        raise
    try:
        await server._start(reachable)
    except BaseException:
        await server.close()
        raise
    return server


def _upstreams(target: Target | Mapping[str, Target]) -> dict[str, str]:
    """The URLs of the upstreams, by which old clients name them, and the path of each."""
    targets = target if isinstance(target, Mapping) else {"/": target}
    return {
        url: path
        for path, url in targets.items()
        if isinstance(url, str) and not url.startswith(UNIX)
    }


async def _handler_of(
    target: Target | Mapping[str, Target], settings: UpstreamSettings | None
) -> Served:
    """The handler for the targets. Raises ValueError, ApplicationError."""
    if isinstance(target, str):
        from peerfetch_fast.http.upstream import Upstream

        return Upstream(target, settings)
    if isinstance(target, Path):
        from peerfetch_fast.http.files import Files

        return Files(target)
    if isinstance(target, Resources):
        return target
    if not isinstance(target, Mapping):
        from peerfetch_fast.http.asgi.handler import AsgiHandler

        application = AsgiHandler(target)
        await application.start()
        return application
    routes: dict[str, Served] = {}
    try:
        for path, single in target.items():
            prefix = path_prefix(path)
            if prefix in routes:
                raise ValueError(f"two targets are to be served at {path!r}")
            routes[prefix] = await _handler_of(single, settings)
        if not routes:
            raise ValueError("nothing is to be served")
    except BaseException:
        await Router(routes).close()
        raise
    return Router(routes)
