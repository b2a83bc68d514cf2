"""Be reachable: :func:`serve` answers the requests of whoever connects through signaling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from peerfetch_fast._framing import ACCESS_DENIED, NO_ERROR
from peerfetch_fast.access import Access, token_key
from peerfetch_fast.account import Account
from peerfetch_fast.addresses import in_same_realm
from peerfetch_fast.admission import Admission, Refused
from peerfetch_fast.errors import AccessDenied, PeerfetchError, SignalingError
from peerfetch_fast.finding import find_signaling
from peerfetch_fast.http.asgi.types import Application
from peerfetch_fast.http.routing import Router, Served, path_prefix
from peerfetch_fast.http.server import Exchange, Gate, Handler, Refusal, serve_session
from peerfetch_fast.http.upstream import UNIX, Upstream
from peerfetch_fast.identity import PeerUrl, certificate_pin
from peerfetch_fast.line import Call, Line
from peerfetch_fast.link import Link
from peerfetch_fast.negotiation import Connected, Offer, Switchboard, answer
from peerfetch_fast.peer import Peer
from peerfetch_fast.session import Session
from peerfetch_fast.settings import Limits, Settings, UpstreamSettings
from peerfetch_fast.signaling.client import SignalingClient
from peerfetch_fast.state import load_certificate, state_directory
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import (
    DEFAULT_CONGESTION,
    Congestion,
    Transport,
    check_transport,
    close_connection,
)

__all__ = ["Server", "Target", "serve"]

Target = str | Path | Application
"""What can be served: the URL of an HTTP server, a directory, or an ASGI application."""

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = 30.0
"""Seconds that an offered connection may take to open."""

DRAIN_TIMEOUT = 10.0
"""Seconds that running requests are given when the server closes."""


class _Guest(Gate):
    """One connection that was let in, and what it may ask for."""

    def __init__(self, server: Server, peer_id: str) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._last_request = self._loop.time()
        self._left = False
        self.peer_id = peer_id
        self.peer: Peer | None = None

    @property
    def idle(self) -> float:
        """Seconds since its last request; 0 while it connects or one runs, and once it leaves.
        Infinite while nothing is heard of it.
        """
        if self._left or self.peer is None:
            return 0.0
        if self.peer.session.silent:
            return math.inf
        if self.peer.session.open_streams:
            return 0.0
        return self._loop.time() - self._last_request

    def refusal(self, session: Session) -> Refusal | None:
        """See :class:`Gate`."""
        refusal = super().refusal(session)
        if refusal is not None:
            self._server._refuse("no access token", self.peer_id)
            return refusal
        self._last_request = now = self._loop.time()
        wait = self._server._admission.request(self.peer_id, now)
        if wait > 0:
            self._server._refuse("too many requests", self.peer_id)
            seconds = str(math.ceil(wait))
            return Refusal(
                429, f"Too many requests: wait {seconds} s.", (("retry-after", seconds),)
            )
        return None

    def leave(self) -> None:
        """Give the place up. Idempotent."""
        if not self._left:
            self._left = True
            self._server._admission.leave(self.peer_id)


class Server:
    """Answers peers until closed. Made by :func:`serve`; close it, or use ``async with``."""

    def __init__(
        self,
        handler: Handler,
        close_handler: Callable[[], Awaitable[None]],
        *,
        upstreams: Mapping[str, str],
        ports: Handler | None,
        certificate: Certificate,
        access_token: str | None,
        ice_servers: Sequence[IceServer],
        transport: Transport,
        congestion: Congestion,
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
        self._ice_servers = ice_servers
        self._transport: Transport = transport
        self._congestion: Congestion = congestion
        self._settings = settings or Settings()
        self._account = Account(limits.memory, setting="Limits.memory")
        self._access_token = access_token
        self._limits = limits
        self._admission = Admission(limits)
        self._refused = Refused()
        self._switchboard = Switchboard(self._on_offer)
        self._staying: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._guests: set[_Guest] = set()
        self._closing = False
        # Wakes those who wait until others have shown their proofs.
        self._heard: asyncio.Future[None] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def peer_id(self) -> str:
        """The id by which this side can be reached."""
        assert self._switchboard.signaling is not None
        return self._switchboard.signaling.peer_id

    @property
    def fingerprint(self) -> str:
        """The pin by which clients know this side: ``sha256:…``."""
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
        """What was refused, and how often."""
        return self._refused.counts

    async def _start(
        self,
        signaling: str,
        pin: str | None,
        peer_id: str | None,
        token: str | None,
        discoverable: bool,
    ) -> None:
        client = SignalingClient(
            signaling,
            peer_id,
            token=token,
            on_message=self._switchboard.message,
            on_closed=self._on_signaling_lost,
            pin=pin,
        )
        self._switchboard.signaling = client
        await client.start()
        if discoverable:
            from peerfetch_fast.signaling.room import stay_in_room

            self._staying = asyncio.get_running_loop().create_task(stay_in_room(client))

    def _on_signaling_lost(self, error: SignalingError) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    def _on_offer(self, offer: Offer) -> bool:
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
        # It may have been cancelled before it began.
        task.add_done_callback(lambda _: self._switchboard.forget(offer))
        return True

    def _refuse(self, reason: str, remote: str) -> None:
        self._refused.add(reason, remote, asyncio.get_running_loop().time())

    def _make_room(self) -> bool:
        """Let the guest go that was idle for longest, if any was for long enough."""
        guest = max(self._guests, key=lambda guest: guest.idle, default=None)
        if guest is None or guest.peer is None or guest.idle < self._limits.idle_timeout:
            return False
        guest.leave()
        guest.peer.session.abort(NO_ERROR, "idle or silent, and others want to connect")
        return True

    async def _serve_peer(self, offer: Offer, guest: _Guest) -> None:
        self._guests.add(guest)
        try:
            connected = await self._answer(offer)
            if connected is not None:
                await self._serve_connected(connected, guest)
        finally:
            guest.leave()
            self._guests.discard(guest)

    async def _answer(self, offer: Offer) -> Connected | None:
        try:
            return await answer(
                self._switchboard,
                offer,
                certificate=self._certificate,
                ice_servers=self._ice_servers,
                transport=self._transport,
                congestion=self._congestion,
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
            await close_connection(connected.connection)
            return
        access: Access | None = None
        if self._access_token is not None:
            access = Access(
                self._access_token,
                opener=False,
                local=connected.local_fingerprint,
                remote=connected.remote_fingerprint,
            )
        link: Link = connected.link
        if connected.old:
            from peerfetch_fast.peerfetch1.old_client import link_to_old_client
            from peerfetch_fast.peerfetch1.urls import locate

            # With an access token, which an old client cannot prove, it is refused as others are.
            refuse = partial(self._refuse, remote=connected.peer_id)
            link = link_to_old_client(link, partial(locate, upstreams=self._upstreams), refuse)
        account = Account(self._settings.memory, setting="Settings.memory", parent=self._account)
        session = Session(
            link, opener=False, settings=self._settings, access=access, account=account
        )
        call = Call(session, connected.connection, connected.remote_fingerprint)
        guest.peer = peer = Peer(connected.peer_id, Line(call))
        logger.info("%s is connected", peer.id)
        watching = asyncio.ensure_future(self._watch_access(session, remotes))
        try:
            if self._closing:
                session.abort()
            handler = self._handler_for(peer)
            await serve_session(session, handler, tunnels=self._ports, gate=guest)
        finally:
            await peer.abort()
            if self._closing:
                watching.cancel()
            # Who guesses and runs keeps a place meanwhile.
            await asyncio.wait((watching,))
            logger.info("%s is gone: %s", peer.id, session.error)

    async def _may_prove(self, connected: Connected) -> list[str]:
        """Peer id and address of one who may show a proof of the access token, once it may: it
        waits for others that are known by the same. None of them if it is locked out.
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

    async def _watch_access(self, session: Session, remotes: Sequence[str]) -> None:
        """End a session that has shown a wrong proof of the access token, or none."""
        wrong = False
        try:
            await session.wait_proved()
        except AccessDenied:
            wrong = session.error is None
            self._refuse("wrong access token" if wrong else "no access token in time", remotes[0])
            if wrong:
                self._admission.failed(remotes, asyncio.get_running_loop().time())
        except PeerfetchError:
            pass  # the session has ended otherwise
        finally:
            self._admission.heard(remotes)
            if self._heard is not None:
                heard, self._heard = self._heard, None
                heard.set_result(None)
        if wrong:
            # Guessing takes its time; the right token does not.
            await asyncio.sleep(self._limits.access_delay)
            session.abort(ACCESS_DENIED, "the access token is wrong")

    def _handler_for(self, peer: Peer) -> Handler:
        """The handler, with requests that know whom they are from."""
        handler, server = self._handler, self.peer_id

        async def handle(exchange: Exchange) -> None:
            exchange.client, exchange.server = peer.id, server
            exchange.address = peer._line.call.connection.remote_address
            await handler(exchange)

        return handle

    async def wait_closed(self) -> None:
        """Return when :meth:`close` was called.

        Raises SignalingError when the signaling server is lost for good (our id was taken by
        another, say).
        """
        await asyncio.shield(self._failed)

    async def close(self, *, timeout: float = DRAIN_TIMEOUT) -> None:
        """Take no new peers or requests, give running ones ``timeout`` seconds, then end."""
        if self._closing:
            return
        self._closing = True
        if self._staying is not None:
            self._staying.cancel()
            await asyncio.wait((self._staying,))
        if self._switchboard.signaling is not None:
            await self._switchboard.signaling.close()
        for peer in self.peers:
            if peer.session.silent:
                peer.session.abort()
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
        if not self._failed.done():
            self._failed.set_result(None)
        else:
            self._failed.exception()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def serve(
    target: Target | Mapping[str, Target],
    *,
    tcp: Mapping[str, str] | None = None,
    signaling: str | None = None,
    signaling_pin: str | None = None,
    peer_id: str | None = None,
    signaling_token: str | None = None,
    certificate: Certificate | None = None,
    access_token: str | None = None,
    ice_servers: Sequence[IceServer] = (),
    transport: Transport = "auto",
    congestion: Congestion = DEFAULT_CONGESTION,
    settings: Settings | None = None,
    limits: Limits | None = None,
    upstream: UpstreamSettings | None = None,
    discoverable: bool = False,
) -> Server:
    """Answer the requests of peers.

    :param target: the URL of an HTTP server, or ``unix:/PATH`` of its socket, to which requests are
        forwarded; a directory, whose files are served, or a single file; or an ASGI application,
        which is called in this process; or several of them by the path below which they are seen,
        as in
        ``{"/cam": "http://127.0.0.1:8081", "/api": app, "/": Path("/srv")}``; with ``tcp`` it may
        be none, ``{}``.
    :param tcp: TCP ports that peers may open tunnels to, by name, as in
        ``{"ssh": "127.0.0.1:22"}``; by default none.
    :param signaling: URL of the PeerJS-compatible server through which we are found; by default
        that of the environment (``PEERFETCH_SIGNALING``), that of the old proxy's
        ``peerjs-config.yaml`` in the working directory, or ``ws://127.0.0.1:9000``.
    :param signaling_pin: ``sha256:…`` of the TLS certificate of a ``wss://`` server, to know it by
        that alone; by default its name and issuer are checked.
    :param peer_id: the id to be found by; by default the server gives one.
    :param signaling_token: by which the server knows that the id is ours: with the one of a run
        that a power cut ended, the id is taken up again at once. By default a random one.
    :param certificate: whose fingerprint is this side's identity; by default the one in the state
        directory, made on first use.
    :param access_token: what clients must know; by default nothing but the peer id.
    :param ice_servers: a STUN and a TURN server (of several the first counts); none by default.
    :param transport: what carries the data.
    :param congestion: the controller of what we send, on the native transport.
    :param settings: limits of each session.
    :param limits: whom to take, and how much each may have.
    :param upstream: how HTTP servers are asked.
    :param discoverable: whether those behind the same router who use the same signaling server
        may learn our peer id: it joins the server's plug and play room.

    Raises SignalingError, IdTaken, InvalidAccessToken, InvalidPin, ApplicationError for an
    application that does not start, ValueError for a target that is none of these, MissingExtra and
    RuntimeError for a transport that is not to be had, and PeerfetchError or OSError for a
    certificate or configuration that cannot be read or kept.
    """
    check_transport(transport)
    signaling = find_signaling(signaling)
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
            ice_servers=ice_servers,
            transport=transport,
            congestion=congestion,
            settings=settings,
            limits=limits or Limits(),
        )
    except BaseException:
        await handler.close()
        raise
    try:
        await server._start(signaling, signaling_pin, peer_id, signaling_token, discoverable)
    except BaseException:
        await server.close()
        raise
    return server


def _upstreams(target: Target | Mapping[str, Target]) -> dict[str, str]:
    """The URLs by which old clients may name what is served, and the path of each."""
    targets = target if isinstance(target, Mapping) else {"/": target}
    return {
        url: path
        for path, url in targets.items()
        if isinstance(url, str) and not url.startswith(UNIX)
    }


async def _handler_of(
    target: Target | Mapping[str, Target], settings: UpstreamSettings | None
) -> Served:
    """The handler for what is served. Raises ValueError, ApplicationError."""
    if isinstance(target, str):
        return Upstream(target, settings)
    if isinstance(target, Path):
        from peerfetch_fast.http.files import Files

        return Files(target)
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
