"""Processes that speak JSON lines with the benchmark: commands in, answers and signaling out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bench.report import Row

__all__ = ["Failed", "Process", "Rewrite", "WrongBytes", "connected", "run", "running"]

TIMEOUT = 60.0
"""Seconds that an answer may take longer than what was asked for."""

LEAVE_TIMEOUT = 2.0
"""Seconds in which a process has to end by itself once its commands have ended."""

LONGEST_LINE = 64 << 20

Rewrite = Callable[[int, Any], Any]
"""What is signaled in place of what an end (0: the offerer, 1: the answerer) says."""

ROOT = Path(__file__).parent.parent

T = TypeVar("T")


class Failed(Exception):
    """A process could not do what it was asked for."""


class WrongBytes(Exception):
    """Something arrived that was not sent."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` on an event loop; a sentence ends the program where it raises Failed or
    WrongBytes.
    """
    try:
        return uvloop.run(work)
    except (WrongBytes, Failed) as failure:
        sys.exit(str(failure))


class Process:
    """One such process. Made by :func:`running`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.pid = process.pid
        self.signals: asyncio.Queue[Any] = asyncio.Queue()
        self._process = process
        self._answers: asyncio.Queue[Row | None] = asyncio.Queue()
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if message["type"] == "signal":
                self.signals.put_nowait(message["data"])
            else:
                self._answers.put_nowait(message)
        self._answers.put_nowait(None)

    def tell(self, kind: str, **fields: Any) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"type": kind, **fields}).encode() + b"\n")

    async def hear(self, kind: str, seconds: float = 0.0) -> Row:
        """The next answer, which must be of that kind, at most ``TIMEOUT`` after ``seconds``.

        Raises WrongBytes if that is what the process saw, Failed for everything else.
        """
        try:
            answer = await asyncio.wait_for(self._answers.get(), seconds + TIMEOUT)
        except TimeoutError:
            raise Failed(f"{self.name} did not answer in time") from None
        if answer is None:
            raise Failed(f"{self.name} ended with code {await self._process.wait()}")
        if answer["type"] == "wrong":
            raise WrongBytes(f"{self.name}: {answer['message']}")
        if answer["type"] != kind:
            raise Failed(f"{self.name}: {answer.get('message', answer)}")
        return answer

    async def end(self) -> None:
        """End the process: nothing more is asked of it, and then it is killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), LEAVE_TIMEOUT)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading


@contextlib.asynccontextmanager
async def running(name: str, command: Sequence[str]) -> AsyncIterator[Process]:
    """Run ``command`` in the directory that holds the package ``bench``. Raises Failed."""
    try:
        started = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            limit=LONGEST_LINE,
        )
    except OSError as error:
        raise Failed(f"{name} cannot be run: {error}") from None
    process = Process(name, started)
    try:
        yield process
    finally:
        await process.end()


@contextlib.asynccontextmanager
async def connected(
    name: str,
    offerer: Sequence[str],
    answerer: Sequence[str],
    rewrite: Rewrite = lambda end, data: data,
) -> AsyncIterator[tuple[Process, Process]]:
    """Run both ends, carry their signaling, and give them when their channel is open."""
    async with (
        running(f"{name} (offerer)", offerer) as one,
        running(f"{name} (answerer)", answerer) as other,
    ):
        carrying = [
            asyncio.ensure_future(_carry(source, target, partial(rewrite, end)))
            for end, (source, target) in enumerate(((one, other), (other, one)))
        ]
        try:
            await asyncio.gather(one.hear("open"), other.hear("open"))
            yield one, other
        finally:
            for task in carrying:
                task.cancel()


async def _carry(source: Process, target: Process, rewrite: Callable[[Any], Any]) -> None:
    while True:
        target.tell("signal", data=rewrite(await source.signals.get()))
