"""Does one large file arrive whole if either end is killed at random again and again?

``peerfetch share`` and ``peerfetch get`` as processes. One of them, drawn by lot, gets SIGKILL at
an octet that is drawn, too, and is started again. What had arrived must still be there, and what
the receivers wrote in all shows that it did not come twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.processes import Process, environment, peerfetch, running

from bench.big_download import NAME, digest_of, write
from bench.processes import Failed, run
from bench.report import Row, parser, report, size
from bench.report import environment as facts

LONGEST = 600.0
"""Seconds that all of it may take."""

POLL = 0.002
"""Seconds between two looks at what has arrived."""


class Transfer:
    """A file on its way between two processes, each of which can be killed."""

    def __init__(self, work: Path, stack: contextlib.ExitStack) -> None:
        self.out = work / "out"
        self.written = 0
        """Octets that receivers wrote which have ended."""
        self._work = work
        self._stack = stack
        signal = stack.enter_context(peerfetch(work, "signal", "--listen", "127.0.0.1:0"))
        self._at = ("--signaling", signal.ready["signaling"])
        self.sender = self._share()
        self.receiver = self._get()
        self._writes = 0

    def _share(self) -> Process:
        source = self._work / "files" / NAME
        options = ("--permanent", "bench", *self._at, source)
        return self._stack.enter_context(peerfetch(self._work, "share", *options))

    def _get(self) -> Process:
        command = ("get", self.sender.ready["link"], "-y", "-o", self.out)
        return self._stack.enter_context(
            running(
                *(sys.executable, "-m", "peerfetch_fast", *command),
                log=self._work / "get.log",
                env=environment(self._work),
            )
        )

    def have(self) -> int:
        """Octets that have arrived, in the file or in what will be it."""
        self._look()
        with contextlib.suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in self.out.iterdir())
        return 0

    def _look(self) -> None:
        """Take down what the receiver has written: once it has ended, nobody can say."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.receiver.pid}/io").read_text().splitlines():
                if line.startswith("wchar:"):
                    self._writes = int(line.split()[1])

    def kill(self, end: str) -> None:
        """Kill that end, and start it again."""
        if end == "sender":
            self.sender.kill()
            self.sender = self._share()
            return
        self._look()
        self.receiver.kill()
        self.count()
        self.receiver = self._get()

    def count(self) -> None:
        """Add what the receiver wrote that has ended."""
        self.written += self._writes
        self._writes = 0

    async def until(self, octets: int) -> int:
        """Wait until so much is there; how much it is. Raises Failed if the receiver ends first."""
        while (have := self.have()) < octets:
            if self.receiver.ended:
                raise Failed(f"the receiver has ended:\n{self.receiver.output}")
            await asyncio.sleep(POLL)
        return have


def main() -> None:
    arguments_parser = parser("bench.share_kills", __doc__ or "", runs=1)
    arguments_parser.add_argument("--size", type=size, default=size("1G"), help="of the file")
    arguments_parser.add_argument("--kills", type=int, default=10, help="(%(default)s)")
    arguments_parser.add_argument("--seed", type=int, default=None, help="of what is drawn")
    arguments = arguments_parser.parse_args()
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    rows = [run(_measure(arguments)) for _ in range(arguments.runs)]
    report(arguments.json, rows, line=_line, settings=settings, facts=facts())


def _line(row: Row) -> str:
    return (
        f"{row['bytes']} bytes in {row['seconds']:.1f} s, the sender killed {row['senders']} times "
        f"and the receiver {row['receivers']} times (seed {row['seed']}); {row['again']} bytes "
        f"more were written, the longest pause was {row['longest_pause']:.1f} s: the same SHA-256"
    )


async def _measure(arguments: argparse.Namespace) -> Row:
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-")))
        (work / "files").mkdir()
        expected = write(work / "files" / NAME, arguments.size)
        loop = asyncio.get_running_loop()
        began = loop.time()
        transfer = Transfer(work, stack)
        async with asyncio.timeout(LONGEST):
            killed, pauses = await _killed(transfer, arguments, random.Random(seed))
            while not transfer.receiver.ended:
                transfer.have()
                await asyncio.sleep(POLL)
        seconds = loop.time() - began
        transfer.count()
        if transfer.receiver.wait() or digest_of(transfer.out / NAME) != expected:
            raise Failed(f"it did not arrive (seed {seed}):\n{transfer.receiver.output}")
        return {
            "bytes": arguments.size,
            "seconds": seconds,
            "seed": seed,
            "senders": killed.count("sender"),
            "receivers": killed.count("receiver"),
            "again": max(0, transfer.written - arguments.size),
            "longest_pause": max(pauses, default=0.0),
        }


async def _killed(
    transfer: Transfer, arguments: argparse.Namespace, rng: random.Random
) -> tuple[list[str], list[float]]:
    """Kill ends where it was drawn; which, and the seconds until more had arrived."""
    loop = asyncio.get_running_loop()
    killed, pauses = [], []
    for place in _places(arguments.size, arguments.kills, rng):
        await transfer.until(place)
        end = rng.choice(("sender", "receiver"))
        transfer.kill(end)
        lost, kept = loop.time(), transfer.have()
        if kept < place:
            raise Failed(f"{place} bytes had arrived, and {kept} are there")
        if kept >= arguments.size:
            raise Failed("all had arrived before the last kill; --size is too small")
        more = await transfer.until(kept + 1)
        killed.append(end)
        pauses.append(loop.time() - lost)
        print(f"    {end} killed at {kept}, goes on with {more}", file=sys.stderr)
    return killed, pauses


def _places(length: int, count: int, rng: random.Random) -> Iterator[int]:
    """Octets at which an end is killed: one in each part of the file, the last one aside."""
    part = length // (count + 1)
    return (number * part + rng.randrange(1, part) for number in range(count))


if __name__ == "__main__":
    main()
