"""The emulated link does to packets what it was told, by its own account and by what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from bench.link import DIRECTORY, Link, LinkProcess, emulated

from support import run

needs_program = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("make") is None or shutil.which("cc") is None,
    reason="the link is a program for Linux and needs a C compiler",
)

HEADERS = 28
SO_TIMESTAMPNS = 35  # asm-generic/socket.h


class Ends:
    """Both ends of every flow of a link, with sockets of their own."""

    def __init__(self, link: LinkProcess) -> None:
        self.link = link
        self.sent = [0, 0]
        self.received: dict[tuple[int, int], list[bytes]] = {}
        self.arrived: list[float] = []
        """By the kernel's clock, in the order of arrival."""
        self.sources: set[int] = set()
        self._sockets: dict[tuple[int, int], socket.socket] = {}
        for flow, end in itertools.product(range(len(link.ports)), range(2)):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind(("127.0.0.1", 0))
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            link.lead(flow, end, *made.getsockname())
            self._sockets[flow, end] = made
            self.received[flow, end] = []

    def close(self) -> None:
        for made in self._sockets.values():
            made.close()

    def send(self, data: bytes, *, flow: int = 0, end: int = 0) -> None:
        port = self.link.ports[flow][1 - end]
        self._sockets[flow, end].sendto(data, ("127.0.0.1", port))
        self.sent[end] += 1

    def numbers(self, *, flow: int = 0, end: int = 1) -> list[int]:
        """What each datagram begins with."""
        return [int.from_bytes(data[:4], "big") for data in self.received[flow, end]]

    async def settle(self) -> Any:
        """The link's report once it has dealt with all that was sent."""
        while True:
            report = await self.link.report()
            self._read()
            assert report["overrun"] == 0
            if all(
                way["packets"] == sent and not way["under_way"]
                for way, sent in zip(report["ways"], self.sent, strict=True)
            ):
                return report
            await asyncio.sleep(0.01)

    def _read(self) -> None:
        for ends, made in self._sockets.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, extra, _, source = made.recvmsg(2048, 64)
                    self.received[ends].append(data)
                    self.sources.add(source[1])
                    seconds, nanoseconds = struct.unpack("@ll", extra[0][2])
                    self.arrived.append(seconds + nanoseconds / 1e9)


@contextlib.asynccontextmanager
async def ends_of(*settings: str, seed: int = 1, flows: int = 1) -> AsyncIterator[Ends]:
    async with emulated(*settings, seed=seed, flows=flows) as link:
        ends = Ends(link)
        try:
            await link.begin()
            yield ends
        finally:
            ends.close()


def numbered(count: int, size: int = 4) -> Iterator[bytes]:
    return (number.to_bytes(4, "big").ljust(size, b".") for number in range(count))


def sizes(count: int, size: int) -> Iterator[bytes]:
    """Numbered datagrams that are IPv4 packets of ``size`` bytes."""
    return numbered(count, size - HEADERS)


@needs_program
def test_what_is_sent_arrives_from_the_port_that_stands_for_its_sender() -> None:
    async def work() -> None:
        async with ends_of("delay=1") as ends:
            for data in (b"", b"there", b"x" * 1472):
                ends.send(data)
            report = await ends.settle()
            assert ends.received[0, 1] == [b"", b"there", b"x" * 1472]
            assert ends.sources == {ends.link.ports[0][0]}
            assert report["ways"][0]["flows"] == [{"delivered": 3, "bytes": 5 + 1472 + 3 * HEADERS}]
            ends.sources.clear()
            ends.send(b"back", end=1)
            await ends.settle()
            assert ends.received[0, 0] == [b"back"]
            assert ends.sources == {ends.link.ports[0][1]}

    run(work())


@needs_program
def test_an_end_that_was_not_named_is_where_its_first_datagram_comes_from() -> None:
    async def work() -> None:
        async with emulated("delay=1") as link:
            (ports,) = link.ports
            ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
            with ends[0], ends[1]:
                for end in ends:
                    end.bind(("127.0.0.1", 0))
                    end.setblocking(False)
                link.lead(0, 1, *ends[1].getsockname())
                loop = asyncio.get_running_loop()
                ends[0].sendto(b"there", ("127.0.0.1", ports[1]))
                assert await loop.sock_recv(ends[1], 100) == b"there"
                ends[1].sendto(b"back", ("127.0.0.1", ports[0]))
                assert await loop.sock_recv(ends[0], 100) == b"back"

    run(work())


