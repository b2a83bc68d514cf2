"""One call of an application for an HTTP request.

https://asgi.readthedocs.io/en/latest/specs/www.html#http
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from peerfetch_fast.errors import MessageError, PeerfetchError
from peerfetch_fast.http import codes
from peerfetch_fast.http.asgi.answer import Answer, text_pairs
from peerfetch_fast.http.asgi.resources import RESOURCES
from peerfetch_fast.http.asgi.types import Message
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange

__all__ = ["RequestCall"]

logger = logging.getLogger(__name__)


class RequestCall:
    """The ``receive`` and ``send`` that an application answers a request with."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._answer = Answer(exchange)
        self._request_ended = False
        self._broken: MessageError | None = None
        self._finished = asyncio.Event()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the answer is complete, or nobody waits for it any more."""
        self.disconnected = False
        """Whether the client is gone, or might as well be."""
        self.handed_on: tuple[Resources, str] | None = None
        """To whom the application has handed the request on, and the part of the path for them."""
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": exchange.method,
            "scheme": "https",  # as good: what is between the two ends is encrypted
            "extensions": {
                "http.response.trailers": {},
                "http.response.early_hint": {},
                RESOURCES: {},
            },
        }

    @property
    def complete(self) -> bool:
        """Whether the whole answer was sent, or others see to it."""
        return self._answer.complete or self.handed_on is not None

    def disconnect(self) -> None:
        """Tell the application that the client is gone."""
        self.disconnected = not self.complete
        self._end()

    def _end(self) -> None:
        self._finished.set()
        if not self.over.done():
            self.over.set_result(None)

    async def receive(self) -> Message:
        """The next piece of the request's body, and after it that the client is gone."""
        while not self._request_ended and not self._finished.is_set():
            try:
                piece = await self._exchange.read()
            except MessageError as error:
                self._broken = error
                self.disconnect()
            except PeerfetchError:
                self.disconnect()
            else:
                self._request_ended = not piece
                return {"type": "http.request", "body": piece, "more_body": bool(piece)}
        await self._finished.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer; drop it where the client is gone."""
        if self.disconnected:
            await asyncio.sleep(0)  # an application that only sends would never let others run
            return
        try:
            match message["type"]:
                case "http.response.start":
                    self._answer.start(message)
                case "http.response.body":
                    await self._answer.body(message)
                case "http.response.trailers":
                    self._answer.trailers(message)
                case "http.response.early_hint" if not self._exchange.started:
                    links = [(b"link", link) for link in message["links"]]
                    self._exchange.inform(103, text_pairs(links))
                case kind if kind == RESOURCES and not self._exchange.started:
                    self.handed_on = message["resources"], message["path"]
                case other:
                    raise RuntimeError(f"{other} has no place in the answer to a request")
        except MessageError as error:
            raise RuntimeError(f"the application's links are wrong: {error}") from error
        except PeerfetchError:
            self.disconnect()
        if self.complete:
            self._end()

    async def finish(self, error: BaseException | None) -> None:
        """See to it that there is an answer when the application has ended.

        Raises what it raised, or RuntimeError, for the exchange to be given up with.
        """
        if self.complete:
            return
        if self._broken is not None:
            raise self._broken
        if self.disconnected:
            if error is not None:
                logger.info("the application ended when its client did: %r", error)
            self._exchange.break_off(codes.REQUEST_CANCELLED)
            return
        raise error or RuntimeError("the application returned before its answer was complete")
