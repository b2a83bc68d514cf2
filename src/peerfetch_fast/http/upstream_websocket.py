"""WebSockets to an HTTP server: how :class:`~peerfetch_fast.http.upstream.Upstream` opens one, and
what it passes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web
from yarl import URL

from peerfetch_fast.errors import WebSocketClosed, WebSocketError
from peerfetch_fast.http.websocket import CLOSE_TIMEOUT, WebSocket, without_handshake
from peerfetch_fast.http.websocket_frames import (
    BAD_GATEWAY,
    NO_CODE,
    Close,
    Ping,
    Pong,
    close_payload,
)

__all__ = ["Refused", "open_upstream", "relay"]

logger = logging.getLogger(__name__)

MAX_UPSTREAM_MESSAGE = 16 * 1024 * 1024
"""Bytes of the largest message that is taken from an upstream (else 1009)."""


class Refused(Exception):
    """The upstream gave ``answer`` instead of a WebSocket; its body is still to be read."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        super().__init__(answer.status)
        self.answer = answer


async def open_upstream(
    new_session: Callable[..., aiohttp.ClientSession], url: URL, headers: list[tuple[str, str]]
) -> tuple[aiohttp.ClientWebSocketResponse, aiohttp.ClientResponse]:
    """Ask for a WebSocket; return it with the answer that opened it, which is to be closed.

    Raises Refused, aiohttp.ClientError, OSError, ValueError.
    """
    answers: list[aiohttp.ClientResponse] = []

    async def keep(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # aiohttp's WebSockets show nothing of this answer, nor the body of a refusal, and follow
        # redirects wherever they lead.
        answer = await handler(request)
        if answer.status != 101:
            raise Refused(answer)
        answers.append(answer)
        return answer

    async with new_session(middlewares=(keep,)) as client:  # what it opened outlives it
        websocket: aiohttp.ClientWebSocketResponse[Any] = await client.ws_connect(
            url,
            headers=without_handshake(headers),
            autoping=False,
            autoclose=False,
            max_msg_size=MAX_UPSTREAM_MESSAGE,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
        )
    return websocket, answers[0]


async def relay(
    client: WebSocket, upstream: aiohttp.ClientWebSocketResponse | web.WebSocketResponse
) -> bool:
    """Pass on everything, control frames too, until both sides have closed, or one is lost.

    Return whether the client was told of the end with a CLOSE.
    """
    loop = asyncio.get_running_loop()
    tasks = (
        loop.create_task(_to_upstream(client, upstream)),
        loop.create_task(_to_client(upstream, client)),
    )
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if all(task.result() for task in tasks if task.done()):
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return client.close_sent


async def _to_upstream(
    client: WebSocket, upstream: aiohttp.ClientWebSocketResponse | web.WebSocketResponse
) -> bool:
    """Return whether the client closed, and was not lost."""
    try:
        while True:
            match await client.receive_event():
                case str(text):
                    await upstream.send_str(text)
                case bytes(data):
                    await upstream.send_bytes(data)
                case Ping(data):
                    await upstream.ping(data)
                case Pong(data):
                    await upstream.pong(data)
                case Close(code, reason):
                    await upstream.send_frame(close_payload(code, reason), WSMsgType.CLOSE)
                    return True
    except WebSocketError as error:  # it was told
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await upstream.send_frame(close_payload(error.code, str(error)), WSMsgType.CLOSE)
    except WebSocketClosed as closed:
        logger.info("a client's WebSocket ended: %s", closed)
    except (aiohttp.ClientError, OSError) as error:
        logger.info("an upstream's WebSocket broke off: %s", error)
    return False


async def _to_client(
    upstream: aiohttp.ClientWebSocketResponse | web.WebSocketResponse, client: WebSocket
) -> bool:
    """Return whether the upstream closed, and was not lost."""
    try:
        while True:
            message = await upstream.receive()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    await client.send(message.data)
                case WSMsgType.PING:
                    await client.send_ping(message.data)
                case WSMsgType.PONG:
                    await client.send_pong(message.data)
                case WSMsgType.CLOSE:
                    _close(client, message.data or NO_CODE, message.extra or "")
                    return True
                case WSMsgType.ERROR if isinstance(message.data, aiohttp.WebSocketError):
                    logger.info("an upstream's WebSocket is broken: %s", message.data)
                    _close(client, BAD_GATEWAY, "the upstream broke the rules of WebSocket")
                    return True
                case _:  # the connection ended without a CLOSE
                    return False
    except WebSocketClosed as closed:
        logger.info("a client's WebSocket ended: %s", closed)
        return False


def _close(client: WebSocket, code: int, reason: str) -> None:
    try:
        client.send_close(code, reason)
    except ValueError:
        client.send_close(BAD_GATEWAY, f"the upstream closed with {code}")
