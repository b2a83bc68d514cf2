"""``peerfetch fetch``: curl's habits, for peers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click

from peerfetch_fast.cli.common import log_level_option, run, sentence
from peerfetch_fast.cli.download import Download, NotSaved, ResumeFailed
from peerfetch_fast.cli.progress import Bar
from peerfetch_fast.cli.reaching import Connecting, connecting, reaching_options
from peerfetch_fast.errors import (
    AccessDenied,
    ConnectError,
    FetchTimeout,
    IdentityChanged,
    InvalidRequest,
    MessageTruncated,
    PeerfetchError,
    PeerUnavailable,
    RedirectError,
    SignalingError,
    StreamReset,
)
from peerfetch_fast.http.client import Response
from peerfetch_fast.http.content import Body
from peerfetch_fast.identity import PeerUrl, parse_peer_url
from peerfetch_fast.peer import Peer
from peerfetch_fast.signaling.messages import is_peer_id

__all__ = ["fetch"]

UPLOAD_PIECE = 256 * 1024
UPLOAD_AHEAD = 4
"""Pieces of standard input that are read ahead of what was sent."""

# The first that fits is the exit code; the numbers are curl's where it has one.
EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (InvalidRequest, 2),
    (AccessDenied, 67),
    (IdentityChanged, 60),
    (PeerUnavailable, 6),
    (SignalingError, 6),
    (ConnectError, 7),
    (FetchTimeout, 28),
    (MessageTruncated, 18),
    (StreamReset, 18),
    (NotSaved, 22),
    (ResumeFailed, 33),
    (RedirectError, 47),
    (OSError, 23),
    (PeerfetchError, 56),
)


class _OutputFile(click.Path):
    """A file to write, which a name that ends with a slash is not: Path would drop the slash."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.endswith("/"):
            self.fail(f"{value!r} is a directory: name a file in it", param, ctx)
        return super().convert(value, param, ctx)


@click.command(
    epilog="Exit codes: 0 done, 2 wrong usage, 6 no such peer or no signaling server, "
    "7 no connection, 18 the answer was cut short, 22 status 400 or above with --fail, "
    "23 the output cannot be written, 28 timeout, 33 a download cannot be gone on with, "
    "47 a redirect that leads nowhere, 56 the connection broke, 60 the peer has another "
    "certificate than is known, 67 the access token is not the same."
)
@click.argument("url", metavar="peer://PEER-ID/PATH[#PIN]")
@click.option(
    "-X", "--request", "method", help="Method. Default: GET, POST with -d, or PUT with -T."
)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header field. May be given several times.",
)
@click.option("-d", "--data", metavar="DATA|@FILE", help="Body; @FILE streams a file, @- stdin.")
@click.option(
    "-T",
    "--upload-file",
    "upload",
    metavar="FILE",
    help="Upload a file, or - for stdin; its name is added to a URL that ends with /.",
)
@click.option(
    "-o",
    "--output",
    type=_OutputFile(dir_okay=False, path_type=Path),
    help="Save the body here. It is in FILE.part until it is whole; when the connection breaks, "
    "it is gone on with where the server names a version (ETag, Last-Modified).",
)
@click.option(
    "-C",
    "--continue-at",
    "continue_at",
    type=click.Choice(["-"]),
    metavar="-",
    help="Go on with the FILE.part that an earlier command left.",
)
@click.option("-L", "--location", is_flag=True, help="Follow redirects on this peer.")
@click.option("--compressed", is_flag=True, help="Ask for a compressed answer, and decode it.")
@click.option("-i", "--include", is_flag=True, help="Print status and headers before the body.")
@click.option("--fail", is_flag=True, help="Exit with 22, without a body, at status 400 or above.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="For the head, and between pieces.",
)
@click.option(
    "--retry-max-time",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a device that was lost is looked for.",
)
@reaching_options
@log_level_option
def fetch(
    url: str,
    method: str | None,
    headers: Sequence[str],
    data: str | None,
    upload: str | None,
    output: Path | None,
    continue_at: str | None,
    location: bool,
    compressed: bool,
    include: bool,
    fail: bool,
    timeout: float | None,
    retry_max_time: float,
    **options: Any,
) -> None:
    """Fetch from a peer.

    In place of its id there may be the name that peerfetch pair gave it.
    """
    if continue_at is not None and output is None:
        raise click.UsageError("-C - goes on with a file: name it with -o")
    if data is not None and upload is not None:
        raise click.UsageError("-d and -T are two bodies: give one of them")
    address = _split_url(url)
    target = address.target
    pairs = [_header(line) for line in headers]
    if data is not None and not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("content-type", "application/x-www-form-urlencoded"))
    if upload is not None:
        method = method or "PUT"
        if target.endswith("/") and upload != "-":
            target += quote(Path(upload).name)
    asking = _Asking(
        target=target,
        method=method,
        headers=pairs,
        body=f"@{upload}" if upload is not None else data,
        follow=location,
        compressed=compressed,
        timeout=timeout,
        show_upload=upload is not None,
    )
    reach = connecting(address, give_up_after=retry_max_time, **options)
    try:
        run(
            _fetch(
                asking,
                reach,
                output,
                continue_at is not None,
                include,
                fail,
                retry_max_time,
            )
        )
    except (PeerfetchError, NotSaved, OSError) as error:
        click.echo(f"peerfetch: {sentence(error)}", err=True)
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


