"""The page by keyboard alone, and as a screen reader is told of it, in a real Chromium."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import segno
from tests.interop.chromium import (
    HOST,
    SHIFT,
    Page,
    chromium,
    click,
    find_chromium,
    open_page,
    text_of,
)

from peerfetch_fast.web.link import page_url
from processes import Process, peerfetch, posix_only
from support import run

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = [
    posix_only,
    pytest.mark.skipif(
        find_chromium() is None, reason="there is no Chromium (Debian: apt install chromium)"
    ),
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


def test_the_keyboard_alone(browser: str, proxy: Process, tmp_path: Path) -> None:
    ready = proxy.ready

    async def main() -> None:
        async with open_page(browser, page_url(ready["signaling"])) as page:
            await page.devtools(
                "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
            )
            assert await tab_to(page, "textbox", "Link or id") == [
                ("textbox", "Link or id of the device")
            ]
            await page.press("Enter")
            assert "Enter the link" in await page.until(text_of("#connect-error"))
            assert await focused(page) == ("textbox", "Link or id of the device")
            await page.devtools("Input.insertText", text=link(proxy))
            assert await tab_to(page, "button", "Connect") == [
                ("DisclosureTriangle", "Access token"),
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
            assert await tab_to(page, "link", "notes.txt") == [("link", "notes.txt 7 B")]
            await page.press("Enter")
            await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
            assert await focused(page) == ("heading", "notes.txt")
            await tab_to(page, "button", "Close")
            await page.press("Enter")
            assert await focused(page) == ("link", "notes.txt 7 B")
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
            await tab_to(page, "link", "data.bin")
            await page.evaluate("path.value = '/data.bin'")
            await tab_to(page, "button", "Open", SHIFT)
            await page.press("Enter")
            await page.until(f"{text_of('#viewer button:not(#viewer-close)')} === 'Download'")
            assert await focused(page) == ("heading", "data.bin")
            await tab_to(page, "button", "Close")
            await page.press("Enter")
            assert await focused(page) == ("list", "Files in the device")

            await tab_to(page, "button", "Disconnect", SHIFT)
            await page.press("Enter")
            await page.until(f"{text_of('#state')} === 'Disconnected'")
            assert await focused(page) == ("heading", "Connect to a device")

    run(main())


def test_what_a_screen_reader_is_told(browser: str, proxy: Process) -> None:
    async def main() -> None:
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
            # How many entries there are, and what becomes of downloads; not the rates, which
            # change twice a second.
            assert await live(page) == ["polite"] * 3
            assert await page.evaluate(text_of("#entries-note")) == "3 entries"
            await page.evaluate("path.value = '/nowhere'; path.form.requestSubmit()")
            assert "404" in await page.until(text_of("#browse-error"))
            assert await live(page) == ["polite", "assertive", "polite", "polite"]
            for name, place in (("picture.png", "#viewer img"), ("folder", "#entries li")):
                await page.evaluate(click("#entries a.entry", name))
                await page.until(f"document.querySelector('{place}') !== null")
                await check_names(page)

    run(main())


@pytest.mark.skipif(
    os.environ.get("PEERFETCH_INTEROP") != "1" and not AXE.exists(),
    reason="axe-core is not installed (npm ci in tests/interop)",
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: str, proxy: Process, scheme: str) -> None:
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

    async def main() -> None:
        url = page_url(proxy.ready["signaling"])
        async with open_page(browser, url) as page:
            await check(page)
            await page.evaluate("document.querySelector('#connect-form').requestSubmit()")
            await page.evaluate("document.querySelector('details').open = true")
            await page.until(text_of("#connect-error"))
            await check(page)
            await page.evaluate("document.querySelector('#scanner').showModal()")
            await check(page)
        async with open_page(browser, link(proxy).replace("127.0.0.1", HOST)) as page:
            await connect(page)
            await page.until(text_of("#insecure"))
            await check(page)
            await page.evaluate(click(".save", "data.bin"))
            await page.until(f"{text_of('#downloads')}?.includes('done')")
            await page.evaluate("path.value = '/folder/notes.txt'; path.form.requestSubmit()")
            await page.until(f"{text_of('#viewer pre')} === 'Grüße'")
            await check(page)
            await page.evaluate(click("#entries a.entry", "picture.png"))
            await page.until("document.querySelector('#viewer img') !== null")
            await check(page)

        async with open_page(browser, f"{url}~peerfetch/page/app.html") as page:
            await page.until("/no device/.test(document.querySelector('#state').innerText)")
            await page.evaluate("document.querySelector('#access').hidden = false")
            await check(page)

    run(main())
