"""What a connection costs a node: 256 in Python, and as many as fit into one page of Chromium.

In Python the others are in a process of their own, so that only the node's side counts; in Chromium
both ends are in the page. Prints the memory of the process, and of all of the browser's processes,
for each connection.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.interop.chromium import chromium, open_page

from bench.processes import run
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.smoke import NetworkHub, Node
from peerfetch_fast.smoke.rest import Request, Response
from peerfetch_fast.web.endpoint import web_endpoint
from peerfetch_fast.webrtc.certificate import generate_certificate

CONNECTIONS = 256
BEFORE = 8
"""Connections before the first look: what they bring with them is no cost of each."""

PAGE = """
(async (url, count) => {
  const { Node, NetworkHub } = await import("/~peerfetch/smoke.js");
  const make = () => new Node({ hub: new NetworkHub(url) });
  window.host = make();
  host.rest.createServer().get("/", (req, res) => res.send("hello")).listen(80);
  window.address = await host.address();
  window.guests = [];
  window.more = async (count) => {
    for (let at = 0; at < count; at++) {
      const guest = make();
      guests.push(guest);
      try {
        await guest.rest.fetch(`rest://${address}/`).then((found) => found.text());
      } catch (error) {
        if (!/so many PeerConnections/.test(error.message)) throw error;
        break;
      }
    }
    return host.network.getPeers().size;
  };
})
"""


async def _hub(middlewares: Any = ()) -> SignalingServer:
    settings = SignalingServerSettings(smoke=True, max_per_address=1000)
    signaling = SignalingServer(settings, middlewares=middlewares)
    await signaling.start("127.0.0.1", 0)
    return signaling


def _memory() -> int:
    """Bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _guests(pipe: Connection) -> None:
    signaling = await _hub()
    url = f"{signaling.url}/smoke"
    certificate = generate_certificate()
    pipe.send(url)
    loop = asyncio.get_running_loop()
    address = await loop.run_in_executor(None, pipe.recv)
    guests = []
    while count := await loop.run_in_executor(None, pipe.recv):
        for _ in range(count):
            guest = Node(NetworkHub(url), certificate=certificate)
            await guest.start()
            guests.append(guest)
            response = await guest.rest.fetch(f"rest://{address}/")
            assert await response.text() == "hello"
        pipe.send(len(guests))
    for guest in guests:
        await guest.close()
    await signaling.close()


def _others(pipe: Connection) -> None:
    asyncio.run(_guests(pipe))


async def _hello(_: Request, response: Response) -> None:
    await response.send("hello")


async def _in_python() -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_others, args=(theirs,))
    process.start()
    loop = asyncio.get_running_loop()
    url = await loop.run_in_executor(None, ours.recv)
    async with Node(NetworkHub(url), certificate=generate_certificate()) as host:
        app = host.rest.create_server()
        app.get("/")(_hello)
        app.listen(80)
        ours.send(host.address)

        async def more(count: int) -> None:
            ours.send(count)
            await loop.run_in_executor(None, ours.recv)

        await more(BEFORE)
        before = _memory()
        await more(CONNECTIONS - BEFORE)
        each = (_memory() - before) / (CONNECTIONS - BEFORE)
        ours.send(0)
    await loop.run_in_executor(None, process.join)
    return {"nodes": "Python", "connections": CONNECTIONS, "bytes_each": round(each)}


def _children(pid: int) -> int:
    """Bytes that the processes below one hold, those shared between them counted once."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            rollup = Path(f"/proc/{child}/smaps_rollup").read_text()
            total += 1024 * int(rollup.partition("\nPss:")[2].split()[0]) + _children(child)
    return total


async def _in_chromium() -> dict[str, Any]:
    signaling = await _hub([web_endpoint()])
    try:
        with chromium() as devtools:
            url = f"http{signaling.url.removeprefix('ws')}/~peerfetch/package.json"
            async with open_page(devtools, url) as page:
                await page.evaluate(f"{PAGE}({json.dumps(f'{signaling.url}/smoke')})")
                await page.evaluate(f"more({BEFORE})")
                before = _children(os.getpid())
                count = await page.evaluate(f"more({CONNECTIONS - BEFORE})")
                each = (_children(os.getpid()) - before) / (count - BEFORE)
                return {"nodes": "Chromium", "connections": count, "bytes_each": round(each)}
    finally:
        await signaling.close()


def main() -> None:
    print(json.dumps(run(_in_python())))
    print(json.dumps(run(_in_chromium())))


if __name__ == "__main__":
    main()
