"""Sessions over links that are slow, lossy or deep: who waits for whom."""

from __future__ import annotations

import asyncio
from statistics import quantiles

import pytest
from tests.webrtc._sctp.simulation import Path
from tests.webrtc._sctp.transfers import LINKS

from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream
from simulated_link import simulated_pair
from support import virtually

PIECE = bytes(65_536)


async def answer(stream: Stream) -> None:
    """A server of one large and many small things."""
    asked = await stream.read()
    if asked == b"large":
        while True:
            await stream.write(PIECE)
    stream.set_priority(0, False)
    await stream.write(bytes(1_024))
    stream.end()


async def serve(session: Session) -> None:
    answering = []
    try:
        while True:
            answering.append(asyncio.create_task(answer(await session.accept())))
    finally:
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


async def small(session: Session) -> float:
    """Seconds that 1 KB takes."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    stream = await session.open_stream()
    stream.set_priority(0, False)
    await stream.write(b"small")
    stream.end()
    received = 0
    while data := await stream.read():
        received += len(data)
    assert received == 1_024
    return loop.time() - began


async def download(session: Session) -> None:
    stream = await session.open_stream()
    await stream.write(b"large")
    while await stream.read():
        pass


async def urgent_beside_bulk(path: Path, seconds: float, seed: int) -> list[float]:
    """Seconds of one urgent request after the other, beside a download."""
    ends = await simulated_pair(path, seed=seed)
    client, server = (Session(end, opener=end is ends[0]) for end in ends)
    tasks = [asyncio.ensure_future(serve(server))]
    await small(client)
    tasks.append(asyncio.ensure_future(download(client)))
    await asyncio.sleep(2.0)
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    took = []
    while loop.time() < end:
        took.append(await small(client))
        await asyncio.sleep(0.05)
    client.abort()
    server.abort()
    await asyncio.gather(*tasks, return_exceptions=True)
    ends[0].close()
    return took


@pytest.mark.parametrize("number", [1, 2, 6, 8])
def test_an_urgent_request_overtakes_a_download(number: int) -> None:
    path, _ = LINKS[number]
    took = virtually(urgent_beside_bulk(path, 20.0, number))
    assert quantiles(took, n=20)[-1] <= 2.5 * 2 * path.delay
