"""The other side: :class:`Peer`, and how to get one with :func:`connect`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peerfetch_fast import negotiation
from peerfetch_fast.errors import AccessDenied, ConnectError, PeerfetchError
from peerfetch_fast.finding import find_peer
from peerfetch_fast.http import client
from peerfetch_fast.http.client import Response
from peerfetch_fast.http.content import Body
from peerfetch_fast.http.heads import HeadersLike
from peerfetch_fast.http.redirects import Redirect
from peerfetch_fast.http.request import OnInformational, OnProgress, Params, Priority
from peerfetch_fast.http.tunnel import Tunnel, open_tunnel
from peerfetch_fast.http.websocket import WebSocket, open_websocket
from peerfetch_fast.http.websocket_frames import MAX_MESSAGE_SIZE
from peerfetch_fast.identity import format_pin
from peerfetch_fast.known_peers import Trust, trust
from peerfetch_fast.negotiation import Connected
from peerfetch_fast.opening import Opening
from peerfetch_fast.reconnecting import GIVE_UP_AFTER, Established, PeerState, ReconnectingSession
from peerfetch_fast.settings import Settings
from peerfetch_fast.signaling.seam import join
from peerfetch_fast.state import own_certificate
from peerfetch_fast.streams.access import Access, token_key
from peerfetch_fast.streams.link import Link
from peerfetch_fast.streams.session import Session
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings
from peerfetch_fast.webrtc.certificate import Certificate
from peerfetch_fast.webrtc.ice.gathering import IceServer
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
    from peerfetch_fast.media.live import Live

__all__ = ["Peer", "PeerState", "connect"]

CONNECT_TIMEOUT = 15.0
"""Seconds that connecting may take, signaling included."""


class Peer:
    """Another peer, from either side of the connection.

    A peer that :func:`connect` returned reconnects by itself: when the connection breaks or the
    device restarts, requests wait for the next connection, and those that are safe to repeat are
    sent again. A peer that connected to us (:attr:`Server.peers
    <peerfetch_fast.server.Server.peers>`) ends with its session; the other side has to reconnect.
    """

    def __init__(self, peer_id: str, sessions: ReconnectingSession) -> None:
        self.id = peer_id
        """The peer's id at the signaling server."""
        self._sessions = sessions

    @property
    def state(self) -> PeerState:
        """``CONNECTED``, ``RECONNECTING`` or ``CLOSED``."""
        return self._sessions.state

    async def wait_for(self, *states: PeerState) -> PeerState:
        """Wait until the peer is, or has just been, in one of ``states``, and return which."""
        return await self._sessions.wait_for(*states)

    @property
    def error(self) -> PeerfetchError | None:
        """Why the peer is closed (PeerLost if it was not found again), or None while it is not."""
        return self._sessions.error

    @property
    def session(self) -> Session:
        """The latest session, for custom streams. After a reconnection it is another one."""
        return self._sessions.current.session

    @property
    def transport(self) -> str:
        """The transport that carries the data."""
        return self._sessions.current.connection.transport

    @property
    def fingerprint(self) -> str:
        """The pin of the other side's certificate: ``sha256:…``."""
        return format_pin(self._sessions.current.fingerprint)

    def fetch(
        self,
        target: str,
        *,
        method: str | None = None,
        headers: HeadersLike | None = None,
        params: Params | None = None,
        body: Body | None = None,
        json: Any = None,
        timeout: float | None = None,
        redirect: Redirect = "follow",
        priority: Priority = "auto",
        decode: bool = True,
        on_progress: OnProgress | None = None,
        on_informational: OnInformational | None = None,
    ) -> Opening[Response]:
        """Send a request; the answer is there as soon as its head is.

        ``await`` it, or use it in ``async with``, which closes the answer. Any number may run at
        once; see :func:`peerfetch_fast.http.client.fetch` for the parameters
        and errors.
        """
        return client.fetch(
            self._sessions,
            target,
            method=method,
            headers=headers,
            params=params,
            body=body,
            json=json,
            timeout=timeout,
            redirect=redirect,
            priority=priority,
            decode=decode,
            on_progress=on_progress,
            on_informational=on_informational,
        )

    def websocket(
        self,
        target: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: HeadersLike | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
    ) -> Opening[WebSocket]:
        """Open a WebSocket: ``await`` it, or use it in ``async with``. See
        :func:`peerfetch_fast.http.websocket.open_websocket` for the parameters and errors.
        """

        async def opened() -> WebSocket:
            return await open_websocket(
                await self._sessions.session(),
                target,
                subprotocols=subprotocols,
                headers=headers,
                max_message_size=max_message_size,
            )

        return Opening(opened())

    def media(self, path: str) -> Opening[Live]:
        """Watch the camera that the other side serves at ``path``: ``await`` it, or use it in
        ``async with``. See :class:`peerfetch_fast.media.live.Live`.

        Raises CameraError where it shows nothing, and as :meth:`fetch`.
        """
        from peerfetch_fast.media.live import open_live

        return Opening(open_live(self, path))

    def tunnel(self, name: str) -> Opening[Tunnel]:
        """Open a raw stream to the TCP port that the other side serves under ``name``: ``await``
        it, or use it in ``async with``. See :func:`peerfetch_fast.http.tunnel.open_tunnel` for the
        errors.
        """

        async def opened() -> Tunnel:
            return await open_tunnel(await self._sessions.session(), name)

        return Opening(opened())

    async def close(self) -> None:
        """Close in order: running requests are completed, new ones are refused."""
        await self._sessions.close()

    async def abort(self) -> None:
        """Close at once; running requests fail."""
        await self._sessions.abort()

    async def wait_closed(self) -> None:
        """Return when the peer is closed: by us, or because it was not found again in time."""
        await self._sessions.wait_for(PeerState.CLOSED)

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        # The block has awaited the requests that it needs, so the rest is aborted.
        await self.abort()

    def __repr__(self) -> str:
        return f"<Peer {self.id}>"


