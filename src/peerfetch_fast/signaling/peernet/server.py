"""A PeerNet server: the aiohttp face of :mod:`.realm`, below ``/v1`` of a signaling server."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter

import orjson
from aiohttp import web

from peerfetch_fast.errors import MissingExtra
from peerfetch_fast.signaling.origins import Origins
from peerfetch_fast.signaling.peerjs.ice_servers import server_as_json
from peerfetch_fast.signaling.peerjs.rooms import client_address
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.peernet import protobuf
from peerfetch_fast.signaling.peernet.api import PREFIX, Call, Operation, find
from peerfetch_fast.signaling.peernet.callers import Caller
from peerfetch_fast.signaling.peernet.openapi import openapi
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.realm import Realm
from peerfetch_fast.signaling.peernet.schema import Resource, read_json, write_json
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

__all__ = ["PeerNetServer"]

_log = logging.getLogger(__name__)

PROTOBUF = ("application/x-protobuf", "application/protobuf")
"""Content types of Protobuf, of which the first is answered with."""

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE, OPTIONS",
    # "*" does not include Authorization (Fetch, section 3.3.2).
    "Access-Control-Allow-Headers": "Authorization, Content-Type, *",
    "Access-Control-Max-Age": "7200",
}


class PeerNetServer:
    """An in-memory PeerNet server.

    :param signaling: the settings of the server that it is part of: origins, trusted proxies, STUN
        and TURN servers, and the deadline for bodies.
    """

    def __init__(
        self,
        settings: PeerNetSettings | None = None,
        signaling: SignalingServerSettings | None = None,
    ) -> None:
        self._settings = settings or PeerNetSettings()
        self._signaling = signaling or SignalingServerSettings()
        self._origins = Origins(self._signaling.allowed_origins)
        self._realm = Realm(self._settings, time.time() - time.monotonic(), self._ice_servers)
        self._prefix = f"{self._signaling.path.rstrip('/')}{PREFIX}"
        self._document = orjson.dumps(openapi(self._prefix, self._settings))
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.refused: Counter[Status] = Counter()
        """How often something was refused, by status."""

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each resource, and of requests that wait."""
        return self._realm.counts

    def add_routes(self, app: web.Application) -> None:
        """Serve from ``app``, beside what it serves already."""
        app.router.add_get(f"{self._prefix}/openapi.json", self._describe, allow_head=False)
        app.router.add_route("*", rf"{self._prefix}/{{rest:[\s\S]*}}", self._handle)
        app.on_shutdown.append(self._on_shutdown)

    async def _on_shutdown(self, _app: web.Application) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._realm.waiting.wake_all()

    def _ice_servers(self, account: str) -> list[Resource]:
        servers = [server_as_json(server) for server in self._signaling.ice_servers]
        turn = self._signaling.turn
        if turn is not None and not turn.refuses(account):
            now = time.time()
            login = server_as_json(turn.login(account, now))
            servers.append(login | {"expire_time": now + turn.ttl})
        return servers

    async def _describe(self, request: web.Request) -> web.Response:
        headers = self._origins.cors(request.headers)
        return web.Response(body=self._document, content_type="application/json", headers=headers)

    async def _handle(self, request: web.Request) -> web.Response:
        wants = _wanted(request)
        try:
            refusal = self._origins.refusal(request.headers)
            if refusal is not None:
                raise Problem(Status.PERMISSION_DENIED, refusal)
            if request.method == "OPTIONS":
                return web.Response(status=204, headers=_PREFLIGHT | self._cors(request))
            operation, answer = await self._answer(request)
            response = _response(200, operation.answer, answer, wants)
        except Problem as problem:
            response = self._refusal(problem, wants)
        except MissingExtra as missing:
            response = self._refusal(Problem(Status.NOT_ACCEPTABLE, str(missing)), wants)
        response.headers.update(self._cors(request))
        return response

    def _cors(self, request: web.Request) -> dict[str, str]:
        return {
            "Cache-Control": "no-store",
            "Access-Control-Expose-Headers": "Retry-After",
            **self._origins.cors(request.headers),
        }

    def _refusal(self, problem: Problem, wants: str) -> web.Response:
        self.refused[problem.status] += 1
        _log.debug("refused: %s", problem)
        error = {"code": problem.status.value, "message": str(problem)} | {
            "status": problem.status.name
        }
        try:
            response = _response(problem.status.value, "Error", error, wants)
        except MissingExtra:
            response = _response(problem.status.value, "Error", error, "json")
        if problem.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
        return response

    async def _answer(self, request: web.Request) -> tuple[Operation, Resource]:
        """Do what a request asks for. Raises Problem."""
        authorization = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        address = client_address(
            request.remote,
            request.headers.getall("X-Forwarded-For", ()),
            self._signaling.trusted_proxies,
        )
        caller = Caller(address, authorization or None)
        self._realm.callers.asks(caller, time.monotonic())
        operation, path = find(request.method, request.path.removeprefix(self._prefix))
        data = await self._body(request)
        body = _parsed(request, operation.body, data) if operation.body and data else {}
        call = Call(caller, path, request.query, body)
        until = time.monotonic() + (
            call.number("wait", self._settings.max_wait) if operation.waits_for else 0.0
        )
        while True:
            if self._closing:
                raise Problem(Status.UNAVAILABLE, "the server is shutting down", retry_after=1.0)
            now = time.monotonic()
            answer = operation.handler(self._realm, call, now)
            self._set_timer()
            if now >= until or not operation.idle(answer):
                return operation, answer
            await self._wait(operation.key(call), until - now)
            if request.transport is None or request.transport.is_closing():
                # The caller is gone: the next knock is for another one.
                raise Problem(Status.UNAVAILABLE, "the connection is closed")

    async def _wait(self, key: str, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        self._realm.waiting.add(key, wake)
        try:
            await asyncio.wait((woken,), timeout=seconds)
        finally:
            self._realm.waiting.remove(key, wake)

    async def _body(self, request: web.Request) -> bytes:
        """The body of a request. Raises Problem if it is too long, or takes too long to come."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._signaling.head_timeout):
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > self._settings.max_body:
                        most = self._settings.max_body
                        raise Problem(Status.TOO_LARGE, f"at most {most} bytes are taken")
        except TimeoutError:
            raise Problem(Status.INVALID_ARGUMENT, "the body took too long to come") from None
        return bytes(body)

    def _set_timer(self) -> None:
        deadline = self._realm.next_deadline()
        if deadline is None or self._closing or self._timer is not None:
            return
        # New entries may be due earlier: the server looks for those each second.
        delay = max(0.0, min(deadline - time.monotonic(), 1.0))
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._realm.expire(time.monotonic())
        self._set_timer()


def _wanted(request: web.Request) -> str:
    """The content type to answer with."""
    accept = request.headers.get("Accept", "")
    if any(kind in accept for kind in PROTOBUF):
        return "protobuf"
    if request.content_type in PROTOBUF and "json" not in accept:
        return "protobuf"
    return "json"


def _parsed(request: web.Request, message: str, data: bytes) -> Resource:
    if request.content_type in PROTOBUF:
        return protobuf.decode(message, data)
    # Every other type is read as JSON: the source sends JSON without a type.
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Problem(Status.INVALID_ARGUMENT, f"this is no JSON: {error}") from None
    return read_json(message, value)


def _response(status: int, message: str, resource: Resource, wants: str) -> web.Response:
    if wants == "protobuf":
        body = protobuf.encode(message, resource)
        return web.Response(status=status, body=body, content_type=PROTOBUF[0])
    written = write_json(message, resource)
    body = orjson.dumps({"error": written} if message == "Error" else written)
    return web.Response(status=status, body=body, content_type="application/json")
