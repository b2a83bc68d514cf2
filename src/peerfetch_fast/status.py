"""The status of a running program: one JSON line for each connection to its Unix socket.

Only the owner can connect, because the line is shown to every reader. Nothing is read from readers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from peerfetch_fast.peer import Peer

__all__ = ["about_peer", "ask_all", "parse", "told"]

logger = logging.getLogger(__name__)

DIRECTORY = "status"

MAX_READERS = 8
"""Connections that are answered at once; further ones are closed."""

ANSWER_TIMEOUT = 2.0
"""Seconds that the program and the reader wait for each other."""

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of the largest line that is read: some 10,000 peers."""

MAX_PROGRAMS = 256
"""Programs that are asked, at most."""

_MAX_PATH = 100
"""Bytes of a path that a socket's address can hold on every system (unix(7) has 108)."""


def about_peer(peer: Peer) -> dict[str, Any]:
    """The peer's id, its path, the start of its session (seconds since 1970) and the session's byte
    counts.
    """
    established = peer._sessions.current
    return {
        "id": peer.id,
        "state": peer.state.value,
        "way": established.connection.way,
        "why": established.connection.why,
        "relay": established.connection.relay,
        "address": established.connection.remote_address,
        "transport": established.connection.transport,
        "since": established.began,
        "sent": established.session.sent,
        "received": established.session.received,
        "requests": established.session.open_streams,
    }


def parse(line: bytes) -> dict[str, Any]:
    """Parse the line of a program. Raises ValueError for anything else."""
    found = orjson.loads(line)
    if not isinstance(found, dict) or not isinstance(found.get("program"), str):
        raise ValueError("no program tells this of itself")
    peers, refused = found.get("peers"), found.get("refused")
    if not isinstance(peers, list) or not isinstance(refused, dict):
        raise ValueError("no program tells this of itself")
    return found


@contextlib.asynccontextmanager
async def told(
    state: Path,
    program: str,
    about: Mapping[str, Any],
    peers: Callable[[], Iterable[Peer]],
    refused: Callable[[], Mapping[str, int]],
) -> AsyncIterator[None]:
    """Answer ``peerfetch status`` until the block ends. If no socket can be opened, that is logged.

    :param about: the constant members of the line.
    """
    began = time.time()

    def line() -> bytes:
        content = {
            "program": program,
            "pid": os.getpid(),
            "since": began,
            **about,
            "peers": [about_peer(peer) for peer in peers()],
            "refused": dict(refused()),
        }
        return orjson.dumps(content) + b"\n"

    readers = _Readers(line)
    path = state / DIRECTORY / f"{program}-{os.getpid()}.sock"
    server = None
    try:
        listening = _listen(path)
        server = await asyncio.start_unix_server(readers.connected, sock=listening)
    except (OSError, AttributeError, NotImplementedError) as error:  # Windows, a read-only disk
        logger.info("peerfetch status will not see this program: %s", error)
    try:
        yield
    finally:
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink()
        await readers.close()


class _Readers:
    """The connections to which the line is being sent."""

    def __init__(self, line: Callable[[], bytes]) -> None:
        self._line = line
        self._answering: set[asyncio.Task[None]] = set()

    def connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send the line, unless too many readers are connected."""
        if len(self._answering) >= MAX_READERS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._answer(writer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                writer.write(self._line())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        """Cut the readers that have not taken the line."""
        answering = tuple(self._answering)
        for task in answering:
            task.cancel()
        if answering:
            await asyncio.wait(answering)


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # left by a program that was killed and had the same pid
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listening.bind(address)
        path.chmod(0o600)
        listening.listen(MAX_READERS)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """A socket address for ``path``, which may be longer than an address. Raises OSError."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def ask_all(state: Path) -> list[dict[str, Any]]:
    """The status of every program that runs with that state directory, the oldest first.

    Sockets that killed programs have left behind are removed.
    """
    if not hasattr(socket, "AF_UNIX"):
        return []
    found = []
    for path in sorted((state / DIRECTORY).glob("*.sock"))[:MAX_PROGRAMS]:
        try:
            found.append(parse(_ask(path)))
        except (ConnectionRefusedError, FileNotFoundError):
            if not _runs(path.stem.rpartition("-")[2]):
                with contextlib.suppress(OSError):
                    path.unlink()
        except (OSError, ValueError) as error:
            logger.warning("%s tells nothing: %s", path, error)
    return sorted(found, key=lambda told: (told.get("since", 0), told.get("pid", 0)))


def _ask(path: Path) -> bytes:
    ends = time.monotonic() + ANSWER_TIMEOUT
    line = bytearray()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, _address(path) as address:
        asking.settimeout(ANSWER_TIMEOUT)
        asking.connect(address)
        while len(line) <= MAX_ANSWER:
            asking.settimeout(max(0.01, ends - time.monotonic()))
            piece = asking.recv(256 * 1024)
            if not piece:
                return bytes(line)
            line += piece
    raise ValueError(f"it tells more than {MAX_ANSWER} bytes")


def _runs(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
