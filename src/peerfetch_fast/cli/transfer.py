"""One transfer of ``peerfetch fetch``: asking, following redirects, saving, trying again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import click

from peerfetch_fast.cli.cookies import Cookies
from peerfetch_fast.cli.download import Download, NotSaved
from peerfetch_fast.cli.exit_codes import sentence
from peerfetch_fast.cli.progress import Bar
from peerfetch_fast.cli.reaching import Connecting
from peerfetch_fast.cli.request_body import STDIN, Part, make_body
from peerfetch_fast.cli.write_out import Report, head_of
from peerfetch_fast.errors import (
    Awaited,
    ConnectError,
    FetchTimeout,
    IdentityChanged,
    PeerfetchError,
    RedirectError,
    SignalingUnavailable,
)
from peerfetch_fast.http.client import Response, send
from peerfetch_fast.http.codes import CHALLENGE
from peerfetch_fast.http.redirects import MAX_REDIRECTS, STATUSES, redirected, resolve
from peerfetch_fast.http.request import Request, make_request
from peerfetch_fast.http.timeouts import Timeouts
from peerfetch_fast.peer import Peer
from peerfetch_fast.printable import printable

__all__ = ["NotWritten", "Order", "TimeIsUp", "Transfer"]

RETRY_FIRST = 1.0
RETRY_LONGEST = 600.0
"""Seconds before ``--retry`` tries again: doubled each time, at most this, as curl does."""

_RETRIED = frozenset((408, 429, 500, 502, 503, 504))
_TRANSIENT = (SignalingUnavailable, ConnectError, FetchTimeout)


class TimeIsUp(PeerfetchError):
    """``--max-time`` has passed."""

    exit_code = 28


class NotWritten(PeerfetchError):
    """The output cannot be written."""

    exit_code = 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The request of the command line, and the output of its answer."""

    url: str
    target: str
    method: str | None
    headers: list[tuple[str, str]]
    parts: Sequence[Part] | None
    cookies: Cookies | None
    """Cookies of ``-b FILE`` and of the answers; None if cookies are off."""
    cookie_text: str
    """Cookies of ``-b 'NAME=VALUE'``."""
    follow: bool
    compressed: bool
    timeout: float | None
    show_upload: bool
    output: Path | None
    go_on: bool
    include: bool
    head_only: bool
    fail: bool
    patience: float
    max_time: float | None
    retry: int
    retry_max_time: float | None
    verbose: bool
    quiet: bool

    @property
    def resumable(self) -> bool:
        """Whether the answer may be fetched in several parts: not with a range of the user's own,
        nor with a head before the body.
        """
        return (
            self.method in (None, "GET")
            and self.parts is None
            and not self.include
            and not any(name.lower() == "range" for name, _ in self.headers)
        )

    @property
    def repeatable(self) -> bool:
        """Whether the request can be sent again."""
        return self.parts is None or STDIN not in self.parts


