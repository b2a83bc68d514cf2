"""The association against aiortc's, in one process: two independent readings of the RFCs."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable

import pytest
from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpTransport
from aiortc.rtcsctptransport import RTCSctpCapabilities

from peerfetch_fast.webrtc._sctp.association import Association
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings


class Dtls:
    """As much of aiortc's DTLS transport as its SCTP transport uses."""

    state = "connected"

    def __init__(self, role: str, send: Callable[[bytes], None]) -> None:
        self._role = role
        self._send = send
        self.receiver: RTCSctpTransport | None = None

    def _register_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self.receiver = receiver

    def _unregister_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self.receiver = None

    async def _send_data(self, data: bytes) -> None:
        self._send(data)


class Pair:
    """Our association and aiortc's, on one event loop, over a link that may drop and reorder."""

    def __init__(self, *, client: bool, loss: float = 0.0, seed: int = 0) -> None:
        self.loop = asyncio.get_running_loop()
        self.random = random.Random(seed)
        self.loss = loss
        self.ours = Association(
            AssociationSettings(remote_max_message_size=262_144),
            self.random.randbytes(32),
            client=client,
        )
        self.dtls = Dtls("server" if client else "client", self._from_theirs)
        self.theirs = RTCSctpTransport(self.dtls)  # type: ignore[arg-type]
        self.inbound: asyncio.Queue[bytes] = asyncio.Queue()
        self.changed = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None
        self.task = asyncio.ensure_future(self._feed())

    async def connect(self) -> None:
        await self.theirs.start(RTCSctpCapabilities(maxMessageSize=262_144), 5000)
        self.ours.connect(self.loop.time())
        self.flush()
        await self.until(lambda: self.ours.ready_state == "established")

    async def close(self) -> None:
        self.task.cancel()
        if self.timer is not None:
            self.timer.cancel()
        await self.theirs.stop()

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), 30)

    def flush(self) -> None:
        while (packet := self.ours.next_packet(self.loop.time())) is not None:
            if self.random.random() >= self.loss:
                self.inbound.put_nowait(packet)
        if self.timer is not None:
            self.timer.cancel()
        deadline = self.ours.next_deadline()
        self.timer = None if deadline is None else self.loop.call_at(deadline, self._timeout)
        self.changed.set()

    def _timeout(self) -> None:
        self.ours.handle_timeout(self.loop.time())
        self.flush()

    def _from_theirs(self, packet: bytes) -> None:
        if self.random.random() >= self.loss:
            self.loop.call_soon(self._to_ours, packet)

    def _to_ours(self, packet: bytes) -> None:
        self.ours.receive_packet(packet, self.loop.time())
        self.flush()

    async def _feed(self) -> None:
        while True:
            packet = await self.inbound.get()
            if self.dtls.receiver is not None:
                await self.dtls.receiver._handle_data(packet)
            self.changed.set()


def run(test: Callable[[Pair], Awaitable[None]], *, client: bool = True, loss: float = 0.0) -> None:
    async def main() -> None:
        pair = Pair(client=client, loss=loss)
        try:
            await pair.connect()
            await test(pair)
        finally:
            await pair.close()

    asyncio.run(main())


MESSAGES: list[bytes | str] = [
    b"",
    "",
    b"\x00",
    "grüße",
    b"a" * 1_131,
    b"b" * 1_132,
    b"c" * 1_133,
    bytes(range(256)) * 256,
    b"d" * 262_144,
]


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
def test_messages_both_ways_on_our_channel(client: bool, ordered: bool) -> None:
    async def test(pair: Pair) -> None:
        channel = pair.ours.open_channel("ours", "p", ordered=ordered)
        echoed: list[bytes | str] = []
        theirs: list[RTCDataChannel] = []
        channel.on_message = echoed.append

        @pair.theirs.on("datachannel")
        def accept(remote: RTCDataChannel) -> None:
            theirs.append(remote)
            remote.on("message", remote.send)

        for message in MESSAGES:
            channel.send(message, pair.loop.time())
        pair.flush()
        await pair.until(lambda: len(echoed) == len(MESSAGES))
        assert sorted(echoed, key=repr) == sorted(MESSAGES, key=repr)
        if ordered:
            assert echoed == MESSAGES
        assert (theirs[0].label, theirs[0].protocol, theirs[0].ordered) == ("ours", "p", ordered)
        assert channel.id == theirs[0].id == (0 if client else 1)

    run(test, client=client)


