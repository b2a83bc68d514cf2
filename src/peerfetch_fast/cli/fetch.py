"""``peerfetch fetch``: curl's habits, for peers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import click
from aiortc import RTCIceServer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from peerfetch_fast.cli.common import (
    DEFAULT_SIGNALING,
    ice_server_option,
    log_level_option,
    run,
    signaling_option,
    transport_option,
)
from peerfetch_fast.errors import (
    ConnectError,
    FetchTimeout,
    InvalidRequest,
    MessageError,
    MessageTruncated,
    PeerfetchError,
    PeerUnavailable,
    SignalingError,
    StreamReset,
)
from peerfetch_fast.http.client import Body, Response
from peerfetch_fast.http.heads import content_length
from peerfetch_fast.peer import connect
from peerfetch_fast.signaling.messages import is_peer_id
from peerfetch_fast.webrtc.connection import Transport

__all__ = ["fetch", "with_progress"]

PROGRESS_INTERVAL = 0.05
UPLOAD_PIECE = 256 * 1024
UPLOAD_AHEAD = 4
"""Pieces of standard input that are read ahead of what was sent."""

# The first that fits is the exit code; the numbers are curl's where it has one.
EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (InvalidRequest, 2),
    (PeerUnavailable, 6),
    (SignalingError, 6),
    (ConnectError, 7),
    (FetchTimeout, 28),
    (MessageTruncated, 18),
    (StreamReset, 18),
    (OSError, 23),
    (PeerfetchError, 56),
)
EXIT_HTTP_ERROR = 22


@click.command(
    epilog="Exit codes: 0 done, 2 wrong usage, 6 no such peer or no signaling server, "
    "7 no connection, 18 the answer was cut short, 22 status 400 or above with --fail, "
    "23 the output cannot be written, 28 timeout, 56 the connection broke."
)
@click.argument("url", metavar="peer://PEER-ID/PATH")
@signaling_option(
    default=DEFAULT_SIGNALING, show_default=True, help="The server that knows the peer."
)
@click.option("-X", "--request", "method", help="Method. Default: GET, or POST with -d.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'")
@click.option("-d", "--data", metavar="DATA|@FILE", help="Body; @FILE streams a file, @- stdin.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("-i", "--include", is_flag=True, help="Print status and headers before the body.")
@click.option("--fail", is_flag=True, help="Exit with 22, without a body, at status 400 or above.")
@click.option("--timeout", type=float, metavar="SECONDS", help="For the head, and between pieces.")
@ice_server_option
@transport_option
@log_level_option
def fetch(
    url: str,
    signaling: str,
    method: str | None,
    headers: Sequence[str],
    data: str | None,
    output: Path | None,
    include: bool,
    fail: bool,
    timeout: float | None,
    ice_servers: Sequence[RTCIceServer],
    transport: Transport,
) -> None:
    """Fetch from a peer."""
    peer_id, target = _split_url(url)
    pairs = [_header(line) for line in headers]
    if data is not None and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("content-type", "application/x-www-form-urlencoded"))
    try:
        status = run(
            _fetch(
                peer_id,
                signaling,
                target,
                method,
                pairs,
                data,
                output,
                include,
                fail,
                timeout,
                ice_servers,
                transport,
            )
        )
    except (PeerfetchError, OSError) as error:
        click.echo(f"peerfetch: {error}", err=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
    if fail and status >= 400:
        click.echo(f"peerfetch: the answer has status {status}", err=True)
        sys.exit(EXIT_HTTP_ERROR)


def _split_url(url: str) -> tuple[str, str]:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme == "peer" and is_peer_id(parts.netloc):
            return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    raise click.UsageError(f"{url!r} is no peer URL: write peer://PEER-ID/path")


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"{line!r} is no header: write 'Name: value'")
    return name.strip(), value.strip()


async def _fetch(
    peer_id: str,
    signaling: str,
    target: str,
    method: str | None,
    headers: list[tuple[str, str]],
    data: str | None,
    output: Path | None,
    include: bool,
    fail: bool,
    timeout: float | None,
    ice_servers: Sequence[RTCIceServer],
    transport: Transport,
) -> int:
    with contextlib.ExitStack() as stack:
        body: Body | None = data.encode() if data is not None else None
        if data is not None and data.startswith("@"):
            body, length = _open_body(data[1:], stack)
            if length is not None:
                headers.append(("content-length", str(length)))
        connecting = connect(
            peer_id, signaling=signaling, ice_servers=ice_servers, transport=transport
        )
        async with connecting as peer:
            response = await peer.fetch(
                target, method=method, headers=headers, body=body, timeout=timeout
            )
            if fail and response.status >= 400:
                response.close()
                return response.status
            file: BinaryIO = sys.stdout.buffer
            if output is not None:
                file = stack.enter_context(output.open("wb"))
            if include:
                file.write(_head(response))
            await _save(response, file, show_progress=output is not None)
            file.flush()
            return response.status


def _open_body(name: str, stack: contextlib.ExitStack) -> tuple[AsyncIterator[bytes], int | None]:
    if name == "-":
        return _typed(0), None
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed by the stack
    except OSError as error:
        raise InvalidRequest(f"cannot read {name}: {error.strerror}") from None
    stack.callback(file.close)
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return _typed(file.fileno()), None
    return _pieces(file), status.st_size


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := file.read(UPLOAD_PIECE):
        yield piece


async def _typed(descriptor: int) -> AsyncIterator[bytes]:
    """What comes out of a pipe or terminal, read in a thread.

    Whoever writes there may take any time, in which the connection wants to be kept up; and when
    the answer is there, nobody waits for the thread.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(UPLOAD_AHEAD)

    def read() -> None:
        piece: bytes | OSError = b"more"
        while piece and isinstance(piece, bytes):
            room.acquire()
            try:
                piece = os.read(descriptor, UPLOAD_PIECE)
            except OSError as error:
                piece = error
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:
                return  # the loop has ended, and the program with it

    threading.Thread(target=read, daemon=True).start()
    while piece := await pieces.get():
        if isinstance(piece, OSError):
            raise InvalidRequest(f"cannot read the data: {piece.strerror}") from piece
        room.release()
        yield piece


def _head(response: Response) -> bytes:
    lines = [f"HTTP/2 {response.status}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


async def _save(response: Response, file: BinaryIO, *, show_progress: bool) -> None:
    total: int | None = None
    with contextlib.suppress(MessageError):  # in the answer to HEAD, it may say anything
        total = content_length(response.headers)
    async for piece in with_progress(response, "", total, show=show_progress):
        file.write(piece)


async def with_progress(
    response: Response, name: str, total: int | None, *, show: bool = True
) -> AsyncIterator[bytes]:
    """The pieces of ``response``, with a progress bar on standard error if that is a terminal."""
    done, due = 0, 0.0
    with _progress_bar(show) as progress:
        task = progress.add_task(name, total=total)
        async for piece in response:
            yield piece
            done += len(piece)
            if time.monotonic() >= due:  # telling the bar costs more than a piece does
                due = time.monotonic() + PROGRESS_INTERVAL
                progress.update(task, completed=done)
        progress.update(task, completed=done)


def _progress_bar(show: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not (show and console.is_terminal),
        transient=False,
    )
