"""Several handlers side by side, each below a path of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable
from urllib.parse import quote, unquote

import orjson

from peerfetch_fast.http.server import Exchange

if TYPE_CHECKING:
    from peerfetch_fast.http.asgi.types import Application

__all__ = ["CAMERAS", "Ending", "Resources", "Router", "Served", "path_prefix"]

CAMERAS = "/~peerfetch/cameras"
"""Where a device tells which of its resources are cameras."""


class Served(Protocol):
    """A handler that is closed after use."""

    def __call__(self, exchange: Exchange) -> Awaitable[None]: ...

    async def close(self) -> None: ...


@runtime_checkable
class Ending(Protocol):
    """A handler whose answers may have no end of their own: a server that closes waits for all."""

    def end(self) -> None:
        """End those that run."""


class Resources:
    """The base of handlers that programs give to a server, so that it knows them from ASGI
    applications.

    :ivar name: for people; None for one that is known by its path.
    """

    is_camera: ClassVar[bool] = False
    """Whether it answers as docs/cameras.md says."""

    name: str | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        raise NotImplementedError

    def asgi(self) -> Application:
        """An ASGI application that answers as these do, for one that :func:`~peerfetch_fast.serve`
        serves to mount: ``app.mount("/garden", camera.asgi())``. Their maker closes them.
        """
        from peerfetch_fast.http.asgi.resources import application_of

        return application_of(self)

    def end(self) -> None:
        """See :class:`Ending`."""

    async def close(self) -> None:
        """Let go of what is served."""


class Router(Resources):
    """A handler that passes each request to the handler with the longest prefix of its path.

    Prefixes are whole segments: ``/cam`` matches ``/cam/x`` and not ``/camera``. The prefix is
    removed from the target and kept as :attr:`Exchange.prefix`. ``/cam`` itself is redirected to
    ``/cam/``, so that relative links resolve below it.

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
        self._cameras = [
            {"href": f"{prefix}/", "name": handler.name}
            for prefix, handler in routes.items()
            if isinstance(handler, Resources) and handler.is_camera
        ]

    def end(self) -> None:
        """See :class:`Ending`."""
        for _, _, handler in self._routes:
            if isinstance(handler, Ending):
                handler.end()

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
        if path == CAMERAS and self._cameras and exchange.method in ("GET", "HEAD"):
            body = orjson.dumps({"cameras": self._cameras})
            exchange.respond(200, [("content-type", "application/json")], body)
            return
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
        """Answer a target with a host, which is allowed if it names one of the upstreams."""
        from peerfetch_fast.http.upstream import Upstream

        for _, prefix, handler in self._routes:
            if isinstance(handler, Upstream) and handler.reaches(exchange.target):
                exchange.prefix = prefix
                await handler(exchange)
                return
        exchange.refuse(403, "This request leads to where this proxy does not forward.")


def path_prefix(text: str) -> str:
    """A path as the router uses it, for example ``/cam``: without a trailing slash.

    Raises ValueError for an invalid path.
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
