"""peerjs-python's ``peerjs.ext.http_proxy``: makes HTTP servers on this device reachable.

::

    python -m peerfetch_fast.peerjs.ext.http_proxy

Reads ``peerjs-config.yaml`` and ``.peerjsrc`` as the old one does, and stays in the room of its
plug and play server. Others ask for absolute URLs of this device, on any port; no other host is
reached through it. ``peerfetch proxy`` does more, and for chosen servers.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from functools import partial
from urllib.parse import urlsplit

from peerfetch_fast.errors import PeerfetchError, SignalingError
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.http.upstream import Upstream
from peerfetch_fast.peerfetch1.config import OldConfig, load_config, load_old_identity
from peerfetch_fast.peerfetch1.old_client import link_to_old_client
from peerfetch_fast.peerfetch1.urls import locate_here
from peerfetch_fast.peerjs.dataconnection import DataConnection
from peerfetch_fast.peerjs.enums import ConnectionEventType, PeerEventType, SerializationType
from peerfetch_fast.peerjs.peer import Peer, PeerError, PeerOptions
from peerfetch_fast.peerjs.peerroom import PeerRoom
from peerfetch_fast.peerjs.util import Configuration
from peerfetch_fast.settings import Limits, Settings
from peerfetch_fast.streams.account import Account
from peerfetch_fast.streams.session import Session

__all__ = ["join_peer_room", "main", "make_discoverable", "pnp_service_connect"]

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 3.0
"""Seconds between joins of the room, and between attempts to reach a server that is away."""

MAX_UPSTREAMS = 16
"""Ports of this device for which one client has connections kept."""

_TARGET = re.compile(r"/(https?://localhost:\d{1,5})(/.*)")


class _ThisDevice:
    """A handler that forwards ``/http://localhost:PORT/path``, for one client."""

    def __init__(self) -> None:
        self._upstreams: dict[str, Upstream] = {}

    async def close(self) -> None:
        """Close the connections."""
        for upstream in self._upstreams.values():
            await upstream.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Forward one request and its answer."""
        found = _TARGET.fullmatch(exchange.target)
        if found is None:
            exchange.refuse(403, "This URL leads to where this proxy does not forward.")
            return
        origin, exchange.target = found.groups()
        upstream = self._upstreams.get(origin)
        if upstream is None:
            # An old client asks one thing after the other: no other request runs on it.
            if len(self._upstreams) >= MAX_UPSTREAMS:
                oldest = self._upstreams.pop(next(iter(self._upstreams)))
                exchange.kept.forget(oldest)
                await oldest.close()
            upstream = self._upstreams[origin] = Upstream(origin)
        exchange.prefix = f"/{origin}"
        await upstream(exchange)


async def _serve(connection: DataConnection, shared: Account) -> None:
    """Answer an old client until it leaves."""
    handler = _ThisDevice()
    account = Account(Settings().memory, setting="Settings.memory", parent=shared)

    def refused(what: str) -> None:
        logger.info("refused to %s: %s", connection.peer, what)

    link = link_to_old_client(connection.hand_over(), locate_here, refused)
    try:
        await serve_session(Session(link, opener=False, account=account), handler)
    finally:
        await handler.close()
        await connection.close()


def _take(shared: Account, connection: DataConnection) -> None:
    """Serve a connection that somebody makes, once it is open."""
    if connection.serialization is not SerializationType.Raw:
        # As the old one, which reads nothing else.
        logger.info("%s wants %s: only raw is served", connection.peer, connection.serialization)
        connection.provider._start(connection.close())
        return
    connection.on(
        ConnectionEventType.Open, lambda: connection.provider._start(_serve(connection, shared))
    )


async def pnp_service_connect() -> Peer:
    """A peer that serves this device, on the server of ``peerjs-config.yaml``; its events tell
    whether that was there. Raises PeerfetchError, OSError for files that cannot be used.
    """
    config = load_config() or OldConfig()
    if config.signaling is None:
        raise PeerfetchError(
            "peerjs-config.yaml names no signaling_server: write the host of yours there, with its "
            "port and whether it is secure"
        )
    peer_id, token = load_old_identity()
    server = urlsplit(config.signaling)
    options = PeerOptions(
        host=server.hostname or "",
        port=server.port or 443,
        secure=server.scheme == "wss",
        token=token,
        config=Configuration(iceServers=list(config.ice_servers)),
    )
    peer = Peer(peer_id, options)
    account = Account(Limits().memory, setting="Limits.memory")
    peer.on(PeerEventType.Connection, partial(_take, account))
    peer.on(PeerEventType.Error, _troubles.tell)
    peer.on(PeerEventType.Open, _troubles.over)
    await peer.start()
    return peer


class _Troubles:
    """Says what goes wrong once, and not each three seconds."""

    _said = ""

    def tell(self, error: PeerError | SignalingError) -> None:
        """Log an error, unless it was the latest."""
        if str(error) != self._said:
            self._said = str(error)
            logger.warning("%s", error)

    def over(self, peer_id: str) -> None:
        """The server is there."""
        self._said = ""
        logger.info("reachable as %s", peer_id)


_troubles = _Troubles()


async def join_peer_room(peer: Peer) -> None:
    """Be seen by those on the same network. Raises SignalingError."""
    members = await PeerRoom(peer).getRoomMembers()
    logger.debug("in the room: %s", members)


async def make_discoverable(peer: Peer | None = None) -> None:
    """Stay connected and in the room, for ever. Raises as :func:`pnp_service_connect`."""
    try:
        while True:
            if peer is None or peer.destroyed:
                peer = await pnp_service_connect()
            elif peer.disconnected:
                await peer.reconnect()
            if peer.open:
                try:
                    await join_peer_room(peer)
                except SignalingError as error:
                    _troubles.tell(error)
            await asyncio.sleep(RETRY_INTERVAL)
    finally:
        if peer is not None:
            await peer.destroy()


def main() -> None:
    """Run until interrupted."""
    try:
        config = load_config() or OldConfig()
        logging.basicConfig(level=(config.log_level or "info").upper())
        asyncio.run(make_discoverable())
    except KeyboardInterrupt:
        pass
    except (PeerfetchError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
