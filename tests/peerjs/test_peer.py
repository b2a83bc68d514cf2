"""Programs written for peerjs-python, with another import, on our signaling server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiortc import RTCConfiguration, RTCIceServer

from peerfetch_fast import connect
from peerfetch_fast.peerfetch1 import MAX_OLD_MESSAGE
from peerfetch_fast.peerjs.enums import (
    ConnectionEventType,
    PeerErrorType,
    PeerEventType,
    SerializationType,
)
from peerfetch_fast.peerjs.peer import (
    DataConnection,
    Peer,
    PeerConnectOption,
    PeerError,
    PeerOptions,
)
from peerfetch_fast.peerjs.peerroom import PeerRoom
from peerfetch_fast.peerjs.util import default_ice_servers, util
from peerfetch_fast.signaling import SignalingClient, SignalingServer, SignalingServerSettings
from peerfetch_fast.signaling.peerjs.client import SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.webrtc import HAVE_NATIVE
from support import run, until


class World:
    def __init__(self, server: SignalingServer) -> None:
        self.server = server
        self.peers: list[Peer] = []

    def options(self, **options: Any) -> PeerOptions:
        port = urlsplit(self.server.url).port
        assert port is not None
        return PeerOptions(**{"host": "127.0.0.1", "port": port, "config": None} | options)

    async def peer(self, id: str | None = None, **options: Any) -> Peer:
        peer = Peer(id=id, peer_options=self.options(**options))
        self.peers.append(peer)
        await peer.start()
        return peer


@contextlib.asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    server = SignalingServer(SignalingServerSettings(message_queue_time=0.2, **settings))
    await server.start("127.0.0.1", 0)
    there = World(server)
    try:
        yield there
    finally:
        for peer in there.peers:
            await peer.destroy()
        await server.close()


def events(emitter: Any, *names: Any) -> asyncio.Queue[Any]:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for name in names:
        emitter.on(name, lambda *values, name=name: queue.put_nowait((str(name), *values)))
    return queue


def test_the_names_of_peerjs_python() -> None:
    assert PeerEventType.Open.value == "open"
    assert PeerErrorType.UnavailableID == "unavailable-id"
    assert ConnectionEventType.IceStateChanged == "iceStateChanged"
    assert util.randomToken() != util.randomToken()
    assert util.validateId(util.randomToken())
    assert util.validateId(None)
    assert not util.validateId("a/b")
    servers = [RTCIceServer(**server) for server in default_ice_servers]
    config = RTCConfiguration(iceServers=servers)
    assert PeerOptions(host="h", port=1, secure=True, config=config).path == "/"


@pytest.mark.skipif(not HAVE_NATIVE, reason="it looks into the native connection")
async def test_a_candidate_right_behind_its_offer_is_tried() -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        incoming = events(bob, PeerEventType.Connection)
        offered = asyncio.get_running_loop().create_future()
        assert bob._client is not None
        board, deliver = bob._switchboard, bob._client._on_message
        line = {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdpMLineIndex": 0}

        def behind(message: SignalMessage) -> None:
            if message.type == MessageType.OFFER:
                sdp = message.payload["sdp"]
                sdp["sdp"] = sdp["sdp"].replace("a=end-of-candidates\r\n", "")
            deliver(message)
            if message.type == MessageType.OFFER:
                payload = {**message.payload, "candidate": line}
                deliver(SignalMessage(MessageType.CANDIDATE, message.src, payload))
                offered.set_result(message.payload["connectionId"])

        bob._client._on_message = behind
        assert await alice.connect("bob") is not None
        number = await offered
        _, theirs = await incoming.get()
        await asyncio.sleep(0)
        connection = board._receivers["alice", number].connection
        await until(lambda: connection._ice.agent is not None)
        agent = connection._ice.agent
        await until(lambda: any(port == 9 for _, port in agent._checklist.remotes))
        await theirs.close()


@pytest.mark.parametrize(
    ("serialization", "values"),
    [
        ("raw", ["text", b"bytes", bytes(60_000)]),
        ("none", ["text", b"bytes"]),
        ("json", ["text", {"a": [1, None, 2.5]}]),
        ("binary", ["text", {"a": [1, None, b"bytes"]}, b"x" * 100_000, "y" * 100_000]),
        (SerializationType.JSON, [5]),
    ],
)
async def test_values_arrive_both_ways_until_it_is_closed(
    serialization: str, values: list[Any]
) -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        incoming = events(bob, PeerEventType.Connection)
        ours = await alice.connect(
            "bob",
            PeerConnectOption(
                label="l", serialization=serialization, reliable=True, metadata={"m": 1}
            ),
        )
        assert ours is not None
        assert not ours.open
        opened = events(ours, ConnectionEventType.Open)
        _, theirs = await incoming.get()
        also = events(theirs, ConnectionEventType.Open)
        await opened.get()
        await also.get()
        assert (theirs.peer, theirs.label, theirs.metadata) == ("alice", "l", {"m": 1})
        assert theirs.serialization == serialization
        assert ours.open
        assert ours.dataChannel is not None
        assert ours.dataChannel.readyState == "open"
        assert ours.peerConnection is not None
        assert ours.peerConnection.connectionState == "connected"
        for one, other in ((ours, theirs), (theirs, ours)):
            received = events(other, ConnectionEventType.Data)
            for value in values:
                await one.send(value)
                assert await received.get() == ("data", value)
        closed = events(theirs, ConnectionEventType.Close)
        await ours.close()
        await closed.get()
        assert not ours.open


@pytest.mark.parametrize("browser", ["chrome", None])
@pytest.mark.parametrize("kind", [MessageType.OFFER, MessageType.ANSWER])
def test_json_is_text_for_those_who_name_their_browser(
    kind: MessageType, browser: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PeerJS before 1.5 throws at bytes, whoever speaks first; 1.5 names no browser."""
    seen: list[bytes | str] = []
    decode = DataConnection._decode

    def see(connection: DataConnection, message: bytes | str) -> Any:
        seen.append(message)
        return decode(connection, message)

    monkeypatch.setattr(DataConnection, "_decode", see)

    async def main() -> None:
        async with world() as there:
            alice, bob = await there.peer("alice"), await there.peer("bob")
            speaker = bob if kind == MessageType.OFFER else alice
            assert speaker._client is not None
            deliver = speaker._client._on_message

            def from_another_version(message: SignalMessage) -> None:
                if message.type == kind and browser is not None:
                    message.payload["browser"] = browser
                deliver(message)

            speaker._client._on_message = from_another_version
            incoming = events(bob, PeerEventType.Connection)
            ours = await alice.connect("bob", {"serialization": "json"})
            assert ours is not None
            opened = events(ours, ConnectionEventType.Open)
            _, theirs = await incoming.get()
            also = events(theirs, ConnectionEventType.Open)
            await opened.get()
            await also.get()
            one, other = (theirs, ours) if speaker is bob else (ours, theirs)
            received = events(other, ConnectionEventType.Data)
            await one.send({"a": 1})
            assert await received.get() == ("data", {"a": 1})

    run(main())
    assert seen == [b'{"a":1}' if browser is None else '{"a":1}']


