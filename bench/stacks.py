"""The stacks that are compared, and how both ends of a channel are run in each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.interop.chromium import find_chromium

from bench.pattern import PERIOD, Pattern
from bench.processes import Failed, Process, Rewrite, connected

__all__ = [
    "CHROMIUM",
    "DATAGRAM",
    "STACKS",
    "USER_DATA",
    "Stack",
    "make",
    "prepare",
    "versions",
]

DATAGRAM = 1200
"""Bytes of the largest UDP payload that a stack may send: what is safe on any path."""

USER_DATA = 1135
"""Bytes of user data in such a datagram, by which packets are counted."""

HIGH = 1 << 20
"""Bytes of ``bufferedAmount`` above which a sender waits."""

LOW = HIGH // 4
"""Bytes of ``bufferedAmount`` at which it goes on."""

PEERS = Path(__file__).parent / "peers"
CEILING = PEERS / "ceiling"


@dataclass(frozen=True)
class Stack:
    """How to run one end of a channel.

    :ivar command: the program, behind which come role, pattern, period and the two marks.
    :ivar options: what comes after those.
    :ivar build: makes or installs what the program needs. Raises Failed.
    """

    name: str
    command: Sequence[str]
    options: Sequence[str] = ()
    build: Callable[[], None] | None = None

    def connect(
        self,
        pattern: Pattern,
        answerer: Stack | None = None,
        rewrite: Rewrite = lambda end, data: data,
    ) -> AbstractAsyncContextManager[tuple[Process, Process]]:
        """Both ends, who offers first, with an open channel between them.

        :param answerer: the other end's stack, if it is another.
        :param rewrite: changes what they signal to each other.
        """
        other = answerer or self
        name = self.name if other is self else f"{self.name} to {other.name}"
        return connected(name, self.end("offer", pattern), other.end("answer", pattern), rewrite)

    def end(self, role: str, pattern: Pattern) -> Sequence[str]:
        """The command of one end: who offers, or who answers (``answer``)."""
        marks = (str(pattern.path), str(PERIOD), str(HIGH), str(LOW))
        return (*self.command, role, *marks, *self.options)


def _python(name: str, *options: str) -> Stack:
    return Stack(name, (sys.executable, "-m", "bench.peers.channel"), (name, *options))


def _node(name: str) -> Stack:
    return Stack(name, ("node", str(PEERS / f"{name}.js")), (str(DATAGRAM),), _install_node_peers)


def _install_node_peers() -> None:
    """``npm ci``, unless that was done since the lock file changed."""
    done, lock = PEERS / "node_modules" / ".package-lock.json", PEERS / "package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        _run(("npm", "ci", "--no-audit", "--no-fund"), PEERS, needs="Node 20 or newer with npm")


def _build_ceiling() -> None:
    make(CEILING, needs="Linux, make, a C compiler and OpenSSL's headers")


def _find_chromium() -> None:
    if find_chromium() is None:
        raise Failed("Chromium is not installed (Debian: apt install chromium)")


def make(directory: Path, *, needs: str) -> None:
    """Compile a program of ours, unless that is done. Raises Failed, which says what it needs."""
    _run(("make", "--silent"), directory, needs=needs)


def _run(command: Sequence[str], directory: Path, *, needs: str) -> None:
    if shutil.which(command[0]) is None:
        raise Failed(f"{command[0]} is not installed; this needs {needs}")
    done = subprocess.run(
        command, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        said = " | ".join(done.stdout.strip().splitlines()[-3:])
        raise Failed(f"{' '.join(command)} failed, which needs {needs}: {said}")


STACKS = {
    stack.name: stack
    for stack in (
        _python("native"),
        _python("aiortc", str(DATAGRAM)),
        _node("libdatachannel"),
        _node("libwebrtc"),
        _node("werift"),
        Stack("ceiling", (str(CEILING / "ceiling"),), build=_build_ceiling),
    )
}


CHROMIUM = Stack("chromium", (sys.executable, "-m", "bench.peers.chromium"), build=_find_chromium)
"""The browser takes seconds to start: it is not among those that are always compared."""


def prepare(stacks: Iterable[Stack]) -> tuple[list[Stack], dict[str, str]]:
    """Build what these stacks need: those that are ready, and why the others are not."""
    ready, unavailable = [], {}
    for stack in stacks:
        try:
            if stack.build is not None:
                stack.build()
        except Failed as failure:
            unavailable[stack.name] = str(failure)
        else:
            ready.append(stack)
    return ready, unavailable


def versions() -> dict[str, str]:
    """Of the stacks that are not Python's."""
    found: dict[str, str] = json.loads((PEERS / "package.json").read_text())["dependencies"]
    if node := shutil.which("node"):
        said = subprocess.run((node, "--version"), text=True, capture_output=True)
        found["node"] = said.stdout.strip()
    return found
