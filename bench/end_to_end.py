"""What of the raw channel is left from a file (nginx's, or the proxy's own) to the client, and at
what cost?
"""

from __future__ import annotations

import argparse
import sys

from bench.pattern import Pattern
from bench.processes import run
from bench.proxied import Place, cpu, download, place
from bench.report import Row, environment, medians, parser, report, size
from bench.stacks import USER_DATA, Stack

MESSAGE_BYTES = 16 * 1024
WARM_UP = 0.3

# What each transport gets through in a few seconds.
SIZES = {"native": 256 << 20, "aiortc": 16 << 20}


def main() -> None:
    arguments_parser = parser("bench.end_to_end", __doc__, runs=5)
    arguments_parser.add_argument("--transport", choices=list(SIZES), default="native")
    arguments_parser.add_argument(
        "--size", type=size, help="of the file whose rate is measured (native: 256M, aiortc: 16M)"
    )
    arguments_parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="of the raw channel in each run (%(default)s)",
    )
    arguments = arguments_parser.parse_args()
    arguments.size = arguments.size or SIZES[arguments.transport]
    report(
        arguments.json,
        run(_main(arguments)),
        line=_line,
        settings={name: value for name, value in vars(arguments).items() if name != "json"},
        facts=environment(),
    )


def _line(row: Row) -> str:
    return (
        f"{row['transport']}, {row['source']}: raw channel {row['raw_mb_per_s']:.1f} MB/s, "
        f"end to end {row['mb_per_s']:.1f} MB/s, {row['of_raw']:.0%} of it; CPU per packet "
        f"{row['cpu_us_per_packet_proxy']:.2f} µs in the proxy, "
        f"{row['cpu_us_per_packet_client']:.2f} µs in the client"
    )


async def _main(arguments: argparse.Namespace) -> list[Row]:
    async with place(arguments.transport, {"rate": arguments.size}) as there:
        return await _rates(there, arguments)


async def _rates(there: Place, arguments: argparse.Namespace) -> list[Row]:
    raw = Stack("raw", (sys.executable, "-m", "bench.peers.channel"), (there.transport,))
    packets = arguments.size / USER_DATA
    rates: list[Row] = []
    async with (
        there.proxy() as nginx,
        there.client(nginx[1]) as from_nginx,
        there.proxy("--serve", str(there.root)) as files,
        there.client(files[1]) as from_files,
    ):
        sources = [("nginx", nginx[0], from_nginx), ("--serve", files[0], from_files)]
        for _, _, client in sources:
            await download(client, "/rate", arguments.size)
        for _ in range(arguments.runs):
            raw_rate = await _raw(raw, there.pattern, arguments.seconds)
            for source, proxy, client in sources:
                before = cpu(proxy), cpu(client.pid)
                rate = arguments.size / 1e6 / await download(client, "/rate", arguments.size)
                used = cpu(proxy) - before[0], cpu(client.pid) - before[1]
                rates.append(
                    {
                        "measured": "rate",
                        "transport": there.transport,
                        "source": source,
                        "raw_mb_per_s": raw_rate,
                        "mb_per_s": rate,
                        "of_raw": rate / raw_rate,
                        "cpu_us_per_packet_proxy": used[0] / packets,
                        "cpu_us_per_packet_client": used[1] / packets,
                    }
                )
    return medians(rates, "measured", "transport", "source")


async def _raw(stack: Stack, pattern: Pattern, seconds: float) -> float:
    """MB/s of the bare data channel."""
    async with stack.connect(pattern) as (offerer, answerer):
        for duration in (WARM_UP, seconds):
            offerer.tell("bulk", message_bytes=MESSAGE_BYTES, seconds=duration)
            received = await answerer.hear("received", duration)
            await offerer.hear("sent")
    rate: float = received["bytes_after_first"] / received["seconds"] / 1e6
    return rate


if __name__ == "__main__":
    main()
