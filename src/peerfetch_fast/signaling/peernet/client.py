"""A client of a PeerNet server's operations, over HTTP/1.1."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson

from peerfetch_fast.errors import MessageError, SignalingError, SignalingUnavailable
from peerfetch_fast.signaling.http_client import BadStatus, HttpClient
from peerfetch_fast.signaling.peernet.address import Address

__all__ = ["PeerNetClient", "Refused", "quoted"]

MAX_ANSWER = 1024 * 1024
"""Bytes of the longest answer that is read."""

MAX_IDLE = 2
"""Connections that are kept while nothing is asked."""

MAX_REASON = 300
"""Characters of a server's own words in an error."""

_UNREACHABLE = (OSError, ssl.SSLError, BadStatus, MessageError, UnicodeError, TimeoutError)


class Refused(SignalingError):
    """The server refused a request.

    :ivar status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 429 or self.status >= 500


class PeerNetClient:
    """Asks one server. Any number of requests may run at once, each on a connection of its own.

    :param pin: the SHA-256 digest of the only accepted TLS certificate.
    :param timeout: seconds that an answer may take, beyond what it waits for.
    """

    def __init__(self, address: Address, pin: bytes | None, timeout: float) -> None:
        self._address = address
        self._pin = pin
        self._timeout = timeout
        self._idle: list[HttpClient] = []
        self.token: str | None = None
        """The token that proves that a server is ours."""

    async def ask(
        self, method: str, path: str, body: object = None, *, wait: float = 0.0, **query: str
    ) -> dict[str, Any]:
        """The answer to a request.

        :param path: below ``/v1``, quoted.
        :param body: what becomes the JSON of the request.
        :param wait: seconds for which the server may hold the request.

        Raises Refused if the server does not do it, SignalingUnavailable if it cannot be reached,
        or is no PeerNet server.
        """
        if wait:
            query["wait"] = f"{wait:g}"
        url = self._address.base.joinpath(path, encoded=True).with_query(query)
        headers = [("accept", "application/json")]
        if self.token is not None:
            headers.append(("authorization", self.token))
        content = b""
        if body is not None:
            headers.append(("content-type", "application/json"))
            content = orjson.dumps(body)
        try:
            with self._connection() as http:
                async with asyncio.timeout(self._timeout + wait):
                    status, data = await http.request(
                        method, url, max_body=MAX_ANSWER, headers=headers, body=content
                    )
        except _UNREACHABLE as error:
            reason = "it did not answer in time" if isinstance(error, TimeoutError) else error
            raise SignalingUnavailable(
                f"the signaling server {self._address.url} cannot be reached: {reason}"
            ) from error
        return self._read(status, data)

    def _read(self, status: int, data: bytes) -> dict[str, Any]:
        try:
            answer = orjson.loads(data)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise SignalingUnavailable(
                f"{self._address.url} is no PeerNet server, or not now (HTTP status {status}): "
                "check the URL, and that `peerfetch signal --peernet` runs there"
            )
        if status == 200:
            return answer
        error = answer.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise Refused(
            f"{self._address.url} refuses: {str(message or f'HTTP status {status}')[:MAX_REASON]}",
            status,
        )

    @contextlib.contextmanager
    def _connection(self) -> Iterator[HttpClient]:
        http = self._idle.pop() if self._idle else HttpClient(self._pin)
        try:
            yield http
        except BaseException:
            http.close()
            raise
        if len(self._idle) < MAX_IDLE:
            self._idle.append(http)
        else:
            http.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()


def quoted(text: str) -> str:
    """A part of a path."""
    return quote(text, safe="")
