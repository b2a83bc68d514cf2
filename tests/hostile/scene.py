"""A victim, its attacker, and a bystander: each a process, while the victim's means are watched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import aiohttp
from bench.processes import Failed, Process, running
from bench.report import Row, percentile
from bench.services import program
from tests.hostile.attacks import ATTACKS
from tests.hostile.outside import OUTSIDE

__all__ = ["TARGETS", "Scene", "Target", "attacks_on", "scene"]

Target = Literal["proxy", "client", "forward"]
TARGETS: tuple[Target, ...] = ("proxy", "client", "forward")

HOSTILE_DEVICE = "hostile-device"
SAMPLE = 0.02
"""Seconds between two looks at the victim."""
PAUSE = 0.01
"""Seconds between two requests of a local program."""
SETTLED = 0.2
"""Seconds after an attack, before the next begins."""


def attacks_on(target: Target) -> list[str]:
    """Names of the attacks that this victim can be shown to."""
    return [*ATTACKS, *OUTSIDE] if target == "proxy" else list(ATTACKS)


class Watch:
    """What a process takes, from now until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.memory: list[float] = []
        """Megabytes (of 10^6 bytes) in memory."""
        self._began = time.perf_counter(), self._cpu()
        self.death = asyncio.ensure_future(self._look())
        """Ends when the process does."""

    async def _look(self) -> None:
        while True:
            try:
                status = Path(f"/proc/{self._pid}/status").read_text()
            except OSError:
                return
            _, found, rest = status.partition("VmRSS:")
            if not found:
                return  # nobody has asked yet how it ended
            self.memory.append(int(rest.split()[0]) * 1024 / 1e6)
            await asyncio.sleep(SAMPLE)

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def died(self) -> bool:
        """Whether the process ends, if not at once."""
        await asyncio.wait((self.death,), timeout=SETTLED)
        return self.death.done()

    async def stop(self) -> Row:
        """The figures of a process that lives."""
        spent, took = self._cpu(), time.perf_counter()
        self.death.cancel()
        await asyncio.wait((self.death,))
        return {
            "memory_mb_before": self.memory[0],
            "memory_mb_most": max(self.memory),
            "memory_mb_after": self.memory[-1],
            "cpu_share": (spent - self._began[1]) / (took - self._began[0]),
        }


class Scene:
    """Where attacks happen. Made by :func:`scene`.

    :ivar pid: the victim's.
    """

    def __init__(
        self,
        target: Target,
        pid: int,
        proxy: Row,
        attacker: Process,
        program: Process | None,
        url: str | None,
    ) -> None:
        self.pid = pid
        self._target = target
        self._proxy = proxy
        self._attacker = attacker
        self._program = program
        self._url = url

    async def attack(self, name: str | None, seconds: float) -> Row:
        """Have the victim attacked, or not; what it took, and what the bystander felt.

        :raises Failed: the victim or its bystander came to harm.
        """
        watch = Watch(self.pid)
        if name is not None:
            peer_id = self._proxy["peer_id"] if self._target == "proxy" else HOSTILE_DEVICE
            self._attacker.tell(
                "attack",
                **{"name": name, "as": "peer" if self._target == "proxy" else "device"},
                signaling=self._proxy["signaling"],
                peer_id=peer_id,
                pid=self.pid,
                seconds=seconds,
            )
        felt = asyncio.ensure_future(self._felt(name, seconds))
        await asyncio.wait((felt, watch.death), return_when=asyncio.FIRST_COMPLETED)
        if not felt.done() or (felt.exception() is not None and await watch.died()):
            felt.cancel()
            await asyncio.wait((felt,))
            raise Failed("the victim is dead")
        row: Row = {"target": self._target, "attack": name or "none", **await watch.stop()}
        return row | await felt

    async def _felt(self, name: str | None, seconds: float) -> Row:
        """What the bystander felt, and what the attacker says."""
        if name is not None:
            await self._attacker.hear("began")
        row = await self._bystander(seconds)
        if name is not None:
            done = await self._attacker.hear("attacked", seconds)
            row |= {key: done[key] for key in ("sessions", "refused", "packets")}
        await asyncio.sleep(SETTLED)
        return row

    async def _bystander(self, seconds: float) -> Row:
        row: Row = {}
        if self._program is None:
            latencies = await self._ask_locally(seconds)
        else:
            self._program.tell("ask", seconds=seconds)
            answer = await self._program.hear("asked", seconds)
            latencies = answer["latencies"]
            row["newcomer_ms"] = answer["came"] * 1_000
        return row | {
            "answers": len(latencies),
            "p50_ms": percentile(latencies, 50) * 1_000,
            "p99_ms": percentile(latencies, 99) * 1_000,
            "most_ms": max(latencies) * 1_000,
        }

    async def _ask_locally(self, seconds: float) -> list[float]:
        # The device is hostile: what a local program is owed is an answer, such as this refusal.
        assert self._url is not None
        latencies = []
        until = time.perf_counter() + seconds
        async with aiohttp.ClientSession(headers={"Origin": "http://elsewhere"}) as session:
            while (began := time.perf_counter()) < until:
                try:
                    async with session.get(self._url) as response:
                        if response.status != 403:
                            raise Failed(f"the local program got {response.status}")
                except aiohttp.ClientError as error:
                    raise Failed(f"the local program got no answer: {error!r}") from None
                latencies.append(time.perf_counter() - began)
                await asyncio.sleep(PAUSE)
        return latencies


@contextlib.asynccontextmanager
async def scene(target: Target, *, transport: str = "auto") -> AsyncIterator[Scene]:
    """Start all that takes part, until the block ends. Raises Failed."""
    python = (sys.executable, "-m")
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        state = stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-hostile-"))
        upstream = await enter(running("the upstream", (*python, "tests.hostile.upstream")))
        url = (await upstream.hear("open"))["url"]
        proxy = await enter(
            program(
                "peerfetch_fast.proxy",
                *("--target", url, "--listen", "127.0.0.1:0", "--transport", transport),
                *("--state-dir", str(Path(state, "proxy"))),
            )
        )
        attacker = await enter(running("the attacker", (*python, "tests.hostile.attacker")))
        pin = (await attacker.hear("open"))["pin"]
        if target == "forward":
            forward = await _forward(stack, attacker, pin, proxy["signaling"], transport)
            yield Scene(target, forward["pid"], proxy, attacker, None, forward["url"])
            return
        asking = await enter(running("the program", (*python, "tests.hostile.victim")))
        hostile = HOSTILE_DEVICE if target == "client" else None
        good = f"{proxy['peer_id']}#{proxy['fingerprint']}"
        asking.tell("where", good=good, hostile=hostile, signaling=proxy["signaling"])
        await asking.hear("open")
        pid = proxy["pid"] if target == "proxy" else asking.pid
        yield Scene(target, pid, proxy, attacker, asking, None)


async def _forward(
    stack: contextlib.AsyncExitStack,
    attacker: Process,
    pin: str,
    signaling: str,
    transport: str,
) -> Row:
    # It begins only once its device is there, which then has not shown what it is.
    attacker.tell(
        "attack",
        **{"name": "quiet", "as": "device", "signaling": signaling},
        peer_id=HOSTILE_DEVICE,
        pid=0,
        seconds=5,
    )
    forward: Row = await stack.enter_async_context(
        program(
            "peerfetch_fast",
            *("forward", HOSTILE_DEVICE, "--port", "0", "--signaling", signaling),
            *("--pin", pin, "--transport", transport),
        )
    )
    await attacker.hear("began")
    await attacker.hear("attacked", 5)
    return forward
