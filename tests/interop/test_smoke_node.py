"""The nodes of `smoke-node` 0.8 at our hub, in a real Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page

from peerfetch_fast import Camera
from peerfetch_fast.errors import CameraError, ConnectError, WebSocketError
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.smoke import NetworkHub, Node, PortRefused
from peerfetch_fast.smoke.rest import Request, Response
from peerfetch_fast.smoke.sockets import Socket
from peerfetch_fast.web.endpoint import web_endpoint
from processes import posix_only

HERE = Path(__file__).parent
ESBUILD = HERE.parent / "web" / "npm" / "node_modules" / ".bin" / "esbuild"
MODULES = HERE / "node_modules"

pytestmark = [
    posix_only,
    needs_chromium,
    pytest.mark.skipif(
        not (ESBUILD.exists() and (MODULES / "smoke-node").exists())
        and os.environ.get("PEERFETCH_INTEROP") != "1",
        reason="npm ci --prefix tests/web/npm, or tests/interop, was not run",
    ),
]

# `host` and `guest`, each at the hub, in the order of their addresses.
PREPARE = """
(async (code, url) => {
  const blob = new Blob([code], { type: "text/javascript" });
  const { Node, NetworkHub, Queryable } = await import(URL.createObjectURL(blob));
  window.Queryable = Queryable;
  window.host = new Node({ hub: new NetworkHub(url) });
  window.address = await host.address();
  window.guest = new Node({ hub: new NetworkHub(url) });
  // Nodes of that package may miss that a channel has opened: then they are to be asked again.
  window.again = async (work) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (attempt === 10 || !/not responding|timed out/.test(error.message)) throw error;
      }
    }
  };
  window.ask = (path, read) =>
    again(() => guest.rest.fetch(`rest://${address}${path}`).then((found) => found[read]()));
  return [address, await guest.address()];
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@pytest.fixture(scope="module")
def bundle() -> str:
    done = subprocess.run(
        [ESBUILD, HERE / "smoke" / "smoke_node.js", "--bundle", "--format=esm"],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@contextlib.asynccontextmanager
async def nodes(browser: str, bundle: str, prepare: str = PREPARE) -> AsyncIterator[Page]:
    settings = SignalingServerSettings(smoke=True)
    signaling = SignalingServer(settings, middlewares=[web_endpoint()])
    await signaling.start("127.0.0.1", 0)
    try:
        url = f"http{signaling.url.removeprefix('ws')}/~peerfetch/package.json"
        async with open_page(browser, url) as page:
            given = f"({json.dumps(bundle)}, {json.dumps(f'{signaling.url}/smoke')})"
            assert await page.evaluate(prepare + given) == ["0.0.0.1", "0.0.0.2"]
            yield page
    finally:
        await signaling.close()


async def test_they_meet_by_sockets_rest_queries_and_media(browser: str, bundle: str) -> None:
    async with nodes(browser, bundle) as page:
        await page.evaluate(
            """(() => {
              const app = host.rest.createServer();
              app.get("/text", (req, res) => res.send(`hello ${req.remote}`));
              app.get("/records", (req, res) => {
                async function* records() {
                  for (let at = 0; at < 3; at++) yield { at };
                }
                res.query(new Queryable(records()));
              });
              app.get("/media", (req, res) => res.mediastream(host.media.createTestPattern()));
              app.listen("80");
              host.sockets.createServer((socket) => socket.send("hello")).listen("7");
            })()"""
        )
        assert await page.evaluate("ask('/text', 'text')") == "hello 0.0.0.2"
        records = "ask('/records', 'query').then((all) => all.toArray())"
        assert await page.evaluate(records) == [{"at": 0}, {"at": 1}, {"at": 2}]
        message = """again(() => new Promise((resolve, reject) => {
          const socket = guest.sockets.connect(address, "7");
          socket.on("message", ({ data }) => resolve(data.toString()));
          socket.on("error", reject);
        }))"""
        assert await page.evaluate(message) == "hello"
        media = "ask('/media', 'mediastream').then((stream) => stream.getVideoTracks().length)"
        assert await page.evaluate(media) == 1
        # Their servers throw where nobody hears it when an attempt was given up.
        page.errors[:] = [error for error in page.errors if "Network send timeout" not in error]


# `ours` and `theirs` at the hub; `both` does something with each of them as the other's host.
MIXED = """
(async (code, url) => {
  const blob = new Blob([code], { type: "text/javascript" });
  const old = await import(URL.createObjectURL(blob));
  const smoke = await import("/~peerfetch/smoke.js");
  window.ours = new smoke.Node({ hub: new smoke.NetworkHub(url) });
  const addresses = [await ours.address()];
  window.theirs = new old.Node({ hub: new old.NetworkHub(url) });
  addresses.push(await theirs.address());
  window.Queryable = { ours: smoke.Queryable, theirs: old.Queryable };
  window.Readable = { ours: smoke.Readable, theirs: old.Readable };
  window.node = { ours, theirs };
  window.address = { ours: addresses[0], theirs: addresses[1] };
  window.other = { ours: "theirs", theirs: "ours" };
  const makes = { ours: smoke, theirs: old };
  for (const host of ["ours", "theirs"]) {
    const app = node[host].rest.createServer();
    app.get("/text/:name", (req, res) => {
      res.headers["x-own"] = "header";
      res.send(`hello ${req.params.name} ${req.remote} ${req.headers["x-asked"]}`, 201);
    });
    app.post("/echo", async (req, res) => res.buffer(await req.buffer()));
    app.get("/fails", () => {
      throw new Error("expected");
    });
    window.pulled = 0;
    app.get("/records", (req, res) => {
      async function* records() {
        for (let at = 0; at < 1000; at++) {
          window.pulled++;
          yield { at };
        }
      }
      res.query(new makes[host].Queryable(records()));
    });
    app.get("/media", async (req, res) => {
      window.sent = await res.mediastream(node[host].media.createTestPattern());
    });
    app.listen("80");
    node[host].sockets.createServer((socket) => {
      window.accepted = socket;
      socket.on("message", ({ data }) => socket.send(data));
    }).listen("7");
  }
  window.ask = (guest, path, options = {}) =>
    node[guest].rest.fetch(`rest://${address[other[guest]]}${path}`, options);
  return addresses;
})
"""


@pytest.mark.parametrize("guest", ["ours", "theirs"])
async def test_ours_and_theirs_meet(browser: str, bundle: str, guest: str) -> None:
    async with nodes(browser, bundle, MIXED) as page:
        # REST: heads, bodies of several pieces, errors, and two requests at once.
        assert await page.evaluate(
            f"""(async (guest) => {{
              const found = await ask(guest, "/text/me", {{ headers: {{ "x-asked": "yes" }} }});
              const own = found.headers["x-own"];
              return [found.status, own, await found.text() === `hello me ${{address[guest]}} yes`];
            }})("{guest}")"""
        ) == [201, "header", True]
        assert await page.evaluate(
            f"""(async (guest) => {{
              const body = new Uint8Array(200_000).map((_, at) => at);
              const echo = async ({{ buffer }}) => {{
                const found = await ask(guest, "/echo", {{ method: "post", body: buffer }});
                return found.buffer();
              }};
              const [large, small] = await Promise.all([echo(body), echo(body.slice(0, 3))]);
              const isSame = large.every((byte, at) => byte === body[at]);
              return [isSame && large.length === body.length, [...small]];
            }})("{guest}")"""
        ) == [True, [0, 1, 2]]
        absent = f"ask('{guest}', '/absent').then(async (n) => [n.status, await n.text()])"
        assert await page.evaluate(absent) == [404, "not found"]
        # Records are pulled one by one.
        records = (
            f"ask('{guest}', '/records').then(async (n) => {{"
            " window.pulled = 0; const found = [];"
            " for await (const record of n.query()) if (found.push(record.at) === 3) break;"
            " return [found, pulled]; })"
        )
        found, pulled = await page.evaluate(records)
        assert found == [0, 1, 2]
        assert pulled <= 5
        # Sockets: the message of a size that needs segments, an empty one, and the end.
        assert await page.evaluate(
            f"""new Promise((resolve, reject) => {{
              const socket = node["{guest}"].sockets.connect(address[other["{guest}"]], "7");
              const sizes = [];
              socket.on("error", reject);
              socket.on("open", () => {{
                for (const size of [5, 100_000, 1_000_000]) {{
                  socket.send(new Uint8Array(size).buffer);
                }}
              }});
              socket.on("message", ({{ data }}) => {{
                sizes.push(data.length);
                if (sizes.length === 3) window.accepted.close();
              }});
              socket.on("close", () => resolve(sizes));
            }})"""
        ) == [5, 100_000, 1_000_000]
        refused = f"""new Promise((resolve) => {{
          const socket = node["{guest}"].sockets.connect(address[other["{guest}"]], "8");
          socket.on("error", ({{ message }}) => socket.on("close", () => resolve(message)));
        }})"""
        assert "forcefully closed this connection" in await page.evaluate(refused)
        page.errors[:] = [error for error in page.errors if "Network send timeout" not in error]


@pytest.mark.parametrize("guest", ["ours", "theirs"])
async def test_media_between_ours_and_theirs(browser: str, bundle: str, guest: str) -> None:
    async with nodes(browser, bundle, MIXED) as page:
        assert await page.evaluate(
            f"""(async (guest) => {{
              const stream = await ask(guest, "/media").then((n) => n.mediastream());
              const video = document.createElement("video");
              Object.assign(video, {{ srcObject: stream, muted: true, id: "shown" }});
              document.body.append(video);
              await video.play();
              const before = video.currentTime;
              while (video.currentTime - before < 0.5) await new Promise(requestAnimationFrame);
              const width = video.videoWidth;
              window.sent.dispose();
              const [track] = stream.getVideoTracks();
              if (guest === "ours") await new Promise((ended) => {{
                setInterval(() => track.readyState === "ended" && ended(), 20);
              }});
              return width > 0;
            }})("{guest}")"""
        )
        page.errors[:] = [error for error in page.errors if "Network send timeout" not in error]


TRACKS = """
(async (guest, host) => {
  node[host].sockets.createServer((socket) => {
    window.accepted = socket;
    socket.on("track", ({ streams }) => (window.heard = streams[0]));
  }).listen("9");
  const socket = node[guest].sockets.connect(address[host], "9");
  await new Promise((resolve) => socket.on("open", resolve));
  while (!window.accepted) await new Promise((resolve) => setTimeout(resolve, 10));
  const shown = [];
  const show = async (stream) => {
    const video = document.createElement("video");
    Object.assign(video, { srcObject: stream, muted: true });
    document.body.append(video);
    await video.play();
    shown.push(video.videoWidth > 0);
  };
  const send = (from, by) => {
    const stream = by.media.createTestPattern();
    for (const track of stream.getTracks()) from.addTrack(track, stream);
  };
  const back = new Promise((resolve) => socket.on("track", ({ streams }) => resolve(streams[0])));
  send(socket, node[guest]);
  while (!window.heard) await new Promise((resolve) => setTimeout(resolve, 10));
  await show(window.heard);
  send(accepted, node[host]);
  await show(await back);
  socket.close();
  return shown;
})
"""


@pytest.mark.parametrize("guest", ["ours", "theirs"])
async def test_tracks_of_sockets(browser: str, bundle: str, guest: str) -> None:
    host = "theirs" if guest == "ours" else "ours"
    async with nodes(browser, bundle, MIXED) as page:
        assert await page.evaluate(f"{TRACKS}('{guest}', '{host}')") == [True, True]


async def test_tracks_of_sockets_of_ours(browser: str, bundle: str) -> None:
    async with nodes(browser, bundle, MIXED) as page:
        await page.evaluate(
            """(async () => {
              node.more = new ours.constructor();
              node.host = new ours.constructor();
              address.host = await node.host.address();
            })()"""
        )
        assert await page.evaluate(f"{TRACKS}('more', 'host')") == [True, True]


async def test_ours_and_theirs_call_at_once(browser: str, bundle: str) -> None:
    async with nodes(browser, bundle, MIXED) as page:
        asked = (
            "Promise.all(['ours', 'theirs'].map((it) => ask(it, '/text/a').then((n) => n.text())))"
        )
        assert await page.evaluate(asked) == [
            "hello a 0.0.0.1 undefined",
            "hello a 0.0.0.2 undefined",
        ]
        page.errors[:] = [error for error in page.errors if "Network send timeout" not in error]


async def test_what_theirs_may_do_to_ours_is_bounded(browser: str, bundle: str) -> None:
    async with nodes(browser, bundle, MIXED) as page:
        assert await page.evaluate(
            """(async () => {
              ours.sockets.createServer((socket) => (window.kept = socket)).listen("deaf");
              await ask("theirs", "/text/a");
              const { connection } = theirs.network.peers.get(address.ours);
              const closed = (channel) =>
                new Promise((resolve) => (channel.onclose = () => resolve(channel.label)));
              const opened = async (label) => {
                const channel = connection.createDataChannel(label);
                channel.binaryType = "arraybuffer";
                const word = await new Promise((resolve) => {
                  channel.onmessage = ({ data }) => resolve(new Uint8Array(data)[0]);
                });
                return [channel, word];
              };
              const seen = [];
              // Messages that are none, segments without end, and what nobody has asked for.
              for (const message of [new Uint8Array(0), Uint8Array.of(7), "text"]) {
                const [channel] = await opened("7");
                channel.send(message);
                seen.push(await closed(channel));
              }
              const [endless] = await opened("7");
              const segment = new Uint8Array(32769).fill(1);
              for (let at = 0; at < 40; at++) {
                if (endless.readyState === "open") endless.send(segment);
              }
              seen.push(await closed(endless));
              const [unwanted] = await opened("80");
              unwanted.send(Uint8Array.of(0, 2, 65)); // DATA that nobody has asked for
              seen.push(await closed(unwanted));
              // As many channels as there may be, and no more.
              const more = [];
              for (let at = 0; at < 300; at++) more.push(connection.createDataChannel("deaf"));
              let refused = 0;
              for (const channel of more) channel.onclose = () => refused++;
              while (refused < 40) await new Promise((resolve) => setTimeout(resolve, 10));
              seen.push(refused < 60);
              for (const channel of more) channel.close();
              // And the connection is as good as before.
              seen.push((await ask("theirs", "/text/a")).status);
              return seen;
            })()"""
        ) == ["7", "7", "7", "7", "80", True, 201]
        page.errors.clear()


async def records(_: Request, response: Response) -> None:
    async def numbers() -> AsyncIterator[dict[str, int]]:
        for at in range(1000):
            yield {"at": at}

    await response.query(numbers())


async def test_a_node_in_python_and_theirs(
    browser: str, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with nodes(browser, bundle, MIXED) as page:
        url = await page.evaluate("`${location.origin.replace('http', 'ws')}/smoke`")
        for is_caller in (True, False):
            async with Node(NetworkHub(url)) as node:
                app = node.rest.create_server()

                @app.get("/text/:name")
                async def text(request: Request, response: Response) -> None:
                    response.headers["x-own"] = "header"
                    await response.send(f"hello {request.params['name']} {request.remote}", 201)

                @app.post("/echo")
                async def echo(request: Request, response: Response) -> None:
                    await response.send(await request.read())

                @app.get("/media")
                async def media(_: Request, response: Response) -> None:
                    await response.mediastream(Camera("test:"))

                app.get("/records")(records)
                app.listen(80)

                async def echo_socket(socket: Socket) -> None:
                    async for message in socket:
                        await socket.send(message)

                node.sockets.create_server(echo_socket).listen(7)
                theirs = f"rest://{await page.evaluate('address.theirs')}"
                await page.evaluate(f"address.python = '{node.address}', other.theirs = 'python'")
                if is_caller:
                    await asks_theirs(node, theirs)
                    await theirs_asks(page)
                else:
                    await theirs_asks(page)
                    await asks_theirs(node, theirs)
                # All of it on one connection, whoever has made it.
                assert len(node.network._old) == 1
        async with Node(NetworkHub(url), access_token="known") as node:
            with pytest.raises(ConnectError, match="no access token"):
                await node.rest.fetch(theirs)
        page.errors.clear()


async def asks_theirs(node: Node, theirs: str) -> None:
    """What a node in Python asks of one of smoke-node."""
    response = await node.rest.fetch(f"{theirs}/text/me", headers={"x-asked": "yes"})
    assert (response.status, response.headers["x-own"]) == (201, "header")
    assert await response.text() == f"hello me {node.address} yes"
    body = os.urandom(200_000)
    response = await node.rest.fetch(f"{theirs}/echo", method="post", body=body)
    assert await response.read() == body
    with pytest.raises(CameraError, match="in a page alone"):
        await response.mediastream()
    response = await node.rest.fetch(f"{theirs}/records")
    assert await response.query().take(3).to_list() == [{"at": 0}, {"at": 1}, {"at": 2}]
    assert (await node.rest.fetch(f"{theirs}/absent")).status == 404
    with pytest.raises(PortRefused):
        await node.rest.fetch(f"{theirs}:81/")
    async with await node.sockets.connect(theirs.removeprefix("rest://"), 7) as socket:
        for size in (5, 100_000, 1_000_000):
            await socket.send(bytes(size))
            assert await socket.receive() == bytes(size)
        with pytest.raises(WebSocketError, match="exceeds"):
            await socket.send(bytes(1_000_001))


async def theirs_asks(page: Page) -> None:
    """What one of smoke-node asks of a node in Python."""
    own = await page.evaluate("address.theirs")
    text = "ask('theirs', '/text/me').then(async (n) => [n.status, await n.text()])"
    assert await page.evaluate(text) == [201, f"hello me {own}"]
    assert await page.evaluate(
        """(async () => {
          const body = new Uint8Array(200_000).map((_, at) => at);
          const found = await ask("theirs", "/echo", { method: "post", body: body.buffer });
          const back = await found.buffer();
          return back.length === body.length && back.every((byte, at) => byte === body[at]);
        })()"""
    )
    media = "ask('theirs', '/media').then(async (n) => [n.status, await n.text()])"
    said = "media streams of this node are for nodes of peerfetch"
    assert await page.evaluate(media) == [501, said]
    query = (
        "ask('theirs', '/records').then(async (n) => { const found = [];"
        " for await (const one of n.query()) if (found.push(one.at) === 3) break; return found; })"
    )
    assert await page.evaluate(query) == [0, 1, 2]
    sizes = """new Promise((resolve, reject) => {
      const socket = theirs.sockets.connect(address.python, "7");
      const sizes = [];
      socket.on("error", reject);
      socket.on("open", () => {
        for (const size of [5, 100_000, 1_000_000]) socket.send(new Uint8Array(size).buffer);
      });
      socket.on("message", ({ data }) => {
        if (sizes.push(data.length) === 3) socket.close();
      });
      socket.on("close", () => resolve(sizes));
    })"""
    assert await page.evaluate(sizes) == [5, 100_000, 1_000_000]
    refused = """new Promise((resolve) => {
      const socket = theirs.sockets.connect(address.python, "8");
      socket.on("error", ({ message }) => socket.on("close", () => resolve(message)));
    })"""
    assert "forcefully closed this connection" in await page.evaluate(refused)
