"""A node's connections to others, and the ports that are open here."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from peerfetch_fast import negotiation as negotiation_of
from peerfetch_fast.errors import ConnectError, PeerfetchError, PeerUnavailable
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.identity import format_pin, parse_pin
from peerfetch_fast.negotiation import Connected
from peerfetch_fast.peer import Peer, PeerState
from peerfetch_fast.reconnecting import Established, ReconnectingSession
from peerfetch_fast.server import Server
from peerfetch_fast.settings import Limits, Settings
from peerfetch_fast.signaling.seam import Signal
from peerfetch_fast.signaling.smoke.client import HubClient
from peerfetch_fast.streams.access import Access
from peerfetch_fast.streams.link import memory_pair
from peerfetch_fast.streams.session import Session
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import ConnectionOptions, close_connection

if TYPE_CHECKING:
    from peerfetch_fast.smoke.old.node import NodeNegotiation, OldNode

__all__ = ["PORT", "REFUSED", "Network", "PortHandlers", "PortInUse", "PortRefused"]

PORT, REFUSED = "peerfetch-port", "peerfetch-refused"
"""The header fields that are about nodes."""

LOCALHOST = "localhost"
DEFAULT_PORT = "80"
MAX_PEERS = 256
"""Other nodes that may be connected to this one at once."""

CONNECT_TIMEOUT = 15.0
GIVE_UP_AFTER = 60.0
"""Seconds for which a lost node is tried again by itself; after that, when it is asked for."""

_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


class PortInUse(PeerfetchError):
    """The port is served already."""


class PortRefused(PeerfetchError):
    """Nobody listens on that port of the other node."""

    def __init__(self, remote: str) -> None:
        super().__init__(f"'{remote}' forcefully closed this connection.")


class _AnyCertificate:
    """An address is whose the hub says: there is nothing to remember."""

    def __init__(self, pin: str | None) -> None:
        self._expected = None if pin is None else parse_pin(pin)

    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        """See :class:`~peerfetch_fast.known_peers.Trust`."""
        if self._expected not in (None, fingerprint):
            raise ConnectError(f"{peer_id} shows {format_pin(fingerprint)}, not the pinned one")


@dataclass(frozen=True, slots=True)
class PortHandlers:
    """The handlers of a port: for requests, and for sockets by their target; None refuses them."""

    request: Callable[[Exchange], Awaitable[None]] | None = None
    socket: Callable[[Exchange], Awaitable[None]] | None = None


class Ports(Resources):
    """Passes requests to the ports that they name."""

    def __init__(self) -> None:
        self._ports: dict[str, PortHandlers] = {}

    def bind(self, port: str, handlers: PortHandlers) -> None:
        """Serve a port. Raises PortInUse."""
        if port in self._ports:
            raise PortInUse(f"The port '{port}' is already in use.")
        self._ports[port] = handlers

    def unbind(self, port: str) -> None:
        """Serve it no longer; what runs goes on."""
        self._ports.pop(port, None)

    def serves(self, port: str) -> str | None:
        """``request`` or ``socket``, for whichever it is there; None if nobody listens."""
        handlers = self._ports.get(port)
        if handlers is None:
            return None
        return "socket" if handlers.request is None else "request"

    def clear(self) -> None:
        """Serve none any longer; what runs goes on."""
        self._ports.clear()

    async def __call__(self, exchange: Exchange) -> None:
        handlers = self._ports.get(exchange.headers.get(PORT, DEFAULT_PORT), PortHandlers())
        handle = handlers.request if exchange.protocol is None else handlers.socket
        if handle is None:
            headers = [("content-type", "text/plain; charset=utf-8"), (REFUSED, "port")]
            exchange.respond(503, headers, b"Nobody listens on that port.\n")
        else:
            await handle(exchange)


class Network:
    """See the module. :class:`.node.Node` starts and closes it."""

    def __init__(self, hub: HubClient, certificate: Certificate, access_token: str | None) -> None:
        self.ports = Ports()
        self._hub = hub
        self._certificate = certificate
        self._access_token = access_token
        self._server: Server | None = None
        self._switchboard = Switchboard(self._offered)
        self._switchboard.signaling = hub.join(self._switchboard.take, accepts=False)
        hub.old_acceptor = self._switchboard.take
        self._old: WeakKeyDictionary[Session, OldNode] = WeakKeyDictionary()
        self._old_callers: dict[str, asyncio.Task[Peer]] = {}
        self._peers: dict[str, asyncio.Task[Peer]] = {}
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """This node's address."""
        assert self._hub.address is not None, "before start()"
        return self._hub.address

    @property
    def ice_servers(self) -> Sequence[IceServer]:
        """The STUN and TURN servers that the hub names."""
        return self._hub.ice_servers

    async def start(self) -> None:
        """Be reachable. Raises SignalingError."""
        from peerfetch_fast.server import serve

        await self._hub.start()
        self._server = await serve(
            self.ports,
            signaling=self._hub.name,
            certificate=self._certificate,
            access_token=self._access_token,
            limits=Limits(max_peers=MAX_PEERS),
        )

    async def close(self) -> None:
        """End all connections."""
        self._hub.old_acceptor = None
        tasks = [*self._peers.values(), *self._old_callers.values()]
        self._peers.clear()
        self._old_callers.clear()
        for task in tasks:
            if task.done() and not _is_over(task):
                await task.result().abort()
            task.cancel()
        if self._server is not None:
            await self._server.close(timeout=0)
        await asyncio.gather(*tasks, *self._serving, return_exceptions=True)

    async def peer(self, remote: str, pin: str | None = None) -> Peer:
        """The peer at an address, a host name or ``localhost``.

        :param pin: the fingerprint that its certificate must have.

        Raises PeerUnavailable, SignalingError, ConnectError, AccessDenied, InvalidPin.
        """
        address = await self._resolve(remote)
        found = self._caller(address) or await self._old_caller(address)
        if found is None:
            found = await self._call(address, pin)
        if pin is not None and address != LOCALHOST:
            _AnyCertificate(pin).check(remote, parse_pin(found.fingerprint))
        return found

    async def _resolve(self, remote: str) -> str:
        if remote in self._peers:
            return remote
        if remote in (LOCALHOST, self._hub.address):
            return LOCALHOST
        if _ADDRESS.fullmatch(remote):
            return remote
        addresses = await self._hub.lookup(remote)
        if not addresses:
            raise PeerUnavailable(f"no node has the host name {remote!r}")
        return LOCALHOST if addresses[0] == self._hub.address else addresses[0]

    def _caller(self, address: str) -> Peer | None:
        """The node at an address, if it has called us."""
        assert self._server is not None, "before start()"
        for peer in self._server.peers:
            if peer.id == address and peer.state is PeerState.CONNECTED:
                return peer
        return None

    async def _old_caller(self, address: str) -> Peer | None:
        """The old node at an address, if it is calling us, or has: it has one connection alone."""
        task = self._old_callers.get(address)
        if task is None:
            return None
        await asyncio.wait((task,))
        return None if _is_over(task) else task.result()

    def old_node(self, peer: Peer) -> OldNode | None:
        """What speaks to a peer that is an old node."""
        return self._old.get(peer.session)

    def _offered(self, offer: Signal) -> bool:
        """An old node calls us; return whether it may."""
        self._old_callers = {
            known: task for known, task in self._old_callers.items() if not _is_over(task)
        }
        if (
            self._access_token is not None  # of which it knows nothing
            or self._server is None
            or offer.protocol is not None
            or offer.peer_id in self._old_callers
            or len(self._old_callers) + len(self._server.peers) >= MAX_PEERS
        ):
            self._hub.forget_old(offer.peer_id)
            return False
        task = asyncio.get_running_loop().create_task(self._answer_old(offer))
        self._old_callers[offer.peer_id] = task
        task.add_done_callback(_ignore)
        return True

    async def _answer_old(self, offer: Signal) -> Peer:
        address = offer.peer_id
        negotiation = self._negotiation(address, offer.connection_id)
        try:
            connected = await negotiation_of.complete(
                negotiation, partial(negotiation.answer, offer.sdp), address, CONNECT_TIMEOUT
            )
        except BaseException:
            self._switchboard.forget(offer)
            self._hub.forget_old(address)
            raise
        return Peer(address, ReconnectingSession(self._meet_old(negotiation, connected)))

    def _negotiation(self, address: str, connection_id: str) -> NodeNegotiation:
        # Few programs meet old nodes, but each node that is called may be one.
        from peerfetch_fast.smoke.old.node import NodeNegotiation

        return NodeNegotiation(
            self._switchboard,
            address,
            connection_id,
            ConnectionOptions(),
            self._certificate,
            ports=self.ports,
        )

    def _meet_old(self, negotiation: NodeNegotiation, connected: Connected) -> Established:
        session = Session(connected.link, opener=True)
        assert negotiation.node is not None
        self._old[session] = negotiation.node
        self._serve(session, connected.peer_id, on_end=self._hub.forget_old)
        return Established(session, connected.connection, connected.remote_fingerprint)

    async def _call(self, address: str, pin: str | None) -> Peer:
        self._peers = {known: task for known, task in self._peers.items() if not _is_over(task)}
        task = self._peers.get(address)
        if task is None:
            work = self._loop() if address == LOCALHOST else self._dial(address, pin)
            task = self._peers[address] = asyncio.get_running_loop().create_task(work)
            # Nobody may be waiting any more when it fails.
            task.add_done_callback(_ignore)
        return await asyncio.shield(task)

    async def _dial(self, address: str, pin: str | None) -> Peer:
        async def dial() -> Established:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._connect(address, pin)

        try:
            first = await dial()
        except TimeoutError:
            raise ConnectError(f"{address} did not answer in time") from None
        sessions = ReconnectingSession(
            first, dial, origin=f"peer://{address}", give_up_after=GIVE_UP_AFTER
        )
        return Peer(address, sessions)

    async def _connect(self, address: str, pin: str | None) -> Established:
        negotiation = self._negotiation(address, f"pf_{secrets.token_hex(16)}")
        connected = await negotiation_of.complete(
            negotiation, negotiation.offer, address, CONNECT_TIMEOUT, _AnyCertificate(pin)
        )
        if negotiation.node is not None:
            if self._access_token is None:
                return self._meet_old(negotiation, connected)
            await close_connection(connected.connection)
            raise ConnectError(f"{address} runs smoke-node, which knows of no access token")
        session = Session(connected.link, opener=True, access=self._access(connected))
        try:
            self._serve(session, address)
            await session.wait_proved()
        except BaseException:
            await close_connection(connected.connection)
            raise
        return Established(session, connected.connection, connected.remote_fingerprint)

    def _access(self, connected: Connected) -> Access | None:
        if self._access_token is None:
            return None
        local, remote = connected.local_fingerprint, connected.remote_fingerprint
        return Access(self._access_token, opener=True, local=local, remote=remote)

    def _serve(
        self, session: Session, address: str, on_end: Callable[[str], object] | None = None
    ) -> None:
        """Answer the other side's requests, on a connection that we have made, too."""

        async def handle(exchange: Exchange) -> None:
            exchange.client, exchange.server = address, self._hub.address
            await self.ports(exchange)

        task = asyncio.get_running_loop().create_task(serve_session(session, handle))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        if on_end is not None:
            task.add_done_callback(lambda _: on_end(address))

    async def _loop(self) -> Peer:
        """A session of this node with itself."""
        near, far = memory_pair()
        settings = Settings()
        self._serve(Session(far, opener=False, settings=settings), LOCALHOST)
        session = Session(near, opener=True, settings=settings, accepting=False)
        return Peer(LOCALHOST, ReconnectingSession(Established(session, _Nothing(), b"\0" * 32)))


def _ignore(task: asyncio.Task[Peer]) -> None:
    """Whoever waits for it is told what became of it."""
    if not task.cancelled():
        task.exception()


def _is_over(task: asyncio.Task[Peer]) -> bool:
    """Whether a call has failed, or the peer is closed."""
    if not task.done():
        return False
    failed = task.cancelled() or task.exception() is not None
    return failed or task.result().state is PeerState.CLOSED


class _Nothing:
    """The connection of a node with itself (:class:`~peerfetch_fast.reconnecting.Connection`)."""

    transport = "memory"
    remote_address = None
    way = None
    why = None
    relay = None

    async def close(self) -> None:
        """Nothing is held."""
