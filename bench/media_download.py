"""What do a live picture and a large download of one device do to each other?"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

from bench.film import make_film
from bench.link import emulated
from bench.links import LINKS
from bench.pattern import Pattern
from bench.peers.watching import Picture, counting_viewer
from bench.processes import Process, run
from bench.report import Row, environment, medians, parser, percentile, report, some_of
from bench.stacks import Stack

WAYS = ("frames", "rtp")
LATE = 0.2
VIDEO_CLOCK = 90_000
SETTLE = 1.0
"""Seconds before a download begins."""

ALONE = "alone"
WITHOUT = "none"
"""The link that is no link but loopback: there the processors are what is shared."""


def main() -> None:
    made = parser("bench.media_download", __doc__ or "", runs=5)
    made.add_argument("--size", type=int, default=2_000, help="MB to download (%(default)s)")
    made.add_argument(
        "--link-size", type=int, default=60, help="MB to download across a link (%(default)s)"
    )
    for option, of in (("--links", (WITHOUT, *LINKS)), ("--ways", WAYS)):
        given = [WITHOUT, "1"] if option == "--links" else list(of)
        made.add_argument(option, type=some_of(of), default=given, metavar="NAME,…")
    arguments = made.parse_args()
    report(
        arguments.json,
        _compared(medians(run(_measure(arguments)), "link", "way")),
        line=_line,
        settings={"runs": arguments.runs, "mb": arguments.size, "link_mb": arguments.link_size},
        facts=environment(),
    )


async def _measure(arguments: argparse.Namespace) -> list[Row]:
    """Downloads alone, pictures alone and both, alternating, each by new processes."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as work:
        pattern = Pattern.create(Path(work) / "pattern")
        film = make_film(Path(work) / "film.mp4")
        for number in range(1, arguments.runs + 1):
            for name in arguments.links:
                size = (arguments.size if name == WITHOUT else arguments.link_size) * 1_000_000
                for way in (ALONE, *arguments.ways):
                    row = await _one(pattern, film, name, way, number, size)
                    rows.append({"link": name, "way": way, **row})
                    print(_line(rows[-1]), file=sys.stderr)
    return rows


async def _one(pattern: Pattern, film: Path, name: str, way: str, seed: int, size: int) -> Row:
    program = (sys.executable, "-m", "bench.peers.session")
    stack = Stack("session", program, ("bbr", str(film)))
    if name == WITHOUT:
        async with stack.connect(pattern) as (client, _):
            return await _beside(client, way, size)
    async with (
        emulated(LINKS[name], seed=seed) as link,
        stack.connect(pattern, rewrite=partial(link.rewrite, 0)) as (client, _),
    ):
        await link.begin()
        return await _beside(client, way, size)


async def _beside(client: Process, way: str, size: int) -> Row:
    """Figures of a download, and of the picture while it goes on and for as long after it."""
    if way == ALONE:
        await asyncio.sleep(SETTLE)
        return {"mb_per_s": await _download(client, size) / 1e6}
    async with _by_rtp(client) if way == "rtp" else _by_frames(client) as pictures:
        await asyncio.sleep(SETTLE)
        began = time.monotonic()
        rate = await _download(client, size)
        ended = time.monotonic()
        took = ended - began
        await asyncio.sleep(took)
    return {
        "mb_per_s": rate / 1e6,
        **_late(pictures, began, ended, "beside"),
        **_late(pictures, ended, ended + took, "alone"),
    }


@contextlib.asynccontextmanager
async def _by_frames(client: Process) -> AsyncIterator[list[Picture]]:
    """The pictures, once this ends."""
    pictures: list[Picture] = []
    client.tell("watch")
    await client.hear("watching")
    yield pictures
    client.tell("leave")
    pictures += (await client.hear("watched"))["pictures"]


@contextlib.asynccontextmanager
async def _by_rtp(client: Process) -> AsyncIterator[list[Picture]]:
    """The same by a connection of this process: one in the client's would wait for its turn beside
    the download, which is not what is measured.
    """
    pictures: list[Picture] = []

    async def offer(sdp: str) -> str:
        client.tell("offer", sdp=sdp)
        answer: str = (await client.hear("answered"))["sdp"]
        return answer

    def take(packet: bytes) -> None:
        if packet[1] & 0x80:  # the last of a picture
            of = int.from_bytes(packet[4:8], "big") / VIDEO_CLOCK
            pictures.append((time.monotonic(), of))

    connection = await counting_viewer(offer, take)
    yield pictures
    await connection.close()


async def _download(client: Process, size: int) -> float:
    client.tell("download", target=f"/{size}", size=size)
    took: float = (await client.hear("downloaded", 120))["seconds"]
    return size / took


def _late(pictures: Sequence[Picture], begin: float, end: float, name: str) -> Row:
    """Of the pictures that came in that time those that were late, as against the soonest of all,
    and the lateness that 99 of 100 do not exceed.
    """
    delays = [came - of for came, of in pictures]
    soonest = min(delays)
    judged = [came - of - soonest for came, of in pictures if begin <= came < end]
    return {
        f"late_{name}": sum(delay > LATE for delay in judged) / len(judged),
        f"p99_ms_{name}": percentile(judged, 99) * 1e3,
    }


def _compared(rows: list[Row]) -> list[Row]:
    alone = {row["link"]: row["mb_per_s"] for row in rows if row["way"] == ALONE}
    for row in rows:
        row["of_alone"] = row["mb_per_s"] / alone[row["link"]]
    return rows


def _line(row: Row) -> str:
    text = f"link {row['link']:4} {row['way']:6} {row['mb_per_s']:6.1f} MB/s"
    if "of_alone" in row:
        text += f" ({row['of_alone']:4.0%} of alone)"
    if row["way"] == ALONE:
        return text
    return (
        f"{text}, {row['late_beside']:5.1%} of the pictures more than {LATE * 1e3:.0f} ms late "
        f"(alone {row['late_alone']:5.1%}), p99 {row['p99_ms_beside']:.0f} ms "
        f"(alone {row['p99_ms_alone']:.0f})"
    )


if __name__ == "__main__":
    main()
