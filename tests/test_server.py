"""serve() and Server: who gets in, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCSessionDescription

from peerfetch_fast import PeerState, Server, connect, serve
from peerfetch_fast.errors import (
    FetchTimeout,
    IdTaken,
    PeerfetchError,
    SignalingError,
)
from peerfetch_fast.negotiation import Connected
from peerfetch_fast.people import People, Person
from peerfetch_fast.settings import Limits, Settings
from peerfetch_fast.signaling.peerjs.client import ClientState, SignalingClient, SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from support import until
from test_negotiation import tell
from test_peer import signaling_server, world

NOWHERE = "http://127.0.0.1:9"


async def refused(server: Server, connecting: Awaitable[Any], reason: str) -> None:
    """Check that a connection is refused; whoever makes it is not told, and waits."""
    asking = asyncio.ensure_future(connecting)
    await until(lambda: server.refused[reason] == 1)
    assert not asking.done()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_the_id_is_ours_or_the_servers() -> None:
    async with signaling_server() as signaling:
        async with await serve(NOWHERE, signaling=signaling, peer_id="mine") as server:
            assert server.peer_id == "mine"
            assert not server.peers
        async with await serve(NOWHERE, signaling=signaling) as server:
            assert len(server.peer_id) >= 32


async def test_an_id_that_is_taken() -> None:
    async with (
        signaling_server() as signaling,
        await serve(NOWHERE, signaling=signaling, peer_id="mine"),
    ):
        with pytest.raises(IdTaken):
            await serve(NOWHERE, signaling=signaling, peer_id="mine")


async def test_the_signaling_server_is_found_as_the_command_line_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEERFETCH_SIGNALING", raising=False)

    async with signaling_server() as signaling:
        port = signaling.rpartition(":")[2].rstrip("/")
        config = f"signaling_server: 127.0.0.1\nport: {port}\nsecure: false\n"
        (tmp_path / "peerjs-config.yaml").write_text(config)
        async with await serve(NOWHERE, peer_id="by-configuration") as server:
            assert server.peer_id == "by-configuration"
        (tmp_path / "peerjs-config.yaml").write_text("signaling_server: 127.0.0.1\nport: 1\n")
        with pytest.raises(SignalingError, match=r"127\.0\.0\.1:1"):
            await serve(NOWHERE)
        monkeypatch.setenv("PEERFETCH_SIGNALING", signaling)
        async with await serve(NOWHERE, peer_id="by-environment") as server:
            assert server.peer_id == "by-environment"
        monkeypatch.setenv("PEERFETCH_SIGNALING", "ws://127.0.0.1:1")
        async with await serve(NOWHERE, peer_id="by-argument", signaling=signaling) as server:
            assert server.peer_id == "by-argument"


@pytest.mark.parametrize("target", ["", "127.0.0.1", "ftp://x", "http://x:y"])
async def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(ValueError, match="upstream"):
        await serve(target, signaling="ws://127.0.0.1:1")


@pytest.mark.parametrize(
    "targets", [{}, {"cam": NOWHERE}, {"/a": NOWHERE, "/a/": NOWHERE}, {"/a": Path(), "/b": "x"}]
)
async def test_mappings_that_are_none(targets: dict[str, Any]) -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ValueError, match=r"served|path to serve|upstream"):
        await serve(targets, signaling="ws://127.0.0.1:1")
    assert len(os.listdir("/dev/fd")) == before


async def test_an_id_that_was_ours_is_taken_up_again_at_once() -> None:
    """After a power cut the server still holds the connection of the run before."""

    async with signaling_server() as signaling:
        before = SignalingClient(signaling, "device", token="kept", on_message=print)
        await before.start()
        options: Any = {"signaling": signaling, "peer_id": "device"}
        with pytest.raises(IdTaken):
            await serve("http://127.0.0.1:9", **options, signaling_token="another")
        async with await serve("http://127.0.0.1:9", **options, signaling_token="kept"):
            await before.wait_for(ClientState.CLOSED)
        await before.close()


async def test_a_signaling_server_that_is_not_there() -> None:
    with pytest.raises(SignalingError):
        await serve(NOWHERE, signaling="ws://127.0.0.1:1")


async def test_peers_come_and_go() -> None:
    async with world() as there:
        peers = [await there.connect() for _ in range(3)]
        await until(lambda: len(there.server.peers) == 3)
        for peer in peers:
            await peer.close()
        await until(lambda: not there.server.peers)


async def test_no_more_than_max_peers() -> None:
    async with (
        signaling_server() as signaling,
        await serve(NOWHERE, signaling=signaling, limits=Limits(max_peers=2)) as server,
    ):
        peers = [await connect(server.peer_id, signaling=signaling) for _ in range(2)]
        await refused(server, connect(server.peer_id, signaling=signaling), "too many peers")
        await peers.pop().abort()
        await until(lambda: len(server.peers) == 1)
        peers.append(await connect(server.peer_id, signaling=signaling))
        for peer in peers:
            await peer.abort()


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {"connectionId": "x"},
        {"connectionId": "x", "sdp": {"type": "offer", "sdp": "nonsense"}},
        {"connectionId": "x", "sdp": {"type": "offer", "sdp": "v=0\r\n"}},
        {"connectionId": "x", "sdp": {"type": "offer", "sdp": ""}},
        {
            "connectionId": "x",
            "sdp": {"type": "offer", "sdp": "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"},
        },
    ],
)
async def test_offers_of_the_hostile_kind(payload: Any) -> None:
    async with world() as there:
        async with SignalingClient(there.signaling, on_message=lambda _: None) as hostile:
            for _ in range(5):
                await hostile.send(MessageType.OFFER, there.server.peer_id, payload)
        # Everybody else is served as before.
        async with there.connect() as peer:
            assert (await peer.fetch("/")).ok
        await until(lambda: not there.server._tasks)


async def test_close_lets_running_requests_end() -> None:
    async with world() as there, there.connect() as peer:
        slow = asyncio.ensure_future(peer.fetch("/slow"))
        await until(lambda: peer.session.open_streams == 1)
        assert (await peer.fetch("/")).ok
        closing = asyncio.ensure_future(there.server.close())
        assert await peer.wait_for(PeerState.RECONNECTING)
        with pytest.raises(FetchTimeout):  # it would come back if it found it
            await peer.fetch("/", timeout=0.2)
        assert not closing.done()
        there.go.set()
        assert await (await slow).text() == "/slow"
        await closing
        await there.server.wait_closed()


async def test_close_waits_no_longer_than_it_is_told() -> None:
    async with world() as there, there.connect() as peer:
        slow = asyncio.ensure_future(peer.fetch("/slow"))
        await until(lambda: peer.session.open_streams == 1)
        began = asyncio.get_running_loop().time()
        await there.server.close(timeout=0.2)
        assert asyncio.get_running_loop().time() - began < 20
        with pytest.raises(PeerfetchError):
            await slow
        await there.server.close()


async def test_close_while_peers_connect_and_leave() -> None:
    async with world() as there:
        leaving = await there.connect()
        coming = [asyncio.ensure_future(there.connect(timeout=2).__aenter__())]
        gone = asyncio.ensure_future(leaving.abort())
        await asyncio.sleep(0.02)
        await there.server.close(timeout=0.5)
        await gone
        for task in coming:
            with contextlib.suppress(PeerfetchError):
                await (await task).abort()
        assert not there.server.peers
        assert not there.server._tasks


async def test_close_closes_whom_it_is_being_found_out_who_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read the file of the people may take long, and no session has the connection yet."""
    async with world(people=People(tmp_path)) as there:
        server, met = there.server, asyncio.get_running_loop().create_future()
        may_prove = server._may_prove

        async def noted(connected: Connected) -> list[str]:
            monkeypatch.setattr(server, "_look_for_changes", reads_for_long)
            met.set_result(connected)
            return await may_prove(connected)

        async def reads_for_long(people: People) -> None:
            await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(server, "_may_prove", noted)
        connecting = asyncio.ensure_future(there.connect(timeout=20).__aenter__())
        connected = await met
        await server.close(timeout=0)
        assert connected.connection.connectionState == "closed"
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError, PeerfetchError):
            await (await connecting).abort()


