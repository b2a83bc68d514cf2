"""Files from one page to another by npm's PeerJS, as FilePizza sends them: two Chromiums.

``python -m bench.peerjs_pages PEERJS FILE|DIRECTORY`` prints a row of bench.share in JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from tests.interop.chromium import Page, chromium, open_page

from bench.processes import Failed, run
from peerfetch_fast.signaling import SignalingServer

HERE = Path(__file__).parent

LOOK_EACH = 0.25
"""Seconds between two looks at what a browser holds."""


def main() -> None:
    library, source = map(Path, sys.argv[1:])
    print(json.dumps(run(_send(library, source))))


@dataclass(slots=True)
class End:
    """A browser, and what it has cost."""

    page: Page
    pids: frozenset[int]
    """Its first processes."""
    cpu: float = 0.0
    peak: int = 0

    def look(self) -> None:
        """Look what all its processes have used: processor time, and memory as it is shared."""
        pids = _below(self.pids)
        self.cpu = sum(map(_cpu, pids))
        self.peak = max(self.peak, sum(map(_held, pids)))


async def _send(library: Path, source: Path) -> dict[str, float]:
    """Send a file, or those of a directory, from the receiver's start on."""
    files = [source] if source.is_file() else sorted(source.iterdir())
    async with contextlib.AsyncExitStack() as stack:
        signaling = SignalingServer()
        await signaling.start("127.0.0.1", 0)
        stack.push_async_callback(signaling.close)
        port = int(signaling.url.rpartition(":")[2].partition("/")[0])
        url = await stack.enter_async_context(_site(library))
        sender = await stack.enter_async_context(_browser(url))
        receiver = await stack.enter_async_context(_browser(url))
        root = await sender.page.devtools("DOM.getDocument")
        found = await sender.page.devtools(
            "DOM.querySelector", nodeId=root["root"]["nodeId"], selector="input"
        )
        await sender.page.devtools(
            "DOM.setFileInputFiles", files=list(map(str, files)), nodeId=found["nodeId"]
        )
        peer_id = await sender.page.evaluate(f"offer({port})")
        ends = (sender, receiver)
        before = [_used(end) for end in ends]
        looking = asyncio.ensure_future(_look(ends))
        began = asyncio.get_running_loop().time()
        received = await receiver.page.evaluate(f"receive({port}, {peer_id!r}, {len(files)})")
        wall = asyncio.get_running_loop().time() - began
        looking.cancel()
        for end, used in zip(ends, before, strict=True):
            end.cpu = _used(end) - used
    if received != sum(file.stat().st_size for file in files):
        raise Failed(f"{received} bytes came")
    return {
        "wall_s": wall,
        "sender_cpu_s": sender.cpu,
        "receiver_cpu_s": receiver.cpu,
        "sender_peak_mb": sender.peak / 1e6,
        "receiver_peak_mb": receiver.peak / 1e6,
    }


async def _look(ends: Sequence[End]) -> None:
    while True:
        for end in ends:
            end.look()
        await asyncio.sleep(LOOK_EACH)


def _used(end: End) -> float:
    end.look()
    return end.cpu


@contextlib.asynccontextmanager
async def _site(library: Path) -> AsyncIterator[str]:
    """The URL of the page."""

    async def send_library(request: web.Request) -> web.FileResponse:
        return web.FileResponse(library)

    app = web.Application()
    app.router.add_get("/peerjs.js", send_library)
    app.router.add_static("/", HERE)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/peerjs_pages.html"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _browser(url: str) -> AsyncIterator[End]:
    before = _children()[os.getpid()]
    with chromium() as devtools:
        started = frozenset(_children()[os.getpid()] - before)
        async with open_page(devtools, url) as page:
            yield End(page, started)


def _children() -> dict[int, set[int]]:
    """The processes that each has started."""
    found: dict[int, set[int]] = defaultdict(set)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(_fields(stat)[1])].add(int(stat.parent.name))
    return found


def _below(pids: frozenset[int]) -> set[int]:
    """These processes, and all that they have started."""
    children, found, waiting = _children(), set(pids), list(pids)
    while waiting:
        more = children[waiting.pop()] - found
        found |= more
        waiting.extend(more)
    return found


def _fields(stat: Path) -> list[str]:
    """The fields behind the name, which is in parentheses and can hold anything."""
    return stat.read_text().rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    """Seconds of processor time; 0 for a process that has ended."""
    with contextlib.suppress(OSError):
        fields = _fields(Path(f"/proc/{pid}/stat"))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _held(pid: int) -> int:
    """Bytes of its proportional set size; 0 for a process that has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
