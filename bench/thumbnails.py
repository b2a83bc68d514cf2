"""Does the page stall while 500 pictures get their small ones, and how soon are they there?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from tests.interop.chromium import chromium, open_page
from tests.interop.devices import link_to
from tests.processes import peerfetch

from bench.processes import run
from bench.report import Row, environment, medians, parser, report

COUNT = 500
LONG_TASKS = """globalThis.longest = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
}).observe({ type: "longtask", buffered: true });"""
SEEN = """(() => {
  const seen = Array.from(document.querySelectorAll("#entries li")).filter((row) => {
    const { top, bottom } = row.getBoundingClientRect();
    return bottom > 0 && top < innerHeight && row.querySelector(".name");
  });
  return seen.length > 0 && seen.every((row) => row.querySelector("canvas, img"));
})()"""


def main() -> None:
    arguments = parser("bench.thumbnails", __doc__, runs=3).parse_args()
    rows = run(_main(arguments.runs))
    settings = {"pictures": COUNT, "runs": arguments.runs}
    rows = medians(rows, "pictures")
    report(arguments.json, rows, line=_line, settings=settings, facts=environment())


def _line(row: Row) -> str:
    return (
        f"{row['pictures']:22} longest task {row['longest_ms']:4.0f} ms; the first ones after"
        f" {row['first_s']:.2f} s, all {COUNT} scrolled past in {row['all_s']:.1f} s"
    )


async def _main(runs: int) -> list[Row]:
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-")))
        kinds = _pictures(work)
        options = ("proxy", "--serve", work / "files", "--listen", "127.0.0.1:0")
        proxy = stack.enter_context(peerfetch(work, *options))
        browser = stack.enter_context(chromium())
        for _ in range(runs):
            for kind in kinds:
                rows.append(await _measure(browser, link_to(proxy.ready, "/"), kind))
    return rows


async def _measure(browser: str, link: str, kind: str) -> Row:
    async with open_page(browser, "about:blank") as page:
        await page.devtools("Page.addScriptToEvaluateOnNewDocument", source=LONG_TASKS)
        await page.navigate(link)
        await page.until("document.querySelectorAll('#entries .name').length > 0")
        began = time.perf_counter()
        await page.evaluate(f"path.value = '/{kind}/'; path.form.requestSubmit()")
        await page.until(f"location.hash.includes('/{kind}/') && {SEEN}")
        first = time.perf_counter() - began
        for _ in range(200):
            await page.evaluate("scrollBy(0, innerHeight * 0.8)")
            await page.until(SEEN)
            end = "scrollY + innerHeight >= document.documentElement.scrollHeight - 2"
            if await page.evaluate(end):
                break
        everything = time.perf_counter() - began
        await asyncio.sleep(0.2)
        longest = await page.evaluate("longest")
    return {"pictures": kind, "longest_ms": longest, "first_s": first, "all_s": everything}


def _pictures(work: Path) -> list[str]:
    """Folders of pictures of 12 megapixels, with and without a small one in their heads."""
    large, small = work / "large.jpg", work / "small.jpg"
    for path, side in ((large, "4000x3000"), (small, "160x120")):
        source = f"testsrc2=s={side}:r=1:d=1"
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source, "-frames:v", "1", path],
            check=True,
        )
    whole = large.read_bytes()
    with_head = work / "with_head.jpg"
    with_head.write_bytes(whole[:2] + exif(6, small.read_bytes()) + whole[2:])
    for kind, path in (("with-head", with_head), ("without", large)):
        folder = work / "files" / kind
        folder.mkdir(parents=True)
        for number in range(COUNT):
            os.link(path, folder / f"{number:03}.jpg")
    return ["with-head", "without"]


def exif(orientation: int, small: bytes) -> bytes:
    """The segment of a JPEG in which cameras put a small picture."""
    main = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0) + struct.pack(">I", 26)
    start, size = (0x0201, 4, 1, 56), (0x0202, 4, 1, len(small))
    entries = struct.pack(">HHHII", 2, *start) + struct.pack(">HHII", *size) + bytes(4)
    tiff = b"MM\0*" + struct.pack(">I", 8) + main + entries + small
    return b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff


if __name__ == "__main__":
    main()
