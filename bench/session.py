"""How fast are two sessions in one process, and fetch against aiohttp over loopback TCP?"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import uvloop
from aiohttp import web

from bench.report import Row, environment, medians, parser, report
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.streams.link import memory_pair
from peerfetch_fast.streams.session import Session

BULK_SIZE = 128 << 20
BULK_PIECE = 256 * 1024
BODY = b'{"message":"Hello from the device","temperature":21.5}'
JSON = "application/json"
IN_FLIGHT = (1, 256)

Get = Callable[[], Awaitable[bytes]]


def main() -> None:
    arguments_parser = parser("bench.session", __doc__, runs=7)
    arguments_parser.add_argument(
        "--seconds", type=float, default=1.0, help="of each run of small GETs (%(default)s)"
    )
    arguments = arguments_parser.parse_args()
    rows = uvloop.run(_main(arguments.runs, arguments.seconds))
    results = medians(rows, "measured", "stack", "in_flight")
    for row in results:
        if row["stack"] == "peerfetch" and row["measured"] == "small GETs":
            (other,) = (
                r for r in results if r["stack"] == "aiohttp" and r["in_flight"] == row["in_flight"]
            )
            row["times_aiohttp"] = row["per_s"] / other["per_s"]
    report(
        arguments.json,
        results,
        line=_line,
        settings={"runs": arguments.runs, "seconds": arguments.seconds},
        facts=environment(),
    )


def _line(row: Row) -> str:
    if row["measured"] == "bulk":
        return f"bulk over an in-memory link: {row['mb_per_s']:.0f} MB/s"
    ratio = f" ({row['times_aiohttp']:.2f} times aiohttp)" if "times_aiohttp" in row else ""
    return (
        f"small GETs, {row['in_flight']} in flight, {row['stack']}: {row['per_s']:.0f} per s{ratio}"
    )


async def _main(runs: int, seconds: float) -> list[Row]:
    rows: list[Row] = []
    noise = random.Random(0).randbytes(BULK_SIZE)
    pieces = [noise[at : at + BULK_PIECE] for at in range(0, BULK_SIZE, BULK_PIECE)]
    async with _peerfetch() as ours, _aiohttp() as theirs:
        for _ in range(runs):
            rate = BULK_SIZE / 1e6 / await _bulk(noise, pieces)
            rows.append(
                {"measured": "bulk", "stack": "peerfetch", "in_flight": 1, "mb_per_s": rate}
            )
            for in_flight in IN_FLIGHT:
                for stack, get in (("peerfetch", ours), ("aiohttp", theirs)):
                    row = {"measured": "small GETs", "stack": stack, "in_flight": in_flight}
                    rows.append({**row, "per_s": await _gets(get, in_flight, seconds)})
    return rows


async def _bulk(noise: bytes, pieces: list[bytes]) -> float:
    """Seconds in which one stream carries ``noise``, in ``pieces``, from session to session."""
    ends = memory_pair()
    async with Session(ends[0], opener=True) as sender, Session(ends[1], opener=False) as receiver:

        async def read() -> float:
            incoming = await receiver.accept()
            at = 0
            while data := await incoming.read():
                if not noise.startswith(data, at):
                    sys.exit("the bytes that were read differ from those that were written")
                at += len(data)
            if at != len(noise):
                sys.exit("fewer bytes were read than were written")
            done = time.perf_counter()
            incoming.end()
            return done

        reading = asyncio.ensure_future(read())
        outgoing = await sender.open_stream()
        began = time.perf_counter()
        for piece in pieces:
            await outgoing.write(piece)
        outgoing.end()
        seconds = await reading - began
        await outgoing.read()
    return seconds


async def _gets(get: Get, in_flight: int, seconds: float) -> float:
    """Requests per second, with always ``in_flight`` under way."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds

    async def keep_asking() -> int:
        done = 0
        while loop.time() < until:
            if await get() != BODY:
                sys.exit("an answer differs from what the server sent")
            done += 1
        return done

    began = time.perf_counter()
    done = await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    return sum(done) / (time.perf_counter() - began)


@contextlib.asynccontextmanager
async def _peerfetch() -> AsyncIterator[Get]:
    """GET over two sessions that an in-memory link joins."""

    async def answer(exchange: Exchange) -> None:
        exchange.respond(200, [("content-type", JSON)], BODY)

    ends = memory_pair()
    client = Session(ends[0], opener=True, accepting=False)
    server = Session(ends[1], opener=False)
    serving = asyncio.ensure_future(serve_session(server, answer))

    async def get() -> bytes:
        response = await fetch(client, "/api/hello")
        return await response.bytes()

    yield get
    await client.close()
    await serving


@contextlib.asynccontextmanager
async def _aiohttp() -> AsyncIterator[Get]:
    """GET from aiohttp's client to aiohttp's server over loopback TCP, connections kept."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type=JSON)

    app = web.Application()
    app.router.add_get("/api/hello", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        url = f"http://{host}:{port}/api/hello"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

            async def get() -> bytes:
                async with client.get(url) as response:
                    return await response.read()

            yield get
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
