"""A PeerJS-compatible signaling server: the aiohttp face of :mod:`.realm`."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.doorman import Doorman
from peerfetch_fast.signaling.listener import Challenge, Guest, Listener
from peerfetch_fast.signaling.origins import Origins
from peerfetch_fast.signaling.peerjs.connection import Connection
from peerfetch_fast.signaling.peerjs.ice_servers import Welcome
from peerfetch_fast.signaling.peerjs.realm import Action, Realm, Send
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.rooms import client_address, room_id
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_KEY, SignalingServerSettings
from peerfetch_fast.signaling.ratelimit import TokenBucket
from peerfetch_fast.signaling.smoke.hub import Hub

if TYPE_CHECKING:
    from peerfetch_fast.signaling.peernet.server import PeerNetServer
    from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

__all__ = ["SignalingServer"]

_log = logging.getLogger(__name__)
_http_log = logging.getLogger(f"{__name__}.http")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a log record of aiohttp says more than that a client was gone before the answer, or
    did not send HTTP.

    aiohttp logs both with a traceback, once for each connection: anybody could fill the log.
    """
    error = record.exc_info[1] if record.exc_info else None
    # uvloop has no type of its own for a transport that was cut.
    cut = isinstance(error, RuntimeError) and "the handler is closed" in str(error)
    return not (cut or isinstance(error, (ConnectionError, HttpProcessingError)))


_http_log.addFilter(_is_news)

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}
_RETRY = {"Retry-After": "30"}
_NOT_KEPT = {"Cache-Control": "no-store"}
_DESCRIPTION = {
    "name": "peerfetch-fast signaling",
    "description": "Introduces peers to each other, in the protocol of PeerJS servers.",
    "website": "https://peerjs.com/",
}
_TURNED_AWAY = {
    Refusal.TOO_MANY_OF_ADDRESS: (429, "Too many connections come from your address: close some."),
    Refusal.TOO_MANY_CONNECTIONS: (503, "The server has too many connections: try again later."),
}
_SHUTDOWN = (WSCloseCode.GOING_AWAY, "the server is shutting down")


def _why(error: OSError) -> str:
    """The reason alone: asyncio's own sentence repeats the address, and names numbers."""
    if error.errno == errno.EADDRINUSE:
        return "another program has that port"
    code = error.errno or 0  # of names that are not found it is negative
    return os.strerror(code) if code > 0 else error.strerror or str(error)


