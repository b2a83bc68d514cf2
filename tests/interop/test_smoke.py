"""Smoke's nodes in pages of a real Chromium: the four examples of its README, and more."""

from __future__ import annotations

import asyncio
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
from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.sources import Output
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.smoke import Database, NetworkHub, Node
from peerfetch_fast.smoke.rest import Request, Response
from peerfetch_fast.smoke.sockets import Socket
from peerfetch_fast.web.endpoint import web_endpoint
from processes import posix_only
from support import until

EXAMPLES = Path(__file__).parent / "smoke"
ESBUILD = Path(__file__).parents[1] / "web" / "npm" / "node_modules" / ".bin" / "esbuild"

pytestmark = [
    posix_only,
    needs_chromium,
    pytest.mark.skipif(
        not ESBUILD.exists() and os.environ.get("PEERFETCH_INTEROP") != "1",
        reason="npm ci --prefix tests/web/npm was not run",
    ),
]

HUBS = ["page", "network"]

# What the examples find: what they log is kept, and a video element. With the URL of a hub, nodes
# are at that, in the order in which they are made: it is a hub's matter who comes first.
PREPARE = """
(async (url) => {
  const smoke = await import("/~peerfetch/smoke.js");
  window.smoke = smoke;
  window.logged = [];
  document.body.replaceChildren(); // where a test that waits in vain shows what was logged
  console.log = (...all) => {
    logged.push(all.map((one) => one?.message ?? String(one)).join(" "));
    document.body.append(logged.at(-1), "; ");
  };
  const video = document.createElement("video");
  video.id = "video-0";
  video.muted = true;
  document.body.append(video);
  window.hubs = [];
  while (url && hubs.length < 3) {
    const hub = new smoke.NetworkHub(url);
    await hub.address();
    hubs.push(hub);
  }
  window.Node = class extends smoke.Node {
    constructor(options = {}) {
      super(url ? { ...options, hub: hubs.shift() } : options);
    }
  };
})
"""
MODULE = """
export * from "ORIGIN/~peerfetch/smoke.js";
export const Node = window.Node;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def node_page(browser: str, hub: str) -> AsyncIterator[Page]:
    """A page in which nodes may be made, with the hub that tests name."""
    settings = SignalingServerSettings(smoke=True)
    signaling = SignalingServer(settings, middlewares=[web_endpoint()])
    await signaling.start("127.0.0.1", 0)
    try:
        url = f"http{signaling.url.removeprefix('ws')}/~peerfetch/package.json"
        async with open_page(browser, url) as page:
            given = json.dumps(f"{signaling.url}/smoke" if hub == "network" else None)
            await page.evaluate(f"{PREPARE}({given})")
            yield page
    finally:
        await signaling.close()


async def run_example(page: Page, name: str) -> None:
    """Run an example as it stands, compiled; its import is of the page's nodes."""
    done = subprocess.run(
        [ESBUILD, EXAMPLES / f"{name}.ts", "--format=esm"],
        capture_output=True,
        text=True,
        check=True,
    )
    await page.evaluate(
        f"""(async () => {{
          const url = (code) => URL.createObjectURL(
            new Blob([code.replaceAll("ORIGIN", location.origin)], {{ type: "text/javascript" }}),
          );
          const nodes = url({json.dumps(MODULE)});
          await import(url({json.dumps(done.stdout)}.replace("/~peerfetch/smoke.js", nodes)));
        }})()"""
    )


@pytest.mark.parametrize("hub", HUBS)
async def test_sockets_and_loopback(browser: str, hub: str) -> None:
    async with node_page(browser, hub) as page:
        await run_example(page, "sockets_and_loopback")
        # Three are connected; the fourth is told that nobody listens on its own node.
        await page.until("logged.length >= 4")
        logged = await page.evaluate("logged")
        assert sorted(logged) == [
            "'localhost' forcefully closed this connection.",
            *["have socket"] * 3,
        ]


@pytest.mark.parametrize("hub", HUBS)
async def test_rest_server_and_addresses(browser: str, hub: str) -> None:
    async with node_page(browser, hub) as page:
        await run_example(page, "rest_server_and_addresses")
        await page.until("logged.length")
        assert await page.evaluate("logged") == ["<h1>hello world</h1>"]


