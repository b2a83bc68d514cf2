"""STUN and TURN servers in the payload of OPEN (docs/protocol.md, "ICE servers")."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from peerfetch_fast.errors import InvalidIceServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.webrtc.ice.servers import MAX_SERVERS, IceServer, servers_of

__all__ = ["Told", "Welcome", "server_as_json", "told"]

MAX_URLS = 16
"""URLs of one server that are looked at."""

MAX_TEXT = 512
"""Characters of a user name and of a credential that are taken from a server."""

MIN_TTL, MAX_TTL = 60.0, 7 * 86_400.0
"""Seconds that logins last at least, so that nobody asks for others all the time, and at most."""

RENEWED_AT = 0.8
"""The part of their time for which logins are used before they are renewed."""


class Welcome:
    """The STUN and TURN servers that a server names to a client in OPEN.

    :param unix_time: the time in seconds since 1970, by which TURN servers see logins expire.
    """

    def __init__(
        self, settings: SignalingServerSettings, unix_time: Callable[[], float] = time.time
    ) -> None:
        self._servers = settings.ice_servers
        self._turn = settings.turn
        self._unix_time = unix_time

    def __call__(self, account: str) -> object:
        """The payload of OPEN for a client whose relays count for ``account``; None, as PeerJS's
        server has it, if there is nothing to tell.
        """
        servers, payload = list(self._servers), {}
        if self._turn is not None:
            if not self._turn.refuses(account):
                servers.append(self._turn.login(account, self._unix_time()))
            # A client that gets none now asks again by then.
            payload["ttl"] = self._turn.ttl
        if not servers:
            return None
        return {"iceServers": list(map(server_as_json, servers)), **payload}


def server_as_json(server: IceServer) -> dict[str, object]:
    """A server in the shape that browsers take."""
    urls = [server.urls] if isinstance(server.urls, str) else list(server.urls)
    if server.username is None:
        return {"urls": urls}
    return {"urls": urls, "username": server.username, "credential": server.credential}


@dataclass(frozen=True, slots=True)
class Told:
    """The STUN and TURN servers that a server has named."""

    servers: tuple[IceServer, ...] = ()
    ttl: float | None = None
    """Seconds for which the logins are good; None if they do not expire."""

    def renew_at(self, now: float) -> float:
        """When others are to be asked for, if these were told ``now``; infinity for never."""
        return math.inf if self.ttl is None else now + RENEWED_AT * self.ttl


def told(payload: object) -> Told:
    """The servers in the payload of an OPEN, whatever it holds; unusable ones are left out."""
    fields = payload if isinstance(payload, dict) else {}
    given = fields.get("iceServers")
    servers: list[IceServer] = []
    for one in given[:MAX_SERVERS] if isinstance(given, list) else ():
        urls = one.get("urls") if isinstance(one, dict) else None
        several = urls[:MAX_URLS] if isinstance(urls, list) else ()
        for url in [urls] if isinstance(urls, str) else several:
            if len(servers) < MAX_SERVERS and (server := _server(url, one)) is not None:
                servers.append(server)
    ttl = fields.get("ttl")
    if not servers or not isinstance(ttl, (int, float)) or not ttl > 0:
        return Told(tuple(servers))
    return Told(tuple(servers), min(max(float(ttl), MIN_TTL), MAX_TTL))


def _server(url: object, fields: dict[str, object]) -> IceServer | None:
    if not isinstance(url, str):
        return None
    login: Iterable[object] = (fields.get("username"), fields.get("credential"))
    if url.lower().startswith("stun:"):
        server = IceServer(url)
    else:
        username, credential = (
            value if isinstance(value, str) and len(value) <= MAX_TEXT else None for value in login
        )
        if username is None or credential is None:
            return None
        server = IceServer(url, username, credential)
    try:
        servers_of([server])
    except InvalidIceServer:
        return None
    return server
