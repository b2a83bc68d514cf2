"""What of the raw channel is left from nginx through the proxy to the client, and at what cost?"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.pattern import Pattern
from bench.processes import Failed, Process, WrongBytes, running
from bench.report import Row, environment, medians, parser, percentile, report, size
from bench.services import nginx, program
from bench.stacks import USER_DATA, Stack

SMALL_MEMORY = 64 << 20
SMALL_GET = 100
MESSAGE_BYTES = 16 * 1024
WARM_UP = 0.3

# What each transport gets through in a few seconds: the file whose rate is measured, and the large
# one of the memory measurement.
SIZES = {"native": (256 << 20, 1 << 30), "aiortc": (16 << 20, 256 << 20)}


def main() -> None:
    arguments_parser = parser("bench.end_to_end", __doc__, runs=5)
    arguments_parser.add_argument("--transport", choices=list(SIZES), default="native")
    arguments_parser.add_argument(
        "--size", type=size, help="of the file whose rate is measured (native: 256M, aiortc: 16M)"
    )
    arguments_parser.add_argument(
        "--large", type=size, help="memory is compared to 64M's (native: 1G, aiortc: 256M)"
    )
    arguments_parser.add_argument(
        "--stall", type=float, default=10.0, help="seconds that a reader stops (%(default)s)"
    )
    arguments_parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="of the raw channel, and of small GETs, in each run (%(default)s)",
    )
    arguments = arguments_parser.parse_args()
    usual, large = SIZES[arguments.transport]
    arguments.size = arguments.size or usual
    arguments.large = arguments.large or large
    try:
        results = uvloop.run(_main(arguments))
    except (WrongBytes, Failed) as failure:
        sys.exit(str(failure))
    report(
        arguments.json,
        results,
        line=_line,
        settings={name: value for name, value in vars(arguments).items() if name != "json"},
        facts=environment(),
    )


def _line(row: Row) -> str:
    match row["measured"]:
        case "rate":
            return (
                f"{row['transport']}: raw channel {row['raw_mb_per_s']:.1f} MB/s, end to end "
                f"{row['mb_per_s']:.1f} MB/s, {row['of_raw']:.0%} of it; CPU per packet "
                f"{row['cpu_us_per_packet_proxy']:.2f} µs in the proxy, "
                f"{row['cpu_us_per_packet_client']:.2f} µs in the client"
            )
        case "memory":
            stall = f", reader stops {row['stall_s']:g} s" if row["stall_s"] else ""
            return (
                f"peak memory, {row['bytes'] >> 20} MB file{stall}: "
                f"proxy {row['proxy_mb']:.1f} MB ({row['proxy_growth_mb']:+.1f}), "
                f"client {row['client_mb']:.1f} MB ({row['client_growth_mb']:+.1f})"
            )
        case _:
            times = f" ({row['p99_times_idle']:.1f} times)" if "p99_times_idle" in row else ""
            return (
                f"small GET, {row['when']}: "
                f"p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f} ms{times}"
            )


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    pattern: Pattern
    upstream: str
    signaling: str
    transport: str


async def _main(arguments: argparse.Namespace) -> list[Row]:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-"))
        )
        pattern = Pattern.create(directory / "pattern")
        root = directory / "root"
        root.mkdir()
        for name, length in (
            ("rate", arguments.size),
            ("small", SMALL_MEMORY),
            ("large", arguments.large),
            ("get", SMALL_GET),
        ):
            pattern.write(root / name, length)
        upstream = await stack.enter_async_context(nginx(root))
        signal = await stack.enter_async_context(
            program("peerfetch_fast", "signal", "--listen", "127.0.0.1:0")
        )
        place = Place(pattern, upstream, signal["signaling"], arguments.transport)
        rates, latencies = await _rates_and_latencies(place, arguments)
        return [*rates, *latencies, *await _memory(place, arguments.large, arguments.stall)]


@contextlib.asynccontextmanager
async def _proxy_and_client(place: Place) -> AsyncIterator[tuple[int, Process]]:
    """A new proxy, of which the pid is given, and a client that is connected to it."""
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as state:
        async with program(
            "peerfetch_fast.proxy",
            *("--target", place.upstream, "--signaling", place.signaling),
            *("--state-dir", state, "--transport", place.transport),
        ) as proxy:
            command = (
                *(sys.executable, "-m", "bench.peers.http_client", str(place.pattern.path)),
                *(place.transport, proxy["peer_id"], place.signaling),
            )
            async with running("the client", command) as client:
                await client.hear("open")
                yield proxy["pid"], client


async def _rates_and_latencies(
    place: Place, arguments: argparse.Namespace
) -> tuple[list[Row], list[Row]]:
    raw = Stack("raw", (sys.executable, "-m", "bench.peers.channel"), (place.transport,))
    rates: list[Row] = []
    latencies: list[Row] = []
    async with _proxy_and_client(place) as (proxy, client):
        await _download(client, "/get", SMALL_GET)
        for _ in range(arguments.runs):
            raw_rate = await _raw(raw, place.pattern, arguments.seconds)
            before = _cpu(proxy), _cpu(client.pid)
            rate = arguments.size / 1e6 / await _download(client, "/rate", arguments.size)
            used = _cpu(proxy) - before[0], _cpu(client.pid) - before[1]
            packets = arguments.size / USER_DATA
            rates.append(
                {
                    "measured": "rate",
                    "transport": place.transport,
                    "raw_mb_per_s": raw_rate,
                    "mb_per_s": rate,
                    "of_raw": rate / raw_rate,
                    "cpu_us_per_packet_proxy": used[0] / packets,
                    "cpu_us_per_packet_client": used[1] / packets,
                }
            )
            for when, kind, more in (
                ("idle", "gets", {}),
                ("during a download", "gets_during_download", {"download": "/large"}),
            ):
                client.tell(kind, target="/get", seconds=arguments.seconds, **more)
                taken = (await client.hear("got", arguments.seconds))["latencies_ms"]
                latencies.append(
                    {
                        "measured": "small GET",
                        "when": when,
                        "p50_ms": percentile(taken, 50),
                        "p99_ms": percentile(taken, 99),
                        "requests": len(taken),
                    }
                )
    joined = medians(latencies, "measured", "when")
    joined[1]["p99_times_idle"] = joined[1]["p99_ms"] / joined[0]["p99_ms"]
    return medians(rates, "measured", "transport"), joined


async def _raw(stack: Stack, pattern: Pattern, seconds: float) -> float:
    """MB/s of the bare data channel."""
    async with stack.connect(pattern) as (offerer, answerer):
        for duration in (WARM_UP, seconds):
            offerer.tell("bulk", message_bytes=MESSAGE_BYTES, seconds=duration)
            received = await answerer.hear("received", duration)
            await offerer.hear("sent")
    rate: float = received["bytes_after_first"] / received["seconds"] / 1e6
    return rate


async def _download(client: Process, target: str, length: int, stall: float = 0.0) -> float:
    client.tell("download", target=target, size=length, stall=stall)
    seconds: float = (await client.hear("downloaded", length / 1e6 + stall))["seconds"]
    return seconds


async def _memory(place: Place, large: int, stall: float) -> list[Row]:
    """Peaks of new processes, and how far they are above those with the small file."""
    rows: list[Row] = []
    for target, length, stops in (
        ("/small", SMALL_MEMORY, 0.0),
        ("/large", large, 0.0),
        ("/large", large, stall),
    ):
        async with _proxy_and_client(place) as (proxy, client):
            await _download(client, target, length, stops)
            row: Row = {"measured": "memory", "bytes": length, "stall_s": stops}
            for name, pid in (("proxy", proxy), ("client", client.pid)):
                row[f"{name}_mb"] = _peak(pid) / 1e6
                first = rows[0] if rows else row
                row[f"{name}_growth_mb"] = row[f"{name}_mb"] - first[f"{name}_mb"]
            rows.append(row)
    return rows


def _cpu(pid: int) -> float:
    """Microseconds of CPU that the process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


def _peak(pid: int) -> int:
    """The most bytes that the process had in memory at once (Linux)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise Failed(f"process {pid} has ended")
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
