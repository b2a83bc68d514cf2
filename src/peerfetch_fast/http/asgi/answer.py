"""An answer, as an application's messages make it."""

from __future__ import annotations

from collections.abc import Iterable

from multidict import CIMultiDict
from yarl import URL

from peerfetch_fast.errors import MessageError
from peerfetch_fast.http.asgi.types import Message
from peerfetch_fast.http.heads import content_length, header_pairs
from peerfetch_fast.http.rewriting import Rewriting, host_name
from peerfetch_fast.http.server import Exchange

__all__ = ["Answer", "text_pairs"]

# Fields whose values may name the application itself.
_NAMING = frozenset(("content-location", "location", "refresh", "set-cookie"))


def text_pairs(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """An application's header fields. Raises MessageError for what HTTP does not allow."""
    return header_pairs(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers
    )


class Answer:
    """Send an application's answer: ``….start``, ``….body`` and ``….trailers``.

    All raise RuntimeError for a message that the application may not send now, and PeerfetchError
    where the client is gone.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._empty = False
        self._with_trailers = False
        self._body_ended = False
        self._trailers: list[tuple[str, str]] = []
        self.complete = False
        """Whether the whole answer was sent."""

    def start(self, message: Message) -> None:
        """Send the head.

        At once, as uvicorn does: the specification would have it wait for the first of the body,
        but an event stream may have nothing to say for long, and its client waits to hear that it
        is listening.
        """
        if self._exchange.started:
            raise RuntimeError("the application began its answer twice")
        status = message["status"]
        if not 200 <= status <= 599:
            raise RuntimeError(f"the application answered with the status {status}")
        self._empty = self._exchange.method == "HEAD" or status in (204, 304)
        self._with_trailers = message.get("trailers", False)
        try:
            pairs = self._translated(text_pairs(message.get("headers", ())))
            length = 0 if self._empty else content_length(CIMultiDict(pairs))
            self._exchange.start(status, pairs, length)
        except MessageError as error:
            raise RuntimeError(f"the application's answer is wrong: {error}") from error

    def _translated(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """``pairs`` with the application's own name replaced by the name that the client knows it
        by.
        """
        server = self._exchange.server
        if server is None or _NAMING.isdisjoint([name for name, _ in pairs]):
            return pairs
        rewriting = Rewriting(URL(f"https://{host_name(server)}"))
        return [(name, rewriting.header(name, value, "")) for name, value in pairs]

    async def body(self, message: Message) -> None:
        """Send a piece of the body, waiting while the client is slow."""
        if not self._exchange.started or self._body_ended:
            raise RuntimeError("the application sent a body before its answer began or after it")
        piece = message.get("body", b"")
        try:
            if piece and not self._empty:
                await self._exchange.write(piece)
            if not message.get("more_body", False):
                self._body_ended = True
                if not self._with_trailers:
                    self._end()
        except MessageError as error:
            raise RuntimeError(f"the application's answer is wrong: {error}") from error

    def trailers(self, message: Message) -> None:
        """Keep trailers, and send them with the last."""
        if not self._body_ended or self.complete:
            raise RuntimeError("the application sent trailers before the end of the body or twice")
        try:
            self._trailers += text_pairs(message.get("headers", ()))
            if not message.get("more_trailers", False):
                self._end()
        except MessageError as error:
            raise RuntimeError(f"the application's trailers are wrong: {error}") from error

    def _end(self) -> None:
        self._exchange.end(self._trailers)
        self.complete = True
