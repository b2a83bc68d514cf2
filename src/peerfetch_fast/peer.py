"""The other side: :class:`Peer`, and how to get one with :func:`connect`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any

from aiortc import RTCIceServer

from peerfetch_fast._timeout import timeout as deadline
from peerfetch_fast.errors import ConnectError
from peerfetch_fast.http import client
from peerfetch_fast.http.client import Body, Params, Response
from peerfetch_fast.http.heads import HeadersLike
from peerfetch_fast.negotiation import Connected, Switchboard, dial
from peerfetch_fast.session import Session
from peerfetch_fast.settings import Settings
from peerfetch_fast.signaling.client import SignalingClient
from peerfetch_fast.webrtc.connection import Transport, close_connection

__all__ = ["Peer", "connect"]

CONNECT_TIMEOUT = 15.0
"""Seconds that connecting may take, signaling included."""


class Peer:
    """A connected peer, from either side of the connection."""

    def __init__(self, connected: Connected, session: Session) -> None:
        self.id = connected.peer_id
        """The id by which the signaling server knows it."""
        self.session = session
        """The session below, for streams of one's own."""
        self._connection = connected.connection

    @property
    def transport(self) -> str:
        """What carries the data."""
        return self._connection.transport

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
    ) -> Response:
        """Send a request and return its answer as soon as the head is there.

        Any number may run at once; see :func:`peerfetch_fast.http.client.fetch` for the parameters
        and errors.
        """
        return await client.fetch(
            self.session,
            target,
            method=method,
            headers=headers,
            params=params,
            body=body,
            json=json,
            timeout=timeout,
        )

    async def close(self) -> None:
        """End in order: running requests go on to their end, new ones are refused."""
        try:
            await self.session.close()
        finally:
            await close_connection(self._connection)

    async def abort(self) -> None:
        """End at once; running requests fail."""
        self.session.abort()
        try:
            await self.session.wait_closed()
        finally:
            await close_connection(self._connection)

    async def wait_closed(self) -> None:
        """Return when the session is over, for whatever reason."""
        await self.session.wait_closed()

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
    signaling: str,
    ice_servers: Sequence[RTCIceServer] = (),
    transport: Transport = "auto",
    settings: Settings | None = None,
    timeout: float = CONNECT_TIMEOUT,
) -> _Connecting:
    """Connect to a peer: ``await`` it, or use it in ``async with``.

    :param peer_id: as the other side's proxy prints it, with or without ``peer://`` before it.
    :param signaling: URL of the PeerJS-compatible server that both know: ``ws://`` or ``wss://``.
    :param ice_servers: STUN and TURN servers; none by default.
    :param transport: what carries the data.
    :param settings: limits of the session.
    :param timeout: seconds that all of it may take.

    Raises SignalingError, PeerUnavailable, ConnectError.
    """
    return _Connecting(
        _connect(
            peer_id.removeprefix("peer://").strip("/"),
            signaling,
            ice_servers,
            transport,
            settings,
            timeout,
        )
    )


async def _connect(
    peer_id: str,
    signaling: str,
    ice_servers: Sequence[RTCIceServer],
    transport: Transport,
    settings: Settings | None,
    timeout: float,
) -> Peer:
    async def whole() -> Peer:
        switchboard = Switchboard()
        signaling_client = SignalingClient(signaling, on_message=switchboard.message)
        connected: Connected | None = None
        try:
            async with signaling_client as switchboard.signaling:
                connected = await dial(
                    switchboard,
                    peer_id,
                    ice_servers=ice_servers,
                    transport=transport,
                    timeout=timeout,
                )
                session = Session(connected.link, opener=True, settings=settings, accepting=False)
        except BaseException:
            if connected is not None:  # cancelled while signaling was being closed
                await close_connection(connected.connection)
            raise
        return Peer(connected, session)

    try:
        async with deadline(timeout):
            return await whole()
    except asyncio.TimeoutError:
        raise ConnectError(
            f"the connection to {peer_id} did not come about within {timeout:g} s"
        ) from None
