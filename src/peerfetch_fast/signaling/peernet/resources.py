"""The resources of a PeerNet server."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import orjson

from peerfetch_fast.signaling.peernet.filters import Values
from peerfetch_fast.signaling.peernet.schema import Resource

__all__ = ["Knock", "Server", "Service", "Session", "State", "token_digest", "token_octets"]

OVERHEAD = 1024
"""Bytes that a resource costs beside its texts."""

State = str
"""One of :data:`.schema.STATES`."""


def token_octets(token: str) -> bytes:
    """The octets of a token, which need not be UTF-8 in a field of HTTP."""
    return token.encode(errors="surrogateescape")


def token_digest(token: str) -> bytes:
    """The part of a token that is kept."""
    return hashlib.sha256(token_octets(token)).digest()


def size_of(resource: Resource) -> int:
    """Bytes that a resource is counted for."""
    return OVERHEAD + len(orjson.dumps(resource))


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a server."""

    id: str
    name: str
    about: Resource
    """Its protocol, version, display name and metadata."""

    @property
    def resource(self) -> Resource:
        """As it is shown."""
        return {"name": self.name, **self.about}

    @property
    def brief(self) -> Resource:
        """As a knock names it."""
        return {"name": self.name, "protocol": self.about["protocol"]} | {
            "version": self.about.get("version", "")
        }


@dataclass(slots=True)
class Server:
    """One server. Times are those of the caller's clock."""

    id: str
    token: bytes
    network: str
    display_name: str
    rooms: tuple[str, ...]
    services: tuple[Service, ...]
    size: int
    created: float
    updated: float
    expires: float
    knocks: dict[str, Knock] = field(default_factory=dict)
    """Its knocks, in the order of their arrival."""
    polled: float = float("-inf")
    """When it last looked for knocks in vain, without waiting."""

    def owns(self, digest: bytes) -> bool:
        """Whether that is the digest of its token."""
        return hmac.compare_digest(self.token, digest)

    def service(self, service_id: str) -> Service | None:
        """The service of that id, or of that protocol and version."""
        for service in self.services:
            about = service.about
            if service_id in (service.id, f"{about['protocol']}:{about.get('version', '')}"):
                return service
        return None

    @property
    def values(self) -> Values:
        """Its fields, as filters see them."""
        return {
            "unique_id": (self.id,),
            "display_name": (self.display_name,) if self.display_name else (),
            "services.protocol": [one.about["protocol"] for one in self.services],
            "services.name": [one.about["protocol"] for one in self.services],
            "services.version": [one.about.get("version", "") for one in self.services],
        }


@dataclass(slots=True)
class Knock:
    """One knock."""

    id: str
    server: Server
    service: Service
    network: str
    offer: Resource
    session: str | None
    size: int
    created: float
    expires: float
    state: State = "PENDING"
    claims: int = 0
    answer: Resource | None = None
    answer_size: int = 0
    """What the answer is counted for, for the server's network."""
    reason: str | None = None

    @property
    def name(self) -> str:
        """The name by which it is asked for."""
        return f"{self.service.name}/knocks/{self.id}"

    @property
    def open(self) -> bool:
        """Whether an answer may come."""
        return self.state in ("PENDING", "CLAIMED")

    def values(self, unix: float) -> Values:
        """Its fields, as filters see them. ``unix``: when it was made, in seconds since 1970."""
        about = self.service.about
        return {
            "service.name": (about["protocol"],),
            "service.protocol": (about["protocol"],),
            "service.version": (about.get("version", ""),),
            "create_time": (f"{unix:.3f}",),
        }


@dataclass(slots=True)
class Session:
    """One side of a negotiation, to which the other side sends candidates."""

    id: str
    network: str
    expires: float
    size: int
    came: int = 0
    """Candidates that it got, those that were claimed included."""
    candidates: list[Resource] = field(default_factory=list)
