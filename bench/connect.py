"""How many round trips pass from the answer's arrival to the first byte of the first response?"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.link import Link, emulated
from bench.pattern import Pattern
from bench.processes import Failed, Process, run, running
from bench.report import Row, environment, medians, parser, report, some_of
from bench.stacks import CHROMIUM, STACKS, Stack, prepare, versions
from peerfetch_fast.webrtc.transports import DEFAULT_CONGESTION

BEYOND = 0.005
"""Seconds that signaling takes beyond the way through the link: it goes through a server."""

OURS = Stack("peerfetch", (sys.executable, "-m", "bench.peers.session"), (DEFAULT_CONGESTION,))
"""An HTTP request and its response on a session; the others exchange two short messages."""

OTHERS = {
    **{name: STACKS[name] for name in ("aiortc", "libdatachannel", "libwebrtc", "werift")},
    CHROMIUM.name: CHROMIUM,
}

SNAP, SPED = r"a=sctp-init:.*\r\n", r" sped googspedv1"


@dataclass(frozen=True)
class Case:
    """A stack at both ends.

    :ivar offers: what it offers of what shortens connecting; None: as it is shipped.
    :ivar without: what is taken out of its descriptions for that, a regular expression.
    :ivar routed: whether the offerer is behind a router that translates addresses.
    """

    stack: Stack
    delay_ms: float
    offers: str | None = None
    without: str = "$^"
    routed: bool = False

    @property
    def keys(self) -> Row:
        return {
            "stack": self.stack.name,
            "offers": self.offers,
            "routed": self.routed,
            "delay_ms": self.delay_ms,
        }

    async def measure(self, pattern: Pattern, seed: int) -> Row:
        """One connection of two new processes. Raises Failed, WrongBytes."""
        name, way = self.stack.name, Link(1000, self.delay_ms, 0, 100)
        async with (
            emulated(way, seed=seed) as link,
            running(f"{name} (offerer)", self.stack.end("offer", pattern)) as offerer,
            running(f"{name} (answerer)", self.stack.end("answer", pattern)) as answerer,
        ):
            offer = self._changed(await _described(offerer))
            answerer.tell("signal", data=link.rewrite(0, 0, offer, routed=self.routed))
            answer = link.rewrite(0, 1, self._changed(await _described(answerer)))
            await asyncio.sleep(self.delay_ms / 1e3 + BEYOND)
            arrived = time.perf_counter()
            offerer.tell("signal", data=answer)
            seconds = await self._response(offerer) - arrived
        return {"seconds": seconds, "round_trips": seconds / (2 * self.delay_ms / 1e3)}

    def _changed(self, description: Row) -> Row:
        return {**description, "sdp": re.sub(self.without, "", description["sdp"])}

    async def _response(self, offerer: Process) -> float:
        """When the first byte of the first response has come; it is asked for once it can be."""
        if self.stack is OURS:
            offerer.tell("download", target="/1", size=1)
            await offerer.hear("open")
            await offerer.hear("downloaded")
            return time.perf_counter()
        # It asks whether the other end is ready, and only then sends its ping.
        offerer.tell("ping", message_bytes=100, seconds=0)
        await offerer.hear("open")
        pinged = await offerer.hear("pinged")
        return time.perf_counter() - float(pinged["latencies_us"][0]) / 1e6


async def _described(process: Process) -> Row:
    try:
        return dict(await asyncio.wait_for(process.signals.get(), 60))
    except TimeoutError:
        raise Failed(f"{process.name} did not describe itself in time") from None


def _cases(delays: list[float], others: list[Stack]) -> Iterator[Case]:
    for delay in delays:
        yield Case(OURS, delay, "SNAP and SPED")
        yield Case(OURS, delay, "SNAP and SPED", routed=True)
        yield Case(OURS, delay, "SNAP", SPED)
        yield Case(OURS, delay, "neither", f"{SNAP}|{SPED}")
        yield from (Case(stack, delay) for stack in others)


def main() -> None:
    made = parser("bench.connect", __doc__ or "", runs=5)
    made.add_argument(
        "--stacks",
        type=some_of(OTHERS),
        default=list(OTHERS),
        metavar="NAME,…",
        help=f"beside ours: of {', '.join(OTHERS)}; all by default",
    )
    made.add_argument(
        "--delays",
        type=lambda text: [float(delay) for delay in text.split(",")],
        default=[25.0, 100.0],
        metavar="MS,…",
        help="milliseconds one way (25,100)",
    )
    arguments = made.parse_args()
    others, failures = prepare(OTHERS[name] for name in arguments.stacks)
    report(
        arguments.json,
        run(_measure(list(_cases(arguments.delays, others)), arguments.runs, failures)),
        line=_line,
        settings={"runs": arguments.runs, "signaling_beyond_s": BEYOND, "failures": failures},
        facts=environment(**versions()),
    )
    for name, reason in failures.items():
        print(f"{name} could not be measured: {reason}", file=sys.stderr)


async def _measure(cases: list[Case], runs: int, failures: dict[str, str]) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        pattern = Pattern.create(Path(directory) / "pattern")
        for turn in range(runs):
            for case in cases:
                try:
                    rows.append({**case.keys, **await case.measure(pattern, turn)})
                except Failed as failure:
                    failures[case.stack.name] = str(failure)
    return medians(rows, "stack", "offers", "routed", "delay_ms")


def _line(row: Row) -> str:
    offers = f" with {row['offers']}" if row["offers"] else ""
    routed = ", behind a router" if row["routed"] else ""
    return (
        f"{row['stack']}{offers}{routed}, {row['delay_ms']:g} ms one way:"
        f" {row['round_trips']:.2f} round trips, {row['seconds'] * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
