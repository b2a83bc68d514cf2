"""Connections of pages that go on over another path, with every stream at the byte where it was."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.interop.browsers import needs_chromium, needs_firefox
from tests.interop.chromium import chromium
from tests.interop.firefox import open_firefox
from tests.interop.test_browser import HELPERS, client_page, start_signaling

from peerfetch_fast import Peer, Server, connect, serve
from peerfetch_fast.signaling.peerjs.server import SignalingServer
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.web.endpoint import web_endpoint
from peerfetch_fast.webrtc.ice.servers import IceServer
from processes import posix_only
from support import until

pytestmark = posix_only


# Beside what test_browser.py has: move(), which has a body and its echo go on until both ends have
# restarted, and four mebibytes more; `moved` is then whether the echo was right.
MORE = """
(() => {
  const connections = [];
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...options) {
      super(...options);
      connections.push(this);
    }
  };

  const made = () => connections.filter(({ connectionState }) => connectionState === "connected");

  // The ICE credentials of both ends, all of our ports, and the one that is used.
  async function look(connection) {
    const { localDescription, remoteDescription } = connection;
    const ends = [localDescription, remoteDescription];
    const reports = await connection.getStats();
    const all = [...reports.values()];
    const transport = all.find(({ type }) => type === "transport");
    const pair =
      reports.get(transport?.selectedCandidatePairId) ??
      all.find(({ type, selected }) => type === "candidate-pair" && selected);
    return {
      credentials: ends.map(({ sdp }) => /^a=ice-ufrag:.*/m.exec(sdp)[0]),
      ports: all.filter(({ type }) => type === "local-candidate").map(({ port }) => port),
      port: reports.get(pair?.localCandidateId)?.port,
    };
  }

  // From now on `elsewhere` resolves when both ends have restarted.
  async function watch(leaves) {
    const before = await Promise.all(made().map(look));
    const isElsewhere = async () => {
      const now = await Promise.all(made().map(look));
      return now.every(({ credentials, port }, i) => {
        const isNew = credentials.every((one, end) => one !== before[i].credentials[end]);
        return isNew && (!leaves || (port && !before[i].ports.includes(port)));
      });
    };
    window.elsewhere = new Promise((resolve) => {
      const again = async () => ((await isElsewhere()) ? resolve(true) : setTimeout(again, 50));
      again();
    });
  }

  // Resolves once the echo has begun.
  async function move(leaves) {
    await watch(leaves);
    return new Promise((begun) => (window.moved = moving(begun)));
  }

  async function moving(begun) {
    let left = 64;
    let moved = false;
    elsewhere.then(() => (moved = true));
    const sent = new Digest();
    const body = new ReadableStream({
      async pull(controller) {
        if (moved && left-- === 0) return controller.close();
        const piece = crypto.getRandomValues(new Uint8Array(65536));
        await sent.add(piece);
        controller.enqueue(piece);
      },
    });
    const answer = await peer.fetch("/echo", { method: "POST", body, duplex: "half" });
    begun();
    return (await digest(answer)) === (await sent.end());
  }

  const login = () => made()[0].getConfiguration().iceServers[0].username;
  const echo = (peer) => peer.serve((request) => new Response(request.body));
  const restart = () => void dispatchEvent(new Event("online"));
  Object.assign(globalThis, { echo, login, move, restart, watch });
})()
"""


class Evaluating(Protocol):
    """A page of either browser."""

    async def evaluate(self, expression: str) -> Any: ...


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that says what it hears."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        heard = await receive()
        more, body = heard.get("more_body", False), heard.get("body", b"")
        await send({"type": "http.response.body", "body": body, "more_body": more})
        if not more:
            return


@contextlib.asynccontextmanager
async def echoing_device() -> AsyncIterator[tuple[str, Server]]:
    """A signaling server's URL, and a device there that echoes."""
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)
        device = await serve(echo, signaling=signaling, peer_id="dev1")
        stack.push_async_callback(device.close)
        yield signaling, device


async def moves(
    page: Evaluating, *restarts: Callable[[], Awaitable[Any]], leaves: bool = True
) -> None:
    """Have ends look for another path while a body goes both ways: it goes on.

    :param leaves: whether it must go on there, where the path of before would do as well.
    """
    await page.evaluate(f"move({str(leaves).lower()})")
    for restart in restarts:
        await restart()
    assert await page.evaluate("moved")
    assert await page.evaluate("peer.state") == "connected"


def restarted(page: Evaluating) -> Callable[[], Awaitable[Any]]:
    return lambda: page.evaluate("restart()")


def lost(peer: Peer) -> Callable[[], Awaitable[Any]]:
    async def lose() -> None:
        connection: Any = peer._sessions.current.connection
        connection.emit("pathlost")

    return lose


CONNECT = "connect('dev1').then((peer) => void (window.peer = peer))"