@needs_program
def test_a_datagram_that_fits_no_ethernet_frame_is_not_carried() -> None:
    async def work() -> None:
        async with ends_of("delay=1") as ends:
            for data in (b"first", b"x" * 1473, b"last"):
                ends.send(data)
            ends.sent[0] -= 1
            assert (await ends.settle())["oversized"] == 1
            assert ends.received[0, 1] == [b"first", b"last"]

    run(work())


@needs_program
def test_a_link_passes_no_more_than_its_rate() -> None:
    async def work() -> None:
        async with ends_of("rate=10 queue=1000") as ends:
            for data in sizes(800, 1000):
                ends.send(data)
            way = (await ends.settle())["ways"][0]
            # 640 ms; the intervals without beginning and end are full, give or take a packet.
            rates = [interval["mbit"][0] for interval in way["series"]]
            assert rates[4] == pytest.approx(10, abs=0.09)
            assert rates[5] == pytest.approx(10, abs=0.09)
            assert ends.numbers() == list(range(800))
            # They arrive at that rate too, but for the time that the machine took.
            assert ends.arrived[-1] - ends.arrived[0] > 0.5

    run(work())


@needs_program
def test_each_direction_is_delayed_by_its_own_time() -> None:
    async def work() -> None:
        async with ends_of("delay=50", "delay=20") as ends:
            for end, delay in ((0, 0.05), (1, 0.02)):
                ends.arrived.clear()
                before = time.time()
                ends.send(b"timed", end=end)
                after = time.time()
                late = (await ends.settle())["late_max_ms"] / 1000
                (arrived,) = ends.arrived
                assert before + delay <= arrived <= after + delay + late + 0.001

    run(work())


@needs_program
def test_the_queue_is_bounded() -> None:
    async def work() -> None:
        async with ends_of("rate=1 queue=50") as ends:
            for data in sizes(100, 1000):
                ends.send(data)
            way = (await ends.settle())["ways"][0]
            # 8 ms each: 7 fill the queue, and some leave while the others are sent.
            assert way["dropped"] + way["flows"][0]["delivered"] == 100
            assert way["dropped"] >= 50
            assert 40 < way["queue_max_ms"] <= 50
            assert way["queue_mean_ms"] < way["queue_p95_ms"] <= 50.1
            assert ends.numbers()[:7] == list(range(7))

    run(work())


async def survivors(settings: str, count: int, seed: int) -> list[int]:
    async with ends_of(settings, seed=seed) as ends:
        for number, data in enumerate(numbered(count)):
            if number % 500 == 499:
                await ends.settle()  # no receive buffer may overflow
            ends.send(data)
        way = (await ends.settle())["ways"][0]
        arrived = ends.numbers()
        assert way["lost"] == count - len(arrived)
        return arrived


@needs_program
def test_loss_is_as_frequent_as_asked_for_and_repeats_with_its_seed() -> None:
    async def work() -> None:
        arrived = await survivors("loss=10", 5000, seed=7)
        assert 0.09 < 1 - len(arrived) / 5000 < 0.11
        assert await survivors("loss=10", 5000, seed=7) == arrived
        assert await survivors("loss=10", 5000, seed=8) != arrived

    run(work())


@needs_program
def test_losses_come_in_bursts_of_the_length_asked_for() -> None:
    async def work() -> None:
        arrived = await survivors("loss=5 burst=4", 20_000, seed=3)
        assert 0.04 < 1 - len(arrived) / 20_000 < 0.06
        bursts = [
            after - before - 1
            for before, after in itertools.pairwise(arrived)
            if after > before + 1
        ]
        assert 3.5 < sum(bursts) / len(bursts) < 4.5

    run(work())


@needs_program
def test_nothing_is_lost_before_the_beginning() -> None:
    async def work() -> None:
        async with emulated("loss=100") as link:
            ends = Ends(link)
            with contextlib.closing(ends):
                await ends.settle()
                ends.send(b"signaling")
                ends.sent[0] = 0  # nor does it count
                while not ends.received[0, 1]:
                    await ends.settle()
                await link.begin()
                ends.send(b"data")
                assert (await ends.settle())["ways"][0]["lost"] == 1

    run(work())


@needs_program
def test_jitter_keeps_the_order_and_reordering_does_not() -> None:
    async def work() -> None:
        async with ends_of("delay=1 jitter=20") as ends:
            for data in numbered(200):
                ends.send(data)
            await ends.settle()
            assert ends.numbers() == list(range(200))
            # All but one in 2^200 links of those that were sent together.
            assert ends.arrived[-1] - ends.arrived[0] > 0.005
        async with ends_of("delay=1 reorder=10 hold=5") as ends:
            for data in numbered(200):
                ends.send(data)
            way = (await ends.settle())["ways"][0]
            assert 5 < way["reordered"] < 40
            assert ends.numbers() != list(range(200))
            assert sorted(ends.numbers()) == list(range(200))

    run(work())


