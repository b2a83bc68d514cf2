"""HTTP/1.1 in octets on a channel: stock aiortc and h11 at the other end, by PeerNet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import h11
import pytest

from peerfetch_fast import Server, serve
from peerfetch_fast.octets_client import MAX_READ_AHEAD
from peerfetch_fast.signaling import SignalingServer
from peerfetch_fast.signaling.peernet import protobuf
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from support import run, until

aiortc = pytest.importorskip("aiortc")


class Client:
    """A channel ``peernet.http`` of stock aiortc."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.http = h11.Connection(h11.CLIENT)
        self._came: asyncio.Queue[bytes] = asyncio.Queue()
        self.longest = 0
        channel.on("message", self._came.put_nowait)
        channel.on("close", lambda: self._came.put_nowait(b""))

    async def ask(self, method: str, target: str, body: bytes = b"", *, piece: int = 7) -> Any:
        """Status and body; what is sent goes in pieces that have nothing to do with HTTP."""
        fields = [("Host", "device"), ("Content-Length", str(len(body)))]
        octets = self.http.send(h11.Request(method=method, target=target, headers=fields)) or b""
        if body:
            octets += self.http.send(h11.Data(body)) or b""
        octets += self.http.send(h11.EndOfMessage()) or b""
        for start in range(0, len(octets), piece):
            self.channel.send(octets[start : start + piece])
        status, content = 0, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                octets = await self._came.get()
                self.longest = max(self.longest, len(octets))
                self.http.receive_data(octets)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                content += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
                    self.http.start_next_cycle()
                return status, content

    async def raw(self, octets: bytes) -> bytes:
        """What comes for these octets, to the end of the channel."""
        self.channel.send(octets)
        found = b""
        while piece := await self._came.get():
            found += piece
        return found


async def knock_in_json(session: aiohttp.ClientSession, url: str, offer: Any) -> Any:
    """The answered knock."""
    async with session.post(url, json={"offer": offer}) as response:
        knock = await response.json()
    base = url.partition("servers/")[0]
    async with session.get(f"{base}{knock['name']}?wait=25") as response:
        return await response.json()


async def knock_in_protobuf(session: aiohttp.ClientSession, url: str, offer: Any) -> Any:
    """The answered knock."""
    json_format = pytest.importorskip("google.protobuf.json_format")
    kind = protobuf._types()["Knock"]
    mime = {"Accept": "application/x-protobuf", "Content-Type": "application/x-protobuf"}
    data = json_format.ParseDict({"offer": offer}, kind()).SerializeToString()
    async with session.post(url, data=data, headers=mime) as response:
        knock = kind.FromString(await response.read())
    base = url.partition("servers/")[0]
    async with session.get(f"{base}{knock.name}?wait=25", headers=mime) as response:
        return json_format.MessageToDict(kind.FromString(await response.read()))


@contextlib.asynccontextmanager
async def world(
    target: Any,
    *,
    knock: Callable[..., Any] = knock_in_json,
    service: str = "peernet.http:1.1",
    **options: Any,
) -> AsyncIterator[tuple[Client, Server]]:
    signaling = SignalingServer(peernet=PeerNetSettings())
    await signaling.start("127.0.0.1", 0)
    base = signaling.url.replace("ws:", "http:")
    pc = aiortc.RTCPeerConnection()
    try:
        async with (
            aiohttp.ClientSession() as session,
            serve(
                target,
                peer_id="device",
                signaling=f"peernet+{base}?service=peernet.sensor:1.0",
                **options,
            ) as server,
        ):
            channel = pc.createDataChannel("peernet.http")
            opened = asyncio.Event()
            channel.on("open", opened.set)
            client = Client(channel)
            await pc.setLocalDescription(await pc.createOffer())
            knocks = f"{base}/v1/servers/device/services/{service}/knocks"
            offer = {"sdp": pc.localDescription.sdp, "sdpType": "offer"}
            answered = await knock(session, knocks, offer)
            found = answered["service"]
            assert f"{found['protocol']}:{found['version']}" == service
            answer = answered["answer"]
            await pc.setRemoteDescription(aiortc.RTCSessionDescription(answer["sdp"], "answer"))
            await opened.wait()
            yield client, server
            await pc.close()
    finally:
        await pc.close()
        await signaling.close()


async def echo(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode() + b" " + body})


@pytest.mark.parametrize("knock", [knock_in_json, knock_in_protobuf])
@pytest.mark.parametrize("service", ["peernet.http:1.1", "peernet.sensor:1.0"])
def test_a_stock_client_is_answered(tmp_path: Path, knock: Any, service: str) -> None:
    (tmp_path / "readings").write_text("21.5")

    async def main() -> None:
        async with world(tmp_path, knock=knock, service=service) as (client, _):
            assert await client.ask("GET", "/readings") == (200, b"21.5")

    run(main())


def test_requests_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 2048)

    async def main() -> None:
        async with world(tmp_path) as (client, server):
            assert await client.ask("GET", "/a.txt") == (200, b"here")
            assert (await client.ask("GET", "/nothing"))[0] == 404
            assert (await client.ask("GET", "/large"))[1] == bytes(range(256)) * 2048
            assert client.longest <= 16 * 1024
            assert len(server.peers) == 1
            await server.close()

    run(main())


def test_bodies_and_an_application() -> None:
    async def main() -> None:
        async with world(echo) as (client, _):
            body = bytes(range(256)) * 100
            assert await client.ask("POST", "/x", body, piece=1000) == (201, b"/x " + body)

    run(main())


def test_what_is_no_http_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as (client, server):
            assert (await client.raw(b"no HTTP at all\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
            await until(lambda: not server.peers)

    run(main())


def test_a_device_with_an_access_token_lets_nobody_in_without(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")

    async def main() -> None:
        async with world(tmp_path, access_token="a long access token") as (client, _):
            assert (await client.ask("GET", "/a.txt"))[0] == 401

    run(main())


def test_octets_that_nobody_reads_are_bounded() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(600)

    async def main() -> None:
        async with world(slow) as (client, server):
            length = 4 * MAX_READ_AHEAD
            client.channel.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length
            )
            for _ in range(length // 16_384):
                if client.channel.readyState != "open":
                    break
                client.channel.send(bytes(16_384))
                await asyncio.sleep(0)
            await until(lambda: server.refused["more octets than are read"] == 1)

    run(main())