def connect(
    peer_id: str,
    *,
    signaling: str | None = None,
    pin: str | None = None,
    known_peers: Path | None = None,
    access_token: str | None = None,
    certificate: Certificate | None = None,
    ice_servers: Sequence[IceServer] = (),
    direct_only: bool = False,
    map_ports: bool = False,
    transport: Transport = "auto",
    congestion: Congestion = DEFAULT_CONGESTION,
    association: AssociationSettings | None = None,
    settings: Settings | None = None,
    timeout: float = CONNECT_TIMEOUT,
    give_up_after: float = GIVE_UP_AFTER,
) -> Opening[Peer]:
    """Connect to a peer: ``await`` it, or use it in ``async with``.

    The peer must show the certificate that is pinned, or that it showed the first time.

    :param peer_id: as the other side's proxy prints it, with or without ``peer://`` before it, and
        with or without its pin behind it; or the name that ``peerfetch pair`` gave it.
    :param signaling: URL of the PeerJS-compatible server that both know: ``ws://`` or ``wss://``.
        By default that of the environment (``PEERFETCH_SIGNALING``), the one that the device was
        paired with, the rendezvous server, or ``ws://127.0.0.1:9000``.
    :param pin: the fingerprint of its certificate, ``sha256:…``. By default what ``known_peers``
        says, to which a peer that is not in it yet is added.
    :param known_peers: that file; by default ``known_peers`` in the state directory.
    :param access_token: the secret that both sides must know; None if the other side asks for none.
    :param certificate: by which the other side knows us, where it has let us in by name; by default
        the one in the state directory, made on first use.
    :param ice_servers: STUN and TURN servers beside those that the signaling server hands out;
        none by default. On aiortc's transport the first of each kind counts.
    :param direct_only: whether to connect without a relay, ours or the other side's, or not at all;
        on the native transport alone.
    :param map_ports: whether the router is asked to open ports (PCP, NAT-PMP, UPnP-IGD), for direct
        ways through it; on the native transport alone.
    :param transport: the transport that carries the data.
    :param congestion: the congestion controller for the data that we send, on the native transport.
    :param association: the other bounds and timers of SCTP, on the native transport.
    :param settings: limits of the session.
    :param timeout: seconds that connecting may take, and later each attempt to reconnect.
    :param give_up_after: seconds of attempts to reconnect after which a lost peer is closed.

    Raises SignalingError, PeerUnavailable, ConnectError, IdentityChanged, AccessDenied, InvalidPin,
    InvalidAccessToken, ValueError for a negative time or for ``direct_only`` or ``map_ports`` on
    another transport, MissingExtra and RuntimeError for a transport that is not to be had, and
    PeerfetchError for a ``known_peers`` or a file of paired devices that cannot be used.
    """
    check_transport(transport)
    for name, seconds in (("timeout", timeout), ("give_up_after", give_up_after)):
        if not seconds >= 0:
            raise ValueError(f"{name} must be 0 seconds or more, not {seconds:g}")
    if access_token is not None:
        token_key(access_token)
    try:
        url, signaling = find_peer(peer_id, signaling)
    except OSError as error:
        raise PeerfetchError(f"the paired devices cannot be read: {error}") from error
    peer_id = url.peer_id + url.target.rstrip("/")
    settings = settings or Settings()
    # A session is kept no longer than its peer is searched for: a silent session counts as lost.
    kept = min(settings.resume_timeout, give_up_after)
    settings = dataclasses.replace(settings, resume_timeout=kept)
    options = connection_options(
        ice_servers, transport, congestion, association, direct_only, map_ports
    )
    trusted = trust(pin or url.pin, known_peers)
    certificate = certificate or own_certificate()
    dial = _Dialing(
        peer_id, signaling, trusted, access_token, certificate, options, settings, timeout
    ).dial

    async def first() -> Peer:
        origin = f"peer://{peer_id}"
        return Peer(
            peer_id,
            ReconnectingSession(await dial(), dial, origin=origin, give_up_after=give_up_after),
        )

    return Opening(first())


