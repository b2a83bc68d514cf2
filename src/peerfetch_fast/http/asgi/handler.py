"""The handler that calls an application, once for each request."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import unquote

from peerfetch_fast.http import codes
from peerfetch_fast.http.asgi.lifespan import Lifespan
from peerfetch_fast.http.asgi.request import RequestCall
from peerfetch_fast.http.asgi.types import ASGI_VERSION, Application, Scope
from peerfetch_fast.http.asgi.websocket import WebSocketCall
from peerfetch_fast.http.origins import Seen, peer_origin, renamed
from peerfetch_fast.http.rewriting import forwarded_headers, host_name, is_claim
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange

__all__ = ["AsgiHandler"]

logger = logging.getLogger(__name__)

DISCONNECT_GRACE = 1.0
"""Seconds in which an application may end by itself when its client is gone. Then it is cancelled,
and has as long again."""

DRAIN_TIMEOUT = 10.0
"""Seconds that background tasks are given when the handler is closed."""

SPEC_VERSION = "2.3"
"""Of the HTTP and WebSocket formats. It is the latest in which frameworks wait for
``http.disconnect``, and so stop at once; later ones leave that to the next ``send``."""


class AsgiHandler:
    """A handler that calls an ASGI application. Start it before use, and close it after."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lifespan = Lifespan(app)
        self._running: set[asyncio.Task[None]] = set()
        self._answering: list[Resources] = []

    async def start(self) -> None:
        """Start the application. Raises ApplicationError if it fails."""
        await self._lifespan.start()

    def end(self) -> None:
        """See :class:`~peerfetch_fast.http.routing.Ending`: of resources that are mounted."""
        for resources in tuple(self._answering):
            resources.end()

    async def close(self) -> None:
        """Give background tasks their time, and shut the application down."""
        if self._running:
            _, left = await asyncio.wait(self._running, timeout=DRAIN_TIMEOUT)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=DISCONNECT_GRACE)
        await self._lifespan.close()

    async def __call__(self, exchange: Exchange) -> None:
        """Have the application answer one request."""
        if not exchange.target.startswith("/") or exchange.target.startswith("//"):
            exchange.refuse(400, "The target of a request begins with a single slash.")
            return
        call = RequestCall(exchange) if exchange.protocol is None else WebSocketCall(exchange)
        task = asyncio.get_running_loop().create_task(self._run(call, self._scope(exchange, call)))
        self._running.add(task)
        task.add_done_callback(self._ended)
        exchange.cancel_with(call.disconnect)
        try:
            await asyncio.wait((task, call.over), return_when=asyncio.FIRST_COMPLETED)
            if call.disconnected:
                await asyncio.wait((task,), timeout=DISCONNECT_GRACE)
        finally:
            if not call.complete and not task.done():
                task.cancel()
                await asyncio.wait((task,), timeout=DISCONNECT_GRACE)
        if isinstance(call, RequestCall) and call.handed_on is not None:
            await self._hand_on(exchange, *call.handed_on)
        elif task.done():
            await call.finish(None if task.cancelled() else task.exception())
        elif not call.complete:
            logger.warning("the application goes on although it was cancelled")
            exchange.break_off(codes.REQUEST_CANCELLED)

    async def _hand_on(self, exchange: Exchange, resources: Resources, path: str) -> None:
        """Have resources of ours answer, as if they were served at what is before ``path``."""
        whole, question, query = exchange.target.partition("?")
        whole = exchange.prefix + whole
        if not path.startswith("/") or not whole.endswith(path):
            raise RuntimeError(f"{path} is not the end of the request's path, {whole}")
        exchange.prefix = whole.removesuffix(path)
        exchange.target = path + question + query
        answering = asyncio.current_task()
        assert answering is not None
        exchange.cancel_with(answering.cancel)
        self._answering.append(resources)
        try:
            await resources(exchange)
        finally:
            self._answering.remove(resources)

    async def _run(self, call: RequestCall | WebSocketCall, scope: Scope) -> None:
        try:
            await self._app(scope, call.receive, call.send)
        except Exception:
            if not call.complete:
                raise
            logger.exception("the application failed after its answer")

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # asked for, even where there was nobody left to be told

    def _scope(self, exchange: Exchange, call: RequestCall | WebSocketCall) -> Scope:
        path, _, query = exchange.target.partition("?")
        path = exchange.prefix + path
        server = None
        if exchange.server is not None:
            # Frameworks need a name for themselves. Answers that refer to it are translated.
            server = (host_name(exchange.server), 443)
        return {
            "asgi": {"version": ASGI_VERSION, "spec_version": SPEC_VERSION},
            # As in HTTP/2 many requests share a connection, and none has fields of one connection.
            "http_version": "2",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": unquote(exchange.prefix),
            "headers": [
                (name.encode("ascii"), value.encode("latin-1"))
                for name, value in self._headers(exchange)
            ],
            "server": server,
            "client": None if exchange.client is None else (exchange.client, 0),
            "peerfetch": {"person": exchange.person},
            "state": self._lifespan.state.copy(),
            **call.scope,
        }

    def _headers(self, exchange: Exchange) -> list[tuple[str, str]]:
        """The header fields of the request, in which the application has the name of its Host."""
        kept = [
            (name, value)
            for name, value in exchange.headers.items()
            if name != "host" and not is_claim(name)
        ]
        if exchange.server is None:
            return kept
        host = host_name(exchange.server)
        own = peer_origin(exchange.server)
        headers = [("host", host)]
        headers += [(n, renamed(n, v, (own,), f"https://{host}")) for n, v in kept]
        if exchange.client is not None:
            headers += forwarded_headers(
                exchange.client,
                exchange.server,
                address=exchange.address,
                person=exchange.person,
                seen=Seen.parse(exchange.headers.get("forwarded")),
                websocket=exchange.protocol is not None,
            )
        return headers
