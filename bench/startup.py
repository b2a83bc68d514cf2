"""What does it cost to begin: the command line, a fetch, a proxy that waits, and sessions that do
nothing? (Linux)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from bench import launch
from bench.pattern import Pattern
from bench.processes import ROOT, Failed, run, running
from bench.proxied import cpu, peak, resident
from bench.report import Row, environment, medians, parser, report
from bench.services import program

FETCHED = 1024
"""Bytes of what is fetched."""

FIRST_SESSIONS = 20
"""Sessions that are not counted: with them comes what all share."""

SETTLE = 2.0
"""Seconds until what a start or a connection leaves behind has gone."""

TARGETS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("command", "peerfetch --help"): {"times_python": 5, "peak_mb": 18},
    ("command", "peerfetch fetch"): {"times_python": 16, "peak_mb": 45},
    ("idle proxy", "server elsewhere"): {"mb": 50},
    ("idle proxy", "server embedded"): {"mb": 65},
    ("idle sessions", "memory"): {"kb_each": 120},
    ("idle sessions", "CPU"): {"percent_of_a_core": 1.5},
}
"""What each figure shall be at most."""


def main() -> None:
    arguments_parser = parser("bench.startup", __doc__, runs=9)
    arguments_parser.add_argument(
        "--proxies", type=int, default=3, help="runs of each proxy, and of sessions (%(default)s)"
    )
    arguments_parser.add_argument(
        "--sessions", type=int, default=200, help="that do nothing (%(default)s)"
    )
    arguments_parser.add_argument(
        "--seconds", type=float, default=20.0, help="for which their CPU is taken (%(default)s)"
    )
    arguments = arguments_parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
        os.environ["PEERFETCH_STATE_DIR"] = f"{directory}/state"
        # What is installed has been compiled; so is what is run from a source tree, once.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = f"{directory}/compiled"
        found = run(_main(arguments, Path(directory)))
    report(
        arguments.json,
        [{**row, **_targets(row)} for row in found],
        line=_line,
        settings={name: value for name, value in vars(arguments).items() if name != "json"},
        facts=environment(),
    )


def _targets(row: Row) -> Row:
    wanted = TARGETS.get((row["measured"], row["what"]), {})
    return {f"target_{name}": most for name, most in wanted.items()}


def _line(row: Row) -> str:
    told = f"{row['measured']}, {row['what']}: "
    match row["measured"]:
        case "command":
            return told + (
                f"{row['cpu_s']:.3f} s of CPU ({row['times_python']:.1f} times python), "
                f"{row['peak_mb']:.1f} MB" + _wanted(row)
            )
        case "idle proxy":
            return f"{told}{row['mb']:.1f} MB, at most {row['peak_mb']:.1f}{_wanted(row)}"
        case _ if "kb_each" in row:
            return f"{told}{row['kb_each']:.0f} KB each{_wanted(row)}"
        case _:
            return f"{told}{row['percent_of_a_core']:.2f} % of a core{_wanted(row)}"


def _wanted(row: Row) -> str:
    wanted = [f"{row[name]:g}" for name in row if name.startswith("target_")]
    return f" (wanted: {', '.join(wanted)})" if wanted else ""


async def _main(arguments: argparse.Namespace, directory: Path) -> list[Row]:
    pattern = Pattern.create(directory / "pattern")
    async with (
        program("bench.peers.http_server", str(pattern.path)) as server,
        program("peerfetch_fast", "signal", "--listen", "127.0.0.1:0") as signal,
    ):
        target, signaling = str(server["url"]), str(signal["signaling"])
        return [
            *await _commands(arguments.runs, target, signaling),
            *await _proxies(arguments.proxies, target, signaling),
            *await _sessions(arguments, signaling),
        ]


async def _commands(runs: int, target: str, signaling: str) -> list[Row]:
    """Of whole programs, each by itself."""
    python = (sys.executable, "-c")
    ours = (sys.executable, "-m", "peerfetch_fast")
    rows: list[Row] = []
    async with _proxy(target, "--signaling", signaling) as proxy:
        url = f"peer://{proxy['peer_id']}/{FETCHED}"
        commands = {
            "python -c pass": (*python, "pass"),
            "import aiohttp": (*python, "import aiohttp"),
            "import aiortc": (*python, "import aiortc"),
            "peerfetch --help": (*ours, "--help"),
            "peerfetch --version": (*ours, "--version"),
            "peerfetch fetch": (*ours, "fetch", url, "--signaling", signaling),
        }
        curl = shutil.which("curl")
        if curl is not None:
            commands["curl"] = (curl, "--silent", "--fail", f"{target}/{FETCHED}")
        for number in range(runs + 1):
            for what, command in commands.items():
                seconds, peak = await _launched(what, command)
                if number == 0:
                    continue  # it compiled, and filled the kernel's caches
                rows.append(
                    {"measured": "command", "what": what, "cpu_s": seconds, "peak_mb": peak / 1e6}
                )
    joined = medians(rows, "measured", "what")
    for row in joined:
        row["times_python"] = row["cpu_s"] / joined[0]["cpu_s"]
    return joined


async def _launched(what: str, command: Sequence[str]) -> tuple[float, int]:
    """CPU seconds and peak memory in bytes of a command. Raises Failed."""
    launching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", launch.__file__, *command),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    told, _ = await launching.communicate()
    if launching.returncode:
        raise Failed(f"{what} failed")
    seconds, peak = told.split()
    return float(seconds), int(peak)


@contextlib.asynccontextmanager
async def _proxy(target: str, *options: str) -> AsyncIterator[Row]:
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as state:
        async with program(
            *("peerfetch_fast", "proxy", "--target", target, "--state-dir", state, *options)
        ) as ready:
            yield ready


async def _proxies(runs: int, target: str, signaling: str) -> list[Row]:
    """Of proxies that nobody has asked for anything."""
    places = {
        "server elsewhere": ("--signaling", signaling),
        "server embedded": ("--listen", "127.0.0.1:0"),
    }
    rows: list[Row] = []
    for _ in range(runs):
        for what, options in places.items():
            async with _proxy(target, *options) as proxy:
                await asyncio.sleep(SETTLE)
                rows.append(
                    {
                        "measured": "idle proxy",
                        "what": what,
                        "mb": resident(proxy["pid"]) / 1e6,
                        "peak_mb": peak(proxy["pid"]) / 1e6,
                    }
                )
    return medians(rows, "measured", "what")


async def _sessions(arguments: argparse.Namespace, signaling: str) -> list[Row]:
    """Of the end that serves: memory for each session, and CPU of all."""
    end = (sys.executable, "-m", "bench.peers.idle")
    memory: list[Row] = []
    work: list[Row] = []
    for _ in range(arguments.proxies):
        async with running("the server", (*end, "serve", signaling)) as server:
            peer_id = (await server.hear("open"))["peer_id"]
            async with running("the clients", (*end, "connect", signaling, peer_id)) as clients:
                await clients.hear("open")
                held = []
                for sessions in (FIRST_SESSIONS, arguments.sessions):
                    clients.tell("connect", sessions=sessions)
                    await clients.hear("connected")
                    await asyncio.sleep(SETTLE)
                    held.append(resident(server.pid))
                each = (held[1] - held[0]) / arguments.sessions
                memory.append(
                    {"measured": "idle sessions", "what": "memory", "kb_each": each / 1e3}
                )
                began, used = time.monotonic(), cpu(server.pid)
                await asyncio.sleep(arguments.seconds)
                share = (cpu(server.pid) - used) / 1e6 / (time.monotonic() - began)
                # As of 200, however many there are.
                percent = 100 * share * 200 / (FIRST_SESSIONS + arguments.sessions)
                work.append(
                    {"measured": "idle sessions", "what": "CPU", "percent_of_a_core": percent}
                )
    return [*medians(memory, "measured", "what"), *medians(work, "measured", "what")]


if __name__ == "__main__":
    main()