@needs_program
def test_a_schedule_changes_the_rate_of_what_waits_already() -> None:
    async def work() -> None:
        async with ends_of("rate=1 queue=10000 @0.5 rate=10") as ends:
            for data in sizes(120, 1000):
                ends.send(data)
            rates: list[float] = []
            while len(rates) < 7:
                way = (await ends.settle())["ways"][0]
                rates = [interval["mbit"][0] for interval in way["series"]]
            assert rates[3] == pytest.approx(1, abs=0.09)
            # What is left, at least 460 kbit, takes 46 ms or little more.
            assert sum(rates[5:7]) >= 4.6
            assert way["queue_max_ms"] < 600

    run(work())


@needs_program
def test_a_link_that_is_cut_and_comes_back() -> None:
    async def work() -> None:
        async with ends_of("loss=100 @0.3 loss=0") as ends:
            ends.send(b"lost")
            assert (await ends.settle())["ways"][0]["lost"] == 1
            while not ends.received[0, 1]:
                ends.send(b"found")
                report = await ends.settle()
            assert len(report["ways"][0]["series"]) >= 3  # not before its time

    run(work())


@needs_program
def test_flows_share_one_link() -> None:
    async def work() -> None:
        async with ends_of("rate=10 queue=1000", flows=2) as ends:
            for data in sizes(400, 1000):
                for flow in range(2):
                    ends.send(data, flow=flow)
            way = (await ends.settle())["ways"][0]
            assert [flow["delivered"] for flow in way["flows"]] == [400, 400]
            assert sum(way["series"][4]["mbit"]) == pytest.approx(10, abs=0.09)
            assert ends.numbers(flow=0) == ends.numbers(flow=1) == list(range(400))

    run(work())


@needs_program
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("speed=3",),
        ("rate=fast",),
        ("rate=-1",),
        ("loss=101",),
        ("@2 rate=1 @1 rate=2",),
        ("--flows", "9", "rate=1"),
        ("rate=1", "rate=1", "rate=1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: tuple[str, ...]) -> None:
    subprocess.run(("make", "--silent"), cwd=DIRECTORY, check=True)
    done = subprocess.run(
        (DIRECTORY / "link", *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "usage" in done.stderr


class Said:
    """In place of the program: what it was told."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []

    def tell(self, kind: str, **fields: Any) -> None:
        self.commands.append((kind, fields))


def test_of_the_candidates_one_is_left_and_rewritten() -> None:
    said = Said()
    link = LinkProcess(said, [[1000, 1001], [2000, 2001]])  # type: ignore[arg-type]
    sdp = (
        "v=0\r\n"
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
        "a=candidate:1 1 UDP 2122 fe80::1 50000 typ host\r\n"
        "a=candidate:2 1 tcp 1518 192.0.2.2 9 typ host tcptype active\r\n"
        "a=candidate:3 1 udp 1686 198.51.100.7 50001 typ srflx raddr 192.0.2.2 rport 50002\r\n"
        "a=candidate:4 1 UDP 2122 192.0.2.2 50002 typ host generation 0\r\n"
        "a=candidate:5 1 UDP 2122 192.0.2.3 50003 typ host\r\n"
        "a=end-of-candidates\r\n"
    )
    rewritten = link.rewrite(1, 0, {"type": "offer", "sdp": sdp})
    assert rewritten == {
        "type": "offer",
        "sdp": "v=0\r\n"
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
        "a=candidate:4 1 UDP 2122 127.0.0.1 2000 typ host generation 0\r\n"
        "a=end-of-candidates\r\n",
    }
    assert said.commands == [("end", {"flow": 1, "end": 0, "address": "192.0.2.2", "port": 50002})]


def test_a_link_describes_itself() -> None:
    link = Link(50, 20, 0.5, 100, burst=4, changes=((2, "rate", 5), (4.5, "rate", 50)))
    assert link.settings == ("rate=50 delay=20 loss=0.5 burst=4 queue=100 @2 rate=5 @4.5 rate=50")
    assert link.mean_rate(2) == 50
    assert link.mean_rate(4) == (2 * 50 + 2 * 5) / 4
    assert link.mean_rate(5) == (2 * 50 + 2.5 * 5 + 0.5 * 50) / 5
    assert link.returns is None


def test_a_cut_link_carries_nothing() -> None:
    link = Link(20, 25, 0, 100, changes=((4, "loss", 100), (7, "loss", 0)))
    assert link.mean_rate(10) == 14
    assert link.returns == 7