async def test_visits_are_noted_and_taken_by_the_loop_alone(tmp_path: Path) -> None:
    """Taken by the thread that writes them down, they change while it reads them."""
    loops = threading.get_ident()

    class Watched(People):
        @property
        def _visits(self) -> dict[str, int]:
            assert threading.get_ident() == loops
            return self.__dict__["visits taken"]

        @_visits.setter
        def _visits(self, visits: dict[str, int]) -> None:
            assert threading.get_ident() == loops
            self.__dict__["visits taken"] = visits

    people = Watched(tmp_path)
    people.add(Person("anna", (bytes(32),)))
    async with world(people=people) as there:
        people.visited("anna", 1_800_000_000)
        await there.server._keep_visits(people)
    assert people.visits() == {"anna": 1_800_000_000}


async def test_visits_that_cannot_be_kept_are_kept_the_next_time(tmp_path: Path) -> None:
    people, visits = People(tmp_path), tmp_path / "visits.json"
    people.add(Person("anna", (bytes(32),)))
    async with world(people=people) as there:
        people.visited("anna", 1_800_000_000)
        visits.write_text("nonsense")
        await there.server._keep_visits(people)
        visits.unlink()
        await there.server._keep_visits(people)
        assert people.visits() == {"anna": 1_800_000_000}


