"""The other side: :class:`Peer`, and how to get one with :func:`connect`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from peerfetch_fast import negotiation
from peerfetch_fast.access import Access, token_key
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
from peerfetch_fast.line import GIVE_UP_AFTER, Call, Line, PeerState
from peerfetch_fast.link import Link
from peerfetch_fast.negotiation import Connected, Switchboard
from peerfetch_fast.session import Session
from peerfetch_fast.settings import Settings
from peerfetch_fast.signaling.client import SignalingClient
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import (
    DEFAULT_CONGESTION,
    Congestion,
    Transport,
    check_transport,
    close_connection,
)

__all__ = ["Peer", "PeerState", "connect"]

CONNECT_TIMEOUT = 15.0
"""Seconds that connecting may take, signaling included."""


class Peer:
    """Another peer, from either side of the connection.

    One that :func:`connect` gave reconnects by itself: when the connection breaks or the device
    restarts, requests wait for the next connection, and those that are safe to repeat are.
    One that connected to us (:attr:`Server.peers <peerfetch_fast.server.Server.peers>`) ends with
    its session; it is for the other side to come back.
    """

    def __init__(self, peer_id: str, line: Line) -> None:
        self.id = peer_id
        """The id by which the signaling server knows it."""
        self._line = line

    @property
    def state(self) -> PeerState:
        """``CONNECTED``, ``RECONNECTING`` or ``CLOSED``."""
        return self._line.state

    async def wait_for(self, *states: PeerState) -> PeerState:
        """Wait until the peer is, or has just been, in one of ``states``, and return which."""
        return await self._line.wait_for(*states)

    @property
    def error(self) -> PeerfetchError | None:
        """Why the peer is closed (PeerLost if it was not found again), or None while it is not."""
        return self._line.error

    @property
    def session(self) -> Session:
        """The latest session below, for streams of one's own; another one after a reconnection."""
        return self._line.call.session

    @property
    def transport(self) -> str:
        """What carries the data."""
        return self._line.call.connection.transport

    @property
    def fingerprint(self) -> str:
        """The pin of the certificate that the other side has shown: ``sha256:…``."""
        return format_pin(self._line.call.fingerprint)

    async def fetch(
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
    ) -> Response:
        """Send a request and return its answer as soon as the head is there.

        Any number may run at once; see :func:`peerfetch_fast.http.client.fetch` for the parameters
        and errors.
        """
        return await client.fetch(
            self._line,
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

    async def websocket(
        self,
        target: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: HeadersLike | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
    ) -> WebSocket:
        """Open a WebSocket; see :func:`peerfetch_fast.http.websocket.open_websocket` for the
        parameters and errors.
        """
        return await open_websocket(
            await self._line.session(),
            target,
            subprotocols=subprotocols,
            headers=headers,
            max_message_size=max_message_size,
        )

    async def tunnel(self, name: str) -> Tunnel:
        """Open a raw stream to the TCP port that the other side serves under ``name``; see
        :func:`peerfetch_fast.http.tunnel.open_tunnel` for the errors.
        """
        return await open_tunnel(await self._line.session(), name)

    async def close(self) -> None:
        """End in order: running requests go on to their end, new ones are refused."""
        await self._line.close()

    async def abort(self) -> None:
        """End at once; running requests fail."""
        await self._line.abort()

    async def wait_closed(self) -> None:
        """Return when the peer is closed: by us, or because it was not found again in time."""
        await self._line.wait_for(PeerState.CLOSED)

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What the block did not wait for is not worth waiting for on its way out.
        await self.abort()

    def __repr__(self) -> str:
        return f"<Peer {self.id}>"


class _Connecting:
    """``await connect(…)`` gives a Peer; ``async with connect(…) as peer`` also closes it."""

    def __init__(self, work: Any) -> None:
        self._work = work
        self._peer: Peer | None = None

    def __await__(self) -> Generator[Any, None, Peer]:
        return self._work.__await__()  # type: ignore[no-any-return]

    async def __aenter__(self) -> Peer:
        self._peer = await self._work
        return self._peer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._peer is not None
        await self._peer.__aexit__(kind, error, traceback)


def connect(
    peer_id: str,
    *,
    signaling: str | None = None,
    pin: str | None = None,
    known_peers: Path | None = None,
    access_token: str | None = None,
    ice_servers: Sequence[IceServer] = (),
    transport: Transport = "auto",
    congestion: Congestion = DEFAULT_CONGESTION,
    settings: Settings | None = None,
    timeout: float = CONNECT_TIMEOUT,
    give_up_after: float = GIVE_UP_AFTER,
) -> _Connecting:
    """Connect to a peer: ``await`` it, or use it in ``async with``.

    The peer must show the certificate that is pinned, or that it showed the first time.

    :param peer_id: as the other side's proxy prints it, with or without ``peer://`` before it, and
        with or without its pin behind it; or the name that ``peerfetch pair`` gave it.
    :param signaling: URL of the PeerJS-compatible server that both know: ``ws://`` or ``wss://``.
        By default that of the environment (``PEERFETCH_SIGNALING``), the one that the device was
        paired with, or ``ws://127.0.0.1:9000``.
    :param pin: the fingerprint of its certificate, ``sha256:…``. By default what ``known_peers``
        says, to which a peer that is not in it yet is added.
    :param known_peers: that file; by default ``known_peers`` in the state directory.
    :param access_token: what both sides must know; None if the other side asks for none.
    :param ice_servers: a STUN and a TURN server (of several the first counts); none by default.
    :param transport: what carries the data.
    :param congestion: the controller of what we send, on the native transport.
    :param settings: limits of the session.
    :param timeout: seconds that all of it may take; later, each attempt to connect again.
    :param give_up_after: seconds for which a peer that was lost is looked for before it is closed.

    Raises SignalingError, PeerUnavailable, ConnectError, IdentityChanged, AccessDenied, InvalidPin,
    InvalidAccessToken, ValueError for a negative time, MissingExtra and RuntimeError for a
    transport that is not to be had, and PeerfetchError for a ``known_peers`` or a file of paired
    devices that cannot be used.
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
    # A silent session is a lost peer, too.
    kept = min(settings.resume_timeout, give_up_after)
    settings = dataclasses.replace(settings, resume_timeout=kept)
    dial = partial(
        _dial,
        peer_id,
        signaling,
        trust(pin or url.pin, known_peers),
        access_token,
        ice_servers,
        transport,
        congestion,
        settings,
        timeout,
    )

    async def first() -> Peer:
        origin = f"peer://{peer_id}"
        return Peer(peer_id, Line(await dial(), dial, origin=origin, give_up_after=give_up_after))

    return _Connecting(first())


def _switchboard_of_client(url: str) -> Switchboard:
    """One whose signaling is there only while a connection comes about or changes its path."""
    before: SignalingClient | None = None

    async def dial_in() -> SignalingClient:
        nonlocal before
        peer_id, token = (None, None) if before is None else (before.peer_id, before.token)
        client = SignalingClient(url, peer_id, token=token, on_message=switchboard.message)
        await client.start()
        before = client
        return client

    switchboard = Switchboard(dial_in=dial_in)
    return switchboard


async def _dial(
    peer_id: str,
    signaling: str,
    trust: Trust,
    access_token: str | None,
    ice_servers: Sequence[IceServer],
    transport: Transport,
    congestion: Congestion,
    settings: Settings,
    timeout: float,
) -> Call:
    async def whole() -> Call:
        switchboard = _switchboard_of_client(signaling)
        connected: Connected | None = None
        try:
            async with switchboard.reachable():
                connected = await negotiation.dial(
                    switchboard,
                    peer_id,
                    trust=trust,
                    ice_servers=ice_servers,
                    transport=transport,
                    congestion=congestion,
                    timeout=timeout,
                )
                access: Access | None = None
                if access_token is not None:
                    access = Access(
                        access_token,
                        opener=True,
                        local=connected.local_fingerprint,
                        remote=connected.remote_fingerprint,
                    )
                link: Link = connected.link
                if connected.old:
                    if access_token is not None:
                        raise AccessDenied(
                            f"{peer_id} runs an old proxy, which knows of no access token"
                        )
                    from peerfetch_fast.peerfetch1.old_proxy import link_to_old_proxy

                    link = link_to_old_proxy(link)
                session = Session(
                    link, opener=True, settings=settings, accepting=False, access=access
                )
            await session.wait_proved()
        except BaseException:
            if connected is not None:  # cancelled while signaling was being closed, or no access
                await close_connection(connected.connection)
            raise
        return Call(session, connected.connection, connected.remote_fingerprint)

    try:
        async with asyncio.timeout(timeout):
            return await whole()
    except TimeoutError:
        raise ConnectError(
            f"the connection to {peer_id} did not come about within {timeout:g} s"
        ) from None
