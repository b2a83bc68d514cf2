"""Forward requests to an HTTP server: the handler behind the proxy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import TracebackType
from urllib.parse import unquote, urlsplit

import aiohttp
from yarl import URL

from peerfetch_fast.errors import MessageError, PeerfetchError
from peerfetch_fast.http import codes
from peerfetch_fast.http.heads import content_length, end_to_end
from peerfetch_fast.http.server import Exchange

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


class Upstream:
    """A handler that forwards to one HTTP server. Close it after use, or use ``async with``.

    Connections are pooled; bodies stream both ways and are passed on as they are: nothing is
    decompressed, no redirect followed, no cookie kept.

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
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            raise ValueError(
                f"{url!r} is no upstream: it must look like http://127.0.0.1:8080, "
                "with a path perhaps, but no query"
            )
        self.url = url
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._base = parts.path.rstrip("/")
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
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # a session's streams are the limit
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=_NOT_ADDED,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
                read_bufsize=READ_SIZE,
                max_line_size=MAX_UPSTREAM_HEAD,
                max_field_size=MAX_UPSTREAM_HEAD,
            )
        return self._client

    def _url(self, target: str) -> URL | None:
        """Where ``target`` leads on this upstream; None if it leads elsewhere."""
        if not target.startswith("/"):
            # Absolute form (RFC 9112 §3.2.2): allowed where it names this very upstream.
            if not target.startswith(self._origin + "/"):
                return None
            target = target[len(self._origin) :]
        path, question, query = target.partition("?")
        if path.startswith("//") or "\\" in path:
            return None
        # A segment of dots must not climb out of the upstream's own path, however it is written.
        if any(segment in (".", "..") for segment in unquote(path).split("/")):
            return None
        return URL(f"{self._origin}{self._base}{path}{question}{query}", encoded=True)

    async def __call__(self, exchange: Exchange) -> None:
        """Forward one request and its answer."""
        url = self._url(exchange.target)
        if url is None or exchange.method in _NOT_FORWARDED:
            exchange.refuse(403, "This request leads to where this proxy does not forward.")
            return
        sending = _Upload(exchange)
        headers = [(n, v) for n, v in exchange.headers.items() if n.lower() != "host"]
        try:
            answer = await asyncio.wait_for(
                self._session().request(
                    exchange.method,
                    url,
                    headers=headers,
                    data=sending.pieces() if exchange.has_body else None,
                    allow_redirects=False,
                ),
                self._answer_timeout,
            )
        except asyncio.TimeoutError:
            exchange.refuse(504, f"The upstream {self._origin} did not answer in time.")
            return
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if sending.failure is not None:
                raise sending.failure from None  # the request broke, not the upstream
            logger.info("upstream %s failed: %s", self._origin, error)
            exchange.refuse(502, f"The upstream {self._origin} did not answer: {_said(error)}.")
            return
        async with answer:
            await self._relay(exchange, answer)

    async def _relay(self, exchange: Exchange, answer: aiohttp.ClientResponse) -> None:
        headers = end_to_end(
            (name.decode("latin-1").lower(), value.decode("latin-1").strip())
            for name, value in answer.raw_headers
        )
        empty = exchange.method == "HEAD" or answer.status in (204, 304)
        try:
            length = 0 if empty else content_length(answer.headers)
        except MessageError:
            exchange.refuse(502, f"The upstream {self._origin} sent a broken Content-Length.")
            return
        exchange.start(answer.status, headers, length)
        try:
            if not empty:
                async for piece in answer.content.iter_any():
                    await exchange.write(piece)
            exchange.end()
        except (aiohttp.ClientError, OSError, MessageError) as error:
            logger.info("upstream %s broke off: %s", self._origin, error)
            exchange.break_off(codes.UPSTREAM_ERROR)


class _Upload:
    """The request's body as the HTTP client wants it, remembering if it was the body that
    failed.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.failure: PeerfetchError | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self._exchange.read():
                yield piece
        except PeerfetchError as error:
            self.failure = error
            raise


def _said(error: Exception) -> str:
    """What an exception says, or at least its kind, as part of a sentence."""
    return str(error).rstrip(".") or type(error).__name__
