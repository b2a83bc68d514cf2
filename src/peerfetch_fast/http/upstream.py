"""Forward requests to an HTTP server: the handler behind the proxy."""

from __future__ import annotations

import base64
import contextlib
import logging
import ssl
from weakref import WeakSet

from yarl import URL

from peerfetch_fast.errors import MessageError
from peerfetch_fast.http import codes
from peerfetch_fast.http._receive import ReceiveBuffer
from peerfetch_fast.http.h1 import End, Response
from peerfetch_fast.http.heads import end_to_end
from peerfetch_fast.http.message import MAX_INFORMATIONAL
from peerfetch_fast.http.origins import (
    NAMING_FIELDS,
    UNIX,
    Seen,
    UpstreamOrigin,
    climbs,
    peer_origin,
)
from peerfetch_fast.http.rewriting import REWRITTEN, Rewriting, forwarded_headers, is_claim
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.upload import Upload
from peerfetch_fast.http.upstream_connection import Place, UpstreamConnection
from peerfetch_fast.http.upstream_pool import Pool, Waiting
from peerfetch_fast.http.upstream_websocket import UpstreamPipe, relay
from peerfetch_fast.http.websocket import without_handshake
from peerfetch_fast.http.websocket_wire import WireWebSocket, check_handshake, new_key
from peerfetch_fast.identity import parse_pin
from peerfetch_fast.settings import UpstreamSettings
from peerfetch_fast.urls import parse_url

__all__ = ["Upstream"]

logger = logging.getLogger(__name__)

READ_SIZE = 256 * 1024
"""Bytes that are read from an upstream at once: four messages of a fast link."""

READ_BUFFERS = 8
"""Read buffers of that size that are kept for reuse, for all connections to one upstream."""

# Methods that concern the proxy rather than the upstream (RFC 9110 §9.3.6, §9.3.8).
_NOT_FORWARDED = frozenset(("CONNECT", "TRACE"))
# Servers that refuse a request for its status read on no further, or close.
_REFUSALS = 300

Fields = list[tuple[str, str]]


