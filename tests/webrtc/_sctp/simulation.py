"""Associations over emulated links, in virtual time: a seed reproduces a run exactly."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from peerfetch_fast.webrtc._sctp.association import Association, init_chunk
from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.events import Event
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

#: What IPv4, UDP and DTLS 1.2 with AES-GCM add to an SCTP packet on the link, in bytes.
OVERHEAD = 20 + 8 + 37


@dataclass(frozen=True)
class Bursts:
    """Loss after Gilbert and Elliott: a good state without loss, and a bad one.

    :ivar enter: probability, packet by packet, of going from good to bad.
    :ivar leave: and of going back.
    :ivar loss: probability that a packet is lost in the bad state.
    """

    enter: float
    leave: float
    loss: float = 1.0

    @classmethod
    def of(cls, share: float, length: float) -> Bursts:
        """Bursts of so many packets on average that lose this share of all."""
        return cls(enter=share / (1 - share) / length, leave=1 / length)


@dataclass(frozen=True)
class Path:
    """One direction of a link.

    :ivar rate: bytes per second, headers of the lower layers included; infinite by default.
    :ivar delay: seconds one way.
    :ivar jitter: seconds added at most, packet by packet: what reorders.
    :ivar loss: probability that a packet is lost.
    :ivar bursts: loss in bursts, besides.
    :ivar duplication: probability that it comes twice.
    :ivar queue: seconds of data that may wait for the link; more is dropped.
    :ivar mtu: bytes of the largest SCTP packet that passes.
    """

    rate: float = float("inf")
    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    bursts: Bursts | None = None
    duplication: float = 0.0
    queue: float = 0.1
    mtu: int = 65_535


class Link:
    """One direction of a bottleneck, which any number of flows may share."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        #: Nothing passes.
        self.cut = False
        #: Bytes that were given the link's time, headers of the lower layers included.
        self.carried = 0
        self._random = rng
        self._free_at = 0.0
        self._bad = False

    def queued(self, now: float) -> float:
        """Seconds that a packet given now waits for those before it."""
        return max(0.0, self._free_at - now)

    def arrivals(self, length: int, now: float) -> Iterable[float]:
        """When an SCTP packet of *length* bytes arrives: never, once or twice."""
        path = self.path
        waits = self.queued(now)
        if self.cut or length > path.mtu or waits > path.queue:
            return ()
        size = length + OVERHEAD
        self._free_at = leaves = now + waits + size / path.rate
        self.carried += size
        if path.bursts is not None:
            turn = path.bursts.leave if self._bad else path.bursts.enter
            self._bad ^= self._random.random() < turn
            if self._bad and self._random.random() < path.bursts.loss:
                return ()
        if self._random.random() < path.loss:
            return ()
        copies = 2 if self._random.random() < path.duplication else 1
        return [leaves + path.delay + self._random.random() * path.jitter for _ in range(copies)]


@dataclass(eq=False)
class Peer:
    """One end: its association, what came on which channel, and its events."""

    name: str
    association: Association
    link: Link
    received: dict[int, list[bytes | str]] = field(default_factory=dict)
    channels: list[Channel] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event, float], None] | None = None
    packets: int = 0
    deadline: float = math.inf
    other: Peer = field(init=False)

    def watch(self, channel: Channel) -> Channel:
        messages = self.received.setdefault(channel.id, [])
        channel.on_message = messages.append
        return channel

    def accept(self, channel: Channel) -> None:
        self.channels.append(self.watch(channel))