@pytest.mark.parametrize("client", [True, False])
def test_their_channel_with_partial_reliability(client: bool) -> None:
    async def test(pair: Pair) -> None:
        channels = []
        pair.ours.on_channel = channels.append
        RTCDataChannel(
            pair.theirs, RTCDataChannelParameters(label="t", ordered=False, maxRetransmits=3)
        )
        RTCDataChannel(pair.theirs, RTCDataChannelParameters(label="u", maxPacketLifeTime=1500))
        await pair.until(lambda: len(channels) == 2)
        first, second = channels
        assert (first.label, first.ordered, first.max_retransmits) == ("t", False, 3)
        assert (second.label, second.ordered, second.max_lifetime) == ("u", True, 1.5)
        assert first.id == (1 if client else 0)

    run(test, client=client)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_megabytes_arrive_whole_over_a_lossy_link(direction: str) -> None:
    async def test(pair: Pair) -> None:
        blocks = [random.Random(n).randbytes(16_384) for n in range(64)]
        expected = hashlib.sha256(b"".join(blocks)).hexdigest()
        got: list[bytes] = []
        channel = pair.ours.open_channel("bulk")
        channel.on_message = got.append  # type: ignore[assignment]

        @pair.theirs.on("datachannel")
        def accept(remote: RTCDataChannel) -> None:
            if direction == "in":
                for block in blocks:
                    remote.send(block)
            else:
                remote.on("message", got.append)

        if direction == "out":
            for block in blocks:
                channel.send(block, pair.loop.time())
        pair.flush()
        await pair.until(lambda: len(got) == len(blocks))
        assert hashlib.sha256(b"".join(got)).hexdigest() == expected

    # aiortc repairs some losses only after a second, so it sends over a clean link.
    run(test, loss=0.01 if direction == "out" else 0.0)


@pytest.mark.parametrize("who", ["we", "they"])
def test_a_closed_channel_frees_its_id(who: str) -> None:
    async def test(pair: Pair) -> None:
        theirs: list[RTCDataChannel] = []
        pair.theirs.on("datachannel", theirs.append)
        for round_number in range(1, 4):
            channel = pair.ours.open_channel("again")
            assert channel.id == 0
            channel.send(b"x" * 5_000, pair.loop.time())
            pair.flush()
            await pair.until(lambda: len(theirs) == round_number)  # noqa: B023
            if who == "we":
                channel.close(pair.loop.time())
                pair.flush()
            else:
                theirs[-1].close()
            await pair.until(
                lambda: (
                    channel.ready_state == "closed"  # noqa: B023
                    and theirs[-1].readyState == "closed"
                )
            )

    run(test)


def test_their_abort_ends_the_association() -> None:
    async def test(pair: Pair) -> None:
        await pair.theirs.stop()
        await pair.until(lambda: pair.ours.ready_state == "closed")
        assert "aborted by the peer" in str(pair.ours.error)

    run(test)


def test_they_take_part_in_our_shutdown() -> None:
    async def test(pair: Pair) -> None:
        channel = pair.ours.open_channel("last")
        channel.send(b"words", pair.loop.time())
        pair.ours.shutdown(pair.loop.time())
        pair.flush()
        await pair.until(lambda: pair.ours.ready_state == "closed")
        await pair.until(lambda: pair.theirs.state == "closed")
        assert pair.ours.error is None

    run(test)