async def move_with_a_device(page: Evaluating, device: Server) -> None:
    """Connect a page to a device of ours, and have the path changed by either and by both."""
    await page.evaluate(MORE)
    await page.evaluate(CONNECT)
    await until(lambda: len(device.peers) == 1)  # the page may know before
    (peer,) = device.peers
    session = peer.session
    # The page is at the signaling server for some seconds after its own restart.
    for restarts in ([restarted(page)], [lost(peer)], [restarted(page), lost(peer)]):
        await moves(page, *restarts)
    assert device.peers == {peer}
    assert peer.session is session
    await page.evaluate("peer.close()")


@needs_chromium
async def test_chromium_and_a_device(browser: str) -> None:
    async with echoing_device() as (signaling, device), client_page(browser, signaling) as page:
        await move_with_a_device(page, device)


@needs_chromium
async def test_chromium_and_a_device_by_peernet(
    browser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = TurnLogins(("turn:127.0.0.1:9",), "secret")  # where nobody is
    numbers = itertools.count()
    monkeypatch.setattr(
        TurnLogins, "login", lambda self, *_: IceServer(self.urls, str(next(numbers)), "x")
    )
    signaling = SignalingServer(
        SignalingServerSettings(turn=logins),
        middlewares=[web_endpoint()],
        peernet=PeerNetSettings(),
    )
    await signaling.start("127.0.0.1", 0)
    url = f"peernet+http{signaling.url.removeprefix('ws')}"
    try:
        async with (
            serve(echo, signaling=url, peer_id="dev1") as device,
            client_page(browser, signaling.url) as page,
        ):
            await page.evaluate(MORE)
            await page.evaluate(
                f"connect('dev1', {{ signaling: '{url}' }})"
                ".then((peer) => void (window.peer = peer))"
            )
            await until(lambda: len(device.peers) == 1)
            (peer,) = device.peers
            session = peer.session
            used = [await page.evaluate("login()")]
            for _ in range(2):  # each a knock that names the session of the first
                await moves(page, restarted(page))
                used.append(await page.evaluate("login()"))
            assert len(set(used)) == 3, used
            assert device.peers == {peer}
            assert peer.session is session
            await page.evaluate("peer.close()")
    finally:
        await signaling.close()


@needs_firefox
async def test_firefox_and_a_device() -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling, device = await stack.enter_async_context(echoing_device())
        url = f"http{signaling.removeprefix('ws')}/"
        page = await stack.enter_async_context(open_firefox(url))
        await page.evaluate(HELPERS)
        await move_with_a_device(page, device)


@needs_chromium
@pytest.mark.parametrize("who", ["caller", "both"])
async def test_two_pages_move_to_another_path_together(browser: str, who: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)
        pages = [await stack.enter_async_context(client_page(browser, signaling)) for _ in range(2)]
        for page in pages:
            await page.evaluate(MORE)
        callee, caller = pages
        await callee.evaluate(
            "serve(null, { id: 'dev1', onpeer: (peer) => { window.peer = peer; echo(peer); } })"
            ".then(() => undefined)"
        )
        await caller.evaluate(CONNECT)
        if who == "both":
            # Of two Chromiums whose offers have crossed, one may keep to the path of before.
            await moves(caller, *map(restarted, pages), leaves=False)
        else:
            await moves(caller, restarted(caller))
        assert await callee.evaluate("peer.state") == "connected"
        await caller.evaluate("peer.close()")


@needs_chromium
async def test_python_and_a_page_that_serves(browser: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        signaling = await start_signaling(stack)
        page = await stack.enter_async_context(client_page(browser, signaling))
        await page.evaluate(MORE)
        await page.evaluate("serve(null, { id: 'dev1', onpeer: echo }).then(() => undefined)")
        known = Path(stack.enter_context(tempfile.TemporaryDirectory()), "known_peers")
        calling = connect("dev1", signaling=signaling, known_peers=known)
        peer = await stack.enter_async_context(calling)
        session = peer.session
        # Python is at the signaling server for some seconds after its own restart.
        for restarts in ([lost(peer)], [restarted(page)]):
            await page.evaluate("watch(true)")
            elsewhere = asyncio.create_task(page.evaluate("elsewhere"))
            sent = hashlib.sha256()
            body = until_done(elsewhere, sent)
            response = await peer.fetch("/echo", method="POST", body=body)
            for restart in restarts:
                await restart()
            heard = hashlib.sha256()
            async for piece in response:
                heard.update(piece)
            assert heard.digest() == sent.digest()
            assert await elsewhere
        assert peer.session is session


async def until_done(task: asyncio.Task[Any], digest: Any) -> AsyncIterator[bytes]:
    """Pieces until the task is done, and a mebibyte more."""
    left = 16
    while left:
        left -= task.done()
        piece = os.urandom(65536)
        digest.update(piece)
        yield piece