@pytest.mark.parametrize("hub", HUBS)
async def test_media_stream_and_proxy(browser: str, hub: str) -> None:
    async with node_page(browser, hub) as page:
        await run_example(page, "media_stream_and_proxy")
        video = "document.getElementById('video-0')"
        # Encoders begin with small pictures where the machine is slow.
        await page.until(f"{video}.readyState >= 2 && {video}.videoWidth > 0")
        before = await page.evaluate(f"{video}.currentTime")
        await page.until(f"{video}.currentTime > {before}")


async def test_a_node_that_passes_a_stream_on_lets_go_of_it_with_its_viewer(browser: str) -> None:
    async with node_page(browser, "page") as page:
        await page.evaluate(
            """(async () => {
              const [source, proxy, viewer] = [new Node(), new Node(), new Node()];
              for (const node of [source, proxy, viewer]) await node.address();
              const pattern = source.media.createTestPattern();
              // Two tracks: a stream is used as long as one of them is.
              pattern.addTrack(source.media.createTestPattern().getTracks()[0]);
              const ended = [];
              window.ended = Promise.all([
                new Promise((resolve) => source.rest.createServer().get("/", async (req, res) => {
                  const { closed } = await res.mediastream(pattern);
                  resolve(closed.then(() => ended.push("source")));
                }).listen(80)),
                new Promise((resolve) => proxy.rest.createServer().get("/", async (req, res) => {
                  const answer = await proxy.rest.fetch("rest://0.0.0.1/");
                  const stream = await answer.mediastream();
                  const { closed } = await res.mediastream(stream);
                  await closed;
                  ended.push("proxy");
                  for (const track of stream.getTracks()) track.stop();
                  resolve();
                }).listen(80)),
              ]).then(() => ended);
              const answer = await viewer.rest.fetch("rest://0.0.0.2/");
              const stream = await answer.mediastream();
              for (const track of stream.getTracks()) track.stop();
            })()"""
        )
        assert await page.evaluate("ended") == ["proxy", "source"]


@pytest.mark.parametrize("hub", HUBS)
async def test_database_and_query(browser: str, hub: str) -> None:
    async with node_page(browser, hub) as page:
        await run_example(page, "database_and_query")
        await page.until("logged.length >= 3")
        assert await page.evaluate("logged") == ["alice", "dave", "jones"]
        await page.evaluate("smoke.Database.drop('users')")


async def test_nodes_in_two_tabs_meet_without_a_server(browser: str) -> None:
    async with node_page(browser, "page") as page:
        await page.evaluate("window.host = new Node(); host.address().then(() => null)")
        await page.evaluate(
            "host.rest.createServer().get('/', (req, res) => res.send(req.remote)).listen(80); 0"
        )
        await page.evaluate("host.hub.register('host')")
        address = await page.evaluate("host.address()")
        async with open_page(browser, await page.evaluate("location.href")) as other:
            await other.evaluate(f"{PREPARE}(null)")
            await other.evaluate("window.guest = new Node(); 0")
            own = await other.evaluate("guest.address()")
            assert own != address
            ask = "guest.rest.fetch('rest://host/').then((answer) => answer.text())"
            assert await other.evaluate(ask) == own
            assert await other.evaluate("guest.hub.lookup('nobody')") == []
            failed = "guest.rest.fetch('rest://0.0.9.9/').catch((error) => error.reason)"
            assert await other.evaluate(failed) == "unavailable"


async def test_both_nodes_may_call_at_once(browser: str) -> None:
    async with node_page(browser, "network") as page:
        assert await page.evaluate(
            """(async () => {
              const nodes = [new Node(), new Node()];
              for (const node of nodes) {
                node.rest.createServer().get("/", (req, res) => res.send(req.remote)).listen(80);
              }
              const [one, two] = await Promise.all(nodes.map((node) => node.address()));
              const ask = (node, to) => node.rest.fetch(`rest://${to}/`).then((n) => n.text());
              const found = await Promise.all([ask(nodes[0], two), ask(nodes[1], one)]);
              return found.join() === [one, two].join();
            })()"""
        )


