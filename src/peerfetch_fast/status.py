"""What a running program tells of itself: one JSON line for whoever connects to its Unix socket.

Whoever may connect may read it all, so only the owner can. Nothing is read from those who connect.
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
"""Seconds that either side gives the other."""

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of the largest answer that is taken: some 10,000 peers."""

MAX_PROGRAMS = 256
"""Programs that are asked."""

_MAX_PATH = 100
"""Bytes of a path that a socket's address can hold on every system (unix(7) has 108)."""


def about_peer(peer: Peer) -> dict[str, Any]:
    """Who it is, how it is connected and since when (seconds since 1970), and the bytes that went
    over the session that there is now.
    """
    call = peer._line.call
    return {
        "id": peer.id,
        "state": peer.state.value,
        "way": call.connection.way,
        "address": call.connection.remote_address,
        "transport": call.connection.transport,
        "since": call.began,
        "sent": call.session.sent,
        "received": call.session.received,
        "requests": call.session.open_streams,
    }


def parse(line: bytes) -> dict[str, Any]:
    """What a program has told. Raises ValueError for what is none of it."""
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
    """Tell who asks, until the block ends. Where there can be no socket, the log says so.

    :param about: what does not change.
    """
    began = time.time()
    readers: set[asyncio.Task[None]] = set()

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

    async def answer(writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                writer.write(line())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(readers) >= MAX_READERS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(answer(writer))
        readers.add(task)
        task.add_done_callback(readers.discard)

    path = state / DIRECTORY / f"{program}-{os.getpid()}.sock"
    server = None
    try:
        listening = _listen(path)
        server = await asyncio.start_unix_server(connected, sock=listening)
    except (OSError, AttributeError, NotImplementedError) as error:  # Windows, a read-only disk
        logger.info("peerfetch status will not see this program: %s", error)
    try:
        yield
    finally:
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink()
        for task in tuple(readers):
            task.cancel()
        if readers:
            await asyncio.wait(tuple(readers))


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # of a program that was killed, and had our pid
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
    """The address of the socket at ``path``, however long that is. Raises OSError."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def ask_all(state: Path) -> list[dict[str, Any]]:
    """What the programs tell that run with that state directory; the oldest first.

    Sockets that killed programs have left are removed.
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