async def test_a_serialization_that_is_not_spoken_is_refused_at_once() -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        connections, told = events(bob, "connection"), events(bob, "error")
        with pytest.raises(PeerError, match="MsgPack"):
            await alice.connect("bob", {"serialization": "MsgPack"})
        offer = alice._switchboard.send

        async def packed(signal: Signal) -> None:
            about = signal.about
            if signal.kind is SignalKind.OFFER:
                about = {**about, "serialization": "MsgPack"}
            await offer(replace(signal, about=about))

        alice._switchboard.send = packed  # type: ignore[method-assign]
        ours = await alice.connect("bob", {"serialization": "raw"})
        assert ours is not None
        closed = events(ours, "close")
        name, error = await told.get()
        assert (name, error.type) == ("error", PeerErrorType.WebRTC)
        assert "'MsgPack'" in str(error)
        assert await closed.get() == ("close",)
        await until(lambda: not bob._connections)
        assert connections.empty()


async def test_bodies_of_an_old_proxy_come_in_one_message_up_to_a_bound() -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        incoming = events(bob, "connection")
        ours = await alice.connect("bob", {"serialization": "raw", "label": "http-proxy"})
        assert ours is not None
        opened, told = events(ours, "open"), events(ours, "data", "error")
        _, theirs = await incoming.get()
        also = events(theirs, "open")
        await opened.get()
        await also.get()
        await theirs.send(bytes(MAX_OLD_MESSAGE))
        assert await told.get() == ("data", bytes(MAX_OLD_MESSAGE))
        # As one that does not mind how much we take.
        ours.message_received(bytes(MAX_OLD_MESSAGE + 1))
        name, error = await told.get()
        assert name == "error"
        assert "more than 3000000 bytes" in str(error)
        await theirs.send("next")
        assert await told.get() == ("data", "next")


