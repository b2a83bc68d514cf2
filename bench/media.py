"""What does it cost a device to pass a camera on to viewers by WebRTC, undecoded?"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop

from bench.media_devices import BIT_RATE, DEVICES
from bench.processes import Failed
from bench.report import Row, environment, medians, parser, report, some_of


async def measure(stack: str, viewers: int, seconds: float) -> Row:
    """One stack with so many viewers. Raises Failed."""
    packets = 0

    def count(_: bytes) -> None:
        nonlocal packets
        packets += 1

    async with DEVICES[stack]() as device:
        connections = [await device.watch(count)]
        await asyncio.sleep(0.5)
        of_one = device.resident()
        connections += await asyncio.gather(*(device.watch(count) for _ in range(viewers - 1)))
        await asyncio.sleep(1)
        counted, used, began = packets, device.used(), time.monotonic()
        await asyncio.sleep(seconds)
        counted, used, took = packets - counted, device.used() - used, time.monotonic() - began
        memory = device.resident()
        await asyncio.gather(*(connection.close() for connection in connections))
    return {
        "stack": stack,
        "viewers": viewers,
        "packets_per_second": counted / took,
        "core_percent": 100 * used / took,
        "us_per_packet": 1e6 * used / max(counted, 1),
        "mb_per_viewer": (memory - of_one) / 1e6 / max(viewers - 1, 1),
    }


def _line(row: Row) -> str:
    return (
        f"{row['stack']:10} {row['viewers']:3} viewers: {row['core_percent']:6.1f} % of a core, "
        f"{row['us_per_packet']:6.1f} µs a packet at {row['packets_per_second']:6.0f}/s, "
        f"{row['mb_per_viewer']:4.1f} MB a further viewer"
    )


def main() -> None:
    made = parser("bench.media", __doc__ or "", runs=3)
    made.add_argument(
        "--stacks", type=some_of(DEVICES), default=list(DEVICES), metavar="NAME,…",
        help=f"of {', '.join(DEVICES)}; all by default",
    )  # fmt: skip
    made.add_argument("--viewers", default="1,20", help="(%(default)s)")
    made.add_argument("--seconds", type=float, default=5.0, help="(%(default)s)")
    arguments = made.parse_args()
    failures: dict[str, str] = {}

    async def run() -> list[Row]:
        rows = []
        for _ in range(arguments.runs):
            for viewers in arguments.viewers.split(","):
                for stack in arguments.stacks:
                    try:
                        rows.append(await measure(stack, int(viewers), arguments.seconds))
                    except Failed as failure:
                        failures[stack] = str(failure)
                    else:
                        print(_line(rows[-1]), file=sys.stderr)
        return rows

    rows = uvloop.run(run())
    report(
        arguments.json,
        medians(rows, "stack", "viewers"),
        line=_line,
        settings={
            "runs": arguments.runs,
            "seconds": arguments.seconds,
            "bit_rate": BIT_RATE,
            "failures": failures,
        },
        facts=environment(),
    )
    for name, reason in failures.items():
        print(f"{name} could not be measured: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
