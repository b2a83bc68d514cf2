"""Forward requests to an HTTP server: the handler behind the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from peerfetch_fast import _backports
from peerfetch_fast.errors import MessageError, PeerfetchError
from peerfetch_fast.http import codes
from peerfetch_fast.http.heads import content_length, header_pairs
from peerfetch_fast.http.origins import (
    NAMING_FIELDS,
    Seen,
    UpstreamOrigin,
    climbs,
    peer_origin,
)
from peerfetch_fast.http.rewriting import Rewriting, forwarded_headers, is_claim
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.upstream_websocket import Refused, open_upstream, relay

__all__ = ["Upstream"]

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
"""Seconds that the upstream may take to accept a connection (else 504)."""

ANSWER_TIMEOUT = 60.0
"""Seconds that the upstream may take until its answer begins (else 504)."""

MAX_UPSTREAM_HEAD = 64 * 1024
"""Bytes of one line or field of the upstream's head (else 502)."""

READ_SIZE = 256 * 1024
"""Bytes of an answer that are read ahead of the client."""

# What the client adds by itself and a proxy must not.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
# Methods that ask something of the proxy itself rather than of the upstream (RFC 9110 §9.3.6,
# §9.3.8).
_NOT_FORWARDED = frozenset(("CONNECT", "TRACE"))
# The upstream's own name is sent instead; the length is stated once; and interim answers are not
# passed back, so that nobody may be made to wait for one (RFC 9110 §10.1.1).
_NOT_PASSED_ON = frozenset(("host", "content-length", "expect"))
# RFC 9110 §9.3: a body in these has no defined meaning, and is rare.
_MOSTLY_WITHOUT_BODY = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))


