"""How fast is one data channel, and what does a packet cost, in every stack?"""

from __future__ import annotations

import uvloop

from bench.compare import add_stacks, compare
from bench.processes import Process
from bench.report import Row, environment, medians, parser, report
from bench.stacks import DATAGRAM, USER_DATA, versions

MESSAGE_BYTES = (16 * 1024, 64 * 1024)
WARM_UP = 0.3
YARDSTICKS = ("aiortc", "libdatachannel", "ceiling")


def main() -> None:
    arguments_parser = parser("bench.throughput", __doc__, runs=5)
    arguments_parser.add_argument(
        "--seconds", type=float, default=1.0, help="of sending in each run (%(default)s)"
    )
    add_stacks(arguments_parser)
    arguments = arguments_parser.parse_args()

    async def measure(offerer: Process, answerer: Process) -> list[Row]:
        await _bulk(offerer, answerer, MESSAGE_BYTES[0], WARM_UP)
        return [await _bulk(offerer, answerer, size, arguments.seconds) for size in MESSAGE_BYTES]

    rows, failures = uvloop.run(compare(arguments.stacks, arguments.runs, measure))
    report(
        arguments.json,
        _compared(medians(rows, "stack", "message_bytes")),
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


async def _bulk(offerer: Process, answerer: Process, message_bytes: int, seconds: float) -> Row:
    offerer.tell("bulk", message_bytes=message_bytes, seconds=seconds)
    received = await answerer.hear("received", seconds)
    sent = await offerer.hear("sent")
    packets = received["bytes"] / USER_DATA
    return {
        "message_bytes": message_bytes,
        "mb_per_s": received["bytes_after_first"] / received["seconds"] / 1e6,
        "cpu_us_per_packet_send": sent["cpu_us"] / packets,
        "cpu_us_per_packet_recv": received["cpu_us"] / packets,
    }


def _compared(rows: list[Row]) -> list[Row]:
    """``rows``, each with its rate in terms of the stacks that all are compared to."""
    for row in rows:
        for other in rows:
            if other["stack"] in YARDSTICKS and other["message_bytes"] == row["message_bytes"]:
                row[f"times_{other['stack']}"] = row["mb_per_s"] / other["mb_per_s"]
    return rows


def _line(row: Row) -> str:
    times = ", ".join(
        f"{row[f'times_{other}']:.2f} {other}"
        for other in YARDSTICKS
        if other != row["stack"] and f"times_{other}" in row
    )
    return (
        f"{row['stack']:15}{row['message_bytes'] // 1024:3} KiB messages: "
        f"{row['mb_per_s']:6.1f} MB/s, CPU per packet {row['cpu_us_per_packet_send']:.2f} µs "
        f"sending, {row['cpu_us_per_packet_recv']:.2f} µs receiving; times {times}"
    )


if __name__ == "__main__":
    main()
