"""What idle devices cost a PeerNet server: ``python -m bench.peernet --devices 5000``.

A server in a process of its own, and so many devices, each of which has registered and keeps a long
poll open. Bounds by address are raised for it. Prints JSON: the server's memory for each device
(that of the process, less what it had without them), and its CPU time in percent of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

WAIT = 25


def _memory() -> int:
    """Bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _serve(pipe: Connection) -> None:
    from peerfetch_fast.signaling import SignalingServer, SignalingServerSettings
    from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

    most = 1_000_000
    server = SignalingServer(
        SignalingServerSettings(max_connections=most, max_per_address=most),
        peernet=PeerNetSettings(
            max_servers=most,
            max_servers_per_address=most,
            request_burst=most,
            request_rate=most,
            max_bytes=1 << 30,
            max_bytes_per_address=1 << 30,
        ),
    )
    await server.start("127.0.0.1", 0)
    pipe.send(server.url)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, pipe.recv):
        assert server.peernet is not None
        pipe.send({"memory": _memory(), "cpu": _cpu(), **server.peernet.counts})
    await server.close()


def _server(pipe: Connection) -> None:
    from peerfetch_fast.descriptors import raise_descriptor_limit

    raise_descriptor_limit()
    import uvloop

    uvloop.run(_serve(pipe))


async def _request(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str, body: bytes, token: str
) -> None:
    """Send a POST, and read its answer as far as its head's length says."""
    reader, writer = streams
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in answer.split(b"\r\n", 1)[0], answer
    length = next(
        int(line.split(b":")[1])
        for line in answer.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    await reader.readexactly(length)


async def _device(number: int, port: int, free: asyncio.Semaphore) -> None:
    token = f"the token of device {number}"
    async with free:
        streams = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        services = [{"protocol": "peernet.http", "version": "2"}]
        about = {"unique_id": f"d{number}", "auth_token": token, "services": services}
        about["rooms"] = [f"room-{number // 100}"]
        await _request(streams, "servers", json.dumps(about).encode(), token)
    while True:
        path = f"servers/d{number}/claim_knocks?wait={WAIT}"
        await _request(streams, path, b'{"filter": "service.version=2"}', token)


async def _measure(pipe: Connection, devices: int, seconds: float) -> dict[str, Any]:
    port = int(pipe.recv().rpartition(":")[2])

    async def look() -> dict[str, Any]:
        pipe.send(True)
        loop = asyncio.get_running_loop()
        found: dict[str, Any] = await loop.run_in_executor(None, pipe.recv)
        return found

    before = await look()
    free = asyncio.Semaphore(64)
    tasks = [asyncio.create_task(_device(number, port, free)) for number in range(devices)]
    while (await look())["servers"] < devices:
        await asyncio.sleep(0.5)
    begin = await look()
    await asyncio.sleep(seconds)
    end = await look()
    failed = [task.exception() for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not failed, failed[0]
    return {
        "devices": devices,
        "waiting": end["waiting"],
        "bytes_each": round((end["memory"] - before["memory"]) / devices),
        "cpu_percent": round(100 * (end["cpu"] - begin["cpu"]) / seconds, 2),
        "seconds": seconds,
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    from peerfetch_fast.descriptors import raise_descriptor_limit

    raise_descriptor_limit()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_server, args=(theirs,))
    process.start()
    try:
        figures = asyncio.run(_measure(ours, options.devices, options.seconds))
        ours.send(False)
    except BaseException:
        process.kill()
        raise
    finally:
        process.join(30)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
