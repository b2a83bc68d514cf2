"""What is measured across an emulated link; ``bench.links`` says which links and with what."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from bench.link import Link, LinkProcess, emulated
from bench.pattern import Pattern
from bench.processes import Process
from bench.report import Row, percentile
from bench.stacks import DATAGRAM, STACKS, USER_DATA, Stack

__all__ = ["INTERVAL", "Bulk", "Crossing", "End", "Fairness", "Start", "UrgentGet"]

PACKET = DATAGRAM + 28
"""Bytes of the largest IPv4 packet."""

PAYLOAD = USER_DATA / PACKET
"""The share of a link's rate that user data can have."""

MESSAGE_BYTES = 16 * 1024
IDLE = 2.0
"""Seconds of GETs with nothing beside them."""

SMALL = "/1000"
ENDLESS = f"/{1 << 40}"
INITIAL_WINDOW = 10
"""Packets that the ideal start begins with (RFC 6928)."""

INTERVAL = 0.1
"""Seconds of one interval of the link's series."""

RECOVERED = 0.9
SUSTAINED = 10
"""Intervals over which that share of the rate must be reached for a sender to have recovered."""

LATER = 2.0
SETTLE = 10.0
"""Seconds that the second of two flows comes later, and that they then have to share the link."""


@dataclass(frozen=True)
class End:
    """A stack, and for ours the congestion controller."""

    stack: Stack
    congestion: str | None = None

    @property
    def program(self) -> Stack:
        """What to run."""
        if self.congestion is None:
            return self.stack
        return replace(self.stack, options=(*self.stack.options, self.congestion))

    def __str__(self) -> str:
        return f"{self.stack.name} {self.congestion}" if self.congestion else self.stack.name


class Crossing(Protocol):
    """Something to measure, as often as wished."""

    @property
    def keys(self) -> Row:
        """What tells its rows from others."""

    async def measure(self, pattern: Pattern, seed: int) -> Row:
        """The figures of one run, by new processes. Raises Failed, WrongBytes."""


def _keys(measured: str, end: End, link: Link) -> Row:
    return {
        "measured": measured,
        "stack": end.stack.name,
        "congestion": end.congestion,
        "rate_mbit": link.rate_mbit,
        "delay_ms": link.delay_ms,
        "loss_percent": link.loss_percent,
        "queue_ms": link.queue_ms,
    }


@dataclass(frozen=True)
class Bulk:
    """How much gets through, and what that costs."""

    link: Link
    sender: End
    receiver: End
    seconds: float

    @property
    def keys(self) -> Row:
        return {
            **_keys("bulk", self.sender, self.link),
            "receiver": self.receiver.stack.name,
        }

    async def cross(self, pattern: Pattern, seed: int) -> tuple[Row, Row, Row]:
        """The accounts of the sender, the receiver and the link."""
        async with (
            emulated(self.link, seed=seed) as link,
            self.sender.program.connect(
                pattern, self.receiver.program, partial(link.rewrite, 0)
            ) as ends,
        ):
            await link.begin()
            sent, received = await _bulk(*ends, self.seconds)
            return sent, received, await link.report()

    async def measure(self, pattern: Pattern, seed: int) -> Row:
        sent, received, carried = await self.cross(pattern, seed)
        there, back = carried["ways"]
        goodput = received["bytes_after_first"] * 8 / received["seconds"] / 1e6
        idle = 2 * self.link.delay_ms
        megabytes = received["bytes"] / 1e6
        row = {
            "goodput_mbit": goodput,
            "share": goodput / PAYLOAD / self.link.mean_rate(received["seconds"]),
            "round_trip_idle_ms": idle,
            "round_trip_p95_ms": idle + there["queue_p95_ms"] + back["queue_p95_ms"],
            "stall_s": received["stall_s"],
            "cpu_ms_per_mb_send": sent["cpu_us"] / 1e3 / megabytes,
            "cpu_ms_per_mb_recv": received["cpu_us"] / 1e3 / megabytes,
            "core_share_recv": received["cpu_us"] / 1e6 / received["seconds"],
            "core_mbit_recv": megabytes * 8 / (received["cpu_us"] / 1e6),
            **_health(carried),
        }
        if (returns := self.link.returns) is not None:
            row["recovered_after_s"] = _recovered(there["series"], returns, self.link.rate_mbit)
        return row


async def _bulk(offerer: Process, answerer: Process, seconds: float) -> tuple[Row, Row]:
    offerer.tell("bulk", message_bytes=MESSAGE_BYTES, seconds=seconds)
    received = await answerer.hear("received", seconds)
    return await offerer.hear("sent"), received


def _health(carried: Row) -> Row:
    """Whether the link can be trusted: packets that it missed, and how late it sent others."""
    return {"link_missed_packets": carried["overrun"], "link_late_p99_ms": carried["late_p99_ms"]}


