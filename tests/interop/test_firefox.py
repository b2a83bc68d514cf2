"""The browser client, the page, its worker and a device's own page in a real Firefox."""

from __future__ import annotations

import contextlib
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import segno
from aiohttp import web
from tests.interop.browsers import needs_firefox
from tests.interop.devices import link_to, start_device
from tests.interop.firefox import open_firefox
from tests.sharing.conftest import contents_of, fill

from processes import Process, peerfetch, posix_only
from support import until

pytestmark = [
    posix_only,
    needs_firefox,
]

WORK = """(async () => {
  const { connect } = await import("/~peerfetch/peerfetch.js");
  const peer = await connect(LINK);
  const failure = (work) => work.then(() => null, (error) => error.name);
  const hex = (bytes) => Array.from(new Uint8Array(bytes), (b) => b.toString(16)).join();
  const hash = async (data) => hex(await crypto.subtle.digest("SHA-256", data));
  const body = new Uint8Array(4 << 20).map((_, i) => (i * 7) ^ (i >> 9));
  const put = await peer.fetch("/upload/firefox", { method: "PUT", body });
  const got = await (await peer.fetch("/upload/firefox")).arrayBuffer();
  const part = await peer.fetch("/large.bin", { headers: { range: "bytes=5-14" } });
  const lengths = await Promise.all(
    Array.from({ length: 64 }, async () => (await (await peer.fetch("/small.bin")).blob()).size),
  );
  const controller = new AbortController();
  const aborted = (await peer.fetch("/large.bin", controller)).body.getReader();
  await aborted.read();
  controller.abort();
  const found = [
    put.ok,
    (await hash(body)) === (await hash(got)),
    [part.status, (await part.text()).length > 0],
    new Set(lengths).size,
    await failure(aborted.read().then(() => aborted.read())),
    await failure(peer.fetch("https://example.com/")),
    (await peer.fetch("/missing")).status,
  ];
  await peer.close();
  return [...found, peer.state];
})()"""


async def test_the_core_of_it(proxies: Callable[[str], Process], nginx: str) -> None:
    ready = proxies(nginx).ready
    link = f"peer://{ready['peer_id']}#{ready['fingerprint']}"

    async with open_firefox(f"http{ready['signaling'].removeprefix('ws')}/") as page:
        assert await page.evaluate(WORK.replace("LINK", f"'{link}'")) == [
            True,
            True,
            [206, True],
            1,
            "AbortError",
            "TypeError",
            404,
            "closed",
        ]


SERVE = """(async () => {
  const { connect, serve } = await import("/~peerfetch/peerfetch.js");
  const options = { accessToken: "grüße", identity: "printer" };
  const handler = () => new Response("in");
  const [one, two] = [await serve(handler, options), await serve(handler, options)];
  const link = `peer://${one.id}#${one.fingerprint}`;
  const wrong = await connect(link, { accessToken: "another" }).catch(({ reason }) => reason);
  const peer = await connect(link, { accessToken: "grüße" });
  const text = await (await peer.fetch("/")).text();
  const without = (await (await connect(link)).fetch("/")).status;
  return [one.fingerprint === two.fingerprint, wrong, text, without];
})()"""


async def test_a_page_that_serves_with_an_access_token_and_an_identity(
    proxies: Callable[[str], Process], nginx: str
) -> None:
    ready = proxies(nginx).ready

    async with open_firefox(f"http{ready['signaling'].removeprefix('ws')}/") as page:
        assert await page.evaluate(SERVE) == [True, "access", "in", 401]