async def test_more_than_the_channel_holds_at_once() -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        received = 0
        done = asyncio.Event()

        @bob.on("connection")
        def on_connection(connection: Any) -> None:
            @connection.on("data")
            def on_data(data: bytes) -> None:
                nonlocal received
                received += len(data)
                if received == 20_000_000:
                    done.set()

        connection = await alice.connect("bob", {"serialization": "raw", "reliable": True})
        assert connection is not None
        await events(connection, "open").get()
        for _ in range(400):
            await connection.send(bytes(50_000))
            assert connection._connected is not None
            assert connection._connected.link.buffered_amount < 2_000_000
        await done.wait()


async def test_a_proxy_as_the_old_one_is_written() -> None:
    """The calls of the old proxies' main programs, with the handlers that they add."""

    async with world() as there:
        saved: list[str] = []
        log: list[Any] = []

        def handle(connection: Any) -> None:
            @connection.on(ConnectionEventType.Open)
            async def pc_open() -> None:
                log.append(("open", connection.peer))

            @connection.on(ConnectionEventType.Data)
            async def pc_data(data: str) -> None:
                request = json.loads(data)
                if request["url"].startswith("ping"):
                    await connection.send(json.dumps({"status": 200}))
                    await connection.send("pong")
                    return
                body = f"you asked for {request['url']}".encode()
                head = {
                    "status": 200,
                    "content-type": "text/plain",
                    "content-length": len(body),
                }
                await connection.send(json.dumps(head))
                await connection.send(body)

            @connection.on(ConnectionEventType.Close)
            async def pc_close() -> None:
                log.append(("close", connection.peer))

        peer = await there.peer(token=util.randomToken())

        @peer.on(PeerEventType.Open)
        async def peer_open(id: str) -> None:
            saved.append(id)

        @peer.on(PeerEventType.Connection)
        async def peer_connection(connection: Any) -> None:
            handle(connection)

        await until(lambda: saved == [peer.id])
        room = PeerRoom(peer)
        assert await room.getRoomMembers() == {"clientsIds": [peer.id]}
        assert (await room.join())["clientsIds"] == [peer.id]
        assert room.id
        # A client of ours takes it for the old proxy that it is.
        assert peer.id is not None
        async with connect(peer.id, signaling=there.server.url) as client:
            response = await client.fetch("/http://localhost:8778/x")
            assert await response.text() == "you asked for http://localhost:8778/x"
        await until(lambda: len(log) == 2)
        assert [event for event, _ in log] == ["open", "close"]


async def test_a_lost_server_is_told_and_taken_up_again() -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        told = events(alice, PeerEventType.Disconnected, PeerEventType.Error)
        incoming = events(bob, "connection")
        ours = await alice.connect("bob", PeerConnectOption(serialization="raw"))
        assert ours is not None
        _, theirs = await incoming.get()
        received = events(theirs, "data")
        await events(ours, "open").get()
        assert alice._client is not None
        assert alice._client._socket is not None
        alice._client._socket._connection.abort()
        name, error = await told.get()
        assert (name, error.type) == ("error", PeerErrorType.Network)
        assert await told.get() == ("disconnected", "alice")
        assert (alice.open, alice.disconnected, alice.destroyed) == (False, True, False)
        await ours.send("still there")
        assert await received.get() == ("data", "still there")
        assert await alice.connect("bob") is None
        assert (await told.get())[1].type == PeerErrorType.Disconnected
        # What old programs do before they reconnect.
        alice._lastServerId = "alice"
        opened = events(alice, "open")
        await alice.reconnect()
        assert await opened.get() == ("open", "alice")
        assert alice.open
        assert "alice" in there.server.peer_ids


