"""The page, let in by a code and shown out again, in real browsers against the commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from tests.interop.chromium import chromium, find_chromium, open_page, text_of
from tests.interop.devices import start_upstream
from tests.interop.firefox import find_firefox, open_firefox
from tests.interop.test_app_origin import FRAME

from peerfetch_fast import connect
from peerfetch_fast.codes import parse_code
from peerfetch_fast.errors import AccessDenied
from peerfetch_fast.identity import format_pin
from peerfetch_fast.pairing import redeem
from peerfetch_fast.people import People
from peerfetch_fast.web.page_link import page_url
from peerfetch_fast.webrtc.certificate import generate_certificate
from processes import Process, environment, peerfetch, posix_only
from support import until

pytestmark = posix_only


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    if find_chromium() is None:
        pytest.skip("there is no Chromium (Debian: apt install chromium)")
    with chromium() as devtools:
        yield devtools


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Process]:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "notes.txt").write_text("for her alone")
    with peerfetch(
        tmp_path, "proxy", "--serve", shown, "--listen", "127.0.0.1:0", "--people-only"
    ) as process:
        yield process


async def invite(
    directory: Path, *options: str
) -> tuple[asyncio.subprocess.Process, dict[str, str]]:
    """Somebody invites Anna; the command, and the code and link that it shows."""
    inviting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerfetch_fast", "invite", "anna", "--json", *options),
        stdout=asyncio.subprocess.PIPE,
        env=environment(directory),
    )
    assert inviting.stdout is not None
    return inviting, json.loads(await inviting.stdout.readline())


def enter(text: str) -> str:
    return (
        f"document.querySelector('#link').value = {text!r};"
        "document.querySelector('#connect-form').requestSubmit()"
    )


async def test_let_in_by_a_code_and_shown_out(
    browser: str, device: Process, tmp_path: Path
) -> None:
    people = People(tmp_path / "state")
    async with open_page(browser, page_url(device.ready["signaling"])) as page:
        await page.until("document.querySelector('#link') !== null")
        inviting, made = await invite(tmp_path)
        code = made["code"]
        number, *_ = code.split("-")
        await page.evaluate(enter(f"{number}-able-zzzz"))  # no word: nobody is told
        await page.until(f"/no word of a code/.exec({text_of('#connect-error')})?.[0]")
        await page.evaluate(enter(code.upper().replace("-", " ")))
        await page.until(f"{text_of('#entries .name')} === 'notes.txt'")
        assert await inviting.wait() == 0
        assert list(people.all()) == ["anna"]
        # It is known by its certificate, in a page that was loaded anew, too.
        await page.evaluate("globalThis.old = true; location.reload()")
        await page.until(f"!globalThis.old && {text_of('#entries .name')} === 'notes.txt'")
        assert len(people.all()["anna"].certificates) == 1
        # Another browser of hers.
        await page.evaluate("document.querySelector('#another').click()")
        code = await page.until(f"/[0-9]+-[a-z]+-[a-z]+/.exec({text_of('#another-said')})?.[0]")
        hers = tmp_path / "hers"
        hers.mkdir()
        paired = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerfetch_fast", "pair", "cam", code),
            *("--signaling", device.ready["signaling"]),
            env=environment(hers),
        )
        assert await paired.wait() == 0
        assert len(people.all()["anna"].certificates) == 2
        await page.evaluate("document.querySelector('#another').click()")
        shown = f"/[0-9]+-[a-z]+-[a-z]+/.exec({text_of('#another-said')})?.[0]"
        code = await page.until(f"({shown}) !== {code!r} && {shown}")
        with chromium() as hers_too:
            async with open_page(hers_too, page_url(device.ready["signaling"])) as second:
                await second.until("document.querySelector('#link') !== null")
                await second.evaluate(enter(code))
                await second.until(f"{text_of('#entries .name')} === 'notes.txt'")
                assert len(people.all()["anna"].certificates) == 3
                people.revoke("anna")
                for one in (page, second):
                    await one.until(f"{text_of('#state')} !== 'Connected'")


async def test_a_link_survives_that_the_sites_data_are_cleared(
    browser: str, device: Process, tmp_path: Path
) -> None:
    inviting, made = await invite(tmp_path)
    inviting.terminate()
    await inviting.wait()
    people = People(tmp_path / "state")

    def has(count: int) -> bool:
        return len(people.all()["anna"].certificates) == count

    for count in (1, 2):
        async with open_page(browser, made["link"]) as page:
            await page.until(f"{text_of('#entries .name')} === 'notes.txt'")
            # What the person copies from the address invites nobody.
            assert "." not in await page.evaluate("location.hash")
            await until(partial(has, count))
            origin = await page.evaluate("location.origin")
            await page.devtools(
                "Storage.clearDataForOrigin",
                origin=origin,
                storageTypes="indexeddb,local_storage",
            )


async def test_a_browser_that_keeps_nothing_is_let_in_by_nothing(
    browser: str, device: Process, tmp_path: Path
) -> None:
    """Without storage, each connection has a certificate of its own, and the device knows none."""
    link = page_url(device.ready["signaling"])
    async with open_page(browser, link) as page:
        await page.until("document.querySelector('#link') !== null")
        await page.evaluate("indexedDB.open = () => { throw new Error('no storage') }")
        peer = f"{device.ready['peer_id']}#{device.ready['fingerprint']}"
        await page.evaluate(enter(f"peer://{peer}"))
        said = await page.until(f"/.*403.*/.exec({text_of('#browse-error')})?.[0]")
        assert "does not let" in said


async def test_a_devices_own_page_is_let_in_by_the_page_that_leads_there_and_by_nobody_else(
    browser: str, tmp_path: Path
) -> None:
    """It is another browser of hers: another origin, which has a certificate of its own."""
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/":
            asked.append(request.headers.get("X-Peerfetch-Person"))
        return web.Response(text="<title>the app</title>", content_type="text/html")

    people = People(tmp_path / "state")
    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        upstream = await start_upstream(stack, app)
        serving = ("proxy", "--target", upstream, "--listen", "127.0.0.1:0", "--people-only")
        ready = stack.enter_context(peerfetch(tmp_path, *serving)).ready
        peer, place = ready["peer_id"], page_url(ready["signaling"])
        own = place.replace("127.0.0.1", f"{peer}.localhost")
        page = await stack.enter_async_context(open_page(browser, own))
        await page.until(f"/only whom its owner/.test({FRAME}.document.body.innerText)")
        assert asked == []
        await page.navigate(place)
        await page.until("document.querySelector('#link') !== null")
        inviting, made = await invite(tmp_path)
        await page.evaluate(enter(made["code"]))
        # The page leads there by itself, as the device has nothing else to show.
        await page.until(f"{FRAME}.document.title === 'the app'")
        assert await inviting.wait() == 0
        assert await page.evaluate("location.href") == own
        assert set(asked) == {"anna"}
        assert len(people.all()["anna"].certificates) == 2
        # From then on it is known there, with no other page's help.
        await page.navigate("about:blank")
        await page.navigate(own)
        await page.until(f"{FRAME}.document.title === 'the app'")
        people.revoke("anna")
        await page.navigate("about:blank")
        await page.navigate(own)
        await page.until(f"/only whom its owner/.test({FRAME}.document.body.innerText)")
        assert set(asked) == {"anna"}


NEAR = "Array.from(document.querySelectorAll('#near-list .name'), (one) => one.textContent)"
TAP = "document.querySelector('#near-list a').click()"


async def test_a_device_of_this_network_is_tapped_and_its_digits_entered(
    browser: str, device: Process, tmp_path: Path
) -> None:
    async with open_page(browser, page_url(device.ready["signaling"])) as page:
        await page.until("document.querySelector('#link') !== null")
        inviting, told = await invite(tmp_path, "--wait")
        assert inviting.stdout is not None
        _, name, _ = re.fullmatch(r"(wait)-(.+)-([0-9a-f]{8})", told["waits_as"]).groups()
        assert await page.until(f"{NEAR}.length && {NEAR}") == [name]  # comes without a click
        await page.evaluate(TAP)
        shown = json.loads(await inviting.stdout.readline())["digits"]
        await page.until("!document.querySelector('#digits').hidden")
        # Who would rather not may come again.
        await page.evaluate("document.querySelector('#digits-cancel').click()")
        await page.until("!document.querySelector('#connect').hidden")
        await page.evaluate(TAP)
        await page.until("!document.querySelector('#digits').hidden")
        for typed, said in (("12 34", "6 digits"), (f"{(int(shown) + 1) % 10**6:06}", "not the")):
            await page.evaluate(digits(typed))
            await page.until(f"/{said}/.exec({text_of('#digits-error')})?.[0]")
            await page.until("!document.querySelector('#digits').hidden")
        await page.evaluate(digits(f"{shown[:3]} {shown[3:]}"))
        await page.until(f"{text_of('#entries .name')} === 'notes.txt'")
        assert await inviting.wait() == 0
        assert "wait" not in await page.evaluate("location.hash")
    assert len(People(tmp_path / "state").all()["anna"].certificates) == 1


def digits(typed: str) -> str:
    return (
        f"document.querySelector('#typed-digits').value = {typed!r};"
        "document.querySelector('#digits-form').requestSubmit()"
    )


PAIR = """(async () => {
  const { connect, pair } = await import("/~peerfetch/peerfetch.js");
  const wrong = await pair("CODE".replace(/[a-z]+$/, (word) => (word === "acid" ? "able" : "acid")))
    .catch(({ reason }) => reason);
  const { id, pin } = await pair("CODE", { identity: "me" });
  const peer = await connect(`peer://${id}#${pin}`, { identity: "me" });
  const text = await (await peer.fetch("/notes.txt")).text();
  const stranger = await connect(`peer://${id}#${pin}`);
  const { status } = await stranger.fetch("/notes.txt");
  await Promise.all([peer.close(), stranger.close()]);
  return [wrong, pin, text, status];
})()"""


needs_firefox = pytest.mark.skipif(
    find_firefox() is None, reason="there is no Firefox (Debian: apt install firefox-esr)"
)

DOOR = """(async () => {
  const { openDoor } = await import("/~peerfetch/lib/door.js");
  window.door = await openDoor("share", () => new Response("from a page"));
  return { code: door.code, id: door.id, pin: door.fingerprint, token: door.token };
})()"""


@needs_firefox
async def test_python_uses_a_code_that_firefox_shows(device: Process) -> None:
    """The other way round: the page has made the code, and proves first that it knows it."""
    signaling = device.ready["signaling"]
    certificate = generate_certificate()
    async with open_firefox(page_url(signaling)) as page:
        made = await page.evaluate(DOOR)
        code = parse_code(made["code"])
        wrong = code._replace(first="acid" if code.first != "acid" else "able")
        with pytest.raises(AccessDenied):
            await redeem(wrong, signaling, certificate)
        told, fingerprint = await redeem(code, signaling, certificate)
        assert format_pin(fingerprint) == made["pin"]
        assert told == {"peer_id": made["id"], "token": made["token"]}
        meeting = {"signaling": signaling, "pin": made["pin"]}
        async with connect(made["id"], access_token=made["token"], **meeting) as peer:
            assert await (await peer.fetch("/")).text() == "from a page"
        with pytest.raises(AccessDenied):
            await connect(made["id"], access_token="another", **meeting)


@needs_firefox
async def test_the_module_pairs_in_firefox(device: Process, tmp_path: Path) -> None:
    inviting, made = await invite(tmp_path)
    async with open_firefox(page_url(device.ready["signaling"])) as page:
        found = await page.evaluate(PAIR.replace("CODE", made["code"]))
    assert found == ["access", device.ready["fingerprint"], "for her alone", 403]
    assert await inviting.wait() == 0
