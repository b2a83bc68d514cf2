"""How fast do files get from one end to another, beside croc, magic-wormhole and FilePizza's way?

Each end is a process of its own, on this machine: wall time from the receiver's start to its end,
and of each end processor time and largest resident memory. croc and magic-wormhole take part where
they are installed (``--croc``, ``--wormhole-bin``), and with ``--peerjs`` two Chromium pages that
speak npm's PeerJS as FilePizza does; they are no dependencies. All relays and rendezvous servers
are on this machine, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import run
from bench.report import Row, environment, medians, parser, report, size

READY = 60.0
"""Seconds in which a sender must be ready."""

LONGEST = 900.0
"""Seconds that a transfer may take."""


@dataclass(slots=True)
class Ended:
    """What one end took."""

    cpu: float
    peak: int
    code: int


@dataclass(slots=True)
class Ends:
    """The ends of a transfer, each with what it has cost."""

    directory: Path
    children: dict[str, asyncio.Task[Ended]] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)

    def start(
        self, name: str, command: Sequence[object], where: Path, **environ: str
    ) -> asyncio.Task[Ended]:
        """Start an end, whose output goes to a file of its name."""
        log = (self.directory / f"{name}.log").open("wb")
        actions = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        words = ["env", "-C", str(where), *map(str, command)]
        pid = os.posix_spawnp("env", words, {**os.environ, **environ}, file_actions=actions)
        log.close()
        self.pids[name] = pid
        self.children[name] = asyncio.ensure_future(asyncio.to_thread(_wait, pid))
        return self.children[name]

    def said(self, name: str) -> str:
        """What it has printed."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    async def close(self) -> None:
        """End what still runs."""
        for name, task in self.children.items():
            if not task.done():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pids[name], 15)
                await task


def _wait(pid: int) -> Ended:
    _, status, usage = os.wait4(pid, 0)
    return Ended(
        usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)
    )


async def until(ready: Callable[[], bool], what: str) -> None:
    """Wait until ``ready`` holds."""
    async with asyncio.timeout(READY):
        while not ready():
            await asyncio.sleep(0.02)
    print(f"    {what}", file=sys.stderr)


Transfer = Callable[[Ends, Path, Path, argparse.Namespace], Awaitable[Row]]


async def by_peerfetch(ends: Ends, source: Path, out: Path, arguments: argparse.Namespace) -> Row:
    """Ours, by the code."""
    sender, receive = await _shared(ends, source, "--once")
    return await timed(ends, sender, (*receive, "-o", out), out, **_own(ends))


async def by_peerfetch_to_many(
    ends: Ends, source: Path, out: Path, arguments: argparse.Namespace
) -> Row:
    """Ours, to several receivers at once: what all of them get, and what the largest holds."""
    sender, receive = await _shared(ends, source)
    places = [out, *(out.with_name(f"out-{number}") for number in range(1, arguments.receivers))]
    loop = asyncio.get_running_loop()
    began = loop.time()
    receivers = [
        ends.start(place.name, (*receive, "-o", place), ends.directory, **_own(ends))
        for place in places
    ]
    async with asyncio.timeout(LONGEST):
        received = await asyncio.gather(*receivers)
    wall = loop.time() - began
    os.kill(ends.pids["sender"], signal.SIGTERM)
    sent = await sender
    for place in places:
        same(source, place)
    whole = Ended(
        sum(one.cpu for one in received), max(one.peak for one in received), received[0].code
    )
    return {"copies": len(places), **_row(wall, sent, whole)}


async def _shared(
    ends: Ends, source: Path, *options: str
) -> tuple[asyncio.Task[Ended], tuple[object, ...]]:
    """A sender that is ready, and the command of a receiver."""
    ready = ends.directory / "ready"
    python = (sys.executable, "-m", "peerfetch_fast")
    share = (*python, "share", source, *options, "--listen", "127.0.0.1:0", "--ready-file", ready)
    sender = ends.start("sender", share, ends.directory, **_own(ends))
    await until(ready.exists, "peerfetch is ready")
    told = json.loads(ready.read_text())
    return sender, (*python, "get", told["code"], "--signaling", told["signaling"], "-y")


