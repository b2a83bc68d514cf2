"""A page sends its own camera to a device, in a real Chromium with a made-up camera."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, click, open_page, text_of
from tests.interop.devices import serving
from tests.interop.pictures import PLAYING

from peerfetch_fast import Camera
from processes import posix_only
from support import until

pytestmark = [
    posix_only,
    needs_chromium,
]

TOKEN = "a token of some length"

SENT = text_of(".camera .figures")
SAID = text_of(".camera .said")
SEND = "document.querySelector('button[name=send]')"
BADGE = text_of(".camera .badge")
SENDS = f"/^(Live|Ready)/.test({BADGE})"

WATCH_THE_LOCK = """
globalThis.locks = [];
const request = navigator.wakeLock.request.bind(navigator.wakeLock);
navigator.wakeLock.request = async (type) => {
  const lock = await request(type);
  locks.push(lock);
  return lock;
};
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium(PLAYING) as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def phone(browser: str, port: str, path: str = "/phone/") -> AsyncIterator[Page]:
    """The page on a phone."""
    async with open_page(browser, "about:blank") as page:
        await page.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=390,
            height=844,
            deviceScaleFactor=2,
            mobile=True,
        )
        await page.devtools("Emulation.setTouchEmulationEnabled", enabled=True)
        await page.navigate(f"http://127.0.0.1:{port}/#dev1{path}")
        yield page
        await page.evaluate(click("button", "Disconnect"))


async def send(page: Page) -> None:
    await page.until(f"{SEND}?.checkVisibility()")
    await page.evaluate(click("button", "Send this phone's camera"))


async def test_a_phone_sends_its_camera_and_others_watch(browser: str) -> None:
    camera = Camera("publish:", name="Phone")
    assert camera.inlet is not None
    async with serving({"/phone": camera}) as port, phone(browser, port) as page:
        await page.until(f"{SAID} === 'Nobody sends a picture here yet'")
        await page.evaluate(WATCH_THE_LOCK)
        await send(page)
        await page.until(SENDS)
        assert camera.inlet.publisher is not None
        await page.until("locks.length === 1 && !locks[0].released")
        async with open_page(browser, f"http://127.0.0.1:{port}/#dev1/phone/") as other:
            await other.until("document.querySelector('#live video')?.videoWidth > 0")
            # One at a time.
            await other.until(f"!{SEND}.checkVisibility()")
            # A tab in the background measures as well, but draws nothing.
            await page.until(f"/^Sent for 0:.*1 watches.*Mbit.s.*pictures/.test({SENT})")
            await other.until("document.querySelector('#live [name=sound]').checkVisibility()")
            await other.evaluate(click("button", "Disconnect"))
        await page.devtools("Page.bringToFront")
        assert await page.evaluate("document.documentElement.scrollWidth") == 390
        await page.evaluate(
            "globalThis.own = document.querySelector('.camera video').srcObject.getTracks()"
        )
        await page.evaluate(click("#live button", "Stop sending"))
        await page.until(f"{SEND}?.checkVisibility()")
        assert await page.evaluate("own.every((track) => track.readyState === 'ended')")
        await page.until("locks.every((lock) => lock.released)")
        assert camera.inlet is not None
        await until(lambda: camera.inlet.publisher is None)


async def test_nothing_is_sent_while_nobody_watches(browser: str) -> None:
    camera = Camera("publish:", linger=0)
    inlet = camera.inlet
    assert inlet is not None
    async with serving({"/phone": camera}) as port, phone(browser, port) as page:
        await send(page)
        await page.until(f"{BADGE} === 'Live' && /0[.][1-9]. Mbit.s/.test({SENT})")
        await page.until(f"/^Ready/.test({BADGE}) && /0[.]00 Mbit.s/.test({SENT})")
        async with camera.feed.join() as viewer:  # once there is a picture
            assert (await viewer.next()).key
            await page.until(f"{BADGE} === 'Live' && /1 watches/.test({SENT})")
            for _ in range(10):
                await viewer.next()


async def test_what_is_sent_goes_on_by_another_connection(browser: str) -> None:
    camera = Camera("publish:")
    inlet = camera.inlet
    assert inlet is not None
    async with serving({"/phone": camera}) as port, phone(browser, port) as page:
        await send(page)
        await page.until(SENDS)
        first = inlet.publisher
        # The device ends the connection, as a network does that is gone.
        await camera._negotiated["publish"].close()
        await until(lambda: inlet.publisher not in (None, first))
        await page.until(SENDS)
        # Leaving it ends it.
        await page.evaluate(click("#live button", "Close"))
        await until(lambda: inlet.publisher is None)


async def test_somebody_else_sends_already(browser: str) -> None:
    camera = Camera("publish:")
    assert camera.inlet is not None
    async with serving({"/phone": camera}) as port, phone(browser, port) as page:
        await page.until(f"{SEND}?.checkVisibility()")
        async with phone(browser, port) as other:
            await send(other)
            await other.until(SENDS)
            await page.evaluate(f"{SEND}.click()")
            await page.until(f"/^Somebody else sends a picture here/.test({SAID})")
        # Then it is its turn.
        await page.until(SENDS)


async def test_who_may_not_use_the_camera_is_told_so() -> None:
    camera = Camera("publish:")
    with chromium(PLAYING, "--use-fake-ui-for-media-stream=deny") as browser:
        async with serving({"/phone": camera}) as port, phone(browser, port) as page:
            await send(page)
            await page.until(f"/may not use the camera: allow it in/.test({SAID})")
            # To be tried again.
            assert await page.evaluate(f"document.activeElement === {SEND}")


async def test_the_access_token_comes_before_any_frame(browser: str) -> None:
    camera = Camera("publish:")
    inlet = camera.inlet
    assert inlet is not None
    served = serving({"/phone": camera}, access_token=TOKEN)
    async with served as port, phone(browser, port) as page:
        await page.until("document.querySelector('#access').checkVisibility()")
        assert await page.evaluate(SEND) is None
        await page.evaluate(f"token.value = '{TOKEN}'; token.form.requestSubmit()")
        await send(page)
        await page.until(SENDS)
        assert inlet.publisher is not None


async def test_the_page_of_the_device_itself_has_it_too(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving({"/phone": Camera("publish:")}))
        url = f"http://dev1.localhost:{port}/phone/"
        page = await stack.enter_async_context(open_page(browser, url))
        button = "window[0]?.document.querySelector('button[name=send]')"
        await page.until(f"{button}?.checkVisibility()")
        await page.evaluate(f"{button}.click()")
        await page.until("window[0].document.querySelector('.badge')?.innerText")
        await page.evaluate("window[0].document.querySelector('button[name=stop-sending]').click()")
