"""A page with several cameras: all of them small, one of them large."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

import orjson

from peerfetch_fast.http.routing import Resources, path_prefix
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.media.page import WALL_FILES

__all__ = ["CameraWall"]


class CameraWall(Resources):
    """A page that shows the cameras of a device, each of which is served at a path of its own.

    :param cameras: the names of cameras by the paths at which they are, seen from the wall's, as
        in ``{"/garden": "Garden"}``.

    Raises ValueError for a path that is none.
    """

    def __init__(self, cameras: Mapping[str, str | None]) -> None:
        self._listing = orjson.dumps(
            [
                {"name": name or unquote(prefix)[1:], "path": f".{prefix}/"}
                for prefix, name in ((path_prefix(path), name) for path, name in cameras.items())
            ]
        )

    def __str__(self) -> str:
        return "all cameras"

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.target.partition("?")[0]
        page = WALL_FILES.get(path)
        if page is None and path != "/cameras.json":
            exchange.refuse(404, "There are cameras here, and nothing of that name.")
        elif exchange.method not in ("GET", "HEAD"):
            exchange.refuse_method("GET, HEAD")
        elif page is None:
            exchange.respond(200, [("content-type", "application/json")], self._listing)
        else:
            exchange.respond(200, page.headers, page.body)