class SignalingServer:
    """An in-memory signaling server that speaks the protocol of PeerJS servers.

    Run it by itself with :meth:`start`, or put its routes beside others with :meth:`add_routes`;
    :meth:`close` ends both.

    :param middlewares: middlewares that :meth:`start` puts before the routes, such as the page of
        :func:`peerfetch_fast.web.endpoint.web_endpoint`.
    :param divert: returns the protocol that takes over a connection which begins with the given
        octets; None for HTTP.
    :param challenge: speaks TLS in our place with clients that ask for its protocol.
    :param peernet: the settings of a PeerNet server beside it, below ``{path}v1``; None for none.
    """

    def __init__(
        self,
        settings: SignalingServerSettings | None = None,
        *,
        middlewares: Sequence[Middleware] = (),
        divert: Callable[[bytes], asyncio.Protocol | None] | None = None,
        challenge: Challenge | None = None,
        peernet: PeerNetSettings | None = None,
    ) -> None:
        self._middlewares = tuple(middlewares)
        self._divert = divert
        self._challenge = challenge
        self._settings = settings if settings is not None else SignalingServerSettings()
        self.peernet: PeerNetServer | None = None
        """The PeerNet server beside it."""
        if peernet is not None:
            # Imported late: most servers have none.
            from peerfetch_fast.signaling.peernet.server import PeerNetServer

            self.peernet = PeerNetServer(peernet, self._settings)
        welcome = Welcome(self._settings)
        self._realm: Realm[Connection] = Realm(self._settings, welcome)
        self._hub: Hub[Connection] = Hub(self._settings, welcome, self._realm.refused)
        self._budget = Budget(self._settings.max_outgoing_total)
        self._open: set[Connection] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        # Connections are counted by the listener, if it is ours, and clients here: those behind a
        # trusted proxy share its connections' address.
        self._doorman: Doorman[Connection] = Doorman(
            self._settings.max_connections, self._settings.max_per_address
        )
        self._url: str | None = None
        self._origins = Origins(self._settings.allowed_origins)
        # Rooms need not outlive the server: their members join again.
        self._room_secret = secrets.token_bytes(32)

    @property
    def refused(self) -> Counter[Refusal]:
        """The number of refusals, by reason."""
        return self._realm.refused.copy()

    @property
    def peer_ids(self) -> list[str]:
        """The ids of those who are connected, in alphabetical order."""
        return self._realm.ids

    @property
    def url(self) -> str:
        """The URL for clients, once :meth:`start` returned: ``ws://host:port/path``, and ``?key=…``
        if the server has a key of its own.

        Raises SignalingError if the server was not started.
        """
        if self._url is None:
            raise SignalingError("The signaling server has no URL before it is started")
        return self._url

    def add_routes(self, app: web.Application) -> None:
        """Add the server's routes to those of ``app``."""
        path, key = self._settings.path, self._settings.key
        for route, handler in (
            (path, self._describe),
            (f"{path}{key}/id", self._give_id),
            (f"{path}{key}/peers", self._list_peers),
        ):
            app.router.add_get(route, self._guarded(handler))
            app.router.add_route("OPTIONS", route, self._guarded(self._preflight))
        room = f"{path}{key}/{{id}}/{{token}}/room"
        app.router.add_get(f"{room}/id", self._guarded(self._give_room))
        app.router.add_post(f"{room}/{{room}}/join", self._guarded(self._join_room))
        app.router.add_get(f"{room}/{{room}}/members", self._guarded(self._list_room))
        app.router.add_post(f"{room}/{{room}}/leave", self._guarded(self._leave_room))
        app.router.add_route("OPTIONS", f"{room}/{{rest:.+}}", self._guarded(self._preflight))
        app.router.add_get(f"{path}peerjs", self._guarded(self._websocket), allow_head=False)
        if self._settings.smoke:
            app.router.add_get(f"{path}smoke", self._guarded(self._smoke), allow_head=False)
        if self.peernet is not None:
            self.peernet.add_routes(app)
        app.on_shutdown.append(self._on_shutdown)

    def _guarded(self, handler: Handler) -> Handler:
        """``handler`` behind the check of origins, with CORS fields in its answers."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            refusal = self._origins.refusal(request.headers)
            if refusal is not None:
                self._realm.refused[Refusal.FOREIGN_ORIGIN] += 1
                _log.debug("%s", refusal)
                raise web.HTTPForbidden(text=refusal, headers={"Vary": "Origin"})
            cors = self._origins.cors(request.headers)
            try:
                response = await handler(request)
            except web.HTTPException as error:
                error.headers.update(cors)
                raise
            if not response.prepared:  # a WebSocket is, and has no need of them
                response.headers.update(cors)
            return response

        return guarded

    async def start(self, host: str | None, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen on ``host`` and ``port``; port 0 takes any free one, see :attr:`url`.

        :param tls: certificate and key, for ``https://`` and ``wss://`` URLs.

        Raises SignalingError if that address cannot be listened on.
        """
        app = web.Application(middlewares=(self._expected, *self._middlewares))
        self.add_routes(app)
        # No access log: the query of a WebSocket's URL holds the client's token.
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_http_log,
            shutdown_timeout=2 * self._settings.close_timeout,
            # Between the listener's deadlines for a first head and for the next one.
            keepalive_timeout=1.5 * self._settings.head_timeout,
            lingering_time=self._settings.close_timeout,  # for a body, which no route takes
        )
        await runner.setup()
        assert runner.server is not None
        listener = Listener(
            runner.server, self._settings, self._count, self._divert, self._challenge
        )
        try:
            await listener.start(host, port, tls)
        except OSError as error:
            await runner.cleanup()
            place = f"{host or 'any address'} port {port}"
            raise SignalingError(
                f"the signaling server cannot listen on {place}: {_why(error)}"
            ) from error
        self._runner, self._listener = runner, listener
        bound_host, bound_port = listener.address
        if ":" in bound_host:
            bound_host = f"[{bound_host}]"
        path = self._settings.path.rstrip("/")
        query = "" if self._settings.key == DEFAULT_KEY else f"?key={self._settings.key}"
        self._url = f"{'ws' if tls is None else 'wss'}://{bound_host}:{bound_port}{path}{query}"

    async def close(self) -> None:
        """Disconnect every client and stop listening. Calling it again does nothing."""
        self._disconnect_all()
        if self._runner is not None and self._listener is not None:
            runner, self._runner = self._runner, None
            await self._listener.close()
            await runner.cleanup()
            await self._listener.cut()
            self._listener = None
        await self._all_gone.wait()

    async def _on_shutdown(self, _app: web.Application) -> None:
        self._disconnect_all()

    def _disconnect_all(self) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in self._open:
            connection.close(*_SHUTDOWN)

    def _count(self, refusal: Refusal) -> None:
        self._realm.refused[refusal] += 1

    @web.middleware
    async def _expected(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Tell the listener that a request has come; refuse connections beyond its bounds."""
        guest = self._guest(request)
        if guest is None:
            return await handler(request)
        guest.head_came()
        try:
            if guest.refusal is None:
                return await handler(request)
            status, sentence = _TURNED_AWAY[guest.refusal]
            response = web.Response(status=status, text=f"{sentence}\n", headers=_RETRY)
            response.force_close()
            return response
        finally:
            guest.answered()

    def _address(self, request: web.Request) -> str | None:
        """The address that a request comes from, perhaps through proxies of ours."""
        return client_address(
            request.remote,
            request.headers.getall("X-Forwarded-For", ()),
            self._settings.trusted_proxies,
        )

    async def _describe(self, _request: web.Request) -> web.Response:
        return web.json_response(_DESCRIPTION)

    async def _preflight(self, _request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_PREFLIGHT)

    async def _give_id(self, _request: web.Request) -> web.Response:
        # 128 bits, so that no two are ever the same and nobody guesses one.
        return web.Response(text=secrets.token_hex(16), headers=_NOT_KEPT)

    async def _list_peers(self, _request: web.Request) -> web.Response:
        if not self._settings.allow_discovery:
            return web.Response(status=401, text="Discovery is not allowed here")
        return web.json_response(self._realm.ids)

    def _room_of(self, request: web.Request) -> str:
        """The room of the client that asks, which must have shown a token.

        Raises HTTPUnauthorized, and HTTPForbidden for a client that asks about another room.
        """
        parts = request.match_info
        if not self._realm.is_client(parts["id"], parts["token"]):
            self._realm.refused[Refusal.WRONG_TOKEN] += 1
            raise web.HTTPUnauthorized(text="The id or the token is not known here")
        room = room_id(self._room_secret, self._address(request))
        if room is None or parts.get("room", room) != room:
            self._realm.refused[Refusal.WRONG_ROOM] += 1
            raise web.HTTPForbidden(text="This is not your room: ask for its id")
        return room

    async def _give_room(self, request: web.Request) -> web.Response:
        return _json({"roomId": self._room_of(request)})

    async def _join_room(self, request: web.Request) -> web.Response:
        room = self._room_of(request)
        if not self._realm.rooms.join(room, request.match_info["id"]):
            self._realm.refused[Refusal.ROOM_FULL] += 1
            raise web.HTTPServiceUnavailable(text="The room is full")
        return _json({"clientsIds": self._realm.rooms.members(room)})

    async def _list_room(self, request: web.Request) -> web.Response:
        return _json(self._realm.rooms.members(self._room_of(request)))

    async def _leave_room(self, request: web.Request) -> web.Response:
        self._room_of(request)
        return _json({"wasInRoom": self._realm.rooms.leave(request.match_info["id"])})

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        query = request.query

        def attach(connection: Connection, account: str | None) -> list[Action[Connection]]:
            shown = (query.get("key"), query.get("id"), query.get("token"))
            return self._realm.attach(connection, *shown, _now(), account=account)

        return await self._meet(request, self._realm, attach)

    async def _smoke(self, request: web.Request) -> web.StreamResponse:
        if "Upgrade" not in request.headers:
            return web.Response(text="smoke-hub: signalling")
        query = request.query

        def attach(connection: Connection, account: str | None) -> list[Action[Connection]]:
            shown = (query.get("address"), query.get("token"))
            return self._hub.attach(connection, *shown, _now(), account=account)

        return await self._meet(request, self._hub, attach, self._settings.smoke_ping_interval)

    async def _meet(
        self,
        request: web.Request,
        room: Realm[Connection] | Hub[Connection],
        attach: Callable[[Connection, str | None], Iterable[Action[Connection]]],
        ping_interval: float | None = None,
    ) -> web.StreamResponse:
        """Serve a client by a WebSocket until either side ends it."""
        if self._closing:
            raise web.HTTPServiceUnavailable()
        socket = web.WebSocketResponse(
            heartbeat=ping_interval,
            timeout=self._settings.close_timeout,
            autoping=False,  # a ping is a sign of life, so it must be seen here
            compress=False,  # a compressor costs far more memory than a client is worth
            max_msg_size=self._settings.max_message_size + 1,  # aiohttp refuses from the limit on
        )
        if not socket.can_prepare(request):
            raise web.HTTPUpgradeRequired(headers={"Upgrade": "websocket"})
        address = self._address(request)
        refusal = self._doorman.refusal(address)
        if refusal is not None:
            self._count(refusal)
            status, sentence = _TURNED_AWAY[refusal]
            return web.Response(status=status, text=f"{sentence}\n", headers=_RETRY)
        await socket.prepare(request)
        connection = Connection(socket, request.transport, self._settings, self._budget)
        self._doorman.enter(connection, address)
        self._open.add(connection)
        self._all_gone.clear()
        sender = asyncio.create_task(connection.run())
        try:
            if self._closing:
                connection.close(*_SHUTDOWN)
            # Ids cost nothing: relays are counted for each address.
            self._perform(room, attach(connection, self._doorman.key(address)))
            await self._receive(socket, connection, room, self._guest(request))
        finally:
            room.detach(connection)
            connection.close(WSCloseCode.OK, "")
            try:
                await sender
            finally:
                self._doorman.leave(connection)
                self._open.discard(connection)
                if not self._open:
                    self._all_gone.set()
        return socket

    def _guest(self, request: web.Request) -> Guest | None:
        """The connection that a request came on, if it is one of our listener's."""
        return None if self._listener is None else self._listener.guest(request.protocol)

    async def _receive(
        self,
        socket: web.WebSocketResponse,
        connection: Connection,
        room: Realm[Connection] | Hub[Connection],
        guest: Guest | None,
    ) -> None:
        bucket = TokenBucket(self._settings.message_rate, self._settings.message_burst, _now())
        while not connection.closing:
            message = await socket.receive()
            if guest is not None:
                guest.message_came()
            if message.type is WSMsgType.TEXT:
                self._perform(room, room.receive(connection, message.data, _now()))
            elif message.type is WSMsgType.BINARY:
                room.heard(connection, _now())
                self._realm.refused[Refusal.BINARY] += 1
            elif message.type is WSMsgType.PING:
                room.heard(connection, _now())
                await _answer_ping(socket, message)
            elif message.type is WSMsgType.PONG:
                room.heard(connection, _now())
            else:
                self._note_end(message)
                return
            delay = bucket.take(_now())
            if delay > 0.0:
                self._realm.refused[Refusal.THROTTLED] += 1
                await asyncio.sleep(delay)

    def _note_end(self, message: WSMessage) -> None:
        if message.type is WSMsgType.ERROR and isinstance(message.data, WebSocketError):
            oversized = message.data.code == WSCloseCode.MESSAGE_TOO_BIG
            self._realm.refused[Refusal.OVERSIZED if oversized else Refusal.UNDECODABLE] += 1
            _log.debug("a client broke the WebSocket protocol: %s", message.data)

    def _perform(
        self,
        room: Realm[Connection] | Hub[Connection],
        actions: Iterable[Action[Connection]],
    ) -> None:
        for action in actions:
            if not isinstance(action, Send):
                action.to.close(action.code, action.reason)
            elif not action.to.send(action.data):
                self._realm.refused[Refusal.SLOW_READER] += 1
                room.detach(action.to)
                action.to.abort()
        self._set_timer()

    def _set_timer(self) -> None:
        deadlines = (self._realm.next_deadline(), self._hub.next_deadline())
        deadline = min((one for one in deadlines if one is not None), default=None)
        if deadline is None or self._closing:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return  # it sets itself anew
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._perform(self._realm, self._realm.expire(_now()))
        self._perform(self._hub, self._hub.expire(_now()))


def _json(content: object) -> web.Response:
    return web.json_response(content, headers=_NOT_KEPT)


async def _answer_ping(socket: web.WebSocketResponse, ping: WSMessage) -> None:
    try:
        await socket.pong(ping.data)
    except OSError:
        _log.debug("a client was gone before its ping was answered")


def _now() -> float:
    return asyncio.get_running_loop().time()
