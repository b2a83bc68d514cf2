"""Our nodes and those of smoke-node in the same Chromium, at the same hub: REST and queries."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence

from tests.interop.chromium import Page, chromium, open_page

from bench.link import Link, emulated
from bench.processes import ROOT, run
from bench.report import Row, environment, medians, parser, report, size
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.web.endpoint import web_endpoint

INTEROP = ROOT / "tests" / "interop"
ESBUILD = ROOT / "tests" / "web" / "npm" / "node_modules" / ".bin" / "esbuild"
IMPLEMENTATIONS = ("peerfetch", "smoke-node")

# Two nodes of one implementation, and what is measured with them: milliseconds each. Nodes of
# smoke-node may miss that a channel has opened, and are asked again: that time counts, as it would
# for their users.
MEASURE = r"""
(async (code, url, bytes, records, requests, ports) => {
  const source = code ? URL.createObjectURL(new Blob([code], { type: "text/javascript" })) : null;
  const { Node, NetworkHub, Queryable, Readable } = await import(source ?? "/~peerfetch/smoke.js");
  // With a link, what each node says of its places is one: the link's port that stands for it.
  const through = (hub, port) => {
    const forward = hub.forward.bind(hub);
    let isSaid = false;
    hub.forward = async (to, data) => {
      if (data.sdp) {
        const sdp = data.sdp.sdp.replace(/^a=candidate:.*\r\n/gm, "");
        return forward(to, { ...data, sdp: { type: data.sdp.type, sdp } });
      }
      const found = data.candidate?.toJSON?.() ?? data.candidate;
      const host = /^(candidate:\S+ 1 udp \d+ )\S+ \d+( typ host.*)$/i.exec(found?.candidate ?? "");
      if (!host || isSaid) return undefined;
      isSaid = true;
      const candidate = { ...found, candidate: `${host[1]}127.0.0.1 ${port}${host[2]}` };
      return forward(to, { ...data, candidate });
    };
    return hub;
  };
  const [host, guest] = [0, 1].map((end) => {
    const hub = new NetworkHub(url);
    return new Node({ hub: ports ? through(hub, ports[end]) : hub });
  });
  const address = await host.address();
  await guest.address();
  const PIECE = 65536;
  const app = host.rest.createServer();
  app.get("/small", (req, res) => res.send("hello"));
  app.get("/large", (req, res) => {
    let left = bytes;
    const pull = (controller) => {
      if (left <= 0) return controller.close();
      controller.enqueue(new Uint8Array(Math.min(left, PIECE)));
      left -= PIECE;
    };
    res.readable(new Readable({ pull }));
  });
  app.get("/records", (req, res) => {
    async function* all() {
      for (let at = 0; at < records; at++) yield { key: String(at), name: "somebody", at };
    }
    res.query(new Queryable(all()));
  });
  app.listen("80");
  const ask = async (path, read) => {
    for (;;) {
      try {
        return await read(await guest.rest.fetch(`rest://${address}${path}`));
      } catch (error) {
        if (!/not responding|timed out|timeout/.test(error.message)) throw error;
      }
    }
  };
  const timed = async (work, expected) => {
    const began = performance.now();
    const found = await work();
    if (found !== expected) throw new Error(`${found} in place of ${expected}`);
    return performance.now() - began;
  };
  const small = () => ask("/small", (found) => found.text());
  const readAll = async (found) => {
    let size = 0;
    for (const readable = found.readable(); ; ) {
      const { done, value } = await readable.read();
      if (done) return size;
      size += value.length;
    }
  };
  const count = async (found) => {
    let seen = 0;
    for await (const _ of found.query()) seen++;
    return seen;
  };
  const many = async () => {
    for (let at = 0; at < requests; at++) await small();
    return requests;
  };
  return {
    connect: await timed(small, "hello"),
    large: await timed(() => ask("/large", readAll), bytes),
    records: await timed(() => ask("/records", count), records),
    requests: await timed(many, requests),
  };
})
"""


def main() -> None:
    arguments_parser = parser("bench.smoke", __doc__, runs=3)
    arguments_parser.add_argument("--size", type=size, default=64 << 20, help="of a body (64M)")
    arguments_parser.add_argument("--records", type=int, default=10_000, help="of a query")
    arguments_parser.add_argument("--requests", type=int, default=1000, help="one after the other")
    arguments_parser.add_argument(
        "--delay", type=float, help="of an emulated link of 100 Mbit/s, in milliseconds one way"
    )
    arguments = arguments_parser.parse_args()
    rows = run(_main(arguments))
    report(
        arguments.json,
        medians(rows, "nodes"),
        line=_line,
        settings={
            name: getattr(arguments, name)
            for name in ("runs", "size", "records", "requests", "delay")
        },
        facts=environment(),
    )


def _line(row: Row) -> str:
    return (
        f"{row['nodes']:10} connect {row['connect']:7.0f} ms, body {row['large']:8.0f} ms, "
        f"records {row['records']:8.0f} ms, requests {row['requests']:8.0f} ms"
    )


def _bundle() -> str:
    done = subprocess.run(
        [ESBUILD, INTEROP / "smoke" / "smoke_node.js", "--bundle", "--format=esm"],
        env={**os.environ, "NODE_PATH": str(INTEROP / "node_modules")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


async def _main(arguments: argparse.Namespace) -> list[Row]:
    codes = {"peerfetch": None, "smoke-node": _bundle()}
    rows: list[Row] = []
    signaling = SignalingServer(SignalingServerSettings(smoke=True), middlewares=[web_endpoint()])
    await signaling.start("127.0.0.1", 0)
    try:
        with chromium() as devtools:
            for _ in range(arguments.runs):
                for nodes in IMPLEMENTATIONS:
                    url = f"http{signaling.url.removeprefix('ws')}/~peerfetch/package.json"
                    async with open_page(devtools, url) as page, _link(arguments.delay) as ports:
                        hub = f"{signaling.url}/smoke"
                        figures = await _measure(page, codes[nodes], hub, arguments, ports)
                        rows.append({"nodes": nodes, **figures})
                        page.errors.clear()  # smoke-node throws where nobody hears it
    finally:
        await signaling.close()
    return rows


@contextlib.asynccontextmanager
async def _link(delay: float | None) -> AsyncIterator[Sequence[int] | None]:
    """The ports of a link that stand for the two nodes; None without one."""
    if delay is None:
        yield None
        return
    async with emulated(Link(100, delay, 0, 100)) as link:
        await link.begin()
        yield link.ports[0]


async def _measure(
    page: Page,
    code: str | None,
    hub: str,
    arguments: argparse.Namespace,
    ports: Sequence[int] | None,
) -> dict[str, float]:
    given = (code, hub, arguments.size, arguments.records, arguments.requests, ports)
    found: dict[str, float] = await page.evaluate(
        f"{MEASURE}({', '.join(json.dumps(one) for one in given)})"
    )
    return found


if __name__ == "__main__":
    main()