@dataclass(frozen=True, slots=True)
class _Dialing:
    """The parameters of every connection to one peer."""

    peer_id: str
    signaling: str
    trust: Trust
    access_token: str | None
    certificate: Certificate | None
    options: ConnectionOptions
    settings: Settings
    timeout: float

    async def dial(self) -> Established:
        """Connect, and return the new session."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self._dial()
        except TimeoutError:
            raise ConnectError(
                f"the connection to {self.peer_id} did not come about within {self.timeout:g} s"
                f"{self.options.lack}"
            ) from None

    async def _dial(self) -> Established:
        switchboard = Switchboard(lasting=False)
        switchboard.signaling = join(self.signaling, on_signal=switchboard.take, takes_offers=False)
        connected: Connected | None = None
        try:
            async with switchboard.reachable():
                connected = await negotiation.dial(
                    switchboard,
                    self.peer_id,
                    trust=self.trust,
                    certificate=self.certificate,
                    options=self.options,
                    timeout=self.timeout,
                )
                session = self._begin(connected)
            await session.wait_proved()
        except BaseException:
            if connected is not None:  # cancelled while signaling was closing, or access was denied
                await close_connection(connected.connection)
            raise
        return Established(session, connected.connection, connected.remote_fingerprint)

    def _begin(self, connected: Connected) -> Session:
        access: Access | None = None
        if self.access_token is not None:
            access = Access(
                self.access_token,
                opener=True,
                local=connected.local_fingerprint,
                remote=connected.remote_fingerprint,
            )
        link: Link = connected.link
        if connected.old:
            if access is not None:
                raise AccessDenied(
                    f"{self.peer_id} runs an old proxy, which knows of no access token"
                )
            from peerfetch_fast.peerfetch1.old_proxy import link_to_old_proxy

            link = link_to_old_proxy(link)
        return Session(link, opener=True, settings=self.settings, accepting=False, access=access)
