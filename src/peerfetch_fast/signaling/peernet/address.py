"""The URL of a PeerNet server: ``peernet+https://HOST[:PORT][/PATH][?room=ROOM&service=NAME]``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.peernet.patterns import PROTOCOL, ROOM_ID, SERVICE_VERSION
from peerfetch_fast.urls import parse_url

__all__ = ["Address", "Service", "is_peernet", "with_rooms", "with_service", "without_rooms"]

SCHEME = "peernet+"

MAX_ROOMS = 8
"""Rooms that a server may be in."""

MAX_SERVICES = 14
"""Services that a URL may name; a server has 16, and two are ours."""


def is_peernet(service: str) -> bool:
    """Whether a URL is that of a PeerNet server."""
    return service.lower().startswith(SCHEME)


@dataclass(frozen=True, slots=True)
class Service:
    """What a server offers, by its protocol, and the version of that ("" for any)."""

    protocol: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Service:
        """``PROTOCOL`` or ``PROTOCOL:VERSION``. Raises SignalingError."""
        protocol, _, version = text.partition(":")
        if not re.fullmatch(PROTOCOL, protocol) or not re.fullmatch(SERVICE_VERSION, version):
            raise SignalingError(
                f"{text!r} is no service: write PROTOCOL or PROTOCOL:VERSION, as in "
                "peernet.camera:1.0"
            )
        return cls(protocol, version)

    def __str__(self) -> str:
        return f"{self.protocol}:{self.version}" if self.version else self.protocol


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL.

    :ivar base: below which the operations are.
    :ivar rooms: in which servers that join are listed, and are looked for.
    :ivar services: that servers which join offer beside ours, and that others are looked for by.
    """

    url: str
    base: URL
    rooms: tuple[str, ...]
    services: tuple[Service, ...]

    @classmethod
    def parse(cls, service: str) -> Address:
        """Raises SignalingError for what is no URL of a PeerNet server."""
        wrong = SignalingError(
            f"{service!r} is no URL of a PeerNet server: write peernet+https://HOST, and "
            "?room=ROOM behind it for a room"
        )
        try:
            url = parse_url(service[len(SCHEME) :])
            scheme, host = url.scheme, url.host
        except ValueError:
            raise wrong from None
        others = url.query.keys() - {"room", "service"}
        if not is_peernet(service) or scheme not in ("http", "https") or not host or others:
            raise wrong
        rooms = tuple(dict.fromkeys(room.lower() for room in url.query.getall("room", ())))
        if len(rooms) > MAX_ROOMS:
            raise SignalingError(f"{service!r} names more than {MAX_ROOMS} rooms")
        for room in rooms:
            if not re.fullmatch(ROOM_ID, room):
                raise SignalingError(f"{room!r} is no room: use small letters, digits and '-'")
        services = tuple(dict.fromkeys(map(Service.parse, url.query.getall("service", ()))))
        if len(services) > MAX_SERVICES:
            raise SignalingError(f"{service!r} names more than {MAX_SERVICES} services")
        base = url.with_query(None).with_fragment(None)
        base = base.with_path(f"{base.path.rstrip('/')}/v1")
        return cls(f"{SCHEME}{url}", base, rooms, services)


def with_rooms(service: str, rooms: Iterable[str]) -> str:
    """The URL of a PeerNet server with rooms besides its own. Raises SignalingError."""
    return _extended(service, [("room", room) for room in rooms])


def with_service(service: str, name: str) -> str:
    """The URL of a PeerNet server with one more service, ``PROTOCOL`` or ``PROTOCOL:VERSION``.

    Raises SignalingError.
    """
    return _extended(service, [("service", name)])


def _extended(service: str, more: list[tuple[str, str]]) -> str:
    url = URL(Address.parse(service).url[len(SCHEME) :])
    return Address.parse(f"{SCHEME}{url.with_query([*url.query.items(), *more])}").url


def without_rooms(service: str) -> str:
    """The URL of any service, without the rooms and services that one of a PeerNet server may name:
    who knows a room's name may list it.
    """
    return service.partition("?")[0] if is_peernet(service) else service
