"""The proxy between a client and servers, each a process of its own, for benchmarks."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.pattern import Pattern
from bench.processes import Failed, Process, running
from bench.services import nginx, program

__all__ = ["Place", "cpu", "download", "peak", "place", "resident"]


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    pattern: Pattern
    root: Path
    """The directory that nginx serves."""
    upstream: str
    """nginx's URL."""
    signaling: str
    transport: str

    @contextlib.asynccontextmanager
    async def proxy(self, *options: str) -> AsyncIterator[tuple[int, str]]:
        """A new proxy, in front of nginx or as ``options`` say; gives its pid, and its peer id with
        the fingerprint.
        """
        with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as state:
            async with program(
                "peerfetch_fast.proxy",
                *(options or ("--target", self.upstream)),
                *("--signaling", self.signaling),
                *("--state-dir", state, "--transport", self.transport),
            ) as ready:
                yield ready["pid"], f"{ready['peer_id']}#{ready['fingerprint']}"

    @contextlib.asynccontextmanager
    async def client(self, peer_id: str) -> AsyncIterator[Process]:
        """A client that is connected to that peer."""
        command = (
            *(sys.executable, "-m", "bench.peers.http_client", str(self.pattern.path)),
            *(self.transport, peer_id, self.signaling),
        )
        async with running("the client", command) as client:
            await client.hear("open")
            yield client


@contextlib.asynccontextmanager
async def place(transport: str, files: dict[str, int]) -> AsyncIterator[Place]:
    """nginx with ``files`` (bytes by name) and a signaling server, until the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-"))
        )
        pattern = Pattern.create(directory / "pattern")
        root = directory / "root"
        root.mkdir()
        for name, length in files.items():
            pattern.write(root / name, length)
        upstream = await stack.enter_async_context(nginx(root))
        signal = await stack.enter_async_context(
            program("peerfetch_fast", "signal", "--listen", "127.0.0.1:0")
        )
        yield Place(pattern, root, upstream, signal["signaling"], transport)


async def download(client: Process, target: str, length: int, stall: float = 0.0) -> float:
    """Seconds in which the client got that file, each byte checked."""
    client.tell("download", target=target, size=length, stall=stall)
    seconds: float = (await client.hear("downloaded", length / 1e6 + stall))["seconds"]
    return seconds


def cpu(pid: int) -> float:
    """Microseconds of CPU that the process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


def peak(pid: int) -> int:
    """The most bytes that the process had in memory at once (Linux)."""
    return _memory(pid, "VmHWM")


def resident(pid: int) -> int:
    """Bytes that the process has in memory (Linux)."""
    return _memory(pid, "VmRSS")


def _memory(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise Failed(f"process {pid} has ended")
    return int(found[1]) * 1024