class Transfer:
    """Carries out an order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._heads = b""
        self.report = Report(order.url)

    @property
    def cookies(self) -> Cookies | None:
        """The saved cookies and those of the answers; None if cookies are off."""
        return self._order.cookies

    async def run(self, reach: Connecting) -> None:
        """Carry out the order, with the retries that ``--retry`` allows.

        Raises PeerfetchError, NotSaved, OSError.
        """
        order, began, pause = self._order, time.monotonic(), RETRY_FIRST
        for left in range(order.retry, -1, -1):
            failure: PeerfetchError | NotSaved | None = None
            try:
                await self._attempt(reach)
            except (PeerfetchError, NotSaved) as error:
                failure = error
            if not self._worth_another(failure) or not left:
                break
            wait = self._retry_after() or pause
            pause = min(2 * pause, RETRY_LONGEST)
            up = order.retry_max_time is not None
            if up and time.monotonic() - began + wait > (order.retry_max_time or 0):
                break
            why = failure or f"the answer has status {self._status}"
            self._say(f"{why}: trying again in {wait:g} s ({left} left)")
            await asyncio.sleep(wait)
        if failure is not None:
            raise failure

    def _worth_another(self, failure: Exception | None) -> bool:
        if not self._order.repeatable or isinstance(failure, IdentityChanged):
            return False
        if failure is None or isinstance(failure, NotSaved):
            return self._status in _RETRIED
        return isinstance(failure, (*_TRANSIENT, TimeIsUp))

    @property
    def _status(self) -> int:
        return 0 if self.report.response is None else self.report.response.status

    def _retry_after(self) -> float:
        """The seconds of Retry-After; 0 without it (RFC 9110 §10.2.3)."""
        response = self.report.response
        text = "" if response is None else response.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0

    async def _attempt(self, reach: Connecting) -> None:
        order = self._order
        self.report = Report(order.url, method=order.method or self.report.method)
        try:
            async with asyncio.timeout(order.max_time), reach() as peer:
                self.report.connects = 1
                self.report.connected = self.report.since()
                self._tell(
                    f"* connected to peer://{peer.id} in {self.report.connected:.2f} s, transport "
                    f"{peer.transport}, certificate {peer.fingerprint}"
                )
                with contextlib.ExitStack() as stack:
                    await self._transfer(peer, stack)
        except TimeoutError as error:
            if isinstance(error, FetchTimeout):
                raise
            raise TimeIsUp(
                f"the --max-time of {order.max_time:g} s was over after "
                f"{self.report.size_download} bytes"
            ) from None
        finally:
            self.report.total = self.report.since()

    async def _transfer(self, peer: Peer, stack: contextlib.ExitStack) -> None:
        order = self._order
        self.report.filename = None if order.output is None else str(order.output)
        if order.output is not None and not order.head_only and _is_plain(order.output):
            await self._download(peer, stack, order.output)
            return
        async with await self._ask(peer, stack, []) as response:
            file: BinaryIO = sys.stdout.buffer
            failed = order.fail and response.status >= 400
            if order.output is not None and not failed:
                file = stack.enter_context(_opened(order.output))
            with _writing():
                file.write(self._head())
            if failed:
                raise NotSaved(response.status)
            if not order.head_only:
                async for piece in response:
                    self.report.size_download += len(piece)
                    with _writing():
                        file.write(piece)
            with _writing():
                file.flush()

    async def _download(self, peer: Peer, stack: contextlib.ExitStack, output: Path) -> None:
        order = self._order
        download = Download(
            ask=lambda more: self._ask(peer, stack, more),
            url=f"peer://{peer.id}{order.target}",
            output=output,
            go_on=order.go_on,
            resumable=order.resumable,
            head=lambda _: self._head(),
            fail=order.fail,
            patience=order.patience,
            on_bytes=self._count,
        )
        with Bar(show=not order.show_upload, quiet=order.quiet) as bar, _writing():
            await download.run(bar)

    def _count(self, size: int) -> None:
        self.report.size_download += size

    def _head(self) -> bytes:
        return self._heads if self._order.include else b""

    async def _ask(
        self, peer: Peer, stack: contextlib.ExitStack, more: list[tuple[str, str]]
    ) -> Response:
        """Send the request with additional headers, and follow redirects if asked to."""
        order = self._order
        origin = f"peer://{peer.id}"
        with Bar(show=order.show_upload, quiet=order.quiet) as bar:
            request = self._request(stack, more, bar)
            timeouts = Timeouts(
                {} if order.timeout is None else {Awaited.PIECE: order.timeout},
                answer=order.timeout,
            )
            self._heads = b""
            for redirects in range(MAX_REDIRECTS + 1):
                self.report.redirects = redirects
                response = await self._exchange(peer, request, timeouts)
                if not order.follow:
                    self._note_redirect(request, response, origin)
                    return response
                try:
                    following = redirected(request, response.status, response.headers, origin)
                except RedirectError:
                    response.close()
                    raise
                if following is None:
                    return response
                response.close()
                self.report.redirected = self.report.since()
                self._tell(f"* redirected to {origin}{following.target}")
                request = following
        raise RedirectError(f"more than {MAX_REDIRECTS} redirects: {response.url} leads nowhere")

    def _request(
        self, stack: contextlib.ExitStack, more: list[tuple[str, str]], bar: Bar
    ) -> Request:
        order = self._order
        body, fields = (None, []) if order.parts is None else make_body(order.parts, stack)

        def on_progress(sent: int, length: int | None) -> None:
            self.report.size_upload = sent
            bar.show(sent, length)

        request = make_request(
            order.target,
            method=order.method,
            headers=[*order.headers, *fields, *more],
            body=body,
            on_progress=on_progress,
        )
        names = {name for name, _ in request.headers}
        if order.compressed and "accept-encoding" not in names:
            from peerfetch_fast.http.decoding import ACCEPT_ENCODING

            # A range of a compressed body could not be decoded.
            codings = "identity" if "range" in names else ACCEPT_ENCODING
            request.headers.append(("accept-encoding", codings))
        return request

    async def _exchange(self, peer: Peer, request: Request, timeouts: Timeouts) -> Response:
        cookies = self._order.cookies
        request = self._with_cookies(request, peer)
        self.report.method = request.method
        self._tell(f"> {request.method} {request.target} HTTP/2")
        for name, value in request.headers:
            self._tell(f"> {name}: {value}")
        self._tell(">")
        response = await send(
            peer._sessions, request, timeouts, redirect="manual", decode=self._order.compressed
        )
        head = head_of(response)
        for line in head.decode("latin-1").split("\r\n")[:-1]:
            self._tell(f"< {line}")
        self._heads += head
        self.report.response = response
        self.report.url_effective = response.url
        self.report.size_header += len(head)
        self.report.first_byte = self.report.since()
        if response.status == 401 and response.headers.get("www-authenticate") == CHALLENGE:
            self._say(
                "the device asks for an access token: "
                "give it with --access-token-file or --access-token"
            )
        if cookies is not None:
            for field in response.headers.getall("set-cookie", ()):
                cookies.take(field, peer.id, request.target, time.time())
        return response

    def _with_cookies(self, request: Request, peer: Peer) -> Request:
        """The saved cookies and the user's; a header field overrides ``-b``."""
        jar, headers = self._order.cookies, self._order.headers
        kept = "" if jar is None else jar.field(peer.id, request.target, time.time())
        own = [value for name, value in headers if name.lower() == "cookie"]
        field = "; ".join(filter(None, (kept, *(own or [self._order.cookie_text]))))
        rest = [pair for pair in request.headers if pair[0] != "cookie"]
        return replace(request, headers=[*rest, ("cookie", field)] if field else rest)

    def _note_redirect(self, request: Request, response: Response, origin: str) -> None:
        """Report the target of a redirect that is not followed."""
        location = response.headers.get("location")
        if response.status not in STATUSES or location is None:
            return
        try:
            self.report.redirect_url = origin + resolve(request.target, location, origin)
            self._say(
                f"the answer redirects to {self.report.redirect_url}: with -L, it is followed"
            )
        except RedirectError:
            self.report.redirect_url = location
            self._say(f"the answer redirects to {location!r}, which is not on this peer")

    def _say(self, text: str) -> None:
        if not self._order.quiet:
            click.echo(f"peerfetch: {text}", err=True)

    def _tell(self, line: str) -> None:
        """Print a line of ``-v``, without the control characters that the peer may have sent."""
        if self._order.verbose:
            click.echo(printable(line), err=True)


def _is_plain(output: Path) -> bool:
    """Whether the output is, or will be, a regular file. Others are written to directly."""
    return output.is_file() or not output.exists()


def _opened(output: Path) -> BinaryIO:
    with _writing():
        return output.open("wb")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turn errors of writing the output into NotWritten."""
    try:
        yield
    except PeerfetchError:
        raise
    except OSError as error:
        raise NotWritten(sentence(error)) from error