def _own(ends: Ends) -> dict[str, str]:
    """The environment without the user's own state."""
    return {"PEERFETCH_STATE_DIR": str(ends.directory / "state"), "PEERFETCH_CONFIG": os.devnull}


async def by_croc(ends: Ends, source: Path, out: Path, arguments: argparse.Namespace) -> Row:
    """Croc, with a relay of its own on this machine."""
    ends.start("relay", (arguments.croc, "relay", "--ports", "9109,9110,9111"), ends.directory)
    home = {"CROC_SECRET": "1234-bench-code-here", "HOME": str(ends.directory)}
    relay = ("--relay", "127.0.0.1:9109", "--pass", "pass123")
    sender = ends.start(
        "sender",
        (arguments.croc, "--yes", *relay, "send", "--no-local", source),
        ends.directory,
        **home,
    )
    await until(lambda: "code" in ends.said("sender").lower(), "croc is ready")
    await asyncio.sleep(1.0)  # it says so before the relay knows it
    return await timed(ends, sender, (arguments.croc, "--yes", "--overwrite", *relay), out, **home)


async def by_wormhole(ends: Ends, source: Path, out: Path, arguments: argparse.Namespace) -> Row:
    """magic-wormhole, with its mailbox server on this machine and a direct connection."""
    binaries = Path(arguments.wormhole_bin)
    ends.start(
        "mailbox",
        (binaries / "twist", "wormhole-mailbox", "--port", "tcp:4109:interface=127.0.0.1"),
        ends.directory,
    )
    await until(lambda: "starting" in ends.said("mailbox").lower(), "the mailbox is ready")
    common = (
        binaries / "wormhole",
        "--relay-url",
        "ws://127.0.0.1:4109/v1",
        "--transit-helper",
        "",
    )
    sender = ends.start(
        "sender",
        (*common, "send", "--hide-progress", "--code", "7-bench-code", source),
        ends.directory,
    )
    await until(lambda: "7-bench-code" in ends.said("sender"), "wormhole is ready")
    receive = (*common, "receive", "--hide-progress", "--accept-file", "7-bench-code")
    return await timed(ends, sender, receive, out)


async def by_peerjs(ends: Ends, source: Path, out: Path, arguments: argparse.Namespace) -> Row:
    """PeerJS's binary channel between two pages, each in a browser of its own, which keeps what
    comes in a file system of its own.
    """
    # A process of its own: what this one holds when it starts an end counts as that end's peak.
    command = (sys.executable, "-m", "bench.peerjs_pages", arguments.peerjs, source)
    pages = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await pages.communicate()
    if pages.returncode:
        raise RuntimeError("the pages failed")
    row: Row = json.loads(told)
    return row


