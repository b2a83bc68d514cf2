"""The hello-world of the peerfetch README, and answers that take long. Run by uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

app = FastAPI()
running = 0


@app.get("/api/hello")
async def hello() -> dict[str, str]:
    return {"message": "Hello World"}


@app.get("/api/echo")
async def echo_query(request: Request) -> dict[str, Any]:
    return {"query": request.query_params.multi_items()}


@app.post("/api/echo")
async def echo_body(request: Request) -> Any:
    return await request.json()


@app.get("/login")
async def login(request: Request) -> Response:
    answer = RedirectResponse(request.url_for("hello"))
    answer.set_cookie("session", "1", path="/api")
    return answer


@app.get("/headers")
async def headers(request: Request) -> list[tuple[str, str]]:
    return list(request.headers.items())


@app.post("/api/length")
async def length(request: Request) -> dict[str, int]:
    total = 0
    async for piece in request.stream():
        total += len(piece)
    return {"length": total}


@app.get("/api/endless")
async def endless() -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        global running
        running += 1
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.005)
        finally:
            running -= 1

    return StreamingResponse(body())


@app.get("/api/running")
async def how_many() -> dict[str, int]:
    """How many endless answers are being given."""
    return {"running": running}