@pytest.mark.parametrize(
    ("id", "kind"), [("taken", PeerErrorType.UnavailableID), ("a/b", PeerErrorType.InvalidID)]
)
async def test_ids_that_cannot_be_had(id: str, kind: PeerErrorType) -> None:
    async with world() as there:
        await there.peer("taken")
        peer = Peer(id, there.options())
        told = events(peer, "error", "close", "disconnected")
        await peer.start()
        assert (await told.get())[1].type == kind
        assert [(await told.get())[0], (await told.get())[0]] == ["disconnected", "close"]
        assert peer.destroyed


async def test_a_server_that_is_not_there() -> None:
    peer = Peer(peer_options=PeerOptions(host="127.0.0.1", port=1))
    told = events(peer, "error")
    await peer.start()
    assert (await told.get())[1].type == PeerErrorType.ServerError
    assert peer.destroyed


async def test_a_peer_that_is_not_there() -> None:
    async with world() as there:
        alice = await there.peer("alice")
        told = events(alice, "error")
        connection = await alice.connect("nobody")
        assert connection is not None
        also = events(connection, "error", "close")
        assert (await told.get())[1].type == PeerErrorType.PeerUnavailable
        assert (await also.get())[0] == "error"
        await until(lambda: not alice._connections)
        assert not alice.destroyed


@pytest.mark.parametrize(
    ("serialization", "value"),
    [
        ("raw", 5),
        ("raw", bytes(10_000_000)),
        ("json", {5: object()}),
        ("json", "x" * 1_000_000),
        ("binary", object()),
    ],
)
async def test_what_cannot_be_sent_is_told_as_an_error(serialization: str, value: Any) -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        incoming = events(bob, "connection")
        ours = await alice.connect("bob", PeerConnectOption(serialization=serialization))
        assert ours is not None
        told = events(ours, "error")
        await ours.send("too early")
        assert "not open" in str((await told.get())[1])
        opened = events(ours, "open")
        _, theirs = await incoming.get()
        received = events(theirs, "data")
        await opened.get()
        await ours.send(value)
        assert isinstance((await told.get())[1], ValueError | TypeError)
        await ours.send("next")
        assert await received.get() == ("data", "next")


async def test_offers_of_the_hostile_kind_and_listeners_that_fail() -> None:
    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")

        @bob.on("connection")
        async def fails(connection: Any) -> None:
            connection.on("data", lambda: None)  # takes no argument
            raise KeyError

        async with SignalingClient(there.server.url, on_message=print) as hostile:
            sdp = {"type": "offer", "sdp": "v=0\r\n"}
            for payload in (
                {},
                {"type": "media", "sdp": sdp},
                {"type": "data", "sdp": sdp, "serialization": "other"},
                {"type": "data", "sdp": sdp, "serialization": "raw", "label": 5},
                {"type": "data", "sdp": sdp, "serialization": "raw"},
            ):
                await hostile.send(MessageType.OFFER, "bob", {"connectionId": "x", **payload})
            ours = await alice.connect("bob", PeerConnectOption(serialization="json"))
            assert ours is not None
            await events(ours, "open").get()
            assert ours._connected is not None
            ours._connected.link.send("no JSON")
            await ours.send("text")
        await until(lambda: len(bob._connections) == 1)


async def test_a_connection_that_brings_too_much_in_part_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.peerjs.peer.MAX_CHUNKED", 100_000)

    async with world() as there:
        alice, bob = await there.peer("alice"), await there.peer("bob")
        incoming = events(bob, PeerEventType.Connection)
        ours = await alice.connect("bob")
        assert ours is not None
        opened = events(ours, ConnectionEventType.Open)
        _, theirs = await incoming.get()
        told = events(theirs, ConnectionEventType.Error, ConnectionEventType.Close)
        await opened.get()
        await ours.send(bytes(200_000))
        name, error = await told.get()
        assert name == "error"
        assert "bytes in chunks" in str(error)
        assert (await told.get())[0] == "close"
        assert bob._chunk_budget.take(100_000)