def _split_url(url: str) -> PeerUrl:
    parts = parse_peer_url(url)
    if not url.startswith("peer://") or not is_peer_id(parts.peer_id):
        raise click.UsageError(f"{url!r} is no peer URL: write peer://PEER-ID/path")
    return parts


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"{line!r} is no header: write 'Name: value'")
    return name.strip(), value.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """What the command line says of the request."""

    target: str
    method: str | None
    headers: list[tuple[str, str]]
    body: str | None
    follow: bool
    compressed: bool
    timeout: float | None
    show_upload: bool

    async def __call__(
        self, peer: Peer, stack: contextlib.ExitStack, more: list[tuple[str, str]]
    ) -> Response:
        with Bar(show=self.show_upload) as bar:
            return await peer.fetch(
                self.target,
                method=self.method,
                headers=[*self.headers, *more],
                body=None if self.body is None else _body(self.body, stack),
                timeout=self.timeout,
                redirect="follow" if self.follow else "manual",
                decode=self.compressed,
                on_progress=bar.show if self.show_upload else None,
            )


async def _fetch(
    asking: _Asking,
    reach: Connecting,
    output: Path | None,
    go_on: bool,
    include: bool,
    fail: bool,
    patience: float,
) -> None:
    with contextlib.ExitStack() as stack:

        def head(response: Response) -> bytes:
            return _head(response) if include else b""

        async with reach() as peer:
            if output is not None and _is_plain(output):
                download = Download(
                    ask=lambda more: asking(peer, stack, more),
                    url=f"peer://{peer.id}{asking.target}",
                    output=output,
                    go_on=go_on,
                    # A range of the request's own, or a head before the body, is another thing.
                    resumable=asking.method in (None, "GET")
                    and asking.body is None
                    and not include
                    and not any(name.lower() == "range" for name, _ in asking.headers),
                    head=head,
                    fail=fail,
                    patience=patience,
                )
                with Bar(show=not asking.show_upload) as bar:
                    await download.run(bar)
                return
            response = await asking(peer, stack, [])
            if fail and response.status >= 400:
                response.close()
                raise NotSaved(response.status)
            file: BinaryIO = sys.stdout.buffer
            if output is not None:
                file = stack.enter_context(output.open("wb"))
            file.write(head(response))
            async for piece in response:
                file.write(piece)
            file.flush()


def _is_plain(output: Path) -> bool:
    """Whether it is a file, or going to be one: /dev/null and pipes are written to as they are."""
    return output.is_file() or not output.exists()


def _body(data: str, stack: contextlib.ExitStack) -> Body:
    if not data.startswith("@"):
        return data.encode()
    name = data[1:]
    if name == "-":
        return _typed(0)
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed by the stack
    except OSError as error:
        raise InvalidRequest(f"cannot read {name}: {error.strerror}") from None
    stack.callback(file.close)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    return _typed(file.fileno())


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
