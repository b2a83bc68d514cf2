"""One call of an application for a WebSocket.

https://asgi.readthedocs.io/en/latest/specs/www.html#websocket
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from peerfetch_fast.errors import MessageError, WebSocketClosed, WebSocketError
from peerfetch_fast.http import codes
from peerfetch_fast.http.asgi.answer import Answer, text_pairs
from peerfetch_fast.http.asgi.types import Message
from peerfetch_fast.http.heads import header_pairs
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.websocket import WebSocket
from peerfetch_fast.http.websocket_frames import ABNORMAL, INTERNAL_ERROR, NORMAL

__all__ = ["WebSocketCall"]

logger = logging.getLogger(__name__)


class WebSocketCall:
    """The ``receive`` and ``send`` that an application serves a WebSocket with."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._refusal = Answer(exchange)
        self._refused = False
        self._websocket: WebSocket | None = None
        self._announced = False
        self._settled = asyncio.Event()  # accepted, refused or disconnected
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the client is gone."""
        self.disconnected = False
        """Whether the client is gone without a word."""
        offered = exchange.headers.getall("sec-websocket-protocol", ())
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "scheme": "wss",
            "subprotocols": [
                name.strip() for field in offered for name in field.split(",") if name.strip()
            ],
            "extensions": {"websocket.http.response": {}},
        }

    @property
    def complete(self) -> bool:
        """Whether the WebSocket was refused or closed."""
        if self._websocket is None:
            return self._refused or self._refusal.complete
        return self._websocket.close_sent

    def disconnect(self) -> None:
        """Tell the application that the client is gone."""
        self.disconnected = True
        self._settled.set()
        if not self.over.done():
            self.over.set_result(None)

    async def receive(self) -> Message:
        """That there is a client, then its messages, then that it is gone."""
        if not self._announced:
            self._announced = True
            return {"type": "websocket.connect"}
        await self._settled.wait()
        if self._websocket is None:
            return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
        try:
            message = await self._websocket.receive()
        except WebSocketClosed as closed:
            return {
                "type": "websocket.disconnect",
                "code": closed.code,
                "reason": closed.reason,
            }
        except WebSocketError as error:
            return {"type": "websocket.disconnect", "code": error.code, "reason": str(error)}
        kind = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", kind: message}

    async def send(self, message: Message) -> None:
        """Carry out a message of the application. Raises OSError when the client is gone."""
        kind = message["type"]
        try:
            if self._websocket is not None:
                await self._send(self._websocket, kind, message)
            elif self._refused:
                raise RuntimeError(f"{kind} has no place after a refusal")
            elif self.disconnected:
                raise ConnectionResetError("the client of this WebSocket is gone")
            else:
                await self._answer(kind, message)
        except MessageError as error:
            raise RuntimeError(f"the application's answer is wrong: {error}") from error
        except WebSocketClosed as closed:
            raise ConnectionResetError(f"the client of this WebSocket is gone: {closed}") from None

    async def _answer(self, kind: str, message: Message) -> None:
        match kind:
            case "websocket.accept":
                pairs = text_pairs(message.get("headers") or ())
                if (chosen := message.get("subprotocol")) is not None:
                    pairs += header_pairs([("sec-websocket-protocol", chosen)])
                self._websocket = self._exchange.accept_websocket(pairs)
            case "websocket.close":
                self._exchange.refuse(403, "The application does not accept this WebSocket.")
                self._refused = True
            case "websocket.http.response.start":
                self._refusal.start(message)
            case "websocket.http.response.body":
                await self._refusal.body(message)
            case other:
                raise RuntimeError(f"{other} has no place before a WebSocket is accepted")
        if self._websocket is not None or self.complete:
            self._settled.set()

    @staticmethod
    async def _send(websocket: WebSocket, kind: str, message: Message) -> None:
        match kind:
            case "websocket.send":
                data = message.get("bytes")
                await websocket.send(message["text"] if data is None else data)
            case "websocket.close":
                await websocket.close(message.get("code", NORMAL), message.get("reason") or "")
            case other:
                raise RuntimeError(f"{other} has no place in an open WebSocket")

    async def finish(self, error: BaseException | None) -> None:
        """See to it that the WebSocket is refused or closed when the application has ended.

        Raises what it raised, or RuntimeError, for the exchange to be given up with.
        """
        if self.disconnected:
            if error is not None:
                logger.info("the application ended when its client did: %r", error)
            self._exchange.break_off(codes.REQUEST_CANCELLED)
        elif self._websocket is not None:
            if error is not None:
                logger.error("the application failed in a WebSocket", exc_info=error)
            await self._websocket.close(NORMAL if error is None else INTERNAL_ERROR)
        elif not self.complete:
            raise error or RuntimeError("the application returned without accepting the WebSocket")
