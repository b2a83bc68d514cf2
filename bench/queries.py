"""A query over a million records, between two nodes in Python and between two in a page.

The server filters every second record away; the client projects, and adds up what comes. Prints the
records a second that are read from the source, and by how much the memory of the process (of the
page: its heap, looked at 20 times) has grown at most.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.interop.chromium import chromium, open_page

from bench.processes import run
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.smoke import NetworkHub, Node, Queryable
from peerfetch_fast.smoke.rest import Request, Response
from peerfetch_fast.web.endpoint import web_endpoint
from peerfetch_fast.webrtc.certificate import generate_certificate

IN_A_PAGE = """
(async (url, count) => {
  const { Node, NetworkHub, Queryable } = await import("/~peerfetch/smoke.js");
  const [host, guest] = [0, 1].map(() => new Node({ hub: new NetworkHub(url) }));
  async function* records() {
    for (let at = 0; at < count; at++) yield { key: String(at), name: "somebody", at };
  }
  const app = host.rest.createServer();
  app.get("/", (req, res) => res.query(new Queryable(records()).where(({ at }) => at % 2 === 0)));
  app.listen(80);
  const found = await guest.rest.fetch(`rest://${await host.address()}/`);
  let [sum, seen, most] = [0, 0, 0];
  const began = performance.now();
  const least = performance.memory.usedJSHeapSize;
  for await (const at of found.query().select((record) => record.at)) {
    sum += at;
    if (++seen % Math.ceil(count / 40) === 0) {
      gc();
      most = Math.max(most, performance.memory.usedJSHeapSize);
    }
  }
  const seconds = (performance.now() - began) / 1000;
  return { sum, seconds, grown: most - least };
})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    for nodes, figures in (("Python", run(_in_python(count))), ("Chromium", run(_in_page(count)))):
        assert figures.pop("sum") == sum(range(0, count, 2))
        rate = round(count / figures["seconds"])
        print(json.dumps({"nodes": nodes, "records": count, "per_second": rate, **figures}))


async def _hub(middlewares: Any = ()) -> SignalingServer:
    signaling = SignalingServer(SignalingServerSettings(smoke=True), middlewares=middlewares)
    await signaling.start("127.0.0.1", 0)
    return signaling


async def _in_python(count: int) -> dict[str, Any]:
    async def records() -> AsyncIterator[dict[str, Any]]:
        for at in range(count):
            yield {"key": str(at), "name": "somebody", "at": at}

    async def answer(_: Request, response: Response) -> None:
        await response.query(Queryable(records()).where(lambda one: one["at"] % 2 == 0))

    signaling = await _hub()
    hubs = [NetworkHub(f"{signaling.url}/smoke") for _ in range(2)]
    certificates = [generate_certificate() for _ in hubs]
    async with (
        Node(hubs[0], certificate=certificates[0]) as host,
        Node(hubs[1], certificate=certificates[1]) as guest,
    ):
        app = host.rest.create_server()
        app.get("/")(answer)
        app.listen(80)
        response = await guest.rest.fetch(f"rest://{host.address}/")
        least, began, total = _peak(), time.perf_counter(), 0
        async for at in response.query().select(lambda one: one["at"]):
            total += at
        seconds = time.perf_counter() - began
    await signaling.close()
    return {"sum": total, "seconds": round(seconds, 2), "grown": _peak() - least}


def _peak() -> int:
    """Bytes that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def _in_page(count: int) -> dict[str, Any]:
    signaling = await _hub([web_endpoint()])
    try:
        with chromium("--js-flags=--expose-gc", "--enable-precise-memory-info") as devtools:
            url = f"http{signaling.url.removeprefix('ws')}/~peerfetch/package.json"
            async with open_page(devtools, url) as page:
                given = f"({json.dumps(f'{signaling.url}/smoke')}, {count})"
                found: dict[str, Any] = await page.evaluate(IN_A_PAGE + given)
                return {**found, "seconds": round(found["seconds"], 2)}
    finally:
        await signaling.close()


if __name__ == "__main__":
    main()