def _recovered(series: list[Row], returns: float, rate_mbit: float) -> float:
    """Seconds from ``returns`` until the link was used again, or until the end if it never was."""
    first = round(returns / INTERVAL)
    rates = [sum(interval["mbit"]) for interval in series[first:]]
    for at in range(len(rates) - SUSTAINED + 1):
        if sum(rates[at : at + SUSTAINED]) >= RECOVERED * SUSTAINED * rate_mbit:
            return at * INTERVAL
    return len(rates) * INTERVAL


@contextlib.asynccontextmanager
async def _session(pattern: Pattern, link: LinkProcess, congestion: str) -> AsyncIterator[Process]:
    """A client and a server with a session between them, across the link."""
    stack = Stack("session", (sys.executable, "-m", "bench.peers.session"), (congestion,))
    async with stack.connect(pattern, rewrite=partial(link.rewrite, 0)) as (client, _):
        yield client


@dataclass(frozen=True)
class Start:
    """How long a body takes that is the first on a new connection."""

    link: Link
    congestion: str
    size: int

    @property
    def keys(self) -> Row:
        ours = End(STACKS["native"], self.congestion)
        return {**_keys("start", ours, self.link), "bytes": self.size}

    async def measure(self, pattern: Pattern, seed: int) -> Row:
        async with (
            emulated(self.link, seed=seed) as link,
            _session(pattern, link, self.congestion) as client,
        ):
            await link.begin()
            client.tell("download", target=f"/{self.size}", size=self.size)
            seconds = (await client.hear("downloaded"))["seconds"]
            carried = await link.report()
        ideal = _ideal_start(self.link, self.size)
        return {
            "seconds": seconds,
            "ideal_seconds": ideal,
            "times_ideal": seconds / ideal,
            **_health(carried),
        }


def _ideal_start(link: Link, size: int) -> float:
    """Seconds for a request there and the body back, if the window doubles with every round trip,
    from ``INITIAL_WINDOW`` packets until the link is full.
    """
    transmission = PACKET * 8 / link.rate_mbit / 1e6
    round_trip = 2 * link.delay_ms / 1e3 + transmission
    left, window = math.ceil(size / USER_DATA), INITIAL_WINDOW
    seconds = round_trip
    while left > window and window * transmission < round_trip:
        left -= window
        window *= 2
        seconds += round_trip
    return seconds + (left - 1) * transmission


@dataclass(frozen=True)
class UrgentGet:
    """How long a small urgent GET takes during a download."""

    link: Link
    congestion: str
    seconds: float

    @property
    def keys(self) -> Row:
        return _keys("urgent GET", End(STACKS["native"], self.congestion), self.link)

    async def measure(self, pattern: Pattern, seed: int) -> Row:
        async with (
            emulated(self.link, seed=seed) as link,
            _session(pattern, link, self.congestion) as client,
        ):
            await link.begin()
            asked = {"target": SMALL, "priority": "u=0"}
            client.tell("gets", seconds=IDLE, **asked)
            idle = (await client.hear("got", IDLE))["latencies_ms"]
            client.tell("gets_during_download", seconds=self.seconds, download=ENDLESS, **asked)
            loaded = (await client.hear("got", self.seconds))["latencies_ms"]
            carried = await link.report()
        series = carried["ways"][1]["series"][-round(self.seconds / INTERVAL) :]
        return {
            "idle_p50_ms": percentile(idle, 50),
            "p50_ms": percentile(loaded, 50),
            "p95_ms": percentile(loaded, 95),
            "p95_times_idle": percentile(loaded, 95) / percentile(idle, 50),
            "requests": len(loaded),
            "carried_mbit": sum(sum(interval["mbit"]) for interval in series) / len(series),
            **_health(carried),
        }


@dataclass(frozen=True)
class Fairness:
    """How two flows share a link once the second has had time to find its place.

    The shares are those of the link's whole packets, over ``seconds``.
    """

    link: Link
    first: End
    second: End
    seconds: float

    @property
    def keys(self) -> Row:
        return {**_keys("fairness", self.first, self.link), "beside": str(self.second)}

    async def measure(self, pattern: Pattern, seed: int) -> Row:
        async with contextlib.AsyncExitStack() as stack:
            link = await stack.enter_async_context(emulated(self.link, seed=seed, flows=2))
            one, other = [
                await stack.enter_async_context(
                    end.program.connect(pattern, rewrite=partial(link.rewrite, flow))
                )
                for flow, end in enumerate((self.first, self.second))
            ]
            await link.begin()
            lasting = SETTLE + self.seconds
            first = asyncio.ensure_future(_bulk(*one, LATER + lasting))
            await asyncio.sleep(LATER)
            await asyncio.gather(first, _bulk(*other, lasting))
            carried = await link.report()
        begin = round((LATER + SETTLE) / INTERVAL)
        series = carried["ways"][0]["series"][begin : begin + round(self.seconds / INTERVAL)]
        rates = [
            sum(interval["mbit"][flow] for interval in series) / len(series) for flow in (0, 1)
        ]
        return {
            "share": rates[0] / self.link.rate_mbit,
            "share_beside": rates[1] / self.link.rate_mbit,
            "jain": sum(rates) ** 2 / (2 * sum(rate**2 for rate in rates)),
            **_health(carried),
        }