async def test_losing_the_id_for_good_is_told() -> None:
    async with signaling_server() as signaling:
        server = await serve(NOWHERE, signaling=signaling, peer_id="mine")
        client = server._switchboard.signaling
        assert client is not None
        # Somebody with the same token takes the id over.
        other = SignalingClient(signaling, "mine", token=client.token, on_message=lambda _: None)
        await other.start()
        with pytest.raises(IdTaken):
            await server.wait_closed()
        await server.close()
        await other.close()


async def test_settings_are_those_of_each_session() -> None:
    settings = Settings(max_streams=16)
    async with (
        signaling_server() as signaling,
        await serve(NOWHERE, signaling=signaling, settings=settings) as server,
        connect(server.peer_id, signaling=signaling),
    ):
        await until(lambda: len(server.peers) == 1)
        assert {peer.session.settings for peer in server.peers} == {settings}


async def test_too_many_requests_are_answered_with_429_for_that_peer_alone() -> None:
    limits = Limits(request_burst=3, request_rate=0.1)
    async with world(limits=limits) as there, there.connect() as peer:
        answers = [await peer.fetch("/x", method="POST", body=b"x") for _ in range(5)]
        assert [answer.status for answer in answers] == [405] * 3 + [429] * 2
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
        assert "wait" in await answers[-1].text()
        assert there.server.refused["too many requests"] == 2
        # Somebody else's are his own.
        async with there.connect() as other:
            assert (await other.fetch("/x")).ok


async def test_who_is_idle_for_a_moment_does_not_give_way() -> None:
    limits = Limits(max_peers=1, idle_timeout=600)
    async with world(limits=limits) as there, there.connect() as idle:
        await refused(there.server, there.connect(), "too many peers")
        assert (await idle.fetch("/")).ok


async def test_who_is_idle_gives_way() -> None:
    async with world(limits=Limits(max_peers=2, idle_timeout=0.2)) as there:
        busy, idle = await there.connect(), await there.connect()
        slow = asyncio.ensure_future(busy.fetch("/slow"))
        await until(lambda: "/slow" in there.asked and len(there.server.peers) == 2)
        await asyncio.sleep(0.3)
        async with there.connect() as third:
            assert (await third.fetch("/x")).ok
            await until(lambda: len(there.server.peers) == 2)
            there.go.set()
            assert (await slow).ok
        await busy.abort()
        await idle.abort()


