"""The page of ``test_moving_page.py``:
``browser.py SIGNALING ICE-SERVERS PEER-URL SIZE DIRECTORY``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.interop.chromium import chromium, open_page
from tests.nat.traffic import HELD, write

# The body is its own positions, by four bytes. A part of it is kept back until all have moved.
UPLOAD = """
(async () => {
  const { connect } = await import("/~peerfetch/peerfetch.js");
  const peer = await connect(URL, { iceServers: SERVERS });
  window.states = [];
  peer.addEventListener("statechange", () => states.push(peer.state));
  const released = new Promise((resolve) => (window.release = resolve));
  let sent = 0;
  const body = new ReadableStream({
    async pull(controller) {
      if (sent === SIZE) return controller.close();
      if (sent >= HELD * SIZE) await released;
      const length = Math.min(65536, SIZE - sent);
      const numbers = Uint32Array.from({ length: length / 4 }, (_, i) => sent / 4 + i);
      controller.enqueue(new Uint8Array(numbers.buffer));
      sent += length;
    },
  });
  window.isUnderWay = () => peer.statistics.bytesSent > SIZE / 4;
  const asked = peer.fetch("/upload", { method: "POST", body, duplex: "half" });
  window.uploaded = asked.then((response) => response.json()).then(
    (upload) => ({ upload, states }),
    (error) => ({ upload: String(error), states }),
  );
})()
"""


async def main(signaling: str, servers: str, url: str, size: int, directory: Path) -> None:
    names = {"URL": json.dumps(url), "SERVERS": servers, "SIZE": str(size), "HELD": str(HELD)}
    script = UPLOAD
    for name, value in names.items():
        script = script.replace(name, value)
    page_url = f"http{signaling.removeprefix('ws')}/~peerfetch/package.json"
    with chromium() as devtools:
        async with open_page(devtools, page_url) as page:
            await page.evaluate(script)
            await page.until("isUnderWay()")
            write(directory / "running", None)
            while not (directory / "moved").exists():
                await asyncio.sleep(0.05)
            await page.evaluate("release()")
            write(directory / "result", await page.evaluate("uploaded"))


if __name__ == "__main__":
    signaling, servers, url, size, directory = sys.argv[1:]
    asyncio.run(main(signaling, servers, url, int(size), Path(directory)))
