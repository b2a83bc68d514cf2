"""Server-sent events by sse-starlette: each event is made when somebody asks for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from sse_starlette import EventSourceResponse


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"asked": asyncio.Queue(), "listening": set()}


app = FastAPI(lifespan=lifespan)


@app.get("/events")
async def events(request: Request) -> EventSourceResponse:
    async def made() -> AsyncIterator[dict[str, Any]]:
        request.state.listening.add(request)
        try:
            number = 0
            while True:
                data = await request.state.asked.get()
                number += 1
                yield {"event": "made", "id": str(number), "data": data}
        finally:
            request.state.listening.discard(request)

    return EventSourceResponse(made())


@app.post("/events")
async def make(data: str, request: Request) -> None:
    request.state.asked.put_nowait(data)


@app.get("/listening")
async def how_many(request: Request) -> int:
    return len(request.state.listening)
