"""The events of an agent, for its owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from peerfetch_fast.webrtc.ice.candidate import Candidate

__all__ = [
    "Address",
    "Admitted",
    "Event",
    "Selected",
    "ServerAnswered",
    "ServerSilent",
    "State",
    "StateChanged",
]

Address = tuple[str, int]

State = Literal["new", "checking", "connected", "disconnected", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The peer has signed a message that came from this address: DTLS may be taken from it."""

    base: int
    address: Address


@dataclass(frozen=True, slots=True)
class Selected:
    """Data is sent here from now on."""

    base: int
    address: Address
    remote: Candidate
    local: Candidate


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The agent's state is another."""

    state: State


@dataclass(frozen=True, slots=True)
class ServerAnswered:
    """A STUN server has seen requests of this socket come from ``mapped``."""

    base: int
    server: Address
    mapped: Address


@dataclass(frozen=True, slots=True)
class ServerSilent:
    """A STUN server has not answered, or with nothing that is an address."""

    base: int
    server: Address


Event = Admitted | Selected | StateChanged | ServerAnswered | ServerSilent
