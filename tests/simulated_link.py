"""Session links over real SCTP associations and an emulated path, on a loop in virtual time."""

from __future__ import annotations

import asyncio
import random

from tests.webrtc._sctp.simulation import Link as Bottleneck
from tests.webrtc._sctp.simulation import Path

from peerfetch_fast.streams.link import LinkReceiver
from peerfetch_fast.webrtc._sctp.association import Association
from peerfetch_fast.webrtc._sctp.channels import Channel
from peerfetch_fast.webrtc._sctp.events import BufferedAmountLow
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings


class SimulatedLink:
    """One end of a channel (:class:`.streams.link.Link`) and what drives its association."""

    in_parts = False
    resumes = False
    max_message_size = 65_536

    def __init__(self, settings: AssociationSettings, path: Path, rng: random.Random) -> None:
        client = settings.local_port == settings.remote_port
        self.bottleneck = Bottleneck(path, rng)
        self.association = Association(settings, rng.randbytes(32), client=client)
        self.channel: Channel = self.association.open_channel("link", ordered=False, id=0)
        self.other: SimulatedLink
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._receiver: LinkReceiver | None = None

    @property
    def low_water(self) -> int:
        return self.channel.buffered_amount_low_threshold

    @low_water.setter
    def low_water(self, value: int) -> None:
        self.channel.buffered_amount_low_threshold = value

    @property
    def buffered_amount(self) -> int:
        return self.channel.buffered_amount

    @property
    def held(self) -> int:
        return self.association.held

    def attach(self, receiver: LinkReceiver) -> None:
        self._receiver = receiver
        self.channel.on_message = receiver.message_received

    def send(self, message: bytes) -> None:
        if self.channel.ready_state == "open":
            self.channel.send(message, self._loop.time())
            self.wake()

    def send_parts(self, head: bytes, body: bytes, start: int, length: int) -> None:
        raise AssertionError("this link has no parts")

    def flush(self) -> None:
        self._pump()

    def close(self) -> None:
        for end in (self, self.other):
            if end._timer is not None:
                end._timer.cancel()
            receiver, end._receiver = end._receiver, None
            if receiver is not None:
                receiver.link_closed(None)

    def wake(self) -> None:
        """Send at the end of this turn, as the data path does."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._woken = False
        now = self._loop.time()
        while (packet := self.association.next_packet(now)) is not None:
            for arrives in self.bottleneck.arrivals(len(packet), now):
                self._loop.call_at(arrives, self.other._receive, packet)
            self._tell()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.association.next_deadline()
        if deadline is not None and self._receiver is not None:
            self._timer = self._loop.call_at(max(deadline, now), self._expire)

    def _receive(self, packet: bytes) -> None:
        self.association.receive_packet(packet, self._loop.time())
        self._tell()
        self._pump()

    def _expire(self) -> None:
        self.association.handle_timeout(self._loop.time())
        self._tell()
        self._pump()

    def _tell(self) -> None:
        for event in self.association.take_events():
            if isinstance(event, BufferedAmountLow) and self._receiver is not None:
                self._receiver.buffered_low()


async def simulated_pair(
    path: Path, *, seed: int = 0, settings: AssociationSettings | None = None
) -> tuple[SimulatedLink, SimulatedLink]:
    """Two ends of a channel over this path, which is open."""
    rng = random.Random(seed)
    settings = settings or AssociationSettings()
    ends = [SimulatedLink(settings, path, rng) for _ in range(2)]
    ends[0].other, ends[1].other = ends[1], ends[0]
    for end in ends:
        end._receiver = _Nobody()
        end.association.connect(asyncio.get_running_loop().time())
        end.wake()
    while not all(end.channel.ready_state == "open" for end in ends):
        await asyncio.sleep(0.01)
    return ends[0], ends[1]


class _Nobody:
    """Who listens until there is a session."""

    def message_received(self, message: bytes | str) -> None:
        """Nothing comes yet."""

    def parts_received(self, head: bytes, body: bytes) -> None:
        """Nothing comes yet."""

    def buffered_low(self) -> None:
        """Nothing is sent yet."""

    def link_closed(self, error: Exception | None) -> None:
        """Nobody needs to know."""