async def test_sockets_are_closed_in_order_with_the_node_of_either_end(browser: str) -> None:
    async with node_page(browser, "page") as page:
        assert (
            await page.evaluate(
                """(async () => {
              const [host, ...guests] = [new Node(), new Node(), new Node()];
              const seen = { host: [], guests: [] };
              const log = (socket, events) => {
                for (const event of ["error", "message", "close"]) {
                  socket.on(event, () => events.push(event));
                }
              };
              const until = async (events, count) => {
                const turn = (resolve) => setTimeout(resolve, 5);
                while (events.length < count) await new Promise(turn);
              };
              const opened = [];
              host.sockets.createServer((socket) => {
                opened.push(socket);
                log(socket, seen.host);
              }).listen(1);
              const sockets = [];
              for (const guest of guests) {
                const socket = guest.sockets.connect(await host.address(), 1);
                await new Promise((resolve) => socket.on("open", resolve));
                log(socket, seen.guests);
                sockets.push(socket);
              }
              await until(opened, 2);
              sockets[0].send("last");
              guests[0].dispose();
              await until(seen.guests, 1);
              await until(seen.host, 2);
              opened[1].send("last");
              host.dispose();
              await until(seen.guests, 3);
              const found = [seen.host.slice(0, 2), seen.guests].map(String);
              return found.join(" ");
            })()"""
            )
            == "message,close close,message,close"
        )


