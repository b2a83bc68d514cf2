"""Agents on a simulated network with routers, delay and loss, in virtual time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from peerfetch_fast.webrtc.ice.agent import Agent
from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority
from peerfetch_fast.webrtc.ice.events import Address, Admitted, Event, Selected, StateChanged
from peerfetch_fast.webrtc.ice.settings import AgentSettings

PUBLIC = "public"


@dataclass
class Nat:
    """A router that translates addresses and lets in only what was asked for, port by port.

    :ivar symmetric: each destination gets a port of its own.
    """

    address: str
    symmetric: bool = False
    hairpin: bool = False
    mappings: dict[Any, Address] = field(default_factory=dict)
    allowed: set[tuple[Address, Address]] = field(default_factory=set)
    ports: Any = field(default_factory=lambda: itertools.count(40_000))

    def out(self, source: Address, target: Address) -> Address:
        key = (source, target) if self.symmetric else source
        mapped = self.mappings.setdefault(key, None) or (self.address, next(self.ports))
        self.mappings[key] = mapped
        self.allowed.add((mapped, target))
        return mapped

    def into(self, source: Address, target: Address) -> Address | None:
        if (target, source) not in self.allowed:
            return None
        for key, mapped in self.mappings.items():
            if mapped == target:
                return key[0] if self.symmetric else key
        return None

    def forget(self) -> None:
        """Give every socket new ports, as a router does that was restarted."""
        self.mappings.clear()
        self.allowed.clear()


class Network:
    """Carries datagrams between ends; who is in the same place reaches each other directly."""

    def __init__(self, *, delay: float = 0.01, loss: float = 0.0, seed: int = 1) -> None:
        self.now = 100.0
        self.delay = delay
        self.loss = loss
        # Seconds by which a datagram may be later than others, and how often it comes twice.
        self.jitter = 0.0
        self.duplication = 0.0
        self.random = random.Random(seed)
        self.ends: list[End] = []
        self.sent = 0
        self.tap: Callable[[bytes, Address, Address], bool] = lambda *_: True
        self._queue: list[Any] = []
        self._order = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), action))

    def carry(self, data: bytes, socket: Socket, target: Address) -> None:
        """A datagram leaves a socket."""
        place, nat, source = socket.place, socket.nat, socket.address
        self.sent += 1
        if self.random.random() < self.loss:
            return
        here = self._socket(place, target)
        if here is None and place != PUBLIC:
            if nat is None:
                return
            source = nat.out(source, target)
        if not self.tap(data, source, target):
            return
        copies = 2 if self.duplication and self.random.random() < self.duplication else 1
        for _ in range(copies):
            late = self.random.random() * self.jitter if self.jitter else 0.0
            self.at(self.now + self.delay + late, lambda: self.arrive(data, here, source, target))

    def arrive(
        self, data: bytes, socket: tuple[End, int] | None, source: Address, target: Address
    ) -> None:
        socket = socket or self._socket(PUBLIC, target) or self._behind_router(source, target)
        if socket is not None and socket[1] in socket[0].sockets:
            end, base = socket
            end.receive(data, base, source)

    def _socket(self, place: str, address: Address) -> tuple[End, int] | None:
        for end in self.ends:
            for base, socket in end.sockets.items():
                if socket.place == place and socket.address == address:
                    return end, base
        return None

    def _behind_router(self, source: Address, target: Address) -> tuple[End, int] | None:
        for end in self.ends:
            for base, socket in end.sockets.items():
                if socket.nat is not None and socket.nat.address == target[0]:
                    inside = socket.nat.into(source, target)
                    if inside == socket.address:
                        return end, base
        return None

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            timers = [(end.agent.deadline(), end) for end in self.ends]
            soonest = min(timers, key=lambda timer: timer[0], default=(until, None))
            queued = self._queue[0][0] if self._queue else until
            when = min(soonest[0], queued)
            if when >= until:
                self.now = until
                return
            self.now = max(self.now, when)
            if queued <= when:
                heapq.heappop(self._queue)[2]()
            else:
                end = soonest[1]
                assert end is not None
                end.agent.handle_timeout(self.now)
                end.flush()
                assert end.agent.deadline() > self.now or end.agent.deadline() > soonest[0], (
                    "the agent asks again for the same moment"
                )

    def run_until(self, condition: Callable[[], bool], within: float = 60.0) -> float:
        """Let time pass until something holds; how long it took, in seconds."""
        began = self.now
        while not condition():
            assert self.now - began < within, "it did not happen in time"
            self.run(0.001)
        return self.now - began


@dataclass
class Socket:
    address: Address
    place: str
    nat: Nat | None


class End:
    """An agent with its sockets, and what its owner would know."""

    def __init__(
        self,
        network: Network,
        name: str,
        *,
        controlling: bool,
        settings: AgentSettings | None = None,
    ) -> None:
        self.network = network
        self.ufrag, self.password = name * 4, name * 24
        self.agent = Agent(
            controlling=controlling,
            ufrag=self.ufrag,
            password=self.password,
            random=random.Random(name),
            settings=settings or AgentSettings(),
        )
        self.sockets: dict[int, Socket] = {}
        self.candidates: list[Candidate] = []
        self.selected: Selected | None = None
        self.history: list[Selected] = []
        self.states: list[str] = []
        self.admitted: list[Address] = []
        self.others: list[Event] = []
        self.data: list[bytes] = []
        network.ends.append(self)

    @property
    def now(self) -> float:
        return self.network.now

    def open(
        self,
        base: int,
        host: str,
        *,
        place: str = PUBLIC,
        nat: Nat | None = None,
        type: str = "host",
        preference: int = 65_535,
        port: int | None = None,
    ) -> Candidate:
        """Open a socket; a relay's is a socket elsewhere."""
        port = port or 5_000 + base
        self.sockets[base] = Socket((host, port), place, nat)
        candidate = Candidate(
            foundation(type, "udp", host), 1, "udp", priority(type, preference), host, port, type
        )
        self.agent.add_local(candidate, base, self.now)
        self.candidates.append(candidate)
        self.flush()
        return candidate

    def reflexive(self, base: int, server: Address = ("192.0.2.99", 3478)) -> Candidate:
        """What a STUN server tells of a socket."""
        socket = self.sockets[base]
        assert socket.nat is not None
        host, port = socket.nat.out(socket.address, server)
        candidate = Candidate(
            foundation("srflx", "udp", socket.address[0]),
            1,
            "udp",
            priority("srflx", 65_535),
            host,
            port,
            "srflx",
            *socket.address,
        )
        self.agent.add_local(candidate, base, self.now)
        self.candidates.append(candidate)
        return candidate

    def close_socket(self, base: int) -> None:
        del self.sockets[base]
        self.agent.remove_base(base, self.now)
        self.flush()

    def meet(self, other: End, candidates: Iterable[Candidate] | None = None) -> None:
        """The other's description has come, with its candidates."""
        self.agent.set_remote(other.ufrag, other.password, self.now)
        for candidate in other.candidates if candidates is None else candidates:
            self.agent.add_remote(candidate, self.now)
        self.agent.end_of_local(self.now)
        self.agent.end_of_remote(self.now)
        self.flush()

    def restart(self, name: str) -> None:
        self.ufrag, self.password = name * 4, name * 24
        self.agent.restart(self.ufrag, self.password, self.now)
        self.flush()

    def receive(self, data: bytes, base: int, source: Address) -> None:
        if data[:1] < b"\x04":
            self.agent.receive(data, base, source, self.now)
        elif source in self.admitted:
            self.data.append(data)
        self.flush()

    def flush(self) -> None:
        for base, target, data in self.agent.take_datagrams():
            socket = self.sockets.get(base)
            if socket is not None:
                self.network.carry(data, socket, target)
        for event in self.agent.take_events():
            match event:
                case Selected():
                    self.selected = event
                    self.history.append(event)
                case StateChanged(state):
                    self.states.append(state)
                case Admitted(_, address):
                    self.admitted.append(address)
                case _:
                    self.others.append(event)
        assert self.agent.state == (self.states or ["new"])[-1]

    def say(self, data: bytes) -> None:
        """Send data by the selected pair."""
        if self.selected is not None and self.selected.base in self.sockets:
            socket = self.sockets[self.selected.base]
            self.network.carry(data, socket, self.selected.address)

    @property
    def way(self) -> tuple[str, Address] | None:
        """Where data leaves from, and where to."""
        if self.selected is None or self.selected.base not in self.sockets:
            return None
        return self.sockets[self.selected.base].address[0], self.selected.address


def two(network: Network, settings: AgentSettings | None = None) -> tuple[End, End]:
    """A controlling end and a controlled one, without addresses."""
    return (
        End(network, "a", controlling=True, settings=settings),
        End(network, "b", controlling=False, settings=settings),
    )


def connected(*ends: End) -> bool:
    return all(end.agent.state == "connected" for end in ends)
