"""The emulated link: a program of ours between two peers, whatever stack they are made with.

It needs nothing of the kernel. The program (``link.c``) owns a UDP port on loopback for each peer,
and the host candidate of each peer is rewritten, on its way through signaling, to the port that
stands for it: so all its datagrams go through the program.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import Process, running
from bench.report import Row
from bench.stacks import make

__all__ = ["Link", "LinkProcess", "emulated"]

CUT = 100
"""Per cent of loss that let nothing through."""

DIRECTORY = Path(__file__).parent

# RFC 8839 §5.1: foundation, component, transport, priority, address, port, type.
_CANDIDATE = re.compile(
    r"^a=candidate:(\S+ 1 udp \d+ )([\d.]+) (\d+)( typ host\b.*)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Link:
    """What a link is like, the same each way.

    :ivar rate_mbit: Mbit/s of whole IPv4 packets.
    :ivar delay_ms: one way.
    :ivar loss_percent: of the packets, each way.
    :ivar queue_ms: the longest wait; what would wait longer is dropped.
    :ivar burst: packets that are lost in a row, in the mean; 1: each packet is lost by itself.
    :ivar changes: what changes when: seconds, and one of the program's settings and its new value.
    """

    rate_mbit: float
    delay_ms: float
    loss_percent: float
    queue_ms: float
    burst: float = 1
    changes: Sequence[tuple[float, str, float]] = ()

    @property
    def settings(self) -> str:
        """For the program's command line."""
        return " ".join(
            (
                f"rate={self.rate_mbit:g} delay={self.delay_ms:g} loss={self.loss_percent:g}",
                f"burst={self.burst:g} queue={self.queue_ms:g}",
                *(f"@{seconds:g} {name}={value:g}" for seconds, name, value in self.changes),
            )
        )

    def mean_rate(self, seconds: float) -> float:
        """Mbit/s that the link can carry over its first ``seconds``: none while it is cut."""
        bits = since = 0.0
        now = {"rate": self.rate_mbit, "loss": self.loss_percent}
        for at, name, value in (*self.changes, (seconds, "", 0)):
            at = min(at, seconds)
            if now["loss"] < CUT:
                bits += (at - since) * now["rate"]
            now[name] = value
            since = at
        return bits / seconds

    @property
    def returns(self) -> float | None:
        """The second at which it comes back after it was cut, if it is."""
        cut = False
        for at, name, value in self.changes:
            if cut and name == "loss" and value < CUT:
                return at
            cut = cut or (name == "loss" and value == CUT)
        return None


class LinkProcess:
    """A running link. Made by :func:`emulated`."""

    def __init__(self, process: Process, ports: Sequence[Sequence[int]]) -> None:
        self.ports = ports
        """For each flow the ports that stand for its two ends, on 127.0.0.1."""
        self._process = process

    def rewrite(self, flow: int, end: int, description: Any, *, routed: bool = False) -> Any:
        """What to signal in place of an end's session description: of its candidates only one host
        candidate is left, with the port that stands for this end.

        :param routed: nothing reaches the end before it has sent something, as behind a router that
            translates addresses.
        """
        lines = []
        candidate = None
        for line in description["sdp"].splitlines():
            if not line.startswith("a=candidate:"):
                lines.append(line)
            elif candidate is None and (candidate := _CANDIDATE.match(line)) is not None:
                before, address, port, after = candidate.groups()
                if not routed:
                    self.lead(flow, end, address, int(port))
                lines.append(f"a=candidate:{before}127.0.0.1 {self.ports[flow][end]}{after}")
        return {**description, "sdp": "\r\n".join((*lines, ""))}

    def lead(self, flow: int, end: int, address: str, port: int) -> None:
        """Say where an end really is. Without it, that is where its first datagram comes from."""
        self._process.tell("end", flow=flow, end=end, address=address, port=port)

    async def begin(self) -> None:
        """Start losing packets, the schedule and the account. Raises Failed."""
        self._process.tell("begin")
        await self._process.hear("begun")

    async def report(self) -> Row:
        """What the link has carried since it began (README.md). Raises Failed."""
        self._process.tell("report")
        return await self._process.hear("carried")


@contextlib.asynccontextmanager
async def emulated(
    there: Link | str, back: Link | str | None = None, *, seed: int = 1, flows: int = 1
) -> AsyncIterator[LinkProcess]:
    """Run a link until the block ends. Raises Failed.

    :param there: what it is like from end 0 to end 1, or the settings for the program.
    :param back: the other way; the same by default.
    :param flows: how many pairs of ends share it.
    """
    make(DIRECTORY, needs="Linux, make and a C compiler")
    ways = [way.settings if isinstance(way, Link) else way for way in (there, back) if way]
    command = (str(DIRECTORY / "link"), "--flows", str(flows), "--seed", str(seed), *ways)
    async with running("the link", command) as process:
        yield LinkProcess(process, (await process.hear("ready"))["ports"])
