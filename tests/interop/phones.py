"""A phone in Chromium that a script uses as a person does: by taps, whose steps are counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.chromium import Page, chromium, open_page, text_of
from tests.processes import peerfetch

from peerfetch_fast.web.page_link import page_url

SCREEN = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}

PLACE = """(() => {
  const element = document.querySelector(SELECTOR);
  element.scrollIntoView({ block: "center", behavior: "instant" });
  const { x, y, width, height } = element.getBoundingClientRect();
  const place = { x: x + width / 2, y: y + height / 2 };
  const covered = !element.contains(document.elementFromPoint(place.x, place.y));
  if (covered) throw new Error("it is covered");
  return place;
})()"""


@dataclass(slots=True)
class Phone:
    """A page that somebody holds in their hand."""

    page: Page
    steps: list[tuple[str, float]] = field(default_factory=list)
    """What was done, and the seconds until the page had what comes next."""
    _picker: int = 0

    async def step(self, what: str, doing: Awaitable[object], shown: str) -> None:
        """Do something, and wait until that expression of the page is true."""
        began = time.perf_counter()
        await doing
        await self.page.until(shown)
        self.steps.append((what, time.perf_counter() - began))

    async def tap(self, selector: str) -> None:
        """Touch the middle of what can be seen there. Raises RuntimeError where it cannot."""
        place = await self.page.evaluate(PLACE.replace("SELECTOR", json.dumps(selector)))
        for kind, points in (("touchStart", [place]), ("touchEnd", [])):
            await self.page.devtools("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    async def open_picker(self, selector: str) -> None:
        """Tap on what opens the system's picker of files."""
        await self.page.devtools("Page.setInterceptFileChooserDialog", enabled=True)
        await self.tap(selector)
        self._picker = await self.page.pickers.get()

    async def pick(self, files: list[Path]) -> None:
        """Pick these files in the picker that is open."""
        paths = [str(path) for path in files]
        await self.page.devtools("DOM.setFileInputFiles", files=paths, backendNodeId=self._picker)

    async def enter(self, selector: str, text: str) -> None:
        """Type into a field, and press the keyboard's enter key."""
        await self.tap(selector)
        await self.page.devtools("Input.insertText", text=text)
        await self.page.press("Enter")

    async def is_too_wide(self) -> bool:
        """Whether one has to scroll sideways."""
        wide: bool = await self.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        return wide


@contextlib.asynccontextmanager
async def new_phone(downloads: Path) -> AsyncIterator[Phone]:
    """A browser that has never seen any page, whose downloads go to that directory."""
    with chromium() as devtools:
        async with open_page(devtools, "about:blank") as page:
            await page.devtools("Emulation.setDeviceMetricsOverride", **SCREEN)
            await page.devtools("Emulation.setTouchEmulationEnabled", enabled=True)
            await page.devtools("Emulation.setFocusEmulationEnabled", enabled=True)
            await page.devtools(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads)
            )
            yield Phone(page)


async def share(phone: Phone, url: str, files: list[Path]) -> None:
    """Share files from the page: until the link, the code and the picture of it are there."""
    await phone.step(
        "open the page",
        phone.page.navigate(url),
        "document.querySelector('#send-files')?.checkVisibility()",
    )
    await phone.step("tap on Send files", phone.open_picker("#send-files"), "true")
    await phone.step(
        "pick the files",
        phone.pick(files),
        f"document.querySelector('#send-link').value && {text_of('#send-code')}"
        " && document.querySelector('#send-qr').checkVisibility()",
    )


OFFERED = "document.querySelector('#offer-save:enabled')?.checkVisibility()"
VERIFIED = f"/verified/.test({text_of('#offer-progress')})"


async def receive(phone: Phone, link: str, saved: Path) -> None:
    """Receive by the link, until the file is there."""
    await phone.step("open the link", phone.page.navigate(link), OFFERED)
    await _save(phone, saved)


async def receive_by_code(phone: Phone, url: str, code: str, saved: Path) -> None:
    """Receive by the code, until the file is there."""
    await phone.step(
        "open the page",
        phone.page.navigate(url),
        "document.querySelector('#link')?.checkVisibility()",
    )
    await phone.step("enter the code", phone.enter("#link", code), OFFERED)
    await _save(phone, saved)


async def _save(phone: Phone, saved: Path) -> None:
    """The tap after which it comes, and the time that it takes, which is no step."""
    coming = f"document.querySelector('#offer-bar').value > 0 || {VERIFIED}"
    await phone.step("tap on Save", phone.tap("#offer-save"), coming)
    await phone.page.until(VERIFIED)
    while not saved.exists():
        await asyncio.sleep(0.01)


async def phone_to_phone(work: Path, picture: Path, by: str) -> tuple[Phone, Phone, Path]:
    """Send a file from a new phone to another by ``link`` or ``code``; both, and what arrived."""
    saved = work / "out" / picture.name
    saved.parent.mkdir()
    with peerfetch(work, "signal", "--listen", "127.0.0.1:0") as meeting:
        url = page_url(meeting.ready["signaling"])
        async with new_phone(work) as sender, new_phone(saved.parent) as receiver:
            await share(sender, url, [picture])
            if by == "link":
                link = await sender.page.evaluate("document.querySelector('#send-link').value")
                await receive(receiver, link, saved)
            else:
                code = await sender.page.evaluate(text_of("#send-code"))
                await receive_by_code(receiver, url, code, saved)
            await sender.page.until(f"/has all/.test({text_of('#send-receivers')})")
            for phone in (sender, receiver):
                assert not await phone.is_too_wide()
    return sender, receiver, saved