class Upstream:
    """A handler that forwards to one HTTP server. Close it after use, or use ``async with``.

    Connections are pooled; bodies stream both ways and are passed on as they are: nothing is
    decompressed, no redirect followed, no cookie kept. The upstream's references to itself in
    the heads are translated (:mod:`~peerfetch_fast.http.rewriting`).

    :param url: ``http://`` or ``https://`` URL; its path is put before that of every request.

    Raises ValueError for a URL of another kind.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        base = _base_url(url)
        self.url = url
        self._origin = str(base.origin())
        self._base = base.raw_path.rstrip("/")
        self._prefix = str(base).rstrip("/")
        self._rewriting = Rewriting(base)
        self._own = UpstreamOrigin(base)
        self._has_login = base.raw_user is not None
        self._told_of_digest = False
        self._answer_timeout = answer_timeout
        self._connect_timeout = connect_timeout
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = self._new_session(
                connector=aiohttp.TCPConnector(limit=0),  # a session's streams are the limit
            )
        return self._client

    def _new_session(self, **options: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_NOT_ADDED,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            read_bufsize=READ_SIZE,
            max_line_size=MAX_UPSTREAM_HEAD,
            max_field_size=MAX_UPSTREAM_HEAD,
            **options,
        )

    def _url(self, target: str) -> URL | None:
        """Where ``target`` leads on this upstream; None if it leads elsewhere."""
        path, question, query = target.partition("?")
        if not path.startswith("/"):
            # Absolute form (RFC 9112 §3.2.2): allowed where it names what is served anyway.
            path, within, rest = path.partition(self._origin + self._base)
            if path or not within or rest[:1] not in ("", "/"):
                return None
            path = rest
        if path.startswith("//") or "\\" in path:
            return None
        if climbs(path):  # out of the upstream's own path
            return None
        return URL(f"{self._prefix}{path}{question}{query}", encoded=True)

    def reaches(self, target: str) -> bool:
        """Whether a request for ``target`` leads to this upstream."""
        return self._url(target) is not None

    async def __call__(self, exchange: Exchange) -> None:
        """Forward one request and its answer."""
        url = self._url(exchange.target)
        if url is None or exchange.method in _NOT_FORWARDED:
            exchange.refuse(403, "This request leads to where this proxy does not forward.")
            return
        headers = self._request_headers(exchange)
        if headers is None:
            # RFC 4918 §9.8.5, §9.9.4.
            exchange.refuse(502, "The Destination of this request is not on this server.")
            return
        if exchange.protocol is not None:
            await self._forward_websocket(exchange, url, headers)
            return
        sending = _Upload(exchange)
        try:
            await sending.begin()
            answer = await self._ask(exchange, url, headers, sending)
        except _backports.TIMEOUTS:
            exchange.refuse(504, f"The upstream {self._origin} did not answer in time.")
            return
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if sending.failure is not None:
                raise sending.failure from None  # the request broke, not the upstream
            self._refuse(exchange, error)
            return
        async with answer:
            await self._relay(exchange, answer)

    async def _forward_websocket(
        self, exchange: Exchange, url: URL, headers: list[tuple[str, str]]
    ) -> None:
        new_session = partial(
            self._new_session, connector=self._session().connector, connector_owner=False
        )
        try:
            async with _backports.timeout(self._answer_timeout):
                websocket, answer = await open_upstream(new_session, url, headers)
        except Refused as refused:
            async with refused.answer as answer:
                if 200 <= answer.status <= 299:
                    exchange.refuse(
                        502, f"The upstream {self._origin} answered as if to any other request."
                    )
                else:
                    await self._relay(exchange, answer)
            return
        except _backports.TIMEOUTS:
            exchange.refuse(504, f"The upstream {self._origin} did not answer in time.")
            return
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._refuse(exchange, error)
            return
        try:
            with contextlib.closing(answer):
                client = exchange.accept_websocket(self._answer_headers(answer, exchange.prefix))
                if not await relay(client, websocket):
                    exchange.break_off(codes.UPSTREAM_ERROR)
        except MessageError as error:
            exchange.refuse(502, f"The upstream {self._origin} sent a broken answer: {error}.")

    def _refuse(self, exchange: Exchange, error: Exception) -> None:
        logger.info("upstream %s failed: %s", self._origin, error)
        exchange.refuse(502, f"The upstream {self._origin} did not answer: {_said(error)}.")

    async def _ask(
        self, exchange: Exchange, url: URL, headers: list[tuple[str, str]], sending: _Upload
    ) -> aiohttp.ClientResponse:
        """Send the request; return when the answer begins.

        Raises TimeoutError when neither upload nor answer came forward for ``answer_timeout``.
        """
        loop = asyncio.get_running_loop()
        # In this task: beside a bulk transfer, each turn of the loop that an answer has to wait for
        # is a millisecond.
        async with _backports.timeout(self._answer_timeout) as patience:

            def moved() -> None:
                if not patience.expired():
                    patience.reschedule(loop.time() + self._answer_timeout)

            sending.on_moved = moved
            try:
                return await self._session().request(
                    exchange.method,
                    url,
                    headers=headers,
                    data=sending.pieces() if sending.has_body else None,
                    allow_redirects=False,
                )
            finally:
                sending.on_moved = None

    def _request_headers(self, exchange: Exchange) -> list[tuple[str, str]] | None:
        """The header fields of the request, as they are passed on; None where it would move
        something to where the client may not.
        """
        dropped = _NOT_PASSED_ON | {"authorization"} if self._has_login else _NOT_PASSED_ON
        headers = []
        for name, value in exchange.headers.items():
            if name in dropped or is_claim(name):
                continue
            if name in NAMING_FIELDS:
                fitted = self._fitted(name, value, exchange)
                if fitted is None:
                    return None
                value = fitted
            headers.append((name, _as_sent(value)))
        if exchange.length is not None:
            headers.append(("content-length", str(exchange.length)))
        if exchange.client is not None and exchange.server is not None:
            headers += forwarded_headers(
                exchange.client,
                exchange.server,
                exchange.prefix,
                address=exchange.address,
                seen=Seen.parse(exchange.headers.get("forwarded")),
                websocket=exchange.protocol is not None,
            )
        return headers

    def _fitted(self, name: str, value: str, exchange: Exchange) -> str | None:
        own = peer_origin(exchange.server or "")
        if name == "destination":
            return self._own.destination(value, own, exchange.prefix)
        return self._own.header(name, value, own, exchange.prefix)

    def _answer_headers(self, answer: aiohttp.ClientResponse, prefix: str) -> list[tuple[str, str]]:
        """The header fields of the answer, as they are passed on. Raises MessageError."""
        return [
            (name, self._rewriting.header(name, value, prefix))
            for name, value in header_pairs(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in answer.raw_headers
            )
        ]

    def _watch_digest(self, exchange: Exchange, headers: list[tuple[str, str]]) -> None:
        """Say why a login with Digest fails: what it hashes is the path (RFC 7616 §3.4.3), and the
        client's is another than the upstream's.
        """
        if exchange.prefix == self._base or self._told_of_digest:
            return
        if any(n == "www-authenticate" and v[:7].lower() == "digest " for n, v in headers):
            self._told_of_digest = True
            logger.warning(
                "%s asks for a Digest login, which most servers refuse where their path %r is "
                "served as %r: serve it at the same path",
                self._origin,
                f"{self._base}/",
                f"{exchange.prefix}/",
            )

    async def _relay(self, exchange: Exchange, answer: aiohttp.ClientResponse) -> None:
        empty = exchange.method == "HEAD" or answer.status in (204, 304)
        try:
            if not 200 <= answer.status <= 599:
                raise MessageError(f"status {answer.status}")
            headers = self._answer_headers(answer, exchange.prefix)
            length = 0 if empty else content_length(answer.headers)
            self._watch_digest(exchange, headers)
            exchange.start(answer.status, headers, length)
        except MessageError as error:
            exchange.refuse(502, f"The upstream {self._origin} sent a broken answer: {error}.")
            return
        try:
            if not empty:
                with _connection_watched(answer):
                    async for piece, _ in answer.content.iter_chunks():
                        await exchange.write(piece)
            exchange.end()
        except (aiohttp.ClientError, OSError, MessageError) as error:
            logger.info("upstream %s broke off: %s", self._origin, error)
            exchange.break_off(codes.UPSTREAM_ERROR)


@contextlib.contextmanager
def _connection_watched(answer: aiohttp.ClientResponse) -> Iterator[None]:
    """End the body with its connection.

    aiohttp 3.14 closes a connection whose chunks it cannot read without a word to whoever waits
    for the body.
    """
    protocol = answer.connection.protocol if answer.connection is not None else None
    closed = protocol.closed if protocol is not None else None
    if closed is None:  # all of it is here
        yield
        return

    def lost(_: asyncio.Future[None]) -> None:
        if not answer.content.is_eof() and answer.content.exception() is None:
            answer.content.set_exception(aiohttp.ClientPayloadError("the connection was closed"))

    # Once for a connection that is used many times.
    closed.remove_done_callback(_take_exception)
    closed.add_done_callback(_take_exception)
    closed.add_done_callback(lost)
    try:
        yield
    finally:
        closed.remove_done_callback(lost)


def _take_exception(future: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting an exception that nobody asks for."""
    if not future.cancelled():
        future.exception()


