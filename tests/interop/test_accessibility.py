"""The page by keyboard alone, and as a screen reader is told of it, in a real Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import segno
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import (
    HOST,
    SHIFT,
    Page,
    chromium,
    click,
    open_page,
    text_of,
)
from tests.interop.devices import serving

from peerfetch_fast import Camera
from peerfetch_fast.web.page_link import page_url
from processes import Process, peerfetch, posix_only

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = [
    posix_only,
    needs_chromium,
]

# Roles of what can be operated; each needs a name.
CONTROLS = {
    *("button", "checkbox", "combobox", "DisclosureTriangle", "link", "searchbox", "slider"),
    *("switch", "textbox"),
}
# Of what is not text, and so is nothing without a name.
NAMED = {"Audio", "canvas", "dialog", "figure", "image", "img", "navigation", "progressbar"} | {
    *("region", "Video"),
}

# Noon, so that it is the same day in every zone that is not far from Greenwich.
DAY = datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()
NOTES = ("link", "notes.txt 7 B Jan 2, 2026")

FOCUS = """(() => {
  const { activeElement: held } = document;
  if (!held || held === document.body) return "nothing has the focus";
  const { outlineStyle, outlineWidth } = getComputedStyle(held);
  const { top, bottom, left, right } = held.getBoundingClientRect();
  const marked = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  const shown = bottom > 0 && right > 0 && top < innerHeight && left < innerWidth;
  return marked && shown ? null : `${held.outerHTML.slice(0, 80)}: ${marked} ${shown}`;
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("device")
    files = directory / "files"
    (files / "folder").mkdir(parents=True)
    (files / "folder" / "notes.txt").write_text("Grüße")
    (files / "data.bin").write_bytes(bytes(100_000))
    segno.make("a picture").save(files / "picture.png", scale=10)
    for file in (files / "folder" / "notes.txt", files / "data.bin"):
        os.utime(file, (DAY, DAY))
    with peerfetch(directory, "proxy", "--serve", files, "--listen", "127.0.0.1:0") as proxy:
        yield proxy


async def focused(page: Page) -> tuple[str, str]:
    """Role and name of what has the focus, which can be seen."""
    assert await page.evaluate(FOCUS) is None
    found = await page.devtools("Runtime.evaluate", expression="document.activeElement")
    tree = await page.devtools(
        "Accessibility.getPartialAXTree",
        objectId=found["result"]["objectId"],
        fetchRelatives=False,
    )
    node = tree["nodes"][0]
    return node["role"]["value"], node.get("name", {}).get("value", "")


async def tab_to(page: Page, role: str, name: str, modifiers: int = 0) -> list[tuple[str, str]]:
    """Press Tab until that has the focus; what had it on the way."""
    passed: list[tuple[str, str]] = []
    while not passed or passed[-1][0] != role or not passed[-1][1].startswith(name):
        assert len(passed) < 40, passed
        await page.press("Tab", modifiers)
        passed.append(await focused(page))
    return passed


async def tree_of(page: Page) -> list[dict[str, Any]]:
    """What a screen reader is told of the page: role, name and properties of each node."""
    tree = await page.devtools("Accessibility.getFullAXTree")
    return [
        {
            "role": node["role"]["value"],
            "name": node.get("name", {}).get("value", "").strip(),
            **{one["name"]: one["value"].get("value") for one in node.get("properties", ())},
        }
        for node in tree["nodes"]
        if not node["ignored"]
    ]


async def check_names(page: Page) -> None:
    nodes = await tree_of(page)
    assert [node for node in nodes if node["role"] in CONTROLS | NAMED and not node["name"]] == []
    levels = [node["level"] for node in nodes if node["role"] == "heading"]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    roles = [node["role"] for node in nodes]
    assert roles.count("banner") == roles.count("main") == 1


async def live(page: Page) -> list[str]:
    """Of what a screen reader tells without being asked, the politeness."""
    return [node["live"] for node in await tree_of(page) if node.get("live")]


async def connect(page: Page) -> None:
    await page.until(f"{text_of('#state')} === 'Connected'")
    await page.until("document.querySelector('.save') !== null")


def link(proxy: Process) -> str:
    ready = proxy.ready
    return page_url(ready["signaling"], f"{ready['peer_id']}#{ready['fingerprint']}")


async def test_a_device_is_used_with_the_keyboard_alone(
    browser: str, proxy: Process, tmp_path: Path
) -> None:
    ready = proxy.ready

    async with open_page(browser, page_url(ready["signaling"])) as page:
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
        assert await tab_to(page, "textbox", "Link, id or code") == [
            ("textbox", "Link, id or code of the device")
        ]
        await page.press("Enter")
        assert "Enter the link" in await page.until(text_of("#connect-error"))
        assert await focused(page) == ("textbox", "Link, id or code of the device")
        await page.devtools("Input.insertText", text=link(proxy))
        assert await tab_to(page, "button", "Connect") == [
            ("checkbox", "Only directly, through no relay"),
            ("button", "Connect"),
        ]
        await page.press("Enter")
        await connect(page)
        role, name = await focused(page)
        assert (role, name[:7]) == ("heading", "Device ")

        await tab_to(page, "link", "folder")
        await page.press("Enter")
        await page.until(f"{text_of('#entries .name')} === 'notes.txt'")
        assert await focused(page) == ("list", "Files in folder")
        assert await tab_to(page, "link", "notes.txt") == [("link", "Parent folder"), NOTES]
        await page.press("Enter")
        await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
        assert await focused(page) == ("heading", "notes.txt")
        await tab_to(page, "button", "Close")
        await page.press("Enter")
        await page.until("document.querySelector('#viewer').hidden")
        assert await focused(page) == NOTES
        assert await tab_to(page, "link", "Download") == [("link", "Download notes.txt")]
        await page.press("Enter")
        await page.until(f"{text_of('#downloads-said')}.endsWith('done')")
        while not (tmp_path / "notes.txt").exists():
            await asyncio.sleep(0.02)
        assert await focused(page) == ("link", "Download notes.txt")

        await tab_to(page, "link", "Device", SHIFT)
        await page.press("Enter")
        await page.until("document.querySelectorAll('#entries li').length === 3")
        assert await focused(page) == ("list", "Files in the device")
        # A file that can only be saved.
        await tab_to(page, "DisclosureTriangle", "Open a path")
        await page.press("Enter")
        await tab_to(page, "textbox", "Path on the device")
        await page.evaluate("path.select()")
        await page.devtools("Input.insertText", text="data.bin")
        await page.press("Enter")
        await page.until(f"{text_of('#viewer-name')} === 'data.bin'")
        assert await focused(page) == ("heading", "data.bin")
        await tab_to(page, "button", "Close")
        await page.press("Enter")
        await page.until("document.querySelector('#viewer').hidden")
        assert await focused(page) == ("link", "data.bin 100 kB Jan 2, 2026")

        await tab_to(page, "button", "Disconnect", SHIFT)
        await page.press("Enter")
        await page.until(f"{text_of('#state')} === 'Disconnected'")
        assert await focused(page) == ("heading", "Connect to a device")


async def test_what_a_screen_reader_is_told(browser: str, proxy: Process) -> None:
    async with open_page(browser, page_url(proxy.ready["signaling"])) as page:
        await check_names(page)
        # The state of the connection.
        assert await live(page) == ["polite"]
        await page.evaluate("document.querySelector('#connect-form').requestSubmit()")
        await page.until(text_of("#connect-error"))
        assert await live(page) == ["polite", "assertive"]
    async with open_page(browser, link(proxy)) as page:
        await connect(page)
        await check_names(page)
        roles = [node["role"] for node in await tree_of(page)]
        landmarks = ("main", "region", "navigation")
        assert [role for role in roles if role in landmarks] == list(landmarks)
        # That the link is copied, how many entries there are, and what becomes of downloads;
        # not the rates, which change twice a second.
        assert await live(page) == ["polite"] * 4
        assert await page.evaluate(text_of("#entries-note")) == "3 entries"
        await page.evaluate("path.value = '/nowhere'; path.form.requestSubmit()")
        assert "404" in await page.until(text_of("#browse-error"))
        assert await live(page) == ["polite", "polite", "assertive", "polite", "polite"]
        await page.evaluate("history.back()")
        await page.until("document.querySelectorAll('#entries li').length === 3")
        for name, place in (("picture.png", "#viewer img"), ("folder", "#entries li")):
            await page.evaluate(click("#entries a.entry", name))
            await page.until(f"document.querySelector('{place}') !== null")
            await check_names(page)


@contextlib.asynccontextmanager
async def watching(browser: str) -> AsyncIterator[Page]:
    """The page with a wall of cameras."""
    small = "test:?width=160&height=120&rate=10"
    async with contextlib.AsyncExitStack() as stack:
        targets = {"/garden": Camera(small), "/door": Camera(small, name="Front door")}
        port = await stack.enter_async_context(serving(targets))
        url = f"http://127.0.0.1:{port}/#dev1"
        page = await stack.enter_async_context(open_page(browser, url))
        await page.until("document.querySelectorAll('.tile[data-state=live]').length === 2")
        yield page
        await page.evaluate(click("button", "Disconnect"))


async def test_cameras_are_watched_with_the_keyboard_alone(browser: str) -> None:
    async with watching(browser) as page:
        await check_names(page)
        assert await live(page) == ["polite"] * 4
        await tab_to(page, "link", "garden")
        assert await tab_to(page, "link", "Front door") == [("link", "Front door")]
        await page.press("Enter")
        await page.until("document.querySelector('.camera')?.dataset.state === 'live'")
        assert await focused(page) == ("heading", "Front door")
        await check_names(page)
        # What is amiss with the picture; not how fast it comes, which changes each second.
        assert await live(page) == ["polite"] * 5
        for name in ("Close", "Sound", "Snapshot", "Record", "Full screen"):
            assert await tab_to(page, "button", name) == [("button", name)]
        await tab_to(page, "button", "Close", SHIFT)
        await page.press("Enter")
        await page.until("document.querySelectorAll('.tile[data-state=live]').length === 2")
        assert await focused(page) == ("link", "Front door")


@contextlib.asynccontextmanager
async def sending(browser: str) -> AsyncIterator[Page]:
    """The page with a camera that wants a picture."""
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving({"/phone": Camera("publish:")}))
        url = f"http://127.0.0.1:{port}/#dev1/phone/"
        page = await stack.enter_async_context(open_page(browser, url))
        await page.until("document.querySelector('[name=send]')?.checkVisibility()")
        yield page
        await page.evaluate(click("button", "Disconnect"))


async def test_a_camera_is_sent_with_the_keyboard_alone(browser: str) -> None:
    async with sending(browser) as page:
        assert await tab_to(page, "button", "Send this computer's camera")
        await page.press("Enter")
        await page.until(text_of(".camera .badge"))
        assert await focused(page) == ("button", "Stop sending")
        await check_names(page)
        # That it is sent, and what is amiss; not how much, which changes each second.
        assert await live(page) == ["polite"] * 6
        assert await tab_to(page, "button", "Microphone") == [("button", "Microphone")]
        await tab_to(page, "button", "Stop sending", SHIFT)
        await page.press("Enter")
        await page.until("document.querySelector('[name=send]')?.checkVisibility()")
        assert await focused(page) == ("button", "Send this computer's camera")


# Files that are shared, beside what else there is of sharing.
SHARING = """(() => {
  const input = document.querySelector("#send-input");
  const picked = new DataTransfer();
  picked.items.add(new File(["hello"], "notes.txt"));
  input.files = picked.files;
  input.dispatchEvent(new Event("change"));
  for (const id of ["offer", "inbox", "send-near"]) document.querySelector(`#${id}`).hidden = false;
  const named = document.querySelectorAll("#offer-name, #inbox-name");
  for (const name of named) name.textContent = "Anna";
  document.querySelector("#asked-sentence").textContent = "Anna wants to send you notes.txt, 5 B.";
})()"""


@pytest.mark.skipif(
    os.environ.get("PEERFETCH_INTEROP") != "1" and not AXE.exists(),
    reason="axe-core is not installed (npm ci in tests/interop)",
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(browser: str, proxy: Process, scheme: str) -> None:
    async def check(page: Page) -> None:
        await page.devtools(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        await page.evaluate(AXE.read_text())
        found = await page.evaluate(
            "axe.run().then(({ violations }) => violations.map(({ id, nodes }) =>"
            " [id, ...nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`)]))"
        )
        assert found == []

    url = page_url(proxy.ready["signaling"])
    async with open_page(browser, url) as page:
        await check(page)
        await page.evaluate("document.querySelector('#connect-form').requestSubmit()")
        await page.until(text_of("#connect-error"))
        await check(page)
        await page.evaluate(SHARING)
        await page.until("document.querySelector('#send-link').value")
        await check(page)
        await page.evaluate("document.querySelector('#asked').showModal()")
        await check(page)
        await page.evaluate("document.querySelector('#asked').close()")
        for section in ("access", "trust"):
            await page.evaluate(f"document.querySelector('#{section}').hidden = false")
        await page.evaluate("document.querySelector('#access-error').hidden = false")
        await check(page)
        await page.evaluate("document.querySelector('#scanner').showModal()")
        await check(page)
    async with open_page(browser, link(proxy).replace("127.0.0.1", HOST)) as page:
        await connect(page)
        await page.until(text_of("#insecure"))
        await check(page)
        await page.evaluate(click(".save", "data.bin"))
        await page.until(f"{text_of('.download')}?.includes('done')")
        await page.evaluate("path.value = '/folder/notes.txt'; path.form.requestSubmit()")
        await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
        await check(page)
        await page.evaluate(click("#entries a.entry", "picture.png"))
        await page.until("document.querySelector('#viewer img') !== null")
        await check(page)

    async with watching(browser) as page:
        await check(page)
        await page.evaluate(click(".tile", "garden"))
        await page.until("document.querySelector('.camera')?.dataset.state === 'live'")
        await check(page)
        await page.evaluate(click("#live button", "Record"))
        await page.until(f"/Stop/.test({text_of('.camera')})")
        await check(page)
    async with sending(browser) as page:
        await check(page)
        await page.evaluate(click("#live button", "Send"))
        await page.until(f"/watches/.test({text_of('.camera .figures')})")
        await check(page)
        await page.evaluate(click("#live button", "Stop sending"))

    async with open_page(browser, f"{url}~peerfetch/page/app.html") as page:
        await page.until("/no device/.test(document.querySelector('#state').innerText)")
        await page.evaluate("document.querySelector('#access').hidden = false")
        assert not await page.evaluate("document.querySelector('#retry').hidden")
        await check(page)
        await page.evaluate("document.querySelector('#login').showModal()")
        await page.evaluate("document.querySelector('#login-wrong').hidden = false")
        await check(page)
