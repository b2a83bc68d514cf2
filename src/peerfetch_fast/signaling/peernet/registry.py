"""The servers of a PeerNet server's realm, with their rooms and services. Sans-I/O.

Methods take the time in seconds of any clock that does not go back, and raise
:class:`.problems.Problem`.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

from peerfetch_fast.signaling.peernet.callers import Caller, Callers
from peerfetch_fast.signaling.peernet.filters import parse_filter
from peerfetch_fast.signaling.peernet.patterns import ROOM_ID
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.resources import (
    Knock,
    Server,
    Service,
    size_of,
    token_digest,
    token_octets,
)
from peerfetch_fast.signaling.peernet.schema import Resource, invalid
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.signaling.peernet.shares import FULL, Shares
from peerfetch_fast.signaling.peernet.waiting import Waiting

__all__ = ["PAGE", "Registry", "page_of"]

MIN_TOKEN = 16
"""Bytes of the shortest token."""

PAGE = 100
"""Resources of a page, if no size is asked for, and at most."""

MAX_PAGE = 512 * 1024
"""Bytes of the resources of a page, unless it has one alone: clients read no endless answers."""

SERVER_FIELDS = (
    "unique_id",
    "display_name",
    "services.name",
    "services.protocol",
    "services.version",
)

_ROOM = re.compile(ROOM_ID)

R = TypeVar("R", Knock, Server)


class Registry:
    """Servers, by id and by room. Knocks at them are a subclass's business.

    :param unix: seconds since 1970 at the time 0 of the clock.
    """

    def __init__(self, settings: PeerNetSettings, unix: float) -> None:
        self._settings = settings
        self._unix = unix
        self._shares = Shares(settings)
        self.callers = Callers(settings)
        self.waiting = Waiting(settings.max_waiting)
        # In the order in which they expire.
        self._servers: OrderedDict[str, Server] = OrderedDict()
        self._of_network: Counter[str] = Counter()
        self._rooms: dict[str, dict[str, Server]] = {}

    def _drop_knock(self, knock: Knock) -> None:
        raise NotImplementedError

    # -- servers -----------------------------------------------------------------------------------

    def create_server(self, caller: Caller, body: Resource, now: float) -> Resource:
        """Make a server, or make it anew for who has its token."""
        token = body.get("auth_token") or caller.token or ""
        if len(token_octets(token)) < MIN_TOKEN:
            raise invalid("auth_token", f"a secret of at least {MIN_TOKEN} bytes is expected")
        digest = token_digest(token)
        server_id = body.get("unique_id") or secrets.token_hex(16)
        before = self._servers.get(server_id)
        if before is not None and not before.owns(digest):
            self.callers.guesses(caller, now)
            raise Problem(
                Status.ALREADY_EXISTS, f"another server has the id {server_id}: take another one"
            )
        settings = self._settings
        if before is None:
            if len(self._servers) >= settings.max_servers:
                raise Problem(Status.UNAVAILABLE, FULL, retry_after=5.0)
            if self._of_network[caller.network] >= settings.max_servers_per_address:
                raise Problem(
                    Status.RESOURCE_EXHAUSTED,
                    f"{settings.max_servers_per_address} servers come from your address already",
                )
        server = self._made(server_id, digest, caller, body, now)
        self._put(server, before)
        return self._shown(server)

    def _made(
        self, server_id: str, digest: bytes, caller: Caller, body: Resource, now: float
    ) -> Server:
        about = {key: value for key, value in body.items() if key != "auth_token"}
        return Server(
            server_id,
            digest,
            caller.network,
            body.get("display_name", ""),
            _rooms(body.get("rooms", ())),
            _services(server_id, body.get("services", ())),
            size_of(about),
            created=now,
            updated=now,
            expires=now + self._settings.server_timeout,
        )

    def _put(self, server: Server, before: Server | None) -> None:
        """Put a server in the place of what it was before. Changes nothing if it does not fit."""
        before_rooms = () if before is None else before.rooms
        for room in server.rooms:
            if (
                room not in before_rooms
                and len(self._rooms.get(room, ())) >= self._settings.max_room
            ):
                raise Problem(Status.RESOURCE_EXHAUSTED, f"the room {room} is full")
        if before is not None:
            server.network = before.network
        more = server.size - (0 if before is None else before.size)
        self._shares.take(server.network, more)
        if before is not None:
            self._leave_rooms(before)
            server.created = before.created
            server.knocks = before.knocks
            for knock in server.knocks.values():
                knock.server = server
        else:
            self._of_network[server.network] += 1
        for room in server.rooms:
            self._rooms.setdefault(room, {})[server.id] = server
        self._servers[server.id] = server
        self._servers.move_to_end(server.id)

    def _leave_rooms(self, server: Server) -> None:
        for room in server.rooms:
            members = self._rooms[room]
            del members[server.id]
            if not members:
                del self._rooms[room]

    def get_server(self, server_id: str) -> Resource:
        """A server as everybody may see it."""
        return self._shown(self._server(server_id))

    def update_server(
        self, caller: Caller, server_id: str, body: Resource, mask: str, now: float
    ) -> Resource:
        """Change fields of a server: those of ``mask``, or those that the body has."""
        server = self._owned(caller, server_id, now)
        changeable = ("display_name", "rooms", "services")
        chosen = [one.strip() for one in mask.split(",")] if mask else [*body]
        if mask and (unknown := set(chosen) - {*changeable, "*"}):
            raise invalid("update_mask", f"{sorted(unknown)[0]!r} cannot be changed")
        about: Resource = {
            "unique_id": server.id,
            "display_name": server.display_name,
            "rooms": list(server.rooms),
            "services": [service.about for service in server.services],
        }
        for field in changeable:
            if field in chosen or "*" in chosen:
                about[field] = body.get(field, "" if field == "display_name" else [])
        changed = self._made(server.id, server.token, caller, about, now)
        self._put(changed, server)
        return self._shown(changed)

    def delete_server(self, caller: Caller, server_id: str, now: float) -> None:
        """Drop a server with its knocks."""
        self._drop_server(self._owned(caller, server_id, now))

    def _drop_server(self, server: Server) -> None:
        for knock in list(server.knocks.values()):
            self._drop_knock(knock)
        self._leave_rooms(server)
        del self._servers[server.id]
        self._shares.give_back(server.network, server.size)
        self._of_network[server.network] -= 1
        if not self._of_network[server.network]:
            del self._of_network[server.network]
        self.waiting.wake(f"server/{server.id}")

    def heartbeat(self, caller: Caller, server_id: str, now: float) -> Resource:
        """Prolong a server's time."""
        return self._shown(self._owned(caller, server_id, now))

    def _server(self, server_id: str) -> Server:
        server = self._servers.get(server_id)
        if server is None:
            raise Problem(Status.NOT_FOUND, f"there is no server {server_id}, or it has expired")
        return server

    def _owned(self, caller: Caller, server_id: str, now: float) -> Server:
        """The server of who asks, whose time is prolonged."""
        server = self._server(server_id)
        if caller.token is None:
            raise Problem(
                Status.UNAUTHENTICATED, "the server's auth_token is expected in Authorization"
            )
        if not server.owns(token_digest(caller.token)):
            self.callers.guesses(caller, now)
            raise Problem(Status.PERMISSION_DENIED, f"this is not the auth_token of {server_id}")
        server.expires = now + self._settings.server_timeout
        self._servers.move_to_end(server.id)
        return server

    def _shown(self, server: Server) -> Resource:
        return {
            "name": f"servers/{server.id}",
            "unique_id": server.id,
            "display_name": server.display_name,
            "rooms": list(server.rooms),
            "services": [service.resource for service in server.services],
            "create_time": self._unix + server.created,
            "update_time": self._unix + server.updated,
            "expire_time": self._unix + server.expires,
        }

    # -- rooms and services ------------------------------------------------------------------------

    def get_room(self, room: str) -> Resource:
        """A room, which is there while a server is in it."""
        members = self._members(room)
        return {
            "name": f"rooms/{room}",
            "display_name": room,
            "create_time": self._unix + min(server.created for server in members),
            "expire_time": self._unix + max(server.expires for server in members),
        }

    def list_room(self, room: str, text: str, page_size: int, page_token: str) -> Resource:
        """The servers of a room, by id."""
        matches = parse_filter(text, SERVER_FIELDS)
        members = sorted(self._members(room), key=lambda server: server.id)
        found = [one for one in members if one.id > page_token and matches(one.values)]
        page = page_of(found, page_size)
        shown: Resource = {"servers": list(map(self._shown, page))}
        shown["next_page_token"] = page[-1].id if len(found) > len(page) else ""
        return shown

    def _members(self, room: str) -> Sequence[Server]:
        members = self._rooms.get(room.lower())
        if not members:
            raise Problem(Status.NOT_FOUND, f"nobody is in the room {room}")
        return list(members.values())

    def list_services(self, server_id: str) -> Resource:
        """The services of a server."""
        services = self._server(server_id).services
        return {"services": [one.resource for one in services], "next_page_token": ""}

    def get_service(self, server_id: str, service_id: str) -> Resource:
        """One service."""
        return self._service(server_id, service_id)[1].resource

    def _service(self, server_id: str, service_id: str) -> tuple[Server, Service]:
        server = self._server(server_id)
        service = server.service(service_id)
        if service is None:
            raise Problem(Status.NOT_FOUND, f"{server_id} has no service {service_id}")
        return server, service