class _Upload:
    """The request's body as the HTTP client wants it, remembering if it was the body that failed.

    :ivar on_moved: called when it came forward.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._first = b""
        self.has_body = exchange.has_body
        self.failure: PeerfetchError | None = None
        self.on_moved: Callable[[], None] | None = None

    async def begin(self) -> None:
        """Find out whether there is a body where there mostly is none.

        Head and FIN may come in two messages, and what ends without a body must not become an
        upload of unknown length, which not every server takes.
        """
        if (
            self.has_body
            and self._exchange.length is None
            and self._exchange.method in _MOSTLY_WITHOUT_BODY
        ):
            self._first = await self._exchange.read()
            self.has_body = bool(self._first)

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            # aiohttp keeps the head back until the first piece, which may be empty: the upstream
            # shall know of the request although the client takes its time.
            if self._first or not self._exchange.can_read:
                yield self._first
            while piece := await self._exchange.read():
                self._moved()
                yield piece
                self._moved()
        except PeerfetchError as error:
            self.failure = error
            raise

    def _moved(self) -> None:
        if self.on_moved is not None:
            self.on_moved()


def _base_url(url: str) -> URL:
    try:
        base = URL(url)
        if (
            base.scheme in ("http", "https")
            and base.host
            and not base.query_string
            and not base.fragment
            and url.isprintable()
            and " " not in url
        ):
            return base
    except ValueError:
        pass
    raise ValueError(
        f"{url!r} is no upstream: it must look like http://127.0.0.1:8080, "
        "with a path perhaps, but no query"
    )


def _as_sent(value: str) -> str:
    """A field value, one character per octet, so that aiohttp's UTF-8 gives those octets again.

    Octets that are no UTF-8 cannot be sent with it; as the ISO 8859-1 that they then are, they
    arrive as the same characters.
    """
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


def _said(error: Exception) -> str:
    """What an exception says, or at least its kind, as part of a sentence."""
    return str(error).rstrip(".") or type(error).__name__