async def timed(
    ends: Ends,
    sender: asyncio.Task[Ended],
    command: Sequence[object],
    out: Path,
    **environ: str,
) -> Row:
    """Run the receiver, and wait for both."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(LONGEST):
        receiver = await ends.start("receiver", command, out, **environ)
        wall = loop.time() - began
        sent = await sender
    if receiver.code or sent.code:
        raise RuntimeError(f"it failed:\n{ends.said('sender')}\n{ends.said('receiver')}")
    return _row(wall, sent, receiver)


def _row(wall: float, sent: Ended, received: Ended) -> Row:
    return {
        "wall_s": wall,
        "sender_cpu_s": sent.cpu,
        "receiver_cpu_s": received.cpu,
        "sender_peak_mb": sent.peak / 1e6,
        "receiver_peak_mb": received.peak / 1e6,
    }


PAGES = "peerjs"
"""The way by two pages, which keep nothing where it could be seen."""

MANY = "to many"
"""The way of ours to several receivers at once."""

WAYS: dict[str, Transfer] = {
    "peerfetch": by_peerfetch,
    MANY: by_peerfetch_to_many,
    "croc": by_croc,
    "wormhole": by_wormhole,
    PAGES: by_peerjs,
}


@contextlib.asynccontextmanager
async def ends_in(base: Path) -> AsyncIterator[Ends]:
    """A directory for the ends, which are ended with the block."""
    with tempfile.TemporaryDirectory(dir=base) as name:
        ends = Ends(Path(name))
        try:
            yield ends
        finally:
            await ends.close()


def make(base: Path, kind: str, total: int) -> tuple[Path, int]:
    """What is sent, and its bytes: one file, or 10,000."""
    rng = random.Random(1)
    if kind == "one file":
        path = base / "large.bin"
        with path.open("wb") as file:
            for _ in range(total // 1_048_576):
                file.write(rng.randbytes(1_048_576))
        return path, path.stat().st_size
    path = base / "small"
    path.mkdir()
    for number in range(10_000):
        (path / f"{number:05}").write_bytes(rng.randbytes(10_000))
    return path, 100_000_000


def same(source: Path, out: Path) -> None:
    """Raises RuntimeError unless all of ``source`` is in ``out``."""
    files = [source] if source.is_file() else sorted(source.iterdir())
    for file in files:
        there = out / file.relative_to(source.parent)
        if not there.exists() or there.stat().st_size != file.stat().st_size:
            raise RuntimeError(f"{there} did not arrive")


def main() -> None:
    arguments_parser = parser("bench.share", __doc__ or "", runs=3)
    arguments_parser.add_argument("--size", type=size, default=size("1G"), help="of the one file")
    arguments_parser.add_argument(
        "--kinds", default="one file,10000 files", help="what is sent (%(default)s)"
    )
    arguments_parser.add_argument(
        "--receivers", type=int, default=4, help="of ours at once, a way of its own; 1: without it"
    )
    arguments_parser.add_argument("--croc", default=shutil.which("croc"), help="its program")
    wormhole = shutil.which("wormhole")
    arguments_parser.add_argument(
        "--wormhole-bin",
        default=None if wormhole is None else str(Path(wormhole).parent),
        help="where wormhole and twist are",
    )
    arguments_parser.add_argument(
        "--peerjs", type=Path, default=None, help="its peerjs.min.js, of npm's package peerjs"
    )
    arguments_parser.add_argument("--directory", type=Path, default=None, help="where files are")
    arguments = arguments_parser.parse_args()
    report(
        arguments.json,
        run(_main(arguments)),
        line=_line,
        settings={name: str(value) for name, value in vars(arguments).items() if name != "json"},
        facts=environment(),
    )


async def _main(arguments: argparse.Namespace) -> list[Row]:
    ways = [way for way in WAYS if _is_there(way, arguments)]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        base = Path(name)
        for kind in arguments.kinds.split(","):
            source, total = make(base, kind, arguments.size)
            for number in range(arguments.runs):
                for way in ways:
                    async with ends_in(base) as ends:
                        out = ends.directory / "out"
                        out.mkdir()
                        print(f"{kind}, run {number + 1}: {way}", file=sys.stderr)
                        row = await WAYS[way](ends, source, out, arguments)
                        if way != PAGES:
                            same(source, out)
                    rate = total * row.pop("copies", 1) / row["wall_s"] / 1e6
                    rows.append({"way": way, "kind": kind, "mb_per_s": rate, **row})
    return medians(rows, "way", "kind")


def _is_there(way: str, arguments: argparse.Namespace) -> bool:
    if way == MANY:
        return bool(arguments.receivers > 1)
    others = {"croc": arguments.croc, "wormhole": arguments.wormhole_bin, PAGES: arguments.peerjs}
    return others.get(way, True) is not None


def _line(row: Row) -> str:
    return (
        f"{row['kind']:12} {row['way']:10} {row['wall_s']:7.2f} s {row['mb_per_s']:7.1f} MB/s   "
        f"CPU {row['sender_cpu_s']:.2f} + {row['receiver_cpu_s']:.2f} s   "
        f"peak {row['sender_peak_mb']:.0f} + {row['receiver_peak_mb']:.0f} MB"
    )


if __name__ == "__main__":
    main()
