"""Old peers over real WebRTC and signaling: small ones, written from how the old ones behave, on
aiortc as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCPeerConnection, RTCSctpCapabilities, RTCSessionDescription

from peerfetch_fast import connect, serve
from peerfetch_fast.errors import AccessDenied, IdentityChanged
from peerfetch_fast.peerfetch1 import MAX_OLD_MESSAGE
from peerfetch_fast.signaling.peerjs.client import SignalingClient, SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.webrtc.transports import Transport
from support import until
from test_peer import signaling_server, world


class OldPeer:
    """What PeerJS and peerjs-python do to connect; candidates are in the descriptions."""

    def __init__(self, signaling: str, peer_id: str | None = None) -> None:
        self.client = SignalingClient(signaling, peer_id, on_message=self.on_message)
        self.connection = RTCPeerConnection()
        self.connection.on("datachannel", self.on_channel)
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.channels: list[Any] = []
        self.answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> OldPeer:
        await self.client.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.client.close()
        await self.connection.close()
        await asyncio.gather(*self.tasks)

    def on_message(self, message: SignalMessage) -> None:
        if message.type == MessageType.ANSWER:
            self.answered.set_result(message.payload)
        elif message.type == MessageType.OFFER:
            self.tasks.add(asyncio.ensure_future(self.take(message)))

    async def take(self, message: SignalMessage) -> None:
        payload: Any = message.payload
        await self.connection.setRemoteDescription(RTCSessionDescription(**payload["sdp"]))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        await self.describe(
            MessageType.ANSWER,
            message.src,
            {"type": "data", "connectionId": payload["connectionId"], "browser": "old"},
        )

    async def describe(self, kind: MessageType, dst: str, payload: dict[str, Any]) -> None:
        description = self.connection.localDescription
        # What Chromium announces; aiortc 1.15 announces less.
        announced = re.sub(r"(?<=a=max-message-size:)\d+", "262144", description.sdp)
        sdp = {"type": description.type, "sdp": announced}
        await self.client.send(kind, dst, {"sdp": sdp, **payload})

    async def offer(self, dst: str, label: str = "http-proxy", **options: Any) -> Any:
        channel = self.connection.createDataChannel(label, **options)
        self.listen(channel)
        opened = asyncio.Event()
        channel.on("open", opened.set)
        channel.on("close", lambda: self.messages.put_nowait("closed"))
        await self.connection.setLocalDescription(await self.connection.createOffer())
        await self.describe(
            MessageType.OFFER,
            dst,
            {
                "type": "data",
                "connectionId": "dc_1",
                "label": label,
                "reliable": True,
                "serialization": "raw",
            },
        )
        payload = await self.answered
        await self.connection.setRemoteDescription(RTCSessionDescription(**payload["sdp"]))
        await opened.wait()
        return channel

    def on_channel(self, channel: Any) -> None:
        self.channels.append(channel)
        self.listen(channel)

    def listen(self, channel: Any) -> None:
        channel.on("message", self.messages.put_nowait)


@contextlib.asynccontextmanager
async def old_proxy(signaling: str) -> AsyncIterator[OldPeer]:
    """A proxy that answers with what it was asked."""
    async with OldPeer(signaling, "old-proxy") as peer:
        # It sends a body in one message, whatever the other side announces.
        peer.connection._RTCPeerConnection__createSctpTransport()  # type: ignore[attr-defined]
        sctp = peer.connection.sctp
        assert sctp is not None
        start = sctp.start

        async def start_without_limit(caps: Any, port: int) -> None:
            await start(RTCSctpCapabilities(maxMessageSize=0), port)

        sctp.start = start_without_limit  # type: ignore[method-assign]

        async def serve() -> None:
            while True:
                request = json.loads(await peer.messages.get())
                [channel] = peer.channels
                if request["url"].startswith("ping"):
                    channel.send(json.dumps({"status": 200}))
                    channel.send("pong")
                    continue
                size = request["url"].rpartition("/bytes/")[2]
                body = bytes(int(size)) if size.isdigit() else json.dumps(request).encode()
                channel.send(json.dumps({"status": 202}))
                channel.send(
                    json.dumps(
                        {
                            "status": 200,
                            "content-type": "application/json",
                            "content-length": len(body),
                        }
                    )
                )
                channel.send(body)

        serving = asyncio.ensure_future(serve())
        try:
            yield peer
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def test_an_old_client_is_served() -> None:
    async with world() as there, OldPeer(there.signaling) as old:
        channel = await old.offer(there.server.peer_id)
        channel.send(json.dumps({"url": "/path?", "method": "GET"}))
        assert json.loads(await old.messages.get())["status"] == 200
        assert await old.messages.get() == b"/path"
        channel.send(json.dumps({"url": "http://example.org/", "method": "GET"}))
        assert json.loads(await old.messages.get())["status"] == 403
        await old.messages.get()
        assert there.server.refused["old client's URL"] == 1
        # Beside it, others are served as ever.
        async with there.connect() as peer:
            assert await (await peer.fetch("/new")).text() == "/new"


async def sized(scope: Any, receive: Any, send: Any) -> None:
    """An application whose answer has as many bytes as the path says."""
    size = int(scope["path"][1:])
    headers = [(b"content-length", str(size).encode()), (b"content-type", b"image/png")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(size)})


@pytest.mark.parametrize("transport", ["native", "aiortc"])
async def test_an_old_client_gets_three_megabytes_in_one_message(transport: Transport) -> None:
    """Old browsers announce 262,144 bytes, and take what old devices have always sent."""

    async with (
        signaling_server() as signaling,
        await serve(sized, signaling=signaling, transport=transport) as server,
        OldPeer(signaling) as old,
    ):
        channel = await old.offer(server.peer_id)

        async def get(size: int) -> tuple[int, bytes]:
            channel.send(json.dumps({"url": f"/{size}", "method": "GET"}))
            while (head := json.loads(await old.messages.get()))["status"] == 202:
                pass
            return head["status"], await old.messages.get()

        for size in (262_145, MAX_OLD_MESSAGE):
            assert await get(size) == (200, bytes(size))
        status, body = await get(MAX_OLD_MESSAGE + 1)
        assert status == 502
        assert b"at most 3000000 bytes" in body
        assert await get(1) == (200, bytes(1))


async def test_an_old_client_that_vanishes_mid_answer() -> None:
    async with world() as there:
        async with OldPeer(there.signaling) as old:
            channel = await old.offer(there.server.peer_id)
            channel.send(json.dumps({"url": "/slow", "method": "GET"}))
            assert json.loads(await old.messages.get()) == {"status": 202}
        await until(lambda: not there.server.peers)
        async with there.connect() as peer:
            assert (await peer.fetch("/")).ok


async def test_an_old_client_hears_that_the_server_closes() -> None:
    async with world() as there, OldPeer(there.signaling) as old:
        await old.offer(there.server.peer_id)
        await until(lambda: len(there.server.peers) == 1)
        await there.server.close()
        assert await old.messages.get() == "closed"


async def test_a_request_of_twenty_megabytes_is_an_error_and_the_connection_goes_on() -> None:
    async with world() as there, OldPeer(there.signaling) as old:
        channel = await old.offer(there.server.peer_id)
        # It does not mind that we said how much we take.
        old.connection.sctp._remote_max_message_size = 0  # type: ignore[union-attr]
        for size in (300_000, 3_500_000, 20_000_000):
            channel.send("x" * size)
            assert json.loads(await old.messages.get())["status"] == 400
            assert b"longer than 262144 characters" in await old.messages.get()
        channel.send(json.dumps({"url": "/path?", "method": "GET"}))
        assert json.loads(await old.messages.get())["status"] == 200
        assert await old.messages.get() == b"/path"


@pytest.mark.parametrize("label", ["http-proxy", "other"])
async def test_channels_of_another_kind_are_closed(label: str) -> None:
    async with world() as there, OldPeer(there.signaling) as old:
        options = {"protocol": "another"} if label == "http-proxy" else {}
        offering = asyncio.ensure_future(old.offer(there.server.peer_id, label, **options))
        assert await old.messages.get() == "closed"
        await offering


@pytest.mark.parametrize("transport", ["native", "aiortc"])
async def test_an_old_proxy_is_asked_its_way(transport: Transport) -> None:
    async with signaling_server() as signaling, old_proxy(signaling) as old:
        async with connect("old-proxy", signaling=signaling, transport=transport) as peer:
            url = "http://localhost:8778/api"
            response = await peer.fetch(f"/{url}")
            assert response.headers["content-type"] == "application/json"
            assert (await response.json())["url"] == url
            assert (await peer.fetch("/", method="DELETE")).status == 501
        assert [channel.label for channel in old.channels] == ["http-proxy"]
        assert old.channels[0].ordered


async def test_an_old_proxy_s_answers_of_one_message_are_taken_up_to_a_bound() -> None:
    async with (
        signaling_server() as signaling,
        old_proxy(signaling),
        connect("old-proxy", signaling=signaling) as peer,
    ):
        for size in (262_145, MAX_OLD_MESSAGE):
            response = await peer.fetch(f"/http://localhost/bytes/{size}")
            assert await response.bytes() == bytes(size)
        for size in (MAX_OLD_MESSAGE + 1, 20_000_000):
            response = await peer.fetch(f"/http://localhost/bytes/{size}")
            assert response.status == 502
            assert "at most 3000000 bytes are taken" in await response.text()
        assert (await peer.fetch("/http://localhost/still-there")).ok


async def test_an_old_proxy_has_a_new_certificate_each_time_but_cannot_stand_for_a_known_peer(
    tmp_path: Path,
) -> None:
    file = tmp_path / "known_peers"
    async with signaling_server() as signaling:
        for _ in range(2):
            async with (
                old_proxy(signaling),
                connect("old-proxy", signaling=signaling, known_peers=file) as peer,
            ):
                assert (await peer.fetch("/")).ok
        assert not file.exists()
        file.write_text(f"sha256:{'0' * 64} old-proxy\n")
        async with old_proxy(signaling):
            with pytest.raises(IdentityChanged):
                await connect("old-proxy", signaling=signaling, known_peers=file)


async def test_an_access_token_keeps_old_clients_out() -> None:
    async with (
        signaling_server() as signaling,
        await serve(
            "http://127.0.0.1:9", signaling=signaling, access_token="a token for tests"
        ) as server,
        OldPeer(signaling) as old,
    ):
        channel = await old.offer(server.peer_id)
        channel.send(json.dumps({"url": "/", "method": "GET"}))
        assert json.loads(await old.messages.get())["status"] == 401
        assert b"access token" in await old.messages.get()


async def test_an_access_token_is_not_forgotten_before_an_old_proxy() -> None:
    async with signaling_server() as signaling, old_proxy(signaling):
        with pytest.raises(AccessDenied, match="access token"):
            await connect("old-proxy", signaling=signaling, access_token="a token for tests")


async def application(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.mark.parametrize("kind", ["directory", "application"])
async def test_what_has_no_url_is_served_as_the_device_itself(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"/file")
    target: Any = tmp_path if kind == "directory" else application
    async with (
        signaling_server() as signaling,
        await serve(target, signaling=signaling) as server,
        OldPeer(signaling) as old,
    ):
        channel = await old.offer(server.peer_id)
        channel.send(json.dumps({"url": "http://localhost:8778/file?", "method": "GET"}))
        assert json.loads(await old.messages.get())["status"] == 200
        assert await old.messages.get() == b"/file"
