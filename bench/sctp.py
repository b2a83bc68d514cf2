"""How fast is the SCTP floor alone: two associations in one process, and no loss?

Packets pass as ``bytes`` through the Python-level calls, which costs about a tenth of a microsecond
each; a driver written in Cython saves that. ``--instructions`` counts instructions under callgrind,
so that progress shows without noise: two runs of different sizes, and the difference between them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from bench.report import Row, environment, medians, parser, report
from peerfetch_fast.webrtc._sctp.association import Association
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings, Congestion

BATCH = 64
"""Packets that go from one side to the other at a time: as many as one GSO send carries."""
TICK = 50e-6
"""Seconds of virtual time that a batch takes."""
QUEUE = 1 << 20
"""Bytes that the sender keeps queued."""


class Pair:
    """Two associations and a clock."""

    def __init__(self, *, zero_checksum: bool, congestion: Congestion) -> None:
        settings = AssociationSettings(
            zero_checksum=zero_checksum, send_buffer=4 * QUEUE, congestion=congestion
        )
        self.now = 1.0
        self.client = Association(settings, b"c" * 32, client=True)
        self.server = Association(settings, b"s" * 32, client=False)
        self.packets = 0
        self.received = 0
        self.server.on_channel = lambda channel: setattr(channel, "on_message", self.count)
        self.channel = self.client.open_channel("bench", ordered=False)
        self.client.connect(self.now)
        while self.pass_on():
            pass

    def count(self, message: bytes | str) -> None:
        self.received += len(message)

    def pass_on(self) -> int:
        """One batch each way; how many packets that were."""
        self.now += TICK
        passed = _pass_batch(self.client, self.server, self.now)
        passed += _pass_batch(self.server, self.client, self.now)
        for association in (self.client, self.server):
            deadline = association.next_deadline()
            if deadline is not None and deadline <= self.now:
                association.handle_timeout(self.now)
            association.take_events()
        self.packets += passed
        return passed


def _pass_batch(source: Association, target: Association, now: float) -> int:
    count = 0
    while count < BATCH:
        packet = source.next_packet(now)
        if packet is None:
            break
        target.receive_packet(packet, now)
        count += 1
    return count


def transfer(total: int, message_bytes: int, *, zero_checksum: bool, congestion: Congestion) -> Row:
    """Send so many bytes one way."""
    pair = Pair(zero_checksum=zero_checksum, congestion=congestion)
    message = os.urandom(message_bytes)
    count = total // message_bytes
    sent = 0
    packets = pair.packets
    began = time.perf_counter()
    while pair.received < count * message_bytes:
        while sent < count and pair.channel.buffered_amount < QUEUE:
            pair.channel.send(message, pair.now)
            sent += 1
        pair.pass_on()
    spent = time.perf_counter() - began
    if pair.client.sender.retransmitted:
        sys.exit("something was lost on a link that loses nothing")
    return {
        "mb_per_s": count * message_bytes / 1e6 / spent,
        "us_per_packet": spent * 1e6 / (pair.packets - packets),
    }


def instructions(
    total: int, message_bytes: int, *, zero_checksum: bool, congestion: Congestion
) -> float:
    """Instructions of one process that does nothing but such a transfer."""
    with tempfile.TemporaryDirectory() as directory:
        finished = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={Path(directory, 'out')}",
                sys.executable,
                "-m",
                "bench.sctp",
                "--transfer",
                f"{total},{message_bytes},{int(zero_checksum)}",
                "--congestion",
                congestion,
            ],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"Collected : (\d+)", finished.stderr)
    if found is None:
        sys.exit(f"valgrind counted nothing:\n{finished.stderr}")
    return float(found[1])


def main() -> None:
    arguments = parser("bench.sctp", (__doc__ or "").partition("\n")[0], runs=5)
    arguments.add_argument("--megabytes", type=int, default=200, help="a transfer (%(default)s)")
    arguments.add_argument("--instructions", action="store_true", help="count them by callgrind")
    arguments.add_argument(
        "--congestion",
        choices=get_args(Congestion),
        default=AssociationSettings.congestion,
        help="the controller (%(default)s)",
    )
    arguments.add_argument("--transfer", metavar="BYTES,MESSAGE,ZERO", help="do one and no more")
    given = arguments.parse_args()
    if given.transfer is not None:
        total, message_bytes, zero = map(int, given.transfer.split(","))
        transfer(total, message_bytes, zero_checksum=bool(zero), congestion=given.congestion)
        return
    cases = [(16_384, False), (16_384, True), (65_536, False), (1_024, False), (100, False)]
    measure: Callable[[int, bool], Row]
    if given.instructions:
        # Apart enough that the start of the interpreter, never quite the same, does not matter.
        small, large = 5_000_000, 45_000_000

        def measure(message_bytes: int, zero_checksum: bool) -> Row:
            few, many = (
                instructions(
                    total,
                    message_bytes,
                    zero_checksum=zero_checksum,
                    congestion=given.congestion,
                )
                for total in (small, large)
            )
            return {"instructions_per_mb": (many - few) / ((large - small) / 1e6)}

        cases = cases[:2]
        runs = 1
    else:

        def measure(message_bytes: int, zero_checksum: bool) -> Row:
            total = given.megabytes * 1_000_000 // (1 if message_bytes > 1_000 else 10)
            return transfer(
                total, message_bytes, zero_checksum=zero_checksum, congestion=given.congestion
            )

        runs = given.runs
    rows = [
        {
            "message_bytes": message_bytes,
            "zero_checksum": zero_checksum,
            "congestion": given.congestion,
            **measure(message_bytes, zero_checksum),
        }
        for _ in range(runs)
        for message_bytes, zero_checksum in cases
    ]
    report(
        given.json,
        medians(rows, "message_bytes", "zero_checksum", "congestion"),
        line=_line,
        settings={"batch": BATCH, "megabytes": given.megabytes},
        facts=environment(),
    )


def _line(row: Row) -> str:
    what = f"{row['message_bytes']:>6} B messages, "
    what += "zero checksum: " if row["zero_checksum"] else "CRC32C:        "
    if "instructions_per_mb" in row:
        return what + f"{row['instructions_per_mb'] / 1e6:.2f} million instructions per MB"
    what += f"{row['mb_per_s']:.0f} MB/s, "
    return what + f"{row['us_per_packet']:.2f} us a packet, both sides"


if __name__ == "__main__":
    main()
