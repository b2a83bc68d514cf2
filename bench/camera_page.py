"""How old is a camera's picture on the page, and how soon is it there, by each of its ways?"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
from pathlib import Path

from tests.interop.chromium import chromium, open_page
from tests.interop.devices import link_to
from tests.interop.pictures import PLAYING, age_of
from tests.processes import peerfetch

from bench.processes import run
from bench.report import Row, environment, medians, parser, report

SOURCE = "test:?width=1280&height=720&rate=30&bitrate=4000000"
WAYS = {"WebRTC": "#live video", "WebCodecs": ".tile canvas", "MP4": ".tile video"}
READINGS = 25

# Milliseconds from opening a path to its first picture.
FIRST = """new Promise((resolve) => {
  const began = performance.now();
  path.value = "%s";
  path.form.requestSubmit();
  const look = () => {
    const shown = document.querySelector("%s");
    const isThere = shown?.localName === "video" ? shown.currentTime > 0 : shown?.width === 1280;
    if (isThere) resolve(performance.now() - began);
    else requestAnimationFrame(look);
  };
  look();
})"""


def main() -> None:
    arguments = parser("bench.camera_page", __doc__, runs=3).parse_args()
    rows = medians(run(_main(arguments.runs)), "way")
    settings = {"source": SOURCE, "runs": arguments.runs}
    report(arguments.json, rows, line=_line, settings=settings, facts=environment())


def _line(row: Row) -> str:
    return (
        f"{row['way']:10} there after {row['first_ms']:4.0f} ms, then {row['age_ms']:4.0f} ms old"
    )


async def _main(runs: int) -> list[Row]:
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-")))
        options = ("proxy", f"--camera=/cam={SOURCE}", "--listen", "127.0.0.1:0")
        proxy = stack.enter_context(peerfetch(work, *options))
        browser = stack.enter_context(chromium(PLAYING))
        for _ in range(runs):
            for way in WAYS:
                rows.append(await _measure(browser, link_to(proxy.ready, "/nowhere"), way))
    return rows


async def _measure(browser: str, link: str, way: str) -> Row:
    async with open_page(browser, link) as page:
        await page.until("document.querySelector('#browse-error')?.innerText")
        if way == "MP4":
            await page.evaluate("delete globalThis.VideoDecoder")
        path = "/cam/" if way == "WebRTC" else "/"
        first = await page.evaluate(FIRST % (path, WAYS[way]))
        await asyncio.sleep(2)  # until it is at the live edge
        age, ages = age_of(f"document.querySelector('{WAYS[way]}')"), []
        for _ in range(READINGS):
            ages.append(await page.evaluate(age))
            await asyncio.sleep(0.07)
    return {"way": way, "first_ms": first, "age_ms": statistics.median(ages)}


if __name__ == "__main__":
    main()
