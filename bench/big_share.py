"""Does the page hold more the longer it saves a share of 3 GB as a ZIP, and is all of it right?

``peerfetch share`` of two files, and a Chromium that saves both. What it holds is the proportional
set size of all its processes, where pages that several have count once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path

from tests.interop.chromium import Page, chromium, open_page, text_of
from tests.processes import peerfetch

from bench.big_download import BLOCK, write
from bench.processes import Failed, run
from bench.report import Row, environment, parser, report, size

FILES = 2
POLL = 1.0
"""Seconds between two looks at the progress and at memory."""


def main() -> None:
    arguments_parser = parser("bench.big_share", __doc__ or "", runs=1)
    arguments_parser.add_argument(
        "--size", type=size, default=3_000_000_000, help="of both files (3G: 3 GiB)"
    )
    arguments = arguments_parser.parse_args()
    rows = [run(_measure(arguments.size)) for _ in range(arguments.runs)]
    settings = {"size": arguments.size, "runs": arguments.runs}
    report(arguments.json, rows, line=_line, settings=settings, facts=environment())


def _line(row: Row) -> str:
    return (
        f"{row['bytes']} bytes in {row['seconds']:.0f} s, the same SHA-256; the browser held "
        f"{row['browser_mb_then']:.0f} MB after a tenth and {row['browser_mb']:.0f} MB at most, "
        f"the sender {row['sender_mb_then']:.0f} and {row['sender_mb']:.0f} MB"
    )


async def _measure(length: int) -> Row:
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-")))
        files, saved = work / "files", work / "saved"
        for directory in (files, saved):
            directory.mkdir()
        expected = {
            f"files/{number}.bin": write(files / f"{number}.bin", length // FILES)
            for number in range(FILES)
        }
        sender = stack.enter_context(peerfetch(work, "share", files, "--listen", "127.0.0.1:0"))
        browser = stack.enter_context(chromium())
        async with open_page(browser, sender.ready["link"]) as page:
            await page.devtools(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved)
            )
            await page.until("document.querySelector('#offer-save:enabled') !== null")
            began = time.perf_counter()
            await page.evaluate("document.querySelector('#offer-save').click()")
            held = await _held_until_saved(page, sender.pid, length)
            while not (saved / "files.zip").exists():
                await asyncio.sleep(POLL)
            seconds = time.perf_counter() - began
        if _digests(saved / "files.zip") != expected:
            raise Failed("what was saved is not what was shared")
    return {"bytes": length, "seconds": seconds, **held}


async def _held_until_saved(page: Page, sender: int, length: int) -> Row:
    """Megabytes that both hold once a tenth has come, and the most from then on."""
    then: Row = {}
    most: Row = defaultdict(float)
    said = text_of("#offer-progress")
    while not await page.evaluate(f"/verified/.test({said})"):
        if error := await page.evaluate(text_of("#offer-error")):
            raise Failed(error)
        if await page.evaluate("document.querySelector('#offer-bar').value") > length / 10:
            there = {"sender": held(sender), "browser": _browser(sender)}
            then = then or {f"{end}_mb_then": megabytes for end, megabytes in there.items()}
            for end, megabytes in there.items():
                most[f"{end}_mb"] = max(most[f"{end}_mb"], megabytes)
        await asyncio.sleep(POLL)
    return {**then, **most}


def _browser(sender: int) -> float:
    """What the browser holds: all that this process has started but the sender."""
    parents: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, which is in parentheses, can hold anything.
            fields = stat.read_text().rpartition(")")[2].split()
            parents[int(fields[1])].append(int(stat.parent.name))
    found, total = parents[os.getpid()], 0.0
    while found:
        one = found.pop()
        if one != sender:
            total += held(one)
            found.extend(parents[one])
    return total


def held(pid: int) -> float:
    """The proportional set size of a process in MB; 0 for one that has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _digests(archive: Path) -> dict[str, str]:
    """The SHA-256 of each file in a ZIP."""
    found = {}
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.is_dir():
                continue
            digest = hashlib.sha256()
            with opened.open(info) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
            found[info.filename] = digest.hexdigest()
    return found


if __name__ == "__main__":
    main()
