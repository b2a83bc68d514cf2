"""What do others feel of a bulk download, how many requests a second go through the proxy, and what
is held in memory?
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench.processes import Process, run, running
from bench.proxied import Place, download, peak, place
from bench.report import Row, environment, medians, parser, percentile, report, size
from bench.services import program

SMALL_GET = 1024
IN_FLIGHT = (1, 16, 256)

# Bodies whose memory is compared to that of the first; the last one is also the bulk download. As
# much as each transport gets through in half a minute.
SIZES = {"native": "64M,256M,1G", "aiortc": "16M,64M"}


def main() -> None:
    arguments_parser = parser("bench.load", __doc__, runs=5)
    arguments_parser.add_argument("--transport", choices=list(SIZES), default="native")
    arguments_parser.add_argument(
        "--sizes",
        help="of the bodies of the memory measurement (native: 64M,256M,1G; aiortc: 16M,64M)",
    )
    arguments_parser.add_argument(
        "--stall", type=float, default=10.0, help="seconds that a reader stops (%(default)s)"
    )
    arguments_parser.add_argument(
        "--seconds", type=float, default=2.0, help="of requests in each run (%(default)s)"
    )
    arguments = arguments_parser.parse_args()
    arguments.sizes = [
        size(text) for text in (arguments.sizes or SIZES[arguments.transport]).split(",")
    ]
    report(
        arguments.json,
        run(_main(arguments)),
        line=_line,
        settings={name: value for name, value in vars(arguments).items() if name != "json"},
        facts=environment(),
    )


def _line(row: Row) -> str:
    match row["measured"]:
        case "small GET":
            return (
                f"GET of 1 KB, {row['when']}: p50 {row['p50_ms']:.2f} ms, "
                f"p99 {row['p99_ms']:.2f} ms ({row['p99_times_idle']:.1f} times idle)"
            )
        case "requests":
            return (
                f"{row['in_flight']} in flight: {row['per_s']:.0f} requests/s through the proxy, "
                f"{row['aiohttp_per_s']:.0f} from aiohttp's client straight to the server"
            )
        case _:
            stall = f", reader stops {row['stall_s']:g} s" if row["stall_s"] else ""
            return (
                f"peak memory, body of {row['bytes'] / 1e6:.0f} MB{stall}: "
                f"proxy {row['proxy_mb']:.1f} MB ({row['proxy_growth_mb']:+.1f}), "
                f"client {row['client_mb']:.1f} MB ({row['client_growth_mb']:+.1f})"
            )


async def _main(arguments: argparse.Namespace) -> list[Row]:
    files = {"get": SMALL_GET, **{str(length): length for length in arguments.sizes}}
    async with place(arguments.transport, files) as there:
        return [
            *await _latencies(there, f"/{arguments.sizes[-1]}", arguments),
            *await _requests(there, arguments),
            *await _memory(there, arguments.sizes, arguments.stall),
        ]


async def _latencies(there: Place, bulk: str, arguments: argparse.Namespace) -> list[Row]:
    """Of small GETs alone, beside a download on their session, and on another of the proxy."""
    rows: list[Row] = []
    async with (
        there.proxy() as (_, peer_id),
        there.client(peer_id) as client,
        there.client(peer_id) as other,
    ):
        situations: list[tuple[str, Process | None]] = [
            ("idle", None),
            ("beside a download on the same session", client),
            ("beside a download on another session", other),
        ]
        for _ in range(arguments.runs):
            for when, busy in situations:
                if busy is not None:
                    busy.tell("download_on", target=bulk)
                    await busy.hear("downloading")
                client.tell("gets", target="/get", seconds=arguments.seconds)
                taken = (await client.hear("got", arguments.seconds))["latencies_ms"]
                if busy is not None:
                    busy.tell("download_off")
                    await busy.hear("stopped")
                rows.append(
                    {
                        "measured": "small GET",
                        "when": when,
                        "p50_ms": percentile(taken, 50),
                        "p99_ms": percentile(taken, 99),
                        "requests": len(taken),
                    }
                )
    joined = medians(rows, "measured", "when")
    for row in joined:
        row["p99_times_idle"] = row["p99_ms"] / joined[0]["p99_ms"]
    return joined


async def _requests(there: Place, arguments: argparse.Namespace) -> list[Row]:
    """Requests per second to an aiohttp server: through the proxy, and without it over TCP."""
    rows: list[Row] = []
    tcp = (sys.executable, "-m", "bench.peers.http_client", str(there.pattern.path), "tcp")
    async with (
        program("bench.peers.http_server", str(there.pattern.path)) as server,
        there.proxy("--target", server["url"]) as (_, peer_id),
        there.client(peer_id) as ours,
        running("aiohttp's client", (*tcp, server["url"])) as theirs,
    ):
        await theirs.hear("open")
        for _ in range(arguments.runs):
            for in_flight in IN_FLIGHT:
                row: Row = {"measured": "requests", "in_flight": in_flight}
                for name, client in (("", ours), ("aiohttp_", theirs)):
                    client.tell(
                        "many",
                        target=f"/{SMALL_GET}",
                        in_flight=in_flight,
                        seconds=arguments.seconds,
                    )
                    row[f"{name}per_s"] = (await client.hear("did", arguments.seconds))["per_s"]
                rows.append(row)
    return medians(rows, "measured", "in_flight")


async def _memory(there: Place, sizes: Sequence[int], stall: float) -> list[Row]:
    """Peaks of new processes, and how far they are above those with the smallest body."""
    rows: list[Row] = []
    for length, stops in [*((length, 0.0) for length in sizes), (sizes[-1], stall)]:
        async with there.proxy() as (proxy, peer_id), there.client(peer_id) as client:
            await download(client, f"/{length}", length, stops)
            row: Row = {"measured": "memory", "bytes": length, "stall_s": stops}
            for name, pid in (("proxy", proxy), ("client", client.pid)):
                row[f"{name}_mb"] = peak(pid) / 1e6
                first = rows[0] if rows else row
                row[f"{name}_growth_mb"] = row[f"{name}_mb"] - first[f"{name}_mb"]
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
