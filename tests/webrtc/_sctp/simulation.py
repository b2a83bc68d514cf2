"""Two associations over an emulated link, in virtual time: a seed reproduces a run exactly."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from peerfetch_fast.webrtc._sctp.association import Association
from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.events import Event
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

#: What IPv4, UDP and DTLS 1.2 with AES-GCM add to an SCTP packet on the link, in bytes.
OVERHEAD = 20 + 8 + 37


@dataclass(frozen=True)
class Path:
    """One direction of a link.

    :ivar rate: bytes per second, headers of the lower layers included; infinite by default.
    :ivar delay: seconds one way.
    :ivar jitter: seconds added at most, packet by packet: what reorders.
    :ivar loss: probability that a packet is lost.
    :ivar duplication: probability that it comes twice.
    :ivar queue: seconds of data that may wait for the link; more is dropped.
    :ivar mtu: bytes of the largest SCTP packet that passes.
    """

    rate: float = float("inf")
    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    queue: float = 0.1
    mtu: int = 65_535


@dataclass
class Peer:
    """One end: its association, what came on which channel, and its events."""

    name: str
    association: Association
    received: dict[int, list[bytes | str]] = field(default_factory=dict)
    channels: list[Channel] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event, float], None] | None = None
    packets: int = 0

    def watch(self, channel: Channel) -> Channel:
        messages = self.received.setdefault(channel.id, [])
        channel.on_message = messages.append
        return channel

    def accept(self, channel: Channel) -> None:
        self.channels.append(self.watch(channel))


class Simulation:
    """A client and a server, joined by a link."""

    def __init__(
        self,
        *,
        there: Path | None = None,
        back: Path | None = None,
        seed: int = 0,
        settings: AssociationSettings | None = None,
        server_settings: AssociationSettings | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        settings = settings or AssociationSettings()
        self.client = Peer("client", self._association(settings, True))
        self.server = Peer("server", self._association(server_settings or settings, False))
        self.peers = (self.client, self.server)
        for peer in self.peers:
            peer.association.on_channel = peer.accept
        there = there or Path()
        self.paths = {"client": there, "server": back or there}
        self.free_at = {"client": 0.0, "server": 0.0}
        self.cut = False
        #: Called with the sender's name and each packet; what it returns false for is lost.
        self.filter: Callable[[str, bytes], bool] | None = None
        self.carried = {"client": 0, "server": 0}
        self._flight: list[tuple[float, int, Peer, bytes]] = []
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def _association(self, settings: AssociationSettings, client: bool) -> Association:
        return Association(settings, self.random.randbytes(32), client=client)

    def connect(self) -> None:
        """Start the handshake from both ends, and end it."""
        for peer in self.peers:
            peer.association.connect(self.now)
        self.run_until(
            lambda: all(peer.association.ready_state == "established" for peer in self.peers), 60.0
        )

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (when, next(self._order), call))

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        while self._step(end):
            pass
        self.now = end

    def run_until(self, condition: Callable[[], bool], seconds: float) -> float:
        """Run until *condition* holds; how long it took. It fails after so many *seconds*."""
        begin = self.now
        self._flush()
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
        self._flush()
        times = [end + 1.0]
        if self._flight:
            times.append(self._flight[0][0])
        if self._calls:
            times.append(self._calls[0][0])
        for peer in self.peers:
            deadline = peer.association.next_deadline()
            if deadline is not None:
                times.append(deadline)
        when = min(times)
        if when > end:
            return False
        self.now = max(self.now, when)
        while self._flight and self._flight[0][0] <= self.now:
            _, _, peer, packet = heapq.heappop(self._flight)
            peer.association.receive_packet(packet, self.now)
        while self._calls and self._calls[0][0] <= self.now:
            heapq.heappop(self._calls)[2]()
        for peer in self.peers:
            deadline = peer.association.next_deadline()
            if deadline is not None and deadline <= self.now:
                peer.association.handle_timeout(self.now)
        self._flush()
        for peer in self.peers:
            # What is due has been done, or an event loop would spin.
            deadline = peer.association.next_deadline()
            assert deadline is None or deadline > self.now
        return True

    def _flush(self) -> None:
        for peer, other in (self.peers, self.peers[::-1]):
            while True:
                while (packet := peer.association.next_packet(self.now)) is not None:
                    peer.packets += 1
                    self._carry(peer, other, packet)
                events = peer.association.take_events()
                peer.events += events
                if peer.on_event is None or not events:
                    break
                for event in events:
                    peer.on_event(event, self.now)

    def _carry(self, sender: Peer, receiver: Peer, packet: bytes) -> None:
        path = self.paths[sender.name]
        if self.cut or len(packet) > path.mtu:
            return
        if self.filter is not None and not self.filter(sender.name, packet):
            return
        size = len(packet) + OVERHEAD
        free_at = max(self.free_at[sender.name], self.now)
        if free_at - self.now > path.queue:
            return
        leaves = free_at + size / path.rate
        self.free_at[sender.name] = leaves
        self.carried[sender.name] += size
        if self.random.random() < path.loss:
            return
        for _ in range(2 if self.random.random() < path.duplication else 1):
            arrives = leaves + path.delay + self.random.random() * path.jitter
            heapq.heappush(self._flight, (arrives, next(self._order), receiver, packet))