class Upstream:
    """A handler that forwards to one HTTP server. Close it after use, or use ``async with``.

    Connections are pooled, for each session apart; heads, bodies and trailers are passed on as they
    are: nothing is decompressed, no redirect followed, no cookie kept. The upstream's references to
    itself in the heads are translated (:mod:`~peerfetch_fast.http.rewriting`).

    :param url: ``http://`` or ``https://`` URL, whose path is put before that of every request; or
        ``unix:/PATH`` of a socket.

    Raises ValueError for a URL of another kind, InvalidPin, OSError for certificates that cannot be
    read.
    """

    def __init__(self, url: str, settings: UpstreamSettings | None = None) -> None:
        self._settings = settings or UpstreamSettings()
        self.url = url
        base = _base_url(url)
        self._place = _place(url, base, self._settings)
        self._origin = str(base.origin())
        self._name = url if url.startswith(UNIX) else self._origin
        self._base = base.raw_path.rstrip("/")
        self._rewriting = Rewriting(base)
        self._own = UpstreamOrigin(base)
        self._first_fields: Fields = [("host", _host(base))]
        self._person_field = self._settings.person_header.lower()
        self._dropped = frozenset(("host", self._person_field.replace("_", "-")))
        if base.raw_user is not None:
            login = f"{base.user or ''}:{base.password or ''}".encode()
            credentials = base64.b64encode(login).decode()
            self._first_fields.append(("authorization", f"Basic {credentials}"))
            self._dropped |= {"authorization"}
        self._told_of_digest = False
        self._pools: WeakSet[Pool] = WeakSet()
        self._waiting = Waiting()
        self._buffer = ReceiveBuffer(READ_SIZE, READ_BUFFERS)

    async def __aenter__(self) -> Upstream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pooled connections."""
        for pool in list(self._pools):
            pool.close()
            await pool.wait_closed()

    def _pool(self, exchange: Exchange) -> Pool:
        """The pool of connections of the exchange's session."""

        def new() -> Pool:
            pool = Pool(self._place, self._settings, self._waiting, exchange.account, self._buffer)
            self._pools.add(pool)
            return pool

        return exchange.kept.get(self, new)

    def _target(self, target: str) -> str | None:
        """The target for the upstream; None if ``target`` leads elsewhere."""
        path, question, query = target.partition("?")
        if not path.startswith("/"):
            # Absolute form (RFC 9112 §3.2.2): allowed if it names this upstream.
            path, within, rest = path.partition(self._origin + self._base)
            if path or not within or rest[:1] not in ("", "/"):
                return None
            path = rest
        # Dot segments could leave the upstream's path. Some servers take a backslash for a slash.
        if "\\" in path or climbs(path):
            return None
        return (
            f"{self._base}{path}{question}{query}" if self._base or path else f"/{question}{query}"
        )

    def reaches(self, target: str) -> bool:
        """Whether a request for ``target`` leads to this upstream."""
        return self._target(target) is not None

    async def __call__(self, exchange: Exchange) -> None:
        """Forward one request and its answer."""
        target = self._target(exchange.target)
        if target is None or exchange.method in _NOT_FORWARDED:
            exchange.refuse(403, "This request leads to where this proxy does not forward.")
            return
        headers = self._request_headers(exchange)
        if headers is None:
            # RFC 4918 §9.8.5, §9.9.4.
            exchange.refuse(502, "The Destination of this request is not on this server.")
            return
        try:
            if exchange.protocol is not None:
                await self._forward_websocket(exchange, target, headers)
            else:
                await self._forward(exchange, target, headers)
        except TimeoutError:
            exchange.refuse(504, f"The upstream {self._name} did not answer in time.")
        except _Broken as broken:
            exchange.refuse(502, f"The upstream {self._name} sent a broken answer: {broken}.")
        except (OSError, ssl.SSLError) as error:
            logger.info("upstream %s failed: %s", self._name, error)
            exchange.refuse(502, f"The upstream {self._name} did not answer: {_said(error)}.")

    # -- requests ----------------------------------------------------------------------------------

    async def _forward(self, exchange: Exchange, target: str, headers: Fields) -> None:
        settings = self._settings
        upload = Upload(exchange, settings.resend_buffer, settings.answer_timeout)
        try:
            await upload.begin()
            if not upload.has_body:
                headers = [pair for pair in headers if pair[0] != "expect"]
            await self._try(exchange, target, headers, upload)
        finally:
            upload.forget()

    async def _try(self, exchange: Exchange, target: str, headers: Fields, upload: Upload) -> None:
        """Forward the request; send it again if a kept connection turns out to be closed."""
        pool = self._pool(exchange)
        fresh = False
        while True:
            connection = await pool.take(fresh=fresh)
            try:
                head = connection.http.write_request(
                    exchange.method, target, headers, length=upload.length
                )
                answer = await self._ask(exchange, connection, head, upload)
                upload.forget()
                await self._relay(exchange, connection, answer, upload)
                return
            except ConnectionError:
                # The upstream closed the kept connection meanwhile (RFC 9112 §9.3.1).
                again = connection.uses > 1 and not connection.answered and upload.repeatable
                if not again or fresh:
                    raise
                fresh = True
            finally:
                if upload.running:
                    await upload.stop()
                pool.back(connection)

    async def _ask(
        self, exchange: Exchange, connection: UpstreamConnection, head: bytes, upload: Upload
    ) -> Response:
        """Send the request; return when the answer begins.

        Raises TimeoutError when neither upload nor answer made progress for ``answer_timeout``
        seconds, ConnectionError, _Broken, and errors of the request's body.
        """
        connection.await_answer(self._settings.answer_timeout)
        connection.write(head)
        upload.start(connection)
        try:
            return await self._head_of_answer(exchange, connection, upload)
        except OSError:
            if upload.failure is not None:
                raise upload.failure from None  # the request broke, not the upstream
            raise

    async def _head_of_answer(
        self, exchange: Exchange, connection: UpstreamConnection, upload: Upload | None
    ) -> Response:
        for count in range(MAX_INFORMATIONAL + 1):
            try:
                answer = await connection.next_event()
            except MessageError as error:
                if not connection.answered:
                    raise ConnectionResetError(str(error)) from None
                raise _Broken(str(error)) from None
            if not isinstance(answer, Response):
                raise ConnectionResetError("the connection was closed")
            if answer.status >= 200 or answer.status == 101:
                connection.await_answer(None)
                return answer
            if count == MAX_INFORMATIONAL:
                break
            if answer.status == 100 and upload is not None:
                upload.go()
            with contextlib.suppress(MessageError):  # an oversized body is not waited for
                exchange.inform(answer.status, self._answer_headers(answer, exchange.prefix))
        raise _Broken(f"more than {MAX_INFORMATIONAL} informational answers")

    def _request_headers(self, exchange: Exchange) -> Fields | None:
        """The header fields for the upstream; None if the request would move a resource to a place
        that the client has no access to.
        """
        headers = self._first_fields.copy()
        dropped = self._dropped
        length = exchange.length
        for pair in exchange.headers.items():
            name = pair[0]
            # "_" and "-" are one: see is_claim().
            plain = name.replace("_", "-") if "_" in name else name
            if plain in dropped or (name[0] in "fx" and is_claim(name)):
                continue
            if name in NAMING_FIELDS:
                fitted = self._fitted(name, pair[1], exchange)
                if fitted is None:
                    return None
                pair = name, fitted
            elif name == "content-length":
                if length is None:  # equal repetitions of Content-Length become one field
                    continue
                pair, length = (name, str(length)), None
            headers.append(pair)
        if exchange.client is not None and exchange.server is not None:
            headers += forwarded_headers(
                exchange.client,
                exchange.server,
                exchange.prefix,
                address=exchange.address,
                seen=Seen.parse(exchange.headers.get("forwarded")),
                websocket=exchange.protocol is not None,
            )
        if exchange.person is not None:
            headers.append((self._person_field, exchange.person))
        return headers

    def _fitted(self, name: str, value: str, exchange: Exchange) -> str | None:
        own = peer_origin(exchange.server or "")
        if name == "destination":
            return self._own.destination(value, own, exchange.prefix)
        return self._own.header(name, value, own, exchange.prefix)

    # -- answers -----------------------------------------------------------------------------------

    def _answer_headers(self, answer: Response, prefix: str) -> Fields:
        """The header fields of the answer for the client."""
        headers = answer.headers
        if REWRITTEN.isdisjoint([name for name, _ in headers]):
            return headers
        return [(name, self._rewriting.header(name, value, prefix)) for name, value in headers]

    def _watch_digest(self, exchange: Exchange, headers: list[tuple[str, str]]) -> None:
        """Log why a login with Digest fails: it hashes the path (RFC 7616 §3.4.3), and the client's
        path differs from the upstream's.
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

    async def _relay(
        self,
        exchange: Exchange,
        connection: UpstreamConnection,
        answer: Response,
        upload: Upload | None,
    ) -> None:
        if upload is not None and upload.running and answer.status >= _REFUSALS:
            await upload.stop()
            exchange.stop_reading()
        headers = self._answer_headers(answer, exchange.prefix)
        self._watch_digest(exchange, headers)
        empty = exchange.method == "HEAD" or answer.status in (204, 304)
        try:
            exchange.start(answer.status, headers, 0 if empty else answer.length)
        except MessageError as error:
            raise _Broken(str(error)) from None
        try:
            while True:
                event = await connection.next_event()
                if isinstance(event, bytes):
                    await exchange.write(event)
                elif isinstance(event, End):
                    exchange.end(event.trailers)
                    return
        except (OSError, MessageError) as error:
            if upload is not None and upload.failure is not None:
                raise upload.failure from None
            logger.info("upstream %s broke off: %s", self._name, error)
            exchange.break_off(codes.UPSTREAM_ERROR)

    # -- WebSockets --------------------------------------------------------------------------------

    async def _forward_websocket(self, exchange: Exchange, target: str, headers: Fields) -> None:
        pool = self._pool(exchange)
        key = new_key()
        headers = [
            *without_handshake(headers),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", key),
        ]
        connection = await pool.take(fresh=True)
        try:
            head = connection.http.write_request("GET", target, headers, upgrade="websocket")
            connection.await_answer(self._settings.answer_timeout)
            connection.write(head)
            answer = await self._head_of_answer(exchange, connection, None)
            if answer.status == 101:
                await self._relay_websocket(exchange, connection, answer, key)
            elif 200 <= answer.status <= 299:
                exchange.refuse(
                    502, f"The upstream {self._name} answered as if to any other request."
                )
            else:
                await self._relay(exchange, connection, answer, None)
        finally:
            pool.back(connection)

    async def _relay_websocket(
        self, exchange: Exchange, connection: UpstreamConnection, answer: Response, key: str
    ) -> None:
        try:
            offered = exchange.headers.getall("sec-websocket-protocol", [])
            check_handshake(answer, key, offered)
            client = exchange.accept_websocket(
                end_to_end(self._answer_headers(answer, exchange.prefix))
            )
        except MessageError as error:
            raise _Broken(str(error)) from None
        if not await relay(client, WireWebSocket(UpstreamPipe(connection), client=True)):
            exchange.break_off(codes.UPSTREAM_ERROR)


class _Broken(Exception):
    """The upstream's answer is malformed."""


