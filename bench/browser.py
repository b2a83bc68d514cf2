"""How fast does Chromium download from our proxy and from others, and what does it cost them?"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.interop.chromium import Page, chromium, open_page

from bench.pattern import Pattern
from bench.processes import run
from bench.proxied import cpu
from bench.report import Row, environment, medians, parser, report, size, some_of
from bench.services import nginx, program
from bench.stacks import CHROMIUM, STACKS, Stack, prepare, versions

MESSAGE_BYTES = 16 * 1024
WARM_UP = 0.3
TRANSPORTS = ("native", "aiortc")
SENDERS = ("native", "aiortc", "libdatachannel", "chromium")

DOWNLOAD = """(async (peerId) => {
  const { connect } = await import("/~peerfetch/peerfetch.js");
  const peer = await connect(peerId);
  globalThis.download = async (path) => {
    const began = performance.now();
    const response = await peer.fetch(path);
    let bytes = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes += value.length;
    }
    return [bytes, (performance.now() - began) / 1000];
  };
})"""


def main() -> None:
    arguments_parser = parser("bench.browser", __doc__, runs=3)
    arguments_parser.add_argument(
        "--size", type=size, default=32 << 20, help="of what is downloaded (32M; aiortc: a quarter)"
    )
    arguments_parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each bare channel (%(default)s)"
    )
    arguments_parser.add_argument(
        "--senders",
        type=some_of(SENDERS),
        default=list(SENDERS),
        metavar="NAME,…",
        help=f"of bare channels: {', '.join(SENDERS)}",
    )
    arguments = arguments_parser.parse_args()
    senders, failures = prepare(
        {**STACKS, "chromium": CHROMIUM}[name] for name in arguments.senders
    )
    rows = run(_main(arguments, senders))
    report(
        arguments.json,
        medians(rows, "measured", "sender"),
        line=_line,
        settings={"runs": arguments.runs, "size": arguments.size, "failures": failures},
        facts=environment(**versions()),
    )


def _line(row: Row) -> str:
    return (
        f"{row['measured']:8} from {row['sender']:15} {row['mb_per_s']:6.1f} MB/s, "
        f"{row['cpu_ms_per_mb']:6.2f} ms of the sender's CPU per MB"
    )


async def _main(arguments: argparse.Namespace, senders: list[Stack]) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
        pattern = Pattern.create(Path(directory) / "pattern")
        for transport in TRANSPORTS:
            with (Path(directory) / transport).open("wb") as file:
                file.truncate(arguments.size if transport == "native" else arguments.size // 4)
        Path(directory).chmod(0o755)
        with chromium() as devtools:
            async with nginx(Path(directory)) as url:
                for _ in range(arguments.runs):
                    for transport in TRANSPORTS:
                        rows.append(await _proxy(devtools, url, transport))
                    for sender in senders:
                        rows.append(await _channel(sender, pattern, arguments.seconds))
    return rows


async def _proxy(devtools: str, url: str, transport: str) -> Row:
    """From nginx through the proxy to a page's ``fetch``."""
    options = ("--target", url, "--listen", "127.0.0.1:0", "--transport", transport)
    async with program("peerfetch_fast.proxy", *options) as ready:
        page_url = f"http{ready['signaling'].removeprefix('ws')}/~peerfetch/package.json"
        async with open_page(devtools, page_url) as page:
            await page.evaluate(f"{DOWNLOAD}('{ready['peer_id']}')")
            await _download(page, "pattern")  # the warm-up
            before = cpu(ready["pid"])
            received, seconds = await _download(page, transport)
            used = cpu(ready["pid"]) - before
    return _row("proxy", transport, received, seconds, used)


async def _download(page: Page, path: str) -> tuple[int, float]:
    received, seconds = await page.evaluate(f"download('/{path}')")
    return received, seconds


async def _channel(sender: Stack, pattern: Pattern, seconds: float) -> Row:
    """Over a bare data channel."""
    async with sender.connect(pattern, CHROMIUM) as (offerer, answerer):
        for duration in (WARM_UP, seconds):
            offerer.tell("bulk", message_bytes=MESSAGE_BYTES, seconds=duration)
            received = await answerer.hear("received", duration)
            sent = await offerer.hear("sent")
    return _row("channel", sender.name, received["bytes"], received["seconds"], sent["cpu_us"])


def _row(measured: str, sender: str, received: int, seconds: float, cpu_us: float) -> Row:
    megabytes = received / 1e6
    return {
        "measured": measured,
        "sender": sender,
        "mb_per_s": megabytes / seconds,
        "cpu_ms_per_mb": cpu_us / 1000 / megabytes,
    }


if __name__ == "__main__":
    main()