class Simulation:
    """A client and a server, joined by a link; more pairs may share it (:meth:`add_pair`)."""

    def __init__(
        self,
        *,
        there: Path | None = None,
        back: Path | None = None,
        seed: int = 0,
        settings: AssociationSettings | None = None,
        server_settings: AssociationSettings | None = None,
        described: Collection[str] = (),
    ) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        there = there or Path()
        self.links = {
            "client": Link(there, self.random),
            "server": Link(back or there, self.random),
        }
        #: Called with the sender's name and each packet; what it returns false for is lost.
        self.filter: Callable[[str, bytes], bool] | None = None
        self._flight: list[tuple[float, int, Peer, bytes]] = []
        self._calls: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.peers: list[Peer] = []
        self.client, self.server = self.add_pair(settings, server_settings, described=described)

    def add_pair(
        self,
        settings: AssociationSettings | None = None,
        server_settings: AssociationSettings | None = None,
        *,
        described: Collection[str] = (),
    ) -> tuple[Peer, Peer]:
        """Another client and server on the same link.

        :param described: who knows the other's INIT from its description.
        """
        settings = settings or AssociationSettings()
        server_settings = server_settings or settings
        seeds = self.random.randbytes(32), self.random.randbytes(32)
        inits = (init_chunk(settings, seeds[0]), init_chunk(server_settings, seeds[1]))
        pair = (
            self._peer("client", settings, seeds[0], inits[1] if "client" in described else None),
            self._peer(
                "server", server_settings, seeds[1], inits[0] if "server" in described else None
            ),
        )
        for peer, other in zip(pair, reversed(pair), strict=True):
            peer.other = other
        self.peers += pair
        return pair

    def _peer(
        self, name: str, settings: AssociationSettings, seed: bytes, peer_init: bytes | None
    ) -> Peer:
        association = Association(settings, seed, client=name == "client", peer_init=peer_init)
        peer = Peer(name, association, self.links[name])
        association.on_channel = peer.accept
        return peer

    @property
    def paths(self) -> dict[str, Path]:
        """What the link is like from each side; may be changed at any time."""
        return {name: link.path for name, link in self.links.items()}

    @paths.setter
    def paths(self, paths: Mapping[str, Path]) -> None:
        for name, path in paths.items():
            self.links[name].path = path

    @property
    def cut(self) -> bool:
        """Whether nothing passes either way."""
        return all(link.cut for link in self.links.values())

    @cut.setter
    def cut(self, cut: bool) -> None:
        for link in self.links.values():
            link.cut = cut

    def schedule(self, changes: Mapping[float, Path]) -> None:
        """Change both directions to a path, so many seconds from now."""
        for seconds, path in changes.items():
            self.call_at(
                self.now + seconds,
                lambda path=path: setattr(self, "paths", dict.fromkeys(self.links, path)),
            )

    def outage(self, begin: float, seconds: float) -> None:
        """Cut the link *begin* seconds from now, for so many *seconds*."""
        self.call_at(self.now + begin, lambda: setattr(self, "cut", True))
        self.call_at(self.now + begin + seconds, lambda: setattr(self, "cut", False))

    def connect(self) -> None:
        """Start the handshakes from both ends, and end them."""
        for peer in self.peers:
            peer.association.connect(self.now)
        self.run_until(
            lambda: all(peer.association.ready_state == "established" for peer in self.peers), 60.0
        )

    def call_at(self, when: float, call: Callable[[], object]) -> None:
        heapq.heappush(self._calls, (when, next(self._order), call))

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        self._flush(self.peers)
        while self._step(end):
            pass
        self.now = end

    def run_until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Run until *condition* holds; how long it took. It fails after so many *seconds*."""
        begin = self.now
        self._flush(self.peers)
        while not condition():
            assert self._step(begin + seconds), f"not within {seconds} s"
        return self.now - begin

    def settle(self, seconds: float = 120.0) -> None:
        """Run until neither side has anything under way."""
        self.run_until(
            lambda: (
                not self._flight and all(peer.association.sender.queued == 0 for peer in self.peers)
            ),
            seconds,
        )

    def _step(self, end: float) -> bool:
        """Go to the next thing that happens, unless that is after *end*."""
        when = min(peer.deadline for peer in self.peers)
        if self._flight:
            when = min(when, self._flight[0][0])
        if self._calls:
            when = min(when, self._calls[0][0])
        if when > end:
            return False
        self.now = max(self.now, when)
        touched = {peer: None for peer in self.peers if peer.deadline <= self.now}
        while self._flight and self._flight[0][0] <= self.now:
            _, _, peer, packet = heapq.heappop(self._flight)
            peer.association.receive_packet(packet, self.now)
            touched[peer] = None
        if self._calls and self._calls[0][0] <= self.now:
            while self._calls and self._calls[0][0] <= self.now:
                heapq.heappop(self._calls)[2]()
            touched = dict.fromkeys(self.peers)
        for peer in touched:
            deadline = peer.association.next_deadline()
            if deadline is not None and deadline <= self.now:
                peer.association.handle_timeout(self.now)
        self._flush(touched)
        # What is due has been done, or an event loop would spin.
        assert all(peer.deadline > self.now for peer in touched)
        return True

    def _flush(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            association = peer.association
            while True:
                while (packet := association.next_packet(self.now)) is not None:
                    peer.packets += 1
                    self._carry(peer, packet)
                events = association.take_events()
                peer.events += events
                if peer.on_event is None or not events:
                    break
                for event in events:
                    peer.on_event(event, self.now)
            deadline = association.next_deadline()
            peer.deadline = math.inf if deadline is None else deadline

    def _carry(self, sender: Peer, packet: bytes) -> None:
        if self.filter is not None and not self.filter(sender.name, packet):
            return
        for arrives in sender.link.arrivals(len(packet), self.now):
            heapq.heappush(self._flight, (arrives, next(self._order), sender.other, packet))
