"""The page as the receiver of what ``peerfetch share`` offers, and as a sender, in Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tests.interop.chromium import Page, chromium, find_chromium, open_page, text_of
from tests.interop.phones import Phone
from tests.sharing.conftest import contents_of, fill

from peerfetch_fast.cli.room import in_room
from peerfetch_fast.sharing.manifest import PIECE, Entry
from peerfetch_fast.sharing.storing import partial_name
from peerfetch_fast.web.page_link import page_url
from processes import Process, environment, peerfetch, posix_only
from support import until

pytestmark = posix_only

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    if find_chromium() is None:
        pytest.skip("there is no Chromium (Debian: apt install chromium)")
    with chromium() as devtools:
        yield devtools


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Process]:
    fill(tmp_path)
    (tmp_path / "src/large").write_bytes(os.urandom(9_000_000))
    with peerfetch(
        tmp_path, "share", tmp_path / "src", "--text", "<b>Hello</b>", "--listen", "127.0.0.1:0"
    ) as process:
        yield process


@contextlib.asynccontextmanager
async def opened(browser: str, url: str, downloads: Path) -> AsyncIterator[Page]:
    """The page, as wide as a phone, whose downloads go to that directory."""
    async with open_page(browser, url) as page:
        downloads.mkdir(exist_ok=True)
        await page.devtools("Emulation.setDeviceMetricsOverride", **PHONE)
        # Each page is a phone that somebody looks at, not a tab behind another.
        await page.devtools("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.devtools(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads)
        )
        yield page


async def enter(page: Page, code: str) -> None:
    """Enter a code on the page."""
    await page.evaluate(
        f"document.querySelector('#link').value = {code!r};"
        "document.querySelector('#connect-form').requestSubmit()"
    )


def click(selector: str) -> str:
    return f"document.querySelector({selector!r}).click()"


async def test_all_of_it_in_three_steps(browser: str, shared: Process, tmp_path: Path) -> None:
    """The link, what is offered, Save all."""
    out = tmp_path / "out"
    async with opened(browser, shared.ready["link"], out) as page:
        await page.until("!document.querySelector('#offer-save').disabled")
        assert await page.evaluate(text_of("#offer-name")) == "src"
        assert await page.evaluate(text_of("#offer-text")) == "<b>Hello</b>"
        await page.evaluate(click("#offer-save"))
        said = await page.until(f"/.*verified/.exec({text_of('#offer-progress')})?.[0]")
        assert " of " in said, "its length is known beforehand"
        await until(lambda: (out / "src.zip").exists())
        await until(lambda: "all, verified" in shared.output)
        assert "Chrome on Linux" in shared.output
        # What was let in by the link is, after a reload, too.
        await page.reload()
        await page.until("!document.querySelector('#offer-save').disabled")
    with zipfile.ZipFile(out / "src.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(out)
    found = contents_of(out / "src")
    assert len(found) == len(contents_of(tmp_path / "src"))
    assert found["large"] == (tmp_path / "src/large").read_bytes()


async def test_by_the_code_and_one_file(browser: str, shared: Process, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with opened(browser, page_url(shared.ready["signaling"]), out) as page:
        await page.until("document.querySelector('#link') !== null")
        await enter(page, shared.ready["code"])
        await page.until("!document.querySelector('#offer-save').disabled")
        await page.evaluate(
            "[...document.querySelectorAll('#offer-files a')]"
            ".find((a) => a.title === 'Save src/large').click()"
        )
        await page.until(f"/verified/.exec({text_of('#offer-progress')})?.[0]")
        await until(lambda: (out / "large").exists())
        # A share is no device to come back to.
        await page.evaluate(click("#offer-leave"))
        await page.until("!document.querySelector('#connect').hidden")
        assert await page.evaluate("document.querySelector('#known').hidden")
    assert (out / "large").read_bytes() == (tmp_path / "src/large").read_bytes()


async def test_what_changed_meanwhile_is_said(
    browser: str, shared: Process, tmp_path: Path
) -> None:
    async with opened(browser, shared.ready["link"], tmp_path / "out") as page:
        await page.until("!document.querySelector('#offer-save').disabled")
        (tmp_path / "src/plain.txt").write_text("another one")
        await page.evaluate(click("#offer-save"))
        await page.until(f"/not whole/.exec({text_of('#offer-error')})?.[0]")


async def test_a_link_that_is_over_is_said(browser: str, shared: Process, tmp_path: Path) -> None:
    link = shared.ready["link"]
    wrong = link[:-1] + ("0" if link[-1] != "0" else "1")
    async with opened(browser, wrong, tmp_path / "out") as page:
        await page.until(f"{text_of('#connect-error')} !== ''")
        assert await page.evaluate("document.querySelector('#access').hidden")


SAVE_INTO_FOLDER = """(async () => {
  const folder = await navigator.storage.getDirectory();
  globalThis.showDirectoryPicker = async () => folder;
  document.querySelector("#offer-folder").click();
})()"""
READ_FOLDER = """(async () => {
  const found = {};
  const walk = async (folder, path) => {
    for await (const [name, handle] of folder.entries()) {
      if (handle.kind === "directory") await walk(handle, `${path}${name}/`);
      else found[path + name] = (await handle.getFile()).size;
    }
  };
  await walk(await navigator.storage.getDirectory(), "");
  return found;
})()"""


# A file that is being written goes away while the folder is read.
FOUND_PART = (
    f"{READ_FOLDER}.then((found) => Object.values(found).includes({64 << 20})).catch(() => false)"
)
DIGEST_OF_LARGE = """(async () => {
  const folder = await navigator.storage.getDirectory();
  const file = await (await folder.getFileHandle("large")).getFile();
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, "0")).join("");
})()"""


async def test_into_a_folder(browser: str, tmp_path: Path) -> None:
    for path in ("src/a", "src/deep/er/b", "src/empty"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(os.urandom(0 if path == "src/empty" else 100_000))
    with peerfetch(tmp_path, "share", tmp_path / "src", "--listen", "127.0.0.1:0") as shared:
        async with opened(browser, shared.ready["link"], tmp_path / "out") as page:
            await page.until("!document.querySelector('#offer-save').disabled")
            for _ in range(2):  # the second time nothing has to come
                await page.evaluate(SAVE_INTO_FOLDER)
                await page.until(f"/verified/.exec({text_of('#offer-progress')})?.[0]")
            found = await page.evaluate(READ_FOLDER)
    assert found == {"src/a": 100_000, "src/deep/er/b": 100_000, "src/empty": 0}


async def test_a_name_that_the_browser_does_not_write_is_said_and_the_others_come(
    browser: str, tmp_path: Path
) -> None:
    fill(tmp_path)
    with peerfetch(tmp_path, "share", tmp_path / "src", "--listen", "127.0.0.1:0") as shared:
        async with opened(browser, shared.ready["link"], tmp_path / "out") as page:
            await page.until("!document.querySelector('#offer-save').disabled")
            await page.evaluate(SAVE_INTO_FOLDER)
            said = await page.until(text_of("#offer-error"))
            found = await page.evaluate(READ_FOLDER)
    expected = {path: len(content) for path, content in contents_of(tmp_path / "src").items()}
    # In the order in which they are offered: the first of many are named.
    refused = sorted((path for path in expected if f"src/{path}" not in found), key=os.fsencode)
    assert "a\\b" in refused
    assert all(f"src/{path}" in said for path in refused[:1])
    assert found == {f"src/{path}": n for path, n in expected.items() if path not in refused}


PICK = """(async () => {
  const picked = new DataTransfer();
  const large = new Uint8Array(9_000_000).map((_, i) => i * 7 + (i >> 8));
  picked.items.add(new File([large], "large.bin", { lastModified: 1_700_000_000_000 }));
  picked.items.add(new File(["hello"], "größe <b>.txt"));
  picked.items.add(new File([""], "empty"));
  const input = document.querySelector("#send-input");
  input.files = picked.files;
  input.dispatchEvent(new Event("change"));
})()"""
LARGE = bytes((i * 7 + (i >> 8)) & 255 for i in range(9_000_000))


@contextlib.asynccontextmanager
async def sending(browser: str, url: str, downloads: Path) -> AsyncIterator[tuple[Page, str]]:
    """A page that shares three files, and the link that it shows."""
    async with opened(browser, url, downloads) as page:
        await page.until("document.querySelector('#send-input') !== null")
        await page.evaluate(PICK)
        link = await page.until("document.querySelector('#send-link').value")
        yield page, link


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[str]:
    with peerfetch(tmp_path, "signal", "--listen", "127.0.0.1:0") as process:
        yield page_url(process.ready["signaling"])


async def test_from_the_page_to_the_command_line(
    browser: str, meeting: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with sending(browser, meeting, tmp_path) as (page, link):
        received = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerfetch_fast", "get", link, "-y", "-o", out),
            env=environment(tmp_path),
        )
        assert await received.wait() == 0
        await page.until(f"/has all/.exec({text_of('#send-receivers')})?.[0]")
        assert await page.evaluate("document.querySelector('#send-qr').width") > 200
        assert "1 of 1 have all" in await page.evaluate(text_of("#send-said"))
        assert contents_of(out) == {"large.bin": LARGE, "größe <b>.txt": b"hello", "empty": b""}
        assert (out / "large.bin").stat().st_mtime == 1_700_000_000
        # What was broken off is gone on with.
        part = out / partial_name(Entry("large.bin", len(LARGE), 1_700_000_000_000, 0o644))
        (out / "large.bin").unlink()
        part.write_bytes(LARGE[: PIECE + 5])
        # This time by the code.
        words = (await page.evaluate(text_of("#send-command"))).split()
        assert words[:2] == ["peerfetch", "get"]
        again = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerfetch_fast", *words[1:], "-y", "-o", out),
            env=environment(tmp_path),
        )
        assert await again.wait() == 0
        assert (out / "large.bin").read_bytes() == LARGE
        await page.evaluate(click("#send-stop"))
        await page.until("!document.querySelector('#connect').hidden")


async def test_from_page_to_page(browser: str, meeting: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with (
        sending(browser, meeting, tmp_path) as (page, _),
        opened(browser, meeting, out) as other,
    ):
        await enter(other, await page.until(text_of("#send-code")))
        await other.until("!document.querySelector('#offer-save').disabled")
        assert await other.evaluate(text_of("#offer-name")) == "3 files"
        await other.evaluate(click("#offer-save"))
        await other.until(f"/verified/.exec({text_of('#offer-progress')})?.[0]")
        await until(lambda: (out / "3 files.zip").exists())
        await page.until(f"/has all/.exec({text_of('#send-receivers')})?.[0]")
        with zipfile.ZipFile(out / "3 files.zip") as archive:
            assert archive.testzip() is None
            assert archive.read("large.bin") == LARGE


async def test_from_the_page_into_an_inbox(browser: str, tmp_path: Path) -> None:
    with peerfetch(tmp_path, "inbox", tmp_path / "in", "--listen", "127.0.0.1:0") as inbox:
        async with opened(browser, inbox.ready["link"], tmp_path / "out") as page:
            await page.until(f"/room for/.exec({text_of('#inbox-note')})?.[0]")
            await page.evaluate(PICK.replace("#send-input", "#inbox-input"))
            await page.until(f"/empty: sent/.exec({text_of('#inbox-sent')})?.[0]")
        assert "✓ large.bin (9 MB) from Chrome on Linux" in inbox.output
    found = contents_of(tmp_path / "in")
    assert found == {"large.bin": LARGE, "größe _b_.txt": b"hello", "empty": b""}


async def test_a_code_of_the_page_is_burnt_by_three_guesses(
    browser: str, meeting: str, tmp_path: Path
) -> None:
    async with (
        sending(browser, meeting, tmp_path) as (page, _),
        opened(browser, meeting, tmp_path / "out") as other,
    ):
        code = await page.until(text_of("#send-code"))
        number, first, second = code.split("-")
        wrong = f"{number}-{'able' if first != 'able' else 'boat'}-{second}"
        for _ in range(3):
            assert await page.evaluate(text_of("#send-code")) == code
            await enter(other, wrong)
            await other.until(f"/does not let us in/.exec({text_of('#connect-error')})?.[0]")
        await page.until(f"/guessed/.exec({text_of('#send-code')})?.[0]")
        assert await page.evaluate("document.querySelector('#send-command-row').hidden")
        another = await page.until(f"/^[0-9]+-.*/.exec({text_of('#send-code')})?.[0]")
        assert another != code
        await enter(other, another)
        await other.until("!document.querySelector('#offer-save').disabled")


async def test_into_a_folder_of_a_device_and_a_folder_from_it(browser: str, tmp_path: Path) -> None:
    served, out = tmp_path / "served", tmp_path / "out"
    (served / "deep").mkdir(parents=True)
    (served / "deep/there").write_text("there")
    options = ("--serve", served, "--upload", "--listen", "127.0.0.1:0")
    with peerfetch(tmp_path, "proxy", *options) as proxy:
        url = page_url(proxy.ready["signaling"], f"{proxy.ready['peer_id']}/deep/")
        async with opened(browser, url, out) as page:
            await page.until("document.querySelector('#folder-send')?.checkVisibility()")
            await page.evaluate(PICK.replace("#send-input", "#folder-input"))
            await page.until(f"/empty: sent/.exec({text_of('#folder-sent')})?.[0]")
            # The list has what was sent.
            await page.until(f"/large.bin/.exec({text_of('#entries')})?.[0]")
            await page.evaluate(click("#folder-zip"))
            await until(lambda: (out / "deep.zip").exists())
        assert "✓ deep/large.bin (9 MB) from Chrome on Linux" in proxy.output
    found = contents_of(served)
    assert found["deep/large.bin"] == LARGE
    with zipfile.ZipFile(out / "deep.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(out)
    assert contents_of(out / "deep") == contents_of(served / "deep")


async def test_what_is_dropped_is_shared(browser: str, meeting: str, tmp_path: Path) -> None:
    """A folder, with the paths in it."""
    fill(tmp_path)
    async with opened(browser, meeting, tmp_path / "out") as page:
        await page.until("document.querySelector('#send-input') !== null")
        data = {"items": [], "files": [str(tmp_path / "src")], "dragOperationsMask": 1}
        for event in ("dragEnter", "dragOver", "drop"):
            await page.devtools("Input.dispatchDragEvent", type=event, x=50, y=50, data=data)
        link = await page.until("document.querySelector('#send-link').value")
        assert await page.evaluate(text_of("#send-name")) == "src"
        received = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerfetch_fast", "get", link, "-yq", "-o", tmp_path / "in"),
            env=environment(tmp_path),
        )
        assert await received.wait() == 0
    assert contents_of(tmp_path / "in/src") == contents_of(tmp_path / "src")


async def test_a_picture_that_the_camera_takes_is_shared(
    browser: str, meeting: str, tmp_path: Path
) -> None:
    picture = tmp_path / "image.jpg"
    picture.write_bytes(os.urandom(50_000))
    capture = "HTMLInputElement.prototype.capture = ''"  # as browsers have it on phones
    async with opened(browser, "about:blank", tmp_path / "out") as page:
        await page.devtools("Page.addScriptToEvaluateOnNewDocument", source=capture)
        await page.navigate(meeting)
        await page.until("document.querySelector('#send-camera')?.checkVisibility()")
        phone = Phone(page)
        await page.devtools("Emulation.setTouchEmulationEnabled", enabled=True)
        await phone.open_picker("#send-camera")
        asks = "document.querySelector('#send-camera-input').getAttribute"
        assert await page.evaluate(f"{asks}('capture')") == "environment"
        await phone.pick([picture])
        link = await page.until("document.querySelector('#send-link').value")
        assert await page.evaluate(text_of("#send-name")) == "image.jpg"
        received = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "peerfetch_fast", "get", link, "-yq", "-o", tmp_path / "in"),
            env=environment(tmp_path),
        )
        assert await received.wait() == 0
    assert contents_of(tmp_path / "in") == {"image.jpg": picture.read_bytes()}


async def answered(page: Page, said: str, answer: str) -> None:
    """Answer the question about somebody in the room."""
    asked = f"document.querySelector('#asked').open && {text_of('#asked-sentence')}"
    assert said in await page.until(asked)
    await page.evaluate(click(f'#asked button[value="{answer}"]'))


async def test_in_the_same_room_a_tap_and_a_yes(browser: str, meeting: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    async with (
        opened(browser, meeting, out) as other,
        sending(browser, meeting, out) as (page, _),
    ):
        await page.until("document.querySelector('#send-near-list button') !== null")
        assert await page.evaluate(text_of("#send-near-list .name")) == "Chrome-on-Linux"
        await page.evaluate(click("#send-near-list button"))
        await answered(other, "wants to send you 3 files", "")
        await page.until(f"/rather not/.exec({text_of('#send-near-list')})?.[0]")
        await page.evaluate(click("#send-near-list button"))
        await answered(other, "wants to send you 3 files", "yes")
        # It goes without another tap.
        await other.until(f"/verified/.exec({text_of('#offer-progress')})?.[0]")
        await page.until(f"/has all/.exec({text_of('#send-receivers')})?.[0]")
        await until(lambda: (out / "3 files.zip").exists())


async def test_the_room_of_pages_and_terminals(browser: str, meeting: str, tmp_path: Path) -> None:
    signaling = meeting.replace("http", "ws")
    python = (sys.executable, "-m", "peerfetch_fast")
    (tmp_path / "file").write_text("content")
    out, into = tmp_path / "out", tmp_path / "in"

    async def run(*arguments: object) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(*python, *map(str, arguments), "--signaling", signaling),
            env=environment(tmp_path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        return said

    async with opened(browser, meeting, out) as page:
        # From a terminal to a page,
        await page.until("document.querySelector('#send-input') !== null")
        while not await in_room(signaling, "takes"):
            pass
        sent = asyncio.ensure_future(run("share", tmp_path / "file", "--to", "Chrome-on-Linux"))
        await answered(page, "wants to send you file, 7 B", "yes")
        assert "✓ file (7 B) to Chrome-on-Linux" in (await sent).decode()
        await until(lambda: (out / "file").exists())
        # and from a page to a terminal, which sees that it shares.
        await page.evaluate(click("#offer-leave"))
        await page.evaluate(PICK)
        await page.until("document.querySelector('#send-link').value")
        while not await in_room(signaling, "gives"):
            pass
        assert b"Chrome-on-Linux" in await run("get")
        got = asyncio.ensure_future(run("get", "Chrome-on-Linux", "-y", "-o", into))
        await answered(page, "in this network, wants to have it", "yes")
        await got
        assert contents_of(into)["large.bin"] == LARGE


SHARE_SHEET = """(async () => {
  const worker = navigator.serviceWorker;
  await worker.register("/~peerfetch/worker.js", { scope: "/" });
  await worker.ready;
  while (!worker.controller) await new Promise((resolve) => setTimeout(resolve, 20));
  const body = new FormData();
  body.append("title", "picture");
  body.append("files", new File(["hello"], "größe.txt", { type: "text/plain" }));
  const { url } = await fetch("/~peerfetch/shared", { method: "POST", body });
  setTimeout(() => location.assign(url));
})()"""


async def test_what_the_system_shares_with_the_app(
    browser: str, meeting: str, tmp_path: Path
) -> None:
    async with opened(browser, meeting, tmp_path / "out") as page:
        manifest = "document.querySelector('link[rel=manifest]').href"
        told = await page.until(f"fetch({manifest}).then((found) => found.json())")
        assert told["share_target"]["action"] == "/~peerfetch/shared"
        assert (await page.devtools("Page.getAppManifest"))["errors"] == []
        await page.evaluate(SHARE_SHEET)
        await page.until("document.querySelector('#send-link')?.value")
        assert await page.evaluate(text_of("#send-name")) == "größe.txt"
        assert await page.evaluate("location.search") == ""


async def test_a_large_file_goes_on_in_a_folder_after_a_reload(
    browser: str, tmp_path: Path
) -> None:
    large = random.Random(4).randbytes(100_000_000)
    (tmp_path / "large").write_bytes(large)
    with peerfetch(tmp_path, "share", tmp_path / "large", "--listen", "127.0.0.1:0") as shared:
        async with opened(browser, shared.ready["link"], tmp_path / "out") as page:
            await page.until("!document.querySelector('#offer-save').disabled")
            await page.evaluate(SAVE_INTO_FOLDER)
            await page.until(FOUND_PART)
        async with opened(browser, shared.ready["link"], tmp_path / "out") as page:
            await page.until("!document.querySelector('#offer-save').disabled")
            await page.evaluate(SAVE_INTO_FOLDER)
            first = await page.until("document.querySelector('#offer-bar').value")
            assert first >= 64 << 20, "the part that is there does not come again"
            await page.until(f"/verified/.exec({text_of('#offer-progress')})?.[0]")
            assert await page.evaluate(READ_FOLDER) == {"large": 100_000_000}
            digest = await page.evaluate(DIGEST_OF_LARGE)
    assert digest == sha256(large).hexdigest()
