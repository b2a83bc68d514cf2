"""Port 80: what a certificate authority looks for there, and for all others the way to HTTPS."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.signaling.plain_server import PlainServer

__all__ = ["PlainHttp"]

MAX_CONNECTIONS = 512
"""Connections at once; each has ``head_timeout`` seconds in all."""

MAX_TARGET = 2048
"""Characters of a target that is sent on to HTTPS."""


class PlainHttp:
    """Serves port 80 of a rendezvous server.

    :param origin: of the server: ``https://DOMAIN``.
    :param answers: to a certificate authority, by token.
    """

    def __init__(self, origin: str, answers: Mapping[str, str]) -> None:
        self._origin = origin
        self._answers = answers
        app = web.Application()
        app.router.add_get("/.well-known/acme-challenge/{token}", self._answer)
        app.router.add_route("*", "/{path:.*}", self._redirect)
        self._server = PlainServer(app, MAX_CONNECTIONS)

    async def start(self, host: str | None, port: int) -> None:
        """Listen. Raises RendezvousError."""
        try:
            await self._server.start(host, port)
        except OSError as error:
            place = f"{host or 'any address'} port {port}"
            raise RendezvousError(
                f"{place} cannot be listened on: {error.strerror or error}"
            ) from error

    async def close(self) -> None:
        """Listen no more. Idempotent."""
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.Response:
        answer = self._answers.get(request.match_info["token"])
        if answer is None:
            raise web.HTTPNotFound(text="Nobody has asked for that here.\n")
        response = web.Response(text=answer)
        response.force_close()
        return response

    async def _redirect(self, request: web.Request) -> web.Response:
        target = request.raw_path if len(request.raw_path) <= MAX_TARGET else "/"
        response = web.Response(
            status=308,
            text="Use HTTPS.\n",
            # To our own name, whatever the request's Host says.
            headers={"Location": self._origin + (target if target.startswith("/") else "/")},
        )
        response.force_close()
        return response
