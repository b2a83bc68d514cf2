"""Records of a query: one JSON text a line, or one message each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson

from peerfetch_fast.errors import PeerfetchError, WebSocketClosed
from peerfetch_fast.http.response import Response
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.websocket import WebSocket
from peerfetch_fast.smoke.queryable import Queryable

__all__ = ["RECORDS", "answer_pulls", "pulled_records", "records_in", "send_lines"]

logger = logging.getLogger(__name__)

RECORDS = "application/x-ndjson"
MAX_RECORD = 16 * 1024 * 1024
"""Bytes of the longest record that is read."""

BATCH, BATCH_TIME = 16 * 1024, 0.004
"""Bytes of records that are put together, and seconds for which the first of them waits."""


async def pulled_records(socket: WebSocket) -> AsyncGenerator[Any, None]:
    """The records that are asked for on a channel, which is closed in the end.

    Raises ValueError for what is no JSON, PeerfetchError.
    """
    async with socket:
        while True:
            await socket.send("next")
            message = await socket.receive()
            if message == "end":
                return
            if not isinstance(message, str) or not message.startswith("+"):
                raise PeerfetchError("the query was broken off")
            yield orjson.loads(message[1:])


async def records_in(response: Response) -> AsyncGenerator[Any, None]:
    """The records in a body, one a line. Raises as :func:`pulled_records` does."""
    rest, size = [], 0
    async with response:
        async for piece in response:
            first, *others = piece.split(b"\n")
            rest.append(first)
            size += len(first)
            if size > MAX_RECORD:
                raise PeerfetchError(f"a record of more than {MAX_RECORD} bytes")
            for other in others:
                line, rest, size = b"".join(rest), [other], len(other)
                if line:
                    yield orjson.loads(line)
        if last := b"".join(rest):
            yield orjson.loads(last)


async def answer_pulls(socket: WebSocket, records: AsyncIterator[Any]) -> None:
    """Send each record that is asked for, until the reader has read enough."""
    try:
        while await socket.receive() == "next":
            try:
                answer = f"+{orjson.dumps(await anext(records)).decode()}"
            except StopAsyncIteration:
                await socket.send("end")
                return
            except Exception:
                logger.exception("a query failed")
                await socket.send("error")
                return
            await socket.send(answer)
    except WebSocketClosed:
        logger.debug("the reader of a query has read enough")


async def send_lines(exchange: Exchange, records: Queryable[Any]) -> None:
    """Send records as lines, those together that come within BATCH_TIME."""
    lines = bytearray()
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def send_late() -> None:
        # If it fails, so does the next write.
        with contextlib.suppress(PeerfetchError, RuntimeError):
            exchange.write_nowait(bytes(lines))
            lines.clear()

    try:
        async with aclosing(aiter(records)) as each:
            async for record in each:
                lines += orjson.dumps(record) + b"\n"
                timer = timer or loop.call_later(BATCH_TIME, send_late)
                # The one behind those that the timer has sent waits as long as these must.
                if len(lines) >= BATCH or loop.time() >= timer.when():
                    timer.cancel()
                    timer, data = None, bytes(lines)
                    lines.clear()
                    await exchange.write(data)
    finally:
        if timer is not None:
            timer.cancel()
    await exchange.write(bytes(lines))
