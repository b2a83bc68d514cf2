"""Several handlers side by side, each below a path of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol
from urllib.parse import quote, unquote

from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.upstream import Upstream

__all__ = ["Router", "Served", "path_prefix"]


class Served(Protocol):
    """A handler that is closed after use."""

    def __call__(self, exchange: Exchange) -> Awaitable[None]: ...

    async def close(self) -> None: ...


class Router:
    """A handler that passes each request to the one with the longest prefix of its path.

    A prefix ends where a segment does: ``/cam`` is for ``/cam/x`` and not for ``/camera``. It is
    taken off the target and kept as :attr:`Exchange.prefix`; ``/cam`` alone is redirected to
    ``/cam/``, so that relative links there lead where they should.

    :param routes: handlers by :func:`path_prefix`; the router closes them.
    """

    def __init__(self, routes: Mapping[str, Served]) -> None:
        self._routes = sorted(
            (
                (unquote(prefix).split("/")[1:], prefix, handler)
                for prefix, handler in routes.items()
            ),
            key=lambda route: len(route[0]),
            reverse=True,
        )

    async def close(self) -> None:
        """Close the handlers."""
        for _, _, handler in self._routes:
            await handler.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if not exchange.target.startswith("/"):
            await self._absolute(exchange)
            return
        path, question, query = exchange.target.partition("?")
        segments = path[1:].split("/")
        for names, prefix, handler in self._routes:
            count = len(names)
            if [unquote(segment) for segment in segments[:count]] != names:
                continue
            if len(segments) == count:
                last = segments[-1]
                exchange.respond(308, [("location", f"./{last}/{question}{query}")])
                return
            exchange.prefix = prefix
            exchange.target = f"/{'/'.join(segments[count:])}{question}{query}"
            await handler(exchange)
            return
        exchange.refuse(404, "Nothing is served at this path.")

    async def _absolute(self, exchange: Exchange) -> None:
        """A target with a host: allowed where it names an upstream that is served anyway."""
        for _, prefix, handler in self._routes:
            if isinstance(handler, Upstream) and handler.reaches(exchange.target):
                exchange.prefix = prefix
                await handler(exchange)
                return
        exchange.refuse(403, "This request leads to where this proxy does not forward.")


def path_prefix(text: str) -> str:
    """A path such as ``/cam`` as the router wants it: without a slash behind.

    Raises ValueError for what is no such path.
    """
    path = unquote(text.removesuffix("/"))
    names = path.split("/")
    if (
        (path and names[0])
        or any(name in ("", ".", "..") for name in names[1:])
        or any(character in text for character in "?#\\=")
        or not (text.isascii() and text.isprintable() and " " not in text)
        or (not path and text != "/")
    ):
        raise ValueError(
            f"{text!r} is no path to serve at: write one like /cam, percent-encoded where needed"
        )
    return quote(path)