async def test_who_is_silent_gives_way_first() -> None:
    async with world(limits=Limits(max_peers=2, idle_timeout=600)) as there:
        silent, other = await there.connect(), await there.connect()
        slow = asyncio.ensure_future(silent.fetch("/slow"))
        await until(lambda: "/slow" in there.asked and len(there.server.peers) == 2)
        sessions = {peer.id: peer.session for peer in there.server.peers}
        (gone,) = (one for one in sessions.values() if one.open_streams)
        for connection in (silent._sessions.current.connection,):
            for base in list(connection._ice.sockets.ports):  # type: ignore[attr-defined]
                connection._ice.sockets.close_port(base)  # type: ignore[attr-defined]
        await until(lambda: gone.silent)
        async with there.connect() as third:
            assert (await third.fetch("/x")).ok
            assert (await other.fetch("/x")).ok
            assert gone.error is not None
        slow.cancel()
        await silent.abort()
        await other.abort()


async def test_a_candidate_right_behind_its_offer_is_tried() -> None:
    async with world() as there:
        elsewhere = RTCPeerConnection()
        elsewhere.createDataChannel("peerfetch", protocol="peerfetch.2")
        await elsewhere.setLocalDescription()
        sdp = elsewhere.localDescription.sdp
        lines = re.findall(r"a=(candidate:.*)\r\n", sdp)
        bare = re.sub(r"a=(candidate|end-of-candidates).*\r\n", "", sdp)
        told = asyncio.Event()
        found: dict[str, Any] = {}

        def message(message: SignalMessage) -> None:
            if message.type == MessageType.ANSWER:
                found.update(message.payload)
                told.set()

        async with SignalingClient(there.signaling, on_message=message) as client:
            board, about = there.server._switchboard, {"connectionId": "x"}
            offer = {**about, "sdp": {"type": "offer", "sdp": bare}}
            tell(board, SignalMessage(MessageType.OFFER, client.peer_id, offer))
            for line in lines:
                candidate = {**about, "candidate": {"candidate": line, "sdpMLineIndex": 0}}
                tell(board, SignalMessage(MessageType.CANDIDATE, client.peer_id, candidate))
            await told.wait()
            # It asks us, who do not know where it is.
            sdp = re.sub(r"a=candidate.*\r\n", "", found["sdp"]["sdp"])
            answer = RTCSessionDescription(sdp, "answer")
            await elsewhere.setRemoteDescription(answer)
            await until(lambda: len(there.server.peers) == 1)
        await elsewhere.close()


async def test_what_nobody_began_to_answer_is_forgotten() -> None:
    async with world() as there:
        board = there.server._switchboard
        sdp = {"type": "offer", "sdp": "v=0"}
        payload = {"connectionId": "x", "sdp": sdp}
        tell(board, SignalMessage(MessageType.OFFER, "somebody", payload))
        assert len(board._receivers) == 1
        await there.server.close(timeout=0)
        await until(lambda: not board._receivers)


async def test_one_idle_peer_gives_way_to_one_other() -> None:
    limits = Limits(max_peers=1, idle_timeout=0.1)
    async with world(limits=limits) as there, there.connect(give_up_after=0):
        await asyncio.sleep(0.1)
        elsewhere = RTCPeerConnection()
        elsewhere.createDataChannel("peerfetch")
        sdp = {"type": "offer", "sdp": (await elsewhere.createOffer()).sdp}
        await elsewhere.close()
        async with SignalingClient(there.signaling, on_message=lambda _: None) as client:
            for number in range(3):  # at once: the idle one is still on its way out
                await client.send(
                    MessageType.OFFER,
                    there.server.peer_id,
                    {"connectionId": str(number), "sdp": sdp},
                )
            await until(lambda: there.server.refused["too many peers"] == 2)
