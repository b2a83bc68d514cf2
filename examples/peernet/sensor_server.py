"""A sensor server: temperature and humidity, now and as a stream, with a page that plots them.

    python sensor_server.py FILE --signaling peernet+http://HOST:9000?room=ROOM

FILE holds the latest reading: two numbers, degrees Celsius and percent, which some other program
writes there. It offers the service
`peernet.sensor` 1.0 there. Prints the peer id.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from peerfetch_fast import serve
from peerfetch_fast.signaling.peernet.address import with_service

SERVICE = "peernet.sensor:1.0"

PAGE = b"""<!doctype html><meta charset="utf-8"><title>Sensor</title><h1></h1>
<svg viewBox="0 0 300 100" width="900"><polyline fill="none" stroke="green"/></svg>
<script type="module">
const values = [];
const response = await fetch("/readings/stream");
const lines = response.body.pipeThrough(new TextDecoderStream());
let rest = "";
for await (const piece of lines) {
  const parts = (rest + piece).split("\\n");
  rest = parts.pop();
  for (const line of parts) values.push(JSON.parse(line).temperature.value);
  values.splice(0, values.length - 300);
  const points = values.map((value, at) => `${at},${80 - value}`).join(" ");
  document.querySelector("polyline").setAttribute("points", points);
  document.querySelector("h1").textContent = `${values.at(-1)} degrees`;
}
</script>"""

Send = Callable[[dict[str, Any]], Awaitable[None]]


def reading(file: Path) -> bytes:
    """The latest reading, as a line of JSON."""
    temperature, humidity = map(float, file.read_text().split()[:2])
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return (
        json.dumps(
            {
                "temperature": {"value": temperature, "unit": "Cel", "time": now},
                "humidity": {"value": humidity, "unit": "%", "time": now},
            }
        ).encode()
        + b"\n"
    )


async def readings(file: Path, interval: float) -> AsyncIterator[bytes]:
    """A reading now, and one after each interval."""
    while True:
        yield reading(file)
        await asyncio.sleep(interval)


def application(file: Path, interval: float) -> Any:
    """The ASGI application."""

    async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def start(status: int, kind: bytes) -> None:
            fields = [(b"content-type", kind)]
            await send({"type": "http.response.start", "status": status, "headers": fields})

        path, body = scope["path"], b""
        if path == "/":
            await start(200, b"text/html")
            body = PAGE
        elif path == "/readings":
            await start(200, b"application/json")
            body = reading(file)
        elif path == "/readings/stream":
            await start(200, b"application/x-ndjson")
            async for line in readings(file, interval):
                await send({"type": "http.response.body", "body": line, "more_body": True})
        else:
            await start(404, b"text/plain")
        await send({"type": "http.response.body", "body": body})

    return app


async def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--signaling", required=True)
    parser.add_argument("--interval", type=float, default=1.0)
    options = parser.parse_args()
    app = application(options.file, options.interval)
    signaling = with_service(options.signaling, SERVICE)
    async with serve(app, signaling=signaling) as server:
        print(server.url, flush=True)
        await server.wait_closed()


asyncio.run(main())
