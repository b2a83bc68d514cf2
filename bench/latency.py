"""How long does a small message take there and back, in every stack?"""

from __future__ import annotations

import uvloop

from bench.compare import add_stacks, compare
from bench.processes import Process
from bench.report import Row, environment, medians, parser, percentile, report
from bench.stacks import versions

MESSAGE_BYTES = 100
WARM_UP = 0.3


def main() -> None:
    arguments_parser = parser("bench.latency", __doc__, runs=5)
    arguments_parser.add_argument(
        "--seconds", type=float, default=1.0, help="of ping-pong in each run (%(default)s)"
    )
    add_stacks(arguments_parser)
    arguments = arguments_parser.parse_args()

    async def measure(offerer: Process, answerer: Process) -> list[Row]:
        await _ping(offerer, WARM_UP)
        latencies = await _ping(offerer, arguments.seconds)
        return [
            {
                "message_bytes": MESSAGE_BYTES,
                "p50_us": percentile(latencies, 50),
                "p99_us": percentile(latencies, 99),
                "round_trips": len(latencies),
            }
        ]

    rows, failures = uvloop.run(compare(arguments.stacks, arguments.runs, measure))
    report(
        arguments.json,
        medians(rows, "stack", "message_bytes"),
        line=_line,
        settings={
            "runs": arguments.runs,
            "seconds": arguments.seconds,
            "failures": failures,
        },
        facts=environment(**versions()),
    )


async def _ping(offerer: Process, seconds: float) -> list[float]:
    """Microseconds of each round trip, one at a time."""
    offerer.tell("ping", message_bytes=MESSAGE_BYTES, seconds=seconds)
    latencies: list[float] = (await offerer.hear("pinged", seconds))["latencies_us"]
    return latencies


def _line(row: Row) -> str:
    return f"{row['stack']:15} p50 {row['p50_us']:7.1f} µs, p99 {row['p99_us']:7.1f} µs"


if __name__ == "__main__":
    main()
