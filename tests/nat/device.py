"""The device of ``test_moving.py``: ``device.py SIGNALING ICE-SERVERS READY-FILE``."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop
from tests.nat.traffic import INTERVAL, blocks, ice_servers, write

import peerfetch_fast

released = asyncio.Event()
asked: Counter[str] = Counter()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        return
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    if scope["type"] == "websocket":
        await numbers(receive, send)
    elif scope["path"] == "/upload":
        await answer(send, await take(receive))
    elif scope["path"] == "/download":
        await download(send, int(query["size"]))
    elif scope["path"] == "/wait":
        asked[query["n"]] += 1
        await released.wait()
        await answer(send, {"n": query["n"], "asked": asked[query["n"]]})
    elif scope["path"] == "/asked":
        await answer(send, asked)
    else:
        released.set()
        await answer(send, None)


async def answer(send: Any, what: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(what).encode()})


async def take(receive: Any) -> Any:
    digest, size, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        digest.update(message["body"])
        size += len(message["body"])
        more = message.get("more_body", False)
    return {"size": size, "sha256": digest.hexdigest()}


async def download(send: Any, size: int) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    async for block in blocks(size, released.wait, lambda _: None):
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def numbers(receive: Any, send: Any) -> None:
    """Count both ways: ours with the latest of theirs, until theirs says how many there were."""
    await receive()
    await send({"type": "websocket.accept"})
    got, sent = 0, 0

    async def count() -> None:
        nonlocal sent
        while True:
            await send({"type": "websocket.send", "text": f"{sent} {got}"})
            sent += 1
            await asyncio.sleep(INTERVAL)

    counting = asyncio.create_task(count())
    while True:
        text = (await receive())["text"]
        if text.startswith("end"):
            break
        if int(text) != got:
            raise ValueError(f"{text} after {got - 1}")
        got += 1
    counting.cancel()
    await send({"type": "websocket.send", "text": f"end {sent} {got}"})
    await receive()


async def main(signaling: str, servers: str, ready: str) -> None:
    async with await peerfetch_fast.serve(
        application, signaling=signaling, ice_servers=ice_servers(servers)
    ) as server:
        write(Path(ready), {"url": server.url})
        await server.wait_closed()


logging.basicConfig(level="INFO", format="%(relativeCreated)d %(name)s: %(message)s")
uvloop.run(main(*sys.argv[1:]))