def _base_url(url: str) -> URL:
    if url.startswith(UNIX):
        path = url.removeprefix(UNIX)
        if path.startswith("/") and "\0" not in path:
            return URL("http://localhost")
    try:
        base = parse_url(url)
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
        f"{url!r} is no upstream: it must look like http://127.0.0.1:8080, with a path "
        "perhaps, but no query; or like unix:/run/app.sock"
    )


def _place(url: str, base: URL, settings: UpstreamSettings) -> Place:
    if url.startswith(UNIX):
        return Place(path=url.removeprefix(UNIX))
    assert base.host is not None
    assert base.port is not None
    if base.scheme == "http":
        return Place(base.host, base.port)
    pin = None if settings.pin is None else parse_pin(settings.pin)
    tls = ssl.create_default_context(cafile=settings.ca)
    if pin is not None:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    tls.set_alpn_protocols(["http/1.1"])
    return Place(base.host, base.port, tls=tls, pin=pin)


def _host(base: URL) -> str:
    """The value of Host in requests for ``base`` (RFC 9112 §3.2)."""
    host = base.raw_host or ""
    if ":" in host:
        host = f"[{host}]"
    return host if base.is_default_port() else f"{host}:{base.port}"


def _said(error: Exception) -> str:
    """The message of an exception, or else its type, as a part of a sentence."""
    return str(error).rstrip(".") or type(error).__name__
