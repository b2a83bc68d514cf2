"""How much of a camera is seen across links that lose and delay, and across one below its rate?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
from tests.interop.chromium import Page, chromium, open_page
from tests.interop.pictures import PLAYING

from bench.film import RATE, make_film
from bench.link import Link, LinkProcess, emulated
from bench.links import LINKS
from bench.pattern import Pattern
from bench.peers.watching import SDP
from bench.processes import run
from bench.report import Row, environment, medians, parser, report, some_of
from bench.stacks import Stack
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.door import Door

NARROW = Link(2, 25, 0, 200)
"""Carries half of what the camera gives."""

CROSSED = {**{number: LINKS[number] for number in ("1", "2", "8")}, "narrow": NARROW}
WAYS = ("rtp", "frames")
SETTLE = 2.0

OFFER = """(async () => {
  const connection = globalThis.watched = new RTCPeerConnection();
  connection.addTransceiver("video", { direction: "recvonly" });
  await connection.setLocalDescription();
  while (connection.iceGatheringState !== "complete") {
    await new Promise((resolve) => connection.onicegatheringstatechange = resolve);
  }
  return connection.localDescription.toJSON();
})()"""

ANSWER = """(async () => {
  const video = document.createElement("video");
  video.muted = video.autoplay = true;
  document.body.append(video);
  watched.ontrack = ({ track }) => video.srcObject = new MediaStream([track]);
  await watched.setRemoteDescription(%s);
  while (!video.currentTime) await new Promise(requestAnimationFrame);
})()"""

SEEN = """(async () => {
  const reports = [...(await watched.getStats()).values()];
  const { framesDecoded, totalFreezesDuration, packetsLost, packetsReceived } =
    reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "video");
  return { framesDecoded, totalFreezesDuration, packetsLost, packetsReceived };
})()"""


async def by_rtp(film: Path, browser: str, crossed: Link, seed: int, seconds: float) -> Row:
    """In Chromium, by a media connection; lost packets are repeated."""
    camera = Camera(str(film))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(camera.close)
        door = await stack.enter_async_context(Door({"/cam": camera}))
        url = f"http://127.0.0.1:{await door.start('127.0.0.1', 0)}/cam/"
        link = await stack.enter_async_context(emulated(crossed, seed=seed))
        page = await stack.enter_async_context(open_page(browser))
        http = await stack.enter_async_context(aiohttp.ClientSession(url))
        place = await _connect(page, http, link)
        await link.begin()
        await asyncio.sleep(SETTLE)
        before, key_seconds = await page.evaluate(SEEN), 0
        for _ in range(round(seconds)):
            await asyncio.sleep(1)
            async with http.get(place) as told:
                key_seconds += (await told.json())["pictures"] == "key"
        after = await page.evaluate(SEEN)
    change = {name: after[name] - before[name] for name in after}
    return {
        "shown": change["framesDecoded"] / (round(seconds) * RATE),
        "frozen_s_per_minute": change["totalFreezesDuration"] * 60 / round(seconds),
        "told_s_per_minute": key_seconds * 60 / round(seconds),
    }


async def _connect(page: Page, http: aiohttp.ClientSession, link: LinkProcess) -> str:
    """Have the page watch across the link; where the device tells about the connection."""
    offer = link.rewrite(0, 0, await page.evaluate(OFFER))
    async with http.post("whep", data=offer["sdp"], headers=SDP) as response:
        answer = {"type": "answer", "sdp": await response.text()}
        assert response.status == 201, answer["sdp"]
        place = response.headers["location"]
    await page.evaluate(ANSWER % json.dumps(link.rewrite(0, 1, answer)))
    return place


async def by_frames(film: Path, pattern: Pattern, crossed: Link, seed: int, seconds: float) -> Row:
    """In Python, by a stream of a session, which repeats what is lost and keeps all in order."""
    program = (sys.executable, "-m", "bench.peers.session")
    stack = Stack("session", program, ("bbr", str(film)))
    async with (
        emulated(crossed, seed=seed) as link,
        stack.connect(pattern, rewrite=partial(link.rewrite, 0)) as (viewer, _),
    ):
        await link.begin()
        viewer.tell("watch")
        await viewer.hear("watching")
        await asyncio.sleep(SETTLE + seconds)
        viewer.tell("leave")
        pictures = (await viewer.hear("watched"))["pictures"]
    until = pictures[-1][0]
    came = [at for at, _ in pictures if at > until - seconds]
    return {
        "shown": len(came) / (seconds * RATE),
        "frozen_s_per_minute": frozen(came) * 60 / seconds,
        "told_s_per_minute": 0.0,  # its player sees itself what is left out
    }


def frozen(times: Sequence[float]) -> float:
    """Seconds for which pictures stood still, as browsers count them (totalFreezesDuration of
    https://www.w3.org/TR/webrtc-stats/): those between two that are three times as far apart as the
    last 30 in the mean, or 150 ms farther.
    """
    last: deque[float] = deque(maxlen=30)
    total = 0.0
    for one, other in pairwise(times):
        gap = other - one
        mean = sum(last) / len(last) if last else gap
        if gap >= max(3 * mean, mean + 0.15):
            total += gap
        last.append(gap)
    return total


def main() -> None:
    made = parser("bench.media_links", __doc__ or "", runs=3)
    made.add_argument("--seconds", type=float, default=30.0, help="of each run (%(default)g)")
    for option, of in (("--links", CROSSED), ("--ways", WAYS)):
        made.add_argument(option, type=some_of(of), default=list(of), metavar="NAME,…")
    arguments = made.parse_args()
    with _setting(arguments.ways) as setting:
        rows = run(_measure(arguments, *setting))
    report(
        arguments.json,
        medians(rows, "link", "way"),
        line=_line,
        settings={"runs": arguments.runs, "seconds": arguments.seconds},
        facts=environment(),
    )


@contextlib.contextmanager
def _setting(ways: Sequence[str]) -> Iterator[tuple[Path, Pattern, str]]:
    """A film, the pattern that a session's program wants, and a browser if one is needed."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-bench-")))
        browser = stack.enter_context(chromium(PLAYING)) if "rtp" in ways else ""
        yield make_film(work / "film.mp4"), Pattern.create(work / "pattern"), browser


async def _measure(arguments: Any, film: Path, pattern: Pattern, browser: str) -> list[Row]:
    rows: list[Row] = []
    for number in range(1, arguments.runs + 1):
        for name in arguments.links:
            for way in arguments.ways:
                seen = (
                    by_rtp(film, browser, CROSSED[name], number, arguments.seconds)
                    if way == "rtp"
                    else by_frames(film, pattern, CROSSED[name], number, arguments.seconds)
                )
                rows.append({"link": name, "way": way, **await seen})
                print(_line(rows[-1]), file=sys.stderr)
    return rows


def _line(row: Row) -> str:
    return (
        f"link {row['link']:6} {row['way']:6} {row['shown']:4.0%} of the pictures shown, "
        f"frozen {row['frozen_s_per_minute']:4.1f} s a minute, "
        f"pictures left out, as is told, {row['told_s_per_minute']:4.1f} s a minute"
    )


if __name__ == "__main__":
    main()