def page_of(resources: Iterable[R], page_size: int) -> list[R]:
    """The first of ``resources`` that fit into a page."""
    page: list[R] = []
    left = MAX_PAGE
    for one in islice(resources, min(page_size or PAGE, PAGE)):
        left -= one.size
        if page and left < 0:
            break
        page.append(one)
    return page


def _rooms(names: Sequence[str]) -> tuple[str, ...]:
    rooms = [name.removeprefix("rooms/").lower() for name in names]
    for at, room in enumerate(rooms):
        if not _ROOM.fullmatch(room):
            raise invalid(f"rooms[{at}]", f"what matches {ROOM_ID} is expected")
    return tuple(dict.fromkeys(rooms))


def _services(server_id: str, given: Sequence[Resource]) -> tuple[Service, ...]:
    """The services of a server. The id of one is its protocol; of a second one of that protocol,
    and of every one as another name, its protocol and version.
    """
    services: dict[str, Service] = {}
    exact: set[str] = set()
    for at, service in enumerate(given):
        protocol, version = service.get("protocol"), service.get("version", "")
        if not protocol:
            raise invalid(f"services[{at}].protocol", "it is missing")
        full = f"{protocol}:{version}"
        if full in exact:
            raise invalid(f"services[{at}]", "another service has that protocol and version")
        exact.add(full)
        service_id = full if protocol in services else protocol
        name = f"servers/{server_id}/services/{service_id}"
        services[service_id] = Service(service_id, name, service)
    return tuple(services.values())
