"""``peerfetch fetch``: curl's habits, for peers."""

from __future__ import annotations

import contextlib
import sys
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
    MessageTruncated,
    PeerfetchError,
    PeerUnavailable,
    SignalingError,
    StreamReset,
)
from peerfetch_fast.http.client import Body, Response
from peerfetch_fast.peer import connect
from peerfetch_fast.webrtc.connection import Transport

__all__ = ["fetch", "progress_bar"]

UPLOAD_PIECE = 256 * 1024

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
    parts = urlsplit(url)
    if parts.scheme != "peer" or not parts.netloc:
        raise click.UsageError(f"{url!r} is no peer URL: write peer://PEER-ID/path")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    pairs = [_header(line) for line in headers]
    if data is not None and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("content-type", "application/x-www-form-urlencoded"))
    try:
        status = run(
            _fetch(
                parts.netloc,
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
        return _pieces(sys.stdin.buffer), None
    path = Path(name)
    try:
        file = stack.enter_context(path.open("rb"))
    except OSError as error:
        raise InvalidRequest(f"cannot read {name}: {error.strerror}") from None
    return _pieces(file), path.stat().st_size


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    while piece := file.read(UPLOAD_PIECE):
        yield piece


def _head(response: Response) -> bytes:
    lines = [f"HTTP/2 {response.status}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


async def _save(response: Response, file: BinaryIO, *, show_progress: bool) -> None:
    length = response.headers.get("content-length")
    with progress_bar(show_progress) as progress:
        task = progress.add_task("", total=int(length) if length else None)
        async for piece in response:
            file.write(piece)
            progress.advance(task, len(piece))


def progress_bar(show: bool) -> Progress:
    """Bytes, rate and time left on standard error, if that is a terminal."""
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
