"""Are 3 GB that the page saves what the device has, with the connection lost once in between?"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
import time
from pathlib import Path

from tests.interop.chromium import chromium, click, open_page, text_of
from tests.processes import Process, peerfetch

from bench.processes import run
from bench.report import Row, environment, parser, report, size
from peerfetch_fast.web.page_link import page_url

NAME = "large.bin"
BLOCK = 1 << 20
DOWNLOAD = ".download"


def main() -> None:
    arguments_parser = parser("bench.big_download", __doc__, runs=1)
    arguments_parser.add_argument(
        "--size", type=size, default=3_000_000_000, help="of the file (3G: 3 GiB)"
    )
    arguments = arguments_parser.parse_args()
    rows = [run(_measure(arguments.size)) for _ in range(arguments.runs)]
    settings = {"size": arguments.size, "runs": arguments.runs}
    report(arguments.json, rows, line=_line, settings=settings, facts=environment())


def _line(row: Row) -> str:
    return (
        f"{row['bytes']} bytes in {row['seconds']:.0f} s, the device killed at {row['killed_at']}"
        f" and back {row['away']:.1f} s later: the same SHA-256"
    )


async def _measure(length: int) -> Row:
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-")))
        files, saved = work / "files", work / "saved"
        for directory in (files, saved):
            directory.mkdir()
        expected = write(files / NAME, length)
        signal = stack.enter_context(peerfetch(work, "signal", "--listen", "127.0.0.1:0"))
        browser = stack.enter_context(chromium())
        joined = ("--signaling", signal.ready["signaling"], "--peer-id", "dev1")

        def device() -> Process:
            options = ("--state-dir", work / "state", "--serve", files, *joined)
            return stack.enter_context(peerfetch(work, "proxy", *options))

        running = device()
        async with open_page(browser, page_url(signal.ready["signaling"], "dev1")) as page:
            await page.devtools(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved)
            )
            await page.until("document.querySelector('.save') !== null")
            began = time.perf_counter()
            await page.evaluate(click(".save", NAME))
            done = "document.querySelector('.download progress')?.value ?? 0"
            while (killed_at := await page.evaluate(done)) < length / 2:
                await asyncio.sleep(0.1)
            running.kill()
            lost = time.perf_counter()
            device()
            away = time.perf_counter() - lost
            while not (
                said := await page.evaluate(f"/.*(done|short)/.exec({text_of(DOWNLOAD)})?.[0]")
            ):
                await asyncio.sleep(0.1)
            while not (saved / NAME).exists():
                await asyncio.sleep(0.1)
            seconds = time.perf_counter() - began
        assert said.endswith("done"), said
        assert digest_of(saved / NAME) == expected, "what was saved is not what the device has"
    return {"bytes": length, "seconds": seconds, "killed_at": int(killed_at), "away": away}


def write(path: Path, length: int) -> str:
    """Fill a file so that no two of its blocks are the same; its SHA-256."""
    digest = hashlib.sha256()
    body = hashlib.shake_256(b"bench.big_download").digest(BLOCK - 8)
    with path.open("wb") as file:
        for number in range(-(-length // BLOCK)):
            block = (number.to_bytes(8, "big") + body)[: length - number * BLOCK]
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
