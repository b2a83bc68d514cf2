"""How much gets across links that lose, delay and change, how soon, and at whose cost?"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import uvloop

from bench.crossings import INTERVAL, Bulk, Crossing, End, Fairness, Start, UrgentGet
from bench.link import Link
from bench.pattern import Pattern
from bench.plot import Chart, draw
from bench.processes import Failed, WrongBytes
from bench.report import Row, environment, medians, parser, report, some_of
from bench.stacks import CHROMIUM, DATAGRAM, STACKS, USER_DATA, prepare, versions
from peerfetch_fast.webrtc.transports import Congestion

LINKS = {
    "1": Link(100, 25, 1, 50),
    "2": Link(20, 25, 1, 100),
    "3": Link(20, 25, 5, 100, burst=4),
    "4": Link(50, 5, 0.1, 50),
    "5": Link(100, 10, 0, 50),
    "6": Link(10, 40, 0, 300),  # a home's uplink
    "7": Link(300, 5, 0.05, 20),  # good Wi-Fi
    "8": Link(8, 60, 2, 200),  # mobile
    "9": Link(50, 20, 0, 100, changes=((5, "rate", 5), (10, "rate", 50), (15, "rate", 5))),
    "10": Link(20, 25, 0, 100, changes=((4, "loss", 100), (7, "loss", 0))),
}
LONGEST = {"6": 10.0, "9": 20.0, "10": 12.0}
"""Seconds that these need at least to show what they are for."""

RECEIVED_ON = ("1", "2", "8")
URGENT_ON = ("1", "2", "6", "8")
PLOTTED = ("1", "6")

START = Link(20, 25, 0, 100)
START_BYTES = 1_000_000

SHARED = (Link(20, 25, 0, 50), Link(20, 25, 0, 250))
"""Queues of one and of five bandwidth-delay products."""

OTHERS = {name: STACKS[name] for name in ("aiortc", "libdatachannel", "libwebrtc")}
RECEIVERS = {**OTHERS, CHROMIUM.name: CHROMIUM}
MEASURES = ("bulk", "receivers", "start", "urgent", "fairness")

Case = tuple[str | None, Crossing]
"""One of the LINKS, or None for a link of its own, and what is measured."""


def main() -> None:
    arguments = _arguments()
    if arguments.plot is not None:
        uvloop.run(_plot(arguments))
        return
    stacks, failures = prepare(
        stack
        for stack in RECEIVERS.values()
        if stack.name in arguments.stacks or stack.name in arguments.receivers
    )
    cases = list(_cases(arguments, {stack.name for stack in stacks}))
    results = uvloop.run(_measure(cases, arguments.runs, failures))
    report(
        arguments.json,
        _compared(results),
        line=_line,
        settings={
            "runs": arguments.runs,
            "seconds": arguments.seconds,
            "udp_payload": DATAGRAM,
            "bytes_per_packet": USER_DATA,
            "failures": failures,
        },
        facts=environment(**versions()),
    )
    for name, reason in failures.items():
        print(f"{name} could not be measured: {reason}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    made = parser("bench.links", __doc__ or "", runs=5)
    made.add_argument(
        "--seconds", type=float, default=10.0, help="of sending in each run (%(default)g)"
    )
    for option, of in (
        ("--measure", MEASURES),
        ("--links", LINKS),
        ("--stacks", ("native", *OTHERS)),
        ("--congestion", get_args(Congestion)),
        ("--receivers", RECEIVERS),
    ):
        made.add_argument(
            option,
            type=some_of(of),
            default=list(of),
            metavar="NAME,…",
            help=f"of {', '.join(of)}; all by default",
        )
    made.add_argument(
        "--plot", type=Path, metavar="FILE", help="only draw rate and queue over time (SVG)"
    )
    return made.parse_args()


def _cases(arguments: argparse.Namespace, ready: set[str]) -> Iterator[Case]:
    congestion = arguments.congestion if "native" in arguments.stacks else []
    ours = [End(STACKS["native"], name) for name in congestion]
    others = [
        End(stack) for name, stack in OTHERS.items() if name in arguments.stacks and name in ready
    ]
    receivers = [
        End(stack)
        for name, stack in RECEIVERS.items()
        if name in arguments.receivers and name in ready
    ]
    for number in arguments.links:
        link = LINKS[number]
        seconds = max(arguments.seconds, LONGEST.get(number, 0.0))
        receiving = "receivers" in arguments.measure and number in RECEIVED_ON
        if "bulk" in arguments.measure:
            yield from ((number, Bulk(link, end, end, seconds)) for end in (*ours, *others))
        elif receiving:
            yield from ((number, Bulk(link, end, end, seconds)) for end in ours)
        if receiving:
            for end in ours:
                yield from ((number, Bulk(link, end, other, seconds)) for other in receivers)
        if "urgent" in arguments.measure and number in URGENT_ON:
            yield from ((number, UrgentGet(link, name, arguments.seconds)) for name in congestion)
    if "start" in arguments.measure:
        yield from ((None, Start(START, name, START_BYTES)) for name in congestion)
    if "fairness" in arguments.measure:
        cubic = [end for end in ours if end.congestion == "cubic"]
        for link in SHARED:
            for end in ours:
                for beside in dict.fromkeys((end, *cubic, *others)):
                    yield None, Fairness(link, end, beside, arguments.seconds)


async def _measure(cases: list[Case], runs: int, failures: dict[str, str]) -> list[Row]:
    """The medians of each case; all of them are run in alternation. Exits if a byte is wrong."""
    rows: list[list[Row]] = [[] for _ in cases]
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
        pattern = Pattern.create(Path(directory) / "pattern")
        for run in range(runs):
            for done, ((number, crossing), measured) in enumerate(zip(cases, rows, strict=True)):
                progress = f"[{run * len(cases) + done + 1}/{runs * len(cases)}]"
                row = {"link": number, **crossing.keys}
                try:
                    row |= await crossing.measure(pattern, seed=run + 1)
                except WrongBytes as wrong:
                    sys.exit(f"wrong bytes: {wrong}")
                except Failed as failure:
                    failures[f"{_name(row)}, run {run + 1}"] = str(failure)
                    print(f"{progress} {_name(row)}: {failure}", file=sys.stderr)
                else:
                    measured.append(row)
                    print(f"{progress} {_line(row)}", file=sys.stderr)
    return [
        row
        for (_, crossing), measured in zip(cases, rows, strict=True)
        for row in medians(measured, "link", *crossing.keys)
    ]


def _compared(rows: list[Row]) -> list[Row]:
    """``rows``, with what they are in terms of others."""
    bulk = {
        (row["link"], row["stack"], row["congestion"], row["receiver"]): row["goodput_mbit"]
        for row in rows
        if row["measured"] == "bulk"
    }
    for row in rows:
        if row["measured"] != "bulk":
            continue
        yardstick = bulk.get((row["link"], "libdatachannel", None, "libdatachannel"))
        if yardstick is not None and row["receiver"] == row["stack"] == "native":
            row["times_libdatachannel"] = row["goodput_mbit"] / yardstick
        if row["receiver"] != row["stack"]:
            itself = bulk.get((row["link"], row["stack"], row["congestion"], row["stack"]))
            if itself is not None:
                row["of_native_receiver"] = row["goodput_mbit"] / itself
    return rows


def _name(row: Row) -> str:
    """What was measured."""
    stack = f"{row['stack']} {row['congestion']}" if row["congestion"] else row["stack"]
    if row.get("receiver", row["stack"]) != row["stack"]:
        stack += f" to {row['receiver']}"
    if "beside" in row:
        stack += f" beside {row['beside']}"
    number = f"link {row['link']}, " if row["link"] else ""
    return (
        f"{row['measured']}, {number}{row['rate_mbit']:g} Mbit/s {row['delay_ms']:g} ms "
        f"{row['loss_percent']:g} % {row['queue_ms']:g} ms, {stack}"
    )


def _line(row: Row) -> str:
    match row["measured"]:
        case "bulk":
            figures = (
                f"{row['goodput_mbit']:.1f} Mbit/s, {row['share']:.0%}; round trip p95 "
                f"{row['round_trip_p95_ms'] / row['round_trip_idle_ms']:.1f} times idle, "
                f"longest stall {row['stall_s']:.1f} s, CPU {row['cpu_ms_per_mb_send']:.1f} and "
                f"{row['cpu_ms_per_mb_recv']:.1f} ms/MB"
            )
            if "recovered_after_s" in row:
                figures += f", recovered after {row['recovered_after_s']:.1f} s"
            if "times_libdatachannel" in row:
                figures += f", {row['times_libdatachannel']:.1f} times libdatachannel"
            if "of_native_receiver" in row:
                figures += (
                    f", {row['of_native_receiver']:.0%} of ours to ours, "
                    f"receiver on {row['core_share_recv']:.0%} of a core, "
                    f"all of which would carry {row['core_mbit_recv']:.0f} Mbit/s"
                )
        case "start":
            figures = f"{row['seconds']:.2f} s, {row['times_ideal']:.2f} times the ideal"
        case "urgent GET":
            figures = (
                f"p95 {row['p95_ms']:.0f} ms, {row['p95_times_idle']:.1f} times idle, "
                f"beside {row['carried_mbit']:.1f} Mbit/s"
            )
        case _:
            figures = (
                f"{row['share']:.0%} and {row['share_beside']:.0%}, Jain's index {row['jain']:.2f}"
            )
    return f"{_name(row)}: {figures}"


async def _plot(arguments: argparse.Namespace) -> None:
    native = STACKS["native"]
    rates, queues = [], []
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
        pattern = Pattern.create(Path(directory) / "pattern")
        for number in PLOTTED:
            link = LINKS[number]
            rate, queue = {}, {}
            for name in arguments.congestion:
                end = End(native, name)
                _, _, carried = await Bulk(link, end, end, arguments.seconds).cross(pattern, 1)
                series = carried["ways"][0]["series"][: round(arguments.seconds / INTERVAL)]
                rate[name] = [sum(interval["mbit"]) for interval in series]
                queue[name] = [interval["queue_ms"] for interval in series]
            title = f"{link.rate_mbit:g} Mbit/s, {link.delay_ms:g} ms, {link.loss_percent:g} % loss"
            rates.append(Chart(f"{title}: rate", "Mbit/s", INTERVAL, rate))
            queues.append(Chart(f"{title}: queue", "ms", INTERVAL, queue))
    draw(arguments.plot, (rates, queues))


if __name__ == "__main__":
    main()