async def test_a_hub_that_is_started_anew_and_a_node_with_an_access_token(browser: str) -> None:
    async with node_page(browser, "page") as page:
        hub = SignalingServer(SignalingServerSettings(smoke=True))
        await hub.start("127.0.0.1", 0)
        url = hub.url
        try:
            await page.evaluate(
                f"""(async () => {{
                  const make = (accessToken) =>
                    new smoke.Node({{ hub: new smoke.NetworkHub("{url}/smoke"), accessToken }});
                  window.host = make("known");
                  host.rest.createServer().get("/", (req, res) => res.send("hello")).listen(80);
                  await host.hub.register("host");
                  window.guest = make("known");
                  window.stranger = make("unknown");
                  window.ask = (node) => node.rest.fetch("rest://host/").then((n) => n.text());
                  window.before = await host.address();
                }})()"""
            )
            assert await page.evaluate("ask(guest)") == "hello"
            assert await page.evaluate("ask(stranger).catch((error) => error.reason)") == "access"
        finally:
            await hub.close()
        # Who is connected needs no hub.
        asked = "guest.rest.fetch(`rest://${before}/`).then((n) => n.text())"
        assert await page.evaluate(asked) == "hello"
        hub = SignalingServer(SignalingServerSettings(smoke=True))
        await hub.start("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            await page.until("host.hub.lookup('host').then((found) => found.length)")
            assert await page.evaluate("host.address().then((now) => now === before)")
        finally:
            await hub.close()


async def test_a_database_carries_out_all_or_nothing(browser: str) -> None:
    async with node_page(browser, "page") as page:
        assert await page.evaluate(
            """(async () => {
              const { Database } = smoke;
              const db = new Database("test");
              const other = new Database("test");
              const seen = [await db.count("a"), await db.get("a", "1")];
              seen.push(await db.query("a").toArray());
              const key = (at) => String(at).padStart(3, "0");
              for (let at = 0; at < 150; at++) db.insert("a", { key: key(at), at });
              await db.commit();
              seen.push(await other.count("a"), await other.stores());
              other.insert("b", { key: "1" }); // which another connection would block
              await other.commit();
              db.update("a", { key: "000", at: -1 });
              db.update("a", { key: "absent" });
              db.delete("a", "001");
              await db.commit();
              db.insert("a", { key: "new" });
              db.insert("a", { key: "000" });
              seen.push(await db.commit().catch((error) => error.name));
              seen.push(await db.exists("a", "new"));
              seen.push(await db.query("a").select((one) => one.at).take(3).toArray());
              seen.push(await db.count("a"), (await db.stores()).sort());
              try {
                db.insert("a", {});
              } catch (error) {
                seen.push(error.name);
              }
              seen.push((await db.readable("b").read()).value);
              await db.drop("b");
              const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
              seen.push(await other.stores(), uuid.test(db.key()));
              await Promise.all([db.dispose(), other.dispose()]);
              await Database.drop("test");
              return seen;
            })()"""
        ) == [
            *(0, None, []),
            *(150, ["a"]),
            *("ConstraintError", False),
            [-1, 2, 3],
            *(149, ["a", "b"]),
            "KeyRequiredError",
            {"key": "1"},
            *(["a"], True),
        ]


async def test_statistics_and_a_channel_between_two_nodes(browser: str) -> None:
    async with node_page(browser, "page") as page:
        assert (
            await page.evaluate(
                """(async () => {
              const [host, guest] = [new Node(), new Node()];
              const address = await host.address();
              host.network.bindPort(5, ([peer, channel]) => channel.send(peer.remote));
              const [peer, channel] = await guest.network.connect(address, 5);
              const { data } = await new Promise((resolve) => (channel.onmessage = resolve));
              const [found] = await guest.system.netstat();
              return [
                data === (await guest.address()),
                peer.connection instanceof RTCPeerConnection,
                [...guest.network.getPeers().keys()].join() === address,
                found.remote === address && found.bytesSent > 0,
                guest.system.uptime() >= 0,
              ];
            })()"""
            )
            == [True] * 5
        )


async def test_a_node_in_python_and_one_in_a_page_see_no_difference(
    browser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with node_page(browser, "network") as page:
        url = await page.evaluate("`${location.origin.replace('http', 'ws')}/smoke`")
        await page.evaluate(
            """(async () => {
              window.node = new Node();
              const records = async function* () {
                for (let at = 0; ; at++) yield { at };
              };
              const app = node.rest.createServer();
              app.post("/echo/:name", async (req, res) => {
                await res.json([req.params.name, await req.json()]);
              });
              app.get("/records", (req, res) => {
                res.query(records(), req.query.one ? { prefetch: 0 } : {});
              });
              app.listen(80);
              node.sockets.createServer((socket) => {
                socket.on("message", ({ data }) => socket.send(data));
              }).listen(7);
              await node.hub.register("page");
            })()"""
        )
        async with (
            Database(tmp_path / "file") as database,
            Node(NetworkHub(url)) as node,
        ):
            for number in range(5):
                database.insert("users", {"key": str(number), "at": number})
            await database.commit()
            app = node.rest.create_server()

            @app.post("/echo/:name")
            async def echo(request: Request, response: Response) -> None:
                await response.json([request.params["name"], await request.json()])

            @app.get("/records")
            async def records(request: Request, response: Response) -> None:
                await response.query(
                    database.query("users").where(lambda user: user["at"] > 0),
                    prefetch=0 if "one" in request.query else None,
                )

            app.listen(80)

            async def echo_socket(socket: Socket) -> None:
                async for message in socket:
                    await socket.send(message)

            node.sockets.create_server(echo_socket).listen(7)
            await node.hub.register("python")

            asked = await node.rest.fetch("rest://page/echo/a", method="post", json={"b": 1})
            assert await asked.json() == ["a", {"b": 1}]
            for query in ("", "?one=1"):
                asked = await node.rest.fetch(f"rest://page/records{query}")
                assert await asked.query().take(2).to_list() == [{"at": 0}, {"at": 1}]
            async with await node.sockets.connect("page", 7) as socket:
                await socket.send(b"hello")
                assert await socket.receive() == b"hello"

            body = "{ method: 'post', body: { b: 1 } }"
            ask = f"node.rest.fetch('rest://python/echo/a', {body}).then((n) => n.json())"
            assert await page.evaluate(ask) == ["a", {"b": 1}]
            for query in ("", "?one=1"):
                ask = f"node.rest.fetch('rest://python/records{query}').then((n) => n.query())"
                found = f"{ask}.then((all) => all.select((one) => one.at).take(2).toArray())"
                assert await page.evaluate(found) == [1, 2]
            assert (
                await page.evaluate(
                    """new Promise((resolve) => {
                      const socket = node.sockets.connect("python", 7);
                      socket.on("open", () => socket.send("hello"));
                      let heard = null;
                      socket.on("message", ({ data }) => {
                        heard = data.toString();
                        socket.close();
                      });
                      socket.on("close", () => resolve(heard));
                    })"""
                )
                == "hello"
            )
            refused = "node.rest.fetch('rest://python:81/').catch((error) => error.message)"
            assert await page.evaluate(refused) == ("'python' forcefully closed this connection.")


async def shown(page: Page, url: str) -> None:
    """Have the page's node show a stream, until its picture moves."""
    await page.evaluate(
        f"""(async () => {{
          const answer = await node.rest.fetch("{url}");
          window.video = document.getElementById("video-0");
          video.srcObject = await answer.mediastream();
          video.play();
        }})()"""
    )
    # Encoders begin with small pictures where the machine is slow.
    await page.until("video.readyState >= 2 && video.videoWidth > 0")
    before = await page.evaluate("video.currentTime")
    await page.until(f"video.currentTime > {before}")


def passing(node: Node, source: Camera | str) -> None:
    """Have a node in Python answer with a stream: of a camera, or what another one answers with."""
    app = node.rest.create_server()

    @app.get("/mediastream")
    async def mediastream(_: Request, response: Response) -> None:
        if isinstance(source, str):
            asked = await node.rest.fetch(source)
            async with await asked.mediastream() as stream:
                sending = await response.mediastream(stream)
                await sending.wait_closed()
        else:
            await response.mediastream(source)

    app.listen(80)


class SinglePicture:
    """A source that gives one picture in JPEG."""

    async def run(self, output: Output) -> None:
        output.begin(None)
        output.frame(Frame(VideoFormat("jpeg", 1, 1), 0, b"\xff\xd8\xff\xd9"))
        await asyncio.get_running_loop().create_future()


async def test_a_page_shows_the_camera_of_a_node_in_python(
    browser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    camera = Camera("test:?width=320&height=180&rate=15", linger=0)
    async with node_page(browser, "network") as page:
        url = await page.evaluate("`${location.origin.replace('http', 'ws')}/smoke`")
        await page.evaluate("window.node = new Node(); 0")
        async with Node(NetworkHub(url)) as source, Node(NetworkHub(url)) as proxy:
            passing(source, camera)
            passing(proxy, f"rest://{source.address}/mediastream")
            await shown(page, f"rest://{source.address}/mediastream")
            assert await page.evaluate("video.videoWidth") == 320
            # Who stops its tracks lets go of the camera.
            await page.evaluate("video.srcObject.getTracks().forEach((track) => track.stop())")
            await until(lambda: camera.feed.viewers == 0)
            await shown(page, f"rest://{proxy.address}/mediastream")
            assert await page.evaluate("video.videoWidth") == 320
            single = source.rest.create_server()

            @single.get("/")
            async def refused(_: Request, response: Response) -> None:
                await response.mediastream(SinglePicture())

            single.listen(81)
            ask = f"node.rest.fetch('rest://{source.address}:81/').then((n) => n.mediastream())"
            said = await page.evaluate(f"{ask}.catch((error) => error.message)")
            assert said == "this camera gives single pictures: they are not sent as a stream"
        await page.until("video.srcObject.getTracks().every((one) => one.readyState === 'ended')")
    await camera.close()


async def test_a_node_in_python_takes_the_stream_of_a_page_and_passes_it_on(
    browser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with node_page(browser, "network") as page:
        url = await page.evaluate("`${location.origin.replace('http', 'ws')}/smoke`")
        await page.evaluate(
            """(async () => {
              window.node = new Node();
              const app = node.rest.createServer();
              app.get("/mediastream", async (req, res) => {
                window.sent = await res.mediastream(node.media.createTestPattern());
              });
              app.listen(80);
              await node.hub.register("page");
            })()"""
        )
        async with Node(NetworkHub(url)) as node:
            asked = await node.rest.fetch("rest://page/mediastream")
            async with asyncio.timeout(20), await asked.mediastream() as stream:
                frame = await anext(stream)
                assert (frame.is_video, frame.key) == (True, True)
                assert stream.audio is None
                picture = await stream.video.recv()
                # The encoder begins with pictures of less, of the pattern's shape.
                assert picture.width / picture.height == pytest.approx(4 / 3, rel=0.05)
                await page.evaluate("sent.dispose()")
                with pytest.raises(CameraError):
                    while True:
                        await anext(stream)
            passing(node, "rest://page/mediastream")
            await shown(page, f"rest://{node.address}/mediastream")