BROWSE = """(async () => {
  const until = async (condition) => {
    for (let i = 0; i < 2000; i++) {
      const found = await condition();
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`${condition}: ${document.body.innerText}`);
  };
  const $ = (selector) => document.querySelector(selector);
  const entry = (name) => Array.from(document.querySelectorAll("#entries a.entry")).find(
    (one) => one.querySelector(".name")?.textContent === name,
  );
  await until(() => entry("picture.png"));
  const worker = navigator.serviceWorker?.controller?.state;
  await until(() => entry("picture.png").querySelector("canvas, img"));
  entry("picture.png").click();
  const width = await until(() => $("#viewer img")?.naturalWidth);
  $("#viewer-close").click();
  await until(() => !$("#folder").hidden);
  entry("folder").click();
  await until(() => entry("notes.txt"));
  entry("notes.txt").click();
  const text = await until(() => $("#viewer pre")?.textContent);
  history.back();
  await until(() => $("#viewer").hidden);
  history.back();
  await until(() => entry("folder"));
  const space = `/~peerfetch/device/${location.hash.slice(1).split(/[/#]/)[0]}`;
  const part = await fetch(`${space}/large.bin`, { headers: { range: "bytes=5-14" } });
  const all = await (await fetch(`${space}/large.bin`)).arrayBuffer();
  return [worker, width, text, part.status, (await part.arrayBuffer()).byteLength, all.byteLength];
})()"""


async def test_the_page_and_its_worker(tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "folder").mkdir(parents=True)
    (files / "folder" / "notes.txt").write_text("Grüße")
    (files / "large.bin").write_bytes(bytes(3_000_000))
    segno.make("a picture", version=1).save(files / "picture.png", scale=10, border=0)
    with peerfetch(tmp_path, "proxy", "--serve", files, "--listen", "127.0.0.1:0") as proxy:
        async with open_firefox(link_to(proxy.ready)) as page:
            assert await page.evaluate(BROWSE) == [
                "activated",
                210,
                "Grüße",
                206,
                10,
                3_000_000,
            ]


APP = """(async () => {
  for (let i = 0; i < 2000; i++) {
    const frame = document.querySelector("iframe")?.contentWindow;
    if (frame?.said) return [location.hostname, document.title, frame.said];
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(document.body.innerText);
})()"""


async def test_an_app_of_a_device_under_its_own_origin() -> None:
    async def page(request: web.Request) -> web.Response:
        text = "<title>The app</title><script type=module src=/app.js></script>"
        return web.Response(text=text, content_type="text/html")

    async def script(request: web.Request) -> web.Response:
        text = (
            "const answer = await fetch('/echo', {method: 'POST', body: 'Grüße'});"
            "window.said = await answer.text();"
        )
        return web.Response(text=text, content_type="text/javascript")

    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/", page)
        app.router.add_get("/app.js", script)
        app.router.add_post("/echo", echo)
        url = await start_device(stack, app, "dev1.localhost")
        async with open_firefox(url) as firefox:
            assert await firefox.evaluate(APP) == ["dev1.localhost", "The app", "Grüße"]


SAVE = """(async () => {
  const until = async (condition) => {
    for (let i = 0; i < 2000; i++) {
      const found = await condition();
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`${condition}: ${document.body.innerText}`);
  };
  const $ = (selector) => document.querySelector(selector);
  await until(() => $("#offer-save:enabled"));
  if (ONE === null) $("#offer-save").click();
  else document.querySelector(`#offer-files a[title="Save ${ONE}"]`).click();
  await until(() => /verified/.test($("#offer-progress").innerText));
  // It has no picker of folders, and offers none.
  return $("#offer-folder").hidden;
})()"""


async def test_what_is_shared_is_saved(tmp_path: Path) -> None:
    """One file as it is, and all as a ZIP."""
    fill(tmp_path)
    (tmp_path / "src/large").write_bytes(random.Random(5).randbytes(9_000_000))
    out = tmp_path / "out"
    out.mkdir()
    with peerfetch(tmp_path, "share", tmp_path / "src", "--listen", "127.0.0.1:0") as shared:
        async with open_firefox(shared.ready["link"], out) as page:
            assert await page.evaluate(SAVE.replace("ONE", "'src/large'"))
            await until(lambda: is_saved(out / "large"))
            assert await page.evaluate(SAVE.replace("ONE", "null"))
            await until(lambda: is_saved(out / "src.zip"))
            await until(lambda: "all, verified" in shared.output)
        assert "Firefox on Linux" in shared.output
    assert (out / "large").read_bytes() == (tmp_path / "src/large").read_bytes()
    with zipfile.ZipFile(out / "src.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(out)
    assert contents_of(out / "src") == contents_of(tmp_path / "src")


def is_saved(path: Path) -> bool:
    """Whether it is there: until it is whole, an empty file keeps its place."""
    return path.exists() and path.stat().st_size > 0
