"""A client against the real server, and against servers that do what they should not."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from certificates import self_signed
from peerfetch_fast.errors import IdTaken, SignalingError
from peerfetch_fast.identity import format_pin
from peerfetch_fast.signaling import (
    ClientState,
    MessageType,
    SignalingClient,
    SignalingClientSettings,
    SignalingServer,
    SignalMessage,
)
from peerfetch_fast.signaling.peerjs import ice_servers
from peerfetch_fast.signaling.peerjs.messages import MAX_ID_LENGTH, Message, encode
from peerfetch_fast.signaling.peerjs.room import Room
from peerfetch_fast.signaling.peerjs.settings import MAX_MESSAGE_SIZE
from peerfetch_fast.webrtc.ice.servers import IceServer
from support import run

QUICK = SignalingClientSettings(backoff_initial=0.02, backoff_maximum=0.05, close_timeout=0.2)


class Inbox:
    """A client with what came to it."""

    def __init__(self, url: str, peer_id: str | None = None, **options: Any) -> None:
        self.messages: asyncio.Queue[SignalMessage] = asyncio.Queue()
        self.closed: asyncio.Queue[SignalingError] = asyncio.Queue()
        options = {
            "settings": QUICK,
            "rng": random.Random(7),
            "on_message": self.messages.put_nowait,
            "on_closed": self.closed.put_nowait,
            **options,
        }
        self.client = SignalingClient(url, peer_id, **options)

    async def __aenter__(self) -> Inbox:
        await self.client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()


@asynccontextmanager
async def serving(
    port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[SignalingServer]:
    server = SignalingServer()
    await server.start("127.0.0.1", port, tls)
    try:
        yield server
    finally:
        await server.close()


def port_of(server: SignalingServer) -> int:
    return int(server.url.rpartition(":")[2])


async def let_in(socket: web.WebSocketResponse) -> None:
    await socket.send_json({"type": "OPEN"})
    async for _ in socket:
        pass


async def let_in_and_hang_up(socket: web.WebSocketResponse) -> None:
    await socket.send_json({"type": "OPEN"})
    await socket.close()


def saying(*messages: object) -> Callable[[web.WebSocketResponse], Awaitable[None]]:
    """Lets a client in and then says these, a dict or str each as it is."""

    async def script(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN"})
        for message in messages:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                text = message if isinstance(message, str) else json.dumps(message)
                await socket.send_str(text)
        async for _ in socket:
            pass

    return script


TURN = {"urls": ["turn:192.0.2.1"], "username": "1:x", "credential": "one"}


async def test_logins_are_taken_and_renewed_before_they_expire_and_nothing_is_lost(
    scripted: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice_servers, "RENEWED_AT", 0.002)  # of a minute: 0.12 s
    renewed, sent = asyncio.Event(), asyncio.Event()

    async def first(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN", "payload": {"iceServers": [TURN], "ttl": 60}})
        await renewed.wait()
        # What the server had to say before it saw the other connection.
        await socket.send_json({"type": "OFFER", "src": "bob", "payload": "before"})
        sent.set()
        await socket.close(code=4001)

    async def second(socket: web.WebSocketResponse) -> None:
        renewed.set()
        await sent.wait()
        again = [TURN | {"username": "2:x", "credential": "two"}]
        await socket.send_json({"type": "OPEN", "payload": {"iceServers": again}})
        await socket.send_json({"type": "OFFER", "src": "bob", "payload": "after"})
        async for _ in socket:
            pass

    async with scripted(first, second) as server, Inbox(server.url, "alice") as alice:
        one = IceServer("turn:192.0.2.1", "1:x", "one")
        assert alice.client.ice_servers == (one,)
        assert [(await alice.messages.get()).payload for _ in range(2)] == ["before", "after"]
        assert alice.client.ice_servers == (IceServer("turn:192.0.2.1", "2:x", "two"),)
        assert alice.client.state is ClientState.OPEN
        assert [query["token"] for query in server.queries] == [alice.client.token] * 2


async def test_the_connection_serves_on_where_logins_are_not_renewed(
    scripted: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice_servers, "RENEWED_AT", 0.002)
    refused = asyncio.Event()

    async def first(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN", "payload": {"iceServers": [TURN], "ttl": 60}})
        await refused.wait()
        await socket.send_json({"type": "OFFER", "src": "bob", "payload": "still here"})
        async for _ in socket:
            pass

    async def refuse(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "ERROR", "payload": {"msg": "full"}})
        refused.set()
        await socket.close()

    async with scripted(first, refuse) as server, Inbox(server.url, "alice") as alice:
        assert (await alice.messages.get()).payload == "still here"
        await alice.client.wait_for(ClientState.OPEN)
        assert alice.client.ice_servers == (IceServer("turn:192.0.2.1", "1:x", "one"),)
        await asyncio.sleep(0)
        assert len(server.queries) == 2  # and the next attempt takes its time


@pytest.mark.parametrize("let_in_too", [False, True])
async def test_who_closes_while_logins_are_renewed_leaves_no_connection(
    scripted: type[Any], monkeypatch: pytest.MonkeyPatch, let_in_too: bool
) -> None:
    monkeypatch.setattr(ice_servers, "RENEWED_AT", 0.002)
    renewing, left = asyncio.Event(), asyncio.Semaphore(0)

    async def until_left(socket: web.WebSocketResponse) -> None:
        try:
            async for _ in socket:
                pass
        finally:
            left.release()

    async def first(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN", "payload": {"iceServers": [TURN], "ttl": 60}})
        await renewing.wait()
        await socket.send_json({"type": "OFFER", "src": "bob"})
        await until_left(socket)

    async def second(socket: web.WebSocketResponse) -> None:
        if let_in_too:
            await socket.send_json({"type": "OPEN"})
        renewing.set()
        await until_left(socket)

    patient = replace(QUICK, close_timeout=30.0)
    async with scripted(first, second) as server:
        async with Inbox(server.url, "alice", settings=patient) as alice:
            await renewing.wait()
            if let_in_too:  # the client reads what the first connection has left to say
                await alice.messages.get()
        async with asyncio.timeout(10):
            await left.acquire()
            await left.acquire()


async def test_an_attempt_that_took_the_place_after_all_is_no_double_of_ours(
    scripted: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice_servers, "RENEWED_AT", 0.002)
    came = asyncio.Event()

    async def first(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN", "payload": {"iceServers": [TURN], "ttl": 60}})
        await came.wait()
        await socket.close(code=4001)

    async def hang_up(socket: web.WebSocketResponse) -> None:
        came.set()
        await socket.close()

    async with (
        scripted(first, hang_up, let_in) as server,
        Inbox(server.url, "alice") as alice,
    ):
        await came.wait()
        while len(server.queries) < 3:
            await alice.client.wait_for(ClientState.RECONNECTING)
            await alice.client.wait_for(ClientState.OPEN)
        assert alice.closed.empty()


async def test_the_server_gives_an_id_and_peers_talk() -> None:
    async with serving() as server, Inbox(server.url) as a, Inbox(server.url, "bob") as b:
        assert a.client.state is ClientState.OPEN
        assert sorted(server.peer_ids) == sorted([a.client.peer_id, "bob"])
        await a.client.send("OFFER", "bob", {"sdp": "ü"})
        assert await b.messages.get() == SignalMessage(
            MessageType.OFFER, a.client.peer_id, {"sdp": "ü"}
        )
        await b.client.send(MessageType.ANSWER, a.client.peer_id, [1])
        assert (await a.messages.get()).type == "ANSWER"
        await b.client.send("LEAVE", a.client.peer_id)
        assert await a.messages.get() == SignalMessage(MessageType.LEAVE, "bob", None)
    assert a.client.state is ClientState.CLOSED
    assert a.closed.empty()


async def test_an_expire_says_who_was_not_there(scripted: Any) -> None:
    expire = {"type": "EXPIRE", "src": "absent", "dst": "alice"}

    async with scripted(saying(expire)) as server, Inbox(server.url, "alice") as alice:
        assert await alice.messages.get() == SignalMessage(MessageType.EXPIRE, "absent", None)


async def test_a_taken_id_fails_the_start() -> None:
    async with serving() as server, Inbox(server.url, "alice"):
        second = Inbox(server.url, "alice")
        with pytest.raises(IdTaken, match=f"alice is taken at {server.url}"):
            await second.client.start()
        assert second.client.state is ClientState.CLOSED
        assert second.closed.empty()
        with pytest.raises(SignalingError, match="not open"):
            await second.client.send("OFFER", "bob", 1)


async def test_a_restarted_server_finds_its_clients_again() -> None:
    async with serving() as first:
        a, b = Inbox(first.url), Inbox(first.url, "bob")
        await a.client.start()
        await b.client.start()
        peer_id, token = a.client.peer_id, a.client.token
    await a.client.wait_for(ClientState.RECONNECTING)
    # Sent while there is no server at all.
    sending = asyncio.ensure_future(a.client.send("OFFER", "bob", "late"))
    async with serving(port_of(first)) as second:
        await sending
        assert (await b.messages.get()).payload == "late"
        assert (a.client.peer_id, a.client.token) == (peer_id, token)
        assert sorted(second.peer_ids) == sorted([peer_id, "bob"])
        await a.client.close()
        await b.client.close()


async def test_a_lost_connection_is_resumed_by_the_same_id_and_token(scripted: Any) -> None:
    async with scripted(let_in_and_hang_up, let_in) as server, Inbox(server.url, "a") as inbox:
        await inbox.client.wait_for(ClientState.RECONNECTING)
        await inbox.client.wait_for(ClientState.OPEN)
        first, second = server.queries
        assert first == second


async def test_a_server_that_resumes_without_a_word_has_resumed(scripted: Any) -> None:
    async def say_nothing(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass

    async with (
        scripted(let_in_and_hang_up, say_nothing) as server,
        Inbox(server.url, "alice") as alice,
    ):
        await alice.client.wait_for(ClientState.RECONNECTING)
        await alice.client.wait_for(ClientState.OPEN)
        assert len(server.queries) == 2


@pytest.mark.parametrize(
    ("stable_after", "ceilings"), [(0.01, [0.02, 0.02, 0.02]), (600.0, [0.02, 0.04, 0.08])]
)
def test_only_a_connection_that_held_starts_the_back_off_afresh(
    scripted: Any, stable_after: float, ceilings: list[float]
) -> None:
    drawn: list[float] = []

    class Recorder(random.Random):
        def uniform(self, a: float, b: float) -> float:
            drawn.append(b)
            return 0.0

    known_open = asyncio.Semaphore(0)  # or a busy machine could take its hold away

    async def hold(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN"})
        await known_open.acquire()
        await asyncio.sleep(0.05)
        await socket.close()

    async def main() -> None:
        settings = SignalingClientSettings(backoff_initial=0.02, stable_after=stable_after)
        async with (
            scripted(hold, hold, hold, let_in) as server,
            Inbox(server.url, "alice", settings=settings, rng=Recorder()) as alice,
        ):
            for _ in range(3):
                known_open.release()
                await alice.client.wait_for(ClientState.RECONNECTING)
                await alice.client.wait_for(ClientState.OPEN)
            assert len(server.queries) == 4

    run(main())
    assert drawn == pytest.approx(ceilings)


async def test_refusals_that_can_pass_are_retried(scripted: Any) -> None:
    async def refuse(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "ERROR", "payload": {"msg": "full"}})

    async with (
        scripted(let_in_and_hang_up, refuse, refuse, let_in) as server,
        Inbox(server.url, "alice") as alice,
    ):
        await alice.client.wait_for(ClientState.RECONNECTING)
        await alice.client.wait_for(ClientState.OPEN)
        assert len(server.queries) == 4
        assert alice.closed.empty()


@pytest.mark.parametrize("while_open", [True, False])
async def test_an_id_lost_to_another_ends_the_client(scripted: Any, while_open: bool) -> None:
    taken = {"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}

    async def refuse(socket: web.WebSocketResponse) -> None:
        await socket.send_json(taken)

    scripts = [saying(taken)] if while_open else [let_in_and_hang_up, refuse]
    async with scripted(*scripts) as server, Inbox(server.url, "alice") as alice:
        error = await alice.closed.get()
        assert isinstance(error, IdTaken)
        assert server.url in str(error)
        assert alice.client.state is ClientState.CLOSED
        with pytest.raises(SignalingError) as caught:
            await alice.client.send("OFFER", "bob", 1)
        assert caught.value.__cause__ is error


async def test_a_double_with_the_same_token_ends_the_older_client() -> None:
    async with (
        serving() as server,
        Inbox(server.url, "alice", token="shared") as older,
        Inbox(server.url, "alice", token="shared") as newer,
    ):
        assert isinstance(await older.closed.get(), IdTaken)
        await newer.client.send("OFFER", "alice", 1)
        assert (await newer.messages.get()).src == "alice"
        assert older.messages.empty()


async def test_heartbeats_are_sent(scripted: Any) -> None:
    beats: asyncio.Queue[Any] = asyncio.Queue()

    async def listen(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN"})
        async for frame in socket:
            beats.put_nowait(frame.json())

    settings = SignalingClientSettings(heartbeat_interval=0.02, close_timeout=0.2)
    async with scripted(listen) as server, Inbox(server.url, "alice", settings=settings):
        for _ in range(3):
            assert await beats.get() == {"type": "HEARTBEAT"}


async def test_a_server_that_went_silent_is_given_up(scripted: Any) -> None:
    done = asyncio.Event()

    async def play_dead(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN"})
        await done.wait()  # without reading: not even pings are answered

    settings = SignalingClientSettings(
        heartbeat_interval=0.05, dead_after=0.3, backoff_initial=0.02, close_timeout=0.1
    )
    async with (
        scripted(play_dead, let_in) as server,
        Inbox(server.url, "alice", settings=settings) as alice,
    ):
        await alice.client.wait_for(ClientState.RECONNECTING)
        await alice.client.wait_for(ClientState.OPEN)
        done.set()
        assert len(server.queries) == 2


async def test_a_connection_that_tcp_gave_up_is_lost(scripted: Any) -> None:
    """Its error is a TimeoutError too, but no time to wait on."""

    async with scripted(let_in) as server, Inbox(server.url, "alice") as alice:
        lost = asyncio.ensure_future(alice.client.wait_for(ClientState.RECONNECTING))
        await asyncio.sleep(0)
        socket = alice.client._socket
        assert socket is not None
        error = OSError(errno.ETIMEDOUT, "Connection timed out")
        socket._connection._reader.set_exception(error)
        assert await lost is ClientState.RECONNECTING
        await alice.client.wait_for(ClientState.OPEN)


async def test_a_quiet_server_that_answers_pings_is_kept(scripted: Any) -> None:
    # Nor does the time to open end what is open.
    settings = SignalingClientSettings(
        heartbeat_interval=0.05, dead_after=2.0, open_timeout=2.0, close_timeout=0.1
    )
    async with (
        scripted(let_in) as server,
        Inbox(server.url, "alice", settings=settings) as alice,
    ):
        lost = asyncio.ensure_future(alice.client.wait_for(ClientState.RECONNECTING))
        done, _ = await asyncio.wait([lost], timeout=2.5)  # more than silence would take
        assert not done
        lost.cancel()


async def test_pings_of_the_server_are_answered(scripted: Any) -> None:
    answered = asyncio.Event()

    async def ping(socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "OPEN"})
        await socket.ping(b"there?")
        await socket._reader.read()  # type: ignore[union-attr]
        answered.set()

    async with scripted(ping, let_in) as server, Inbox(server.url, "alice"):
        await answered.wait()


def test_nonsense_from_the_server_is_passed_over(
    scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nonsense = [
        "",
        "no json",
        "[]",
        b"\x00\xff",
        {"type": "OFFER", "payload": 1},
        {"type": "OFFER", "src": "", "payload": 1},
        {"type": "OFFER", "src": 7, "payload": 1},
        {"type": "OFFER", "src": "x\n", "payload": 1},
        {"type": "OFFER", "src": "x" * 129, "payload": 1},
        {"type": "HEARTBEAT", "src": "bob"},
        {"type": "OPEN"},
        {"type": "ERROR", "payload": "x" * 10_000},
        {"type": "SURPRISE", "src": "bob"},
    ]
    last = {"type": "OFFER", "src": "bob", "dst": "alice", "payload": "last"}

    async def main() -> None:
        async with scripted(saying(*nonsense, last)) as server, Inbox(server.url, "alice") as alice:
            assert (await alice.messages.get()).payload == "last"
            assert alice.client.state is ClientState.OPEN
            assert len(server.queries) == 1

    run(main())
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


async def test_the_largest_message_passes_from_client_to_client() -> None:
    async with (
        serving() as server,
        Inbox(server.url, "a" * MAX_ID_LENGTH) as one,
        Inbox(server.url, "bob") as other,
    ):
        empty = len(encode(Message(MessageType.OFFER, dst="bob", payload="")))
        payload = "x" * (MAX_MESSAGE_SIZE - empty)
        await one.client.send("OFFER", "bob", payload)
        assert (await other.messages.get()).payload == payload


async def test_too_large_a_message_costs_the_connection_only(scripted: Any) -> None:
    huge = {"type": "OFFER", "src": "bob", "payload": "x" * 300_000}

    async with scripted(saying(huge), let_in) as server, Inbox(server.url, "alice") as alice:
        await alice.client.wait_for(ClientState.RECONNECTING)
        await alice.client.wait_for(ClientState.OPEN)
        assert alice.messages.empty()


def test_a_callback_that_fails_is_logged_and_harmless(
    scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def offer(n: int) -> dict[str, Any]:
        return {"type": "OFFER", "src": "bob", "dst": "alice", "payload": n}

    async def main() -> None:
        came: asyncio.Queue[object] = asyncio.Queue()

        def fail(message: SignalMessage) -> None:
            came.put_nowait(message.payload)
            raise RuntimeError("the callback's own")

        async with (
            scripted(saying(offer(1), offer(2))) as server,
            Inbox(server.url, "alice", on_message=fail) as alice,
        ):
            assert [await came.get(), await came.get()] == [1, 2]
            assert alice.client.state is ClientState.OPEN

    run(main())
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [
        RuntimeError,
        RuntimeError,
    ]


@pytest.mark.parametrize(
    ("kind", "dst", "payload", "words"),
    [
        ("GREETING", "bob", 1, "not a message"),
        ("HEARTBEAT", "bob", 1, "not a message"),
        ("OFFER", "a\nb", 1, "cannot be a peer id"),
        ("OFFER", "", 1, "cannot be a peer id"),
        ("OFFER", "bob", "x" * 270_000, "too large: 270"),
        ("OFFER", "bob", {"sdp": object()}, "no JSON form"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_it_is_sent(
    kind: str, dst: str, payload: object, words: str
) -> None:
    async with serving() as server, Inbox(server.url, "alice") as alice:
        with pytest.raises(SignalingError, match=words):
            await alice.client.send(kind, dst, payload)
        assert alice.client.state is ClientState.OPEN
        assert not server.refused


async def test_the_largest_message_passes_server_and_client() -> None:
    async with serving() as server, Inbox(server.url, "a") as a, Inbox(server.url, "b") as b:
        payload = "x" * 65_400
        await a.client.send("OFFER", "b", payload)
        assert (await b.messages.get()).payload == payload


async def test_sending_gives_up_when_the_server_stays_away() -> None:
    settings = SignalingClientSettings(send_timeout=0.1, backoff_initial=0.02, close_timeout=0.1)
    async with serving() as server:
        alice = Inbox(server.url, "alice", settings=settings)
        await alice.client.start()
    await alice.client.wait_for(ClientState.RECONNECTING)
    with pytest.raises(SignalingError, match=f"{server.url} could not be reached for 0.1 s"):
        await alice.client.send("OFFER", "bob", 1)
    assert alice.client.state is ClientState.RECONNECTING
    await alice.client.close()


async def test_those_who_wait_to_send_learn_of_the_close() -> None:
    async with serving() as server:
        alice = Inbox(server.url, "alice")
        await alice.client.start()
    await alice.client.wait_for(ClientState.RECONNECTING)
    sending = asyncio.ensure_future(alice.client.send("OFFER", "bob", 1))
    await asyncio.sleep(0)
    await alice.client.close()
    with pytest.raises(SignalingError, match="not open"):
        await sending
    assert alice.closed.empty()


async def test_a_server_known_by_its_certificate_alone(tmp_path: Path) -> None:
    file, key = self_signed(tmp_path, "another.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file, key)
    pin = format_pin(x509.load_pem_x509_certificate(file.read_bytes()).fingerprint(SHA256()))

    async with serving(tls=tls) as server:
        async with Inbox(server.url, "alice", pin=pin) as alice, Room(alice.client) as room:
            assert server.peer_ids == ["alice"]
            assert await room.join() == ["alice"]
        with pytest.raises(SignalingError, match="another TLS certificate than the pin"):
            await Inbox(server.url, "alice", pin=format_pin(bytes(32))).client.start()


async def test_a_failed_start_says_why() -> None:
    async with serving() as server:
        pass
    alice = Inbox(server.url)
    with pytest.raises(SignalingError, match=f"{server.url} cannot be reached"):
        await alice.client.start()
    with pytest.raises(SignalingError, match="has not given a peer id"):
        _ = alice.client.peer_id
    assert alice.client.state is ClientState.CLOSED
    await alice.client.close()


async def test_a_start_can_be_closed_or_cancelled(scripted: Any) -> None:
    async def say_nothing(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass

    async with scripted(say_nothing) as server:
        for end in ("close", "cancel"):
            alice = Inbox(server.url, "alice")
            starting = asyncio.ensure_future(alice.client.start())
            await alice.client.wait_for(ClientState.CONNECTING)
            while len(server.queries) == 0:
                await asyncio.sleep(0)
            if end == "close":
                await alice.client.close()
                with pytest.raises(SignalingError, match="closed as it started"):
                    await starting
            else:
                starting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await starting
            assert alice.client.state is ClientState.CLOSED
            assert alice.closed.empty()
            server.queries.clear()


async def test_a_client_starts_once_and_closes_as_often_as_one_likes() -> None:
    async with serving() as server:
        alice = Inbox(server.url, "alice")
        with pytest.raises(SignalingError, match="not open"):
            await alice.client.send("OFFER", "bob", 1)
        async with alice.client:
            assert server.peer_ids == ["alice"]
            with pytest.raises(SignalingError, match="only once"):
                await alice.client.start()
        await alice.client.close()
        with pytest.raises(SignalingError, match="only once"):
            await alice.client.start()
        unused = Inbox(server.url)
        await unused.client.close()
        with pytest.raises(SignalingError, match="only once"):
            await unused.client.start()


@pytest.mark.parametrize(
    "wrong",
    [
        {"peer_id": "a/b"},
        {"peer_id": ""},
        {"token": "a b"},
        {"url": "ws://h?key="},
        {"url": "host"},
    ],
)
def test_arguments_that_cannot_work_are_refused(wrong: dict[str, str]) -> None:
    options: dict[str, Any] = {"url": "ws://host", "on_message": print, **wrong}
    with pytest.raises(SignalingError):
        SignalingClient(**options)


def test_tokens_are_random_unless_given() -> None:
    first = SignalingClient("ws://host", on_message=print)
    second = SignalingClient("ws://host", on_message=print)
    assert first.token != second.token
    assert SignalingClient("ws://host", on_message=print, token="mine").token == "mine"
