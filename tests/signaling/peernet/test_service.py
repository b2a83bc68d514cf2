"""Devices and clients that meet by a PeerNet server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from peerfetch_fast import IdTaken, PeerUnavailable, SignalingError, connect, serve
from peerfetch_fast.signaling.peerjs import ice_servers
from peerfetch_fast.signaling.peernet.address import with_rooms, with_service, without_rooms
from peerfetch_fast.signaling.peernet.service import PeerNetSignaling
from peerfetch_fast.signaling.peernet.settings import PeerNetClientSettings
from peerfetch_fast.signaling.seam import Signal, SignalKind, checked_service, join
from peerfetch_fast.webrtc import HAVE_NATIVE
from support import until, web_server

QUICK = PeerNetClientSettings(absent_after=0.2, backoff_initial=0.05, backoff_maximum=0.2)
CONNECTION = f"pf_{'0123456789abcdef' * 2}"


def nobody(signal: Signal) -> None:
    raise AssertionError(f"nobody has a word for this one: {signal}")


@contextlib.asynccontextmanager
async def joined(url: str, peer_id: str | None = None, **more: Any) -> AsyncIterator[Any]:
    came: list[Signal] = []
    more = {"on_signal": came.append, "settings": QUICK} | more
    signaling = PeerNetSignaling(url, peer_id, **more)
    signaling.came = came  # type: ignore[attr-defined]
    await signaling.start()
    try:
        yield signaling
    finally:
        await signaling.close()


def offer(to: str = "device", **about: Any) -> Signal:
    return Signal(SignalKind.OFFER, to, CONNECTION, **({"sdp": "v=0"} | about))


def carries(answer: tuple[str, str, bytes]) -> bool:
    """Whether a request has led to something: an empty long poll has not."""
    body = json.loads(answer[2])
    return not any(body.get(name) == [] for name in ("knocks", "candidates"))


async def test_requests_are_answered_and_few_messages_lead_to_that(
    tmp_path: Path, serving: Any
) -> None:
    (tmp_path / "a.txt").write_text("here")
    known = tmp_path / "known"
    async with serving() as wire, serve(tmp_path, peer_id="device", signaling=wire.url):
        await until(lambda: wire.server.peernet.counts["waiting"] == 1)
        before = len(wire.asked)
        async with connect("device", signaling=wire.url, known_peers=known) as peer:
            async with peer.fetch("/a.txt") as response:
                assert await response.text() == "here"
            asked = [one for one in wire.asked[before:] if carries(one)]
    # Two of each side, where host candidates do: they are in the descriptions.
    assert [(method, path.split("/")[-2:]) for method, path, _ in asked] == [
        ("GET", ["v1", "ice_servers"]),
        ("POST", ["peernet.http:2", "knocks"]),
        ("POST", ["device", "claim_knocks"]),
        ("PATCH", asked[3][1].split("/")[-2:]),
        ("GET", asked[3][1].split("/")[-2:]),
    ]


@pytest.mark.skipif(not HAVE_NATIVE, reason="aiortc has no restart")
async def test_a_session_goes_on_over_another_path(tmp_path: Path, serving: Any) -> None:
    moved = asyncio.Event()

    async def lines(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"before", "more_body": True})
            await moved.wait()
            await send({"type": "http.response.body", "body": b"after"})

    known = tmp_path / "known"
    async with serving() as wire, serve(lines, peer_id="device", signaling=wire.url) as device:
        async with (
            connect("device", signaling=wire.url, known_peers=known) as peer,
            peer.fetch("/") as response,
        ):
            pieces = aiter(response)
            assert bytes(await anext(pieces)) == b"before"
            [caller] = device.peers
            ends: list[Any] = [one._sessions.current for one in (peer, caller)]
            names = [end.connection._ice.agent.ufrag for end in ends]
            for who in (1, 0):  # a device has nobody to knock at, and its client restarts
                ends[who].connection.emit("pathlost")
                await asyncio.sleep(0)
            await until(
                lambda: all(
                    end.connection._ice.agent.ufrag != name
                    and end.connection.signalingState == "stable"
                    for end, name in zip(ends, names, strict=True)
                )
            )
            moved.set()
            assert b"".join([bytes(piece) async for piece in pieces]) == b"after"
            assert [one._sessions.current for one in (peer, caller)] == ends
        knocks = [
            json.loads(body)
            for method, path, body in wire.asked
            if method == "POST" and path.endswith("/knocks")
        ]
    first, again = (knock["offer"]["name"] for knock in knocks)
    assert again != first
    assert [knock.get("session") for knock in knocks] == [None, first]


async def test_signals_go_both_ways(serving: Any) -> None:
    async with (
        serving() as wire,
        joined(wire.url, "device") as device,
        joined(wire.url, takes_offers=False) as client,
    ):
        await client.send(offer())
        first = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0"}
        await client.send(Signal(SignalKind.CANDIDATE, "device", CONNECTION, candidate=first))
        await until(lambda: bool(device.came))
        got = device.came.pop()
        assert (got.kind, got.connection_id, got.sdp) == (SignalKind.OFFER, CONNECTION, "v=0")
        assert (got.protocol, got.label, got.restart) == ("peerfetch.2", "peerfetch", False)
        back = Signal(SignalKind.ANSWER, got.peer_id, CONNECTION, sdp="v=1")
        await device.send(back)
        await until(lambda: bool(client.came))
        assert client.came == [
            Signal(SignalKind.ANSWER, "device", CONNECTION, sdp="v=1", protocol="peerfetch.2")
        ]
        await until(lambda: bool(device.came))
        assert device.came[0].candidate == first | {"sdpMLineIndex": None}
        second = {"candidate": "", "sdpMid": "0", "sdpMLineIndex": 0}
        await device.send(Signal(SignalKind.CANDIDATE, got.peer_id, CONNECTION, candidate=second))
        await until(lambda: len(client.came) == 2)
        assert client.came[1] == Signal(SignalKind.CANDIDATE, "device", CONNECTION)


async def test_a_restart_is_a_knock_that_names_the_session(serving: Any) -> None:
    async with (
        serving() as wire,
        joined(wire.url, "device") as device,
        joined(wire.url, takes_offers=False) as client,
    ):
        await client.send(offer())
        await until(lambda: len(device.came) == 1)
        peer_id = device.came[0].peer_id
        await device.send(Signal(SignalKind.ANSWER, peer_id, CONNECTION, sdp="v=1"))
        await until(lambda: len(client.came) == 1)
        for _ in range(2):  # who repeats an offer does not knock again
            await client.send(offer(sdp="v=2", restart=True))
        await until(lambda: len(device.came) == 2)
        again = device.came[1]
        assert (again.peer_id, again.connection_id) == (peer_id, CONNECTION)
        assert (again.sdp, again.restart) == ("v=2", True)
        await device.send(Signal(SignalKind.GONE, peer_id, CONNECTION))
        await until(lambda: len(client.came) == 2)
        assert client.came[1] == Signal(SignalKind.GONE, "device", CONNECTION)
        assert len(device.came) == 2
        with pytest.raises(SignalingError, match="cannot be knocked at"):
            await device.send(offer(peer_id, restart=True))


async def test_a_device_that_is_not_there_is_absent(serving: Any) -> None:
    async with serving() as wire, joined(wire.url, takes_offers=False) as client:
        await client.send(offer())
        await until(lambda: bool(client.came))
        assert client.came == [Signal(SignalKind.ABSENT, "device")]


async def test_a_device_that_comes_meanwhile_is_found(serving: Any) -> None:
    patient = PeerNetClientSettings(absent_after=30.0)
    async with (
        serving() as wire,
        joined(wire.url, takes_offers=False, settings=patient) as client,
    ):
        await client.send(offer())
        async with joined(wire.url, "device") as device:
            await until(lambda: bool(device.came))


async def test_an_id_is_its_owners_across_runs(serving: Any) -> None:
    token = "the token of that device"
    async with serving() as wire:
        device = PeerNetSignaling(wire.url, "device", on_signal=nobody, token=token)
        await device.start()
        with pytest.raises(IdTaken):
            await join(wire.url, "device", on_signal=nobody).start()
        async with joined(wire.url, "device", token=token):
            pass  # as after a power cut
        await device.close()
        async with joined(wire.url, "device"):
            pass


async def test_who_loses_its_id_is_told() -> None:
    """As where the server was started anew, and another was quicker."""
    lost: list[SignalingError] = []
    answers = iter([200, 409])

    async def answer(request: web.Request) -> web.Response:
        status = 404 if request.path.endswith("claim_knocks") else 200
        if request.path.endswith("/servers"):
            status = next(answers)
        return web.json_response({}, status=status)

    app = web.Application()
    app.router.add_route("*", "/v1/{rest:.*}", answer)
    async with (
        web_server(app) as url,
        joined(f"peernet+{url}", "device", on_lost=lost.append),
    ):
        await until(lambda: bool(lost))
    assert isinstance(lost[0], IdTaken)


async def test_a_server_that_has_forgotten_us_and_is_full_is_not_hammered() -> None:
    class Jitter(random.Random):
        drawn = 0

        def uniform(self, a: float, b: float) -> float:
            self.drawn += 1
            return b

    jitter = Jitter()
    registered = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal registered
        if request.path.endswith("/claim_knocks"):
            return web.json_response({}, status=404)
        if request.path.endswith("/servers"):
            registered += 1
            return web.json_response({}, status=200 if registered == 1 else 503)
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/v1/{rest:.*}", answer)
    async with web_server(app) as url, joined(f"peernet+{url}", "device", rng=jitter):
        await until(lambda: registered >= 4)
        assert jitter.drawn >= 2


async def test_everybody_is_back_after_the_server_was_restarted(
    tmp_path: Path, serving: Any
) -> None:
    (tmp_path / "a.txt").write_text("here")
    known = tmp_path / "known"
    async with contextlib.AsyncExitStack() as stack:
        async with serving() as wire:
            url, port = wire.url, wire.port
            await stack.enter_async_context(serve(tmp_path, peer_id="device", signaling=url))
            await until(lambda: wire.server.peernet.counts["waiting"] == 1)
        async with serving(port) as wire:
            await until(lambda: wire.server.peernet.counts["servers"] == 1, timeout=15.0)
            async with (
                connect("device", signaling=url, known_peers=known) as peer,
                peer.fetch("/a.txt") as response,
            ):
                assert await response.text() == "here"
            await stack.aclose()


async def test_a_knock_survives_a_restart_of_the_server(serving: Any) -> None:
    patient = PeerNetClientSettings(absent_after=30.0)
    async with contextlib.AsyncExitStack() as stack:
        async with serving() as wire:
            url, port = wire.url, wire.port
            await wire.create("device", services=[{"protocol": "peernet.http", "version": "2"}])
            client = await stack.enter_async_context(
                joined(url, takes_offers=False, settings=patient)
            )
            await client.send(offer())
            await until(lambda: wire.server.peernet.counts["waiting"] == 1)
        async with serving(port) as wire, joined(url, "device") as device:
            await until(lambda: bool(device.came))
            await device.send(
                Signal(SignalKind.ANSWER, device.came[0].peer_id, CONNECTION, sdp="v=1")
            )
            await until(lambda: bool(client.came))
            assert client.came[0].sdp == "v=1"
            await stack.aclose()


async def test_peers_are_those_in_the_rooms_of_the_url(serving: Any) -> None:
    async with serving() as wire:
        den, both = with_rooms(wire.url, ["den"]), with_rooms(wire.url, ["den", "attic"])
        async with joined(both, "one"), joined(den, "other"), joined(wire.url, "hidden"):
            for url, found in ((den, {"one", "other"}), (both, {"one", "other"})):
                async with joined(url, takes_offers=False) as client:
                    assert set(await client.peers()) == found
            async with joined(with_rooms(wire.url, ["empty"]), takes_offers=False) as client:
                assert await client.peers() == []
            async with joined(wire.url, takes_offers=False) as client:
                with pytest.raises(SignalingError, match="--room"):
                    await client.peers()


async def test_peers_are_those_that_offer_the_services_of_the_url(serving: Any) -> None:
    async with serving() as wire:
        den = with_rooms(wire.url, ["den"])
        camera = with_service(den, "peernet.camera:1.0")
        both = with_service(camera, "peernet.sensor:2.0")
        http = with_service(den, "peernet.http:2")
        async with joined(camera, "camera"), joined(both, "both"), joined(http, "none"):
            for name, found in (
                ("peernet.camera", {"camera", "both"}),
                ("peernet.camera:1.0", {"camera", "both"}),
                ("peernet.camera:2.0", set()),
                ("peernet.sensor:2.0", {"both"}),
                ("peernet.file", set()),
                ("peernet.http:1.1", {"camera", "both", "none"}),
            ):
                async with joined(with_service(den, name), takes_offers=False) as client:
                    assert set(await client.peers()) == found, name
            async with joined(both, takes_offers=False) as client:
                assert await client.peers() == ["both"]


@pytest.mark.parametrize(
    "url",
    [
        "peernet+ftp://host",
        "peernet+https://",
        "peernet+https:host",
        "peernet+https://host?key=x",
        "peernet+https://host?room=A_B",
        "peernet+https://host?" + "&".join(f"room=r{number}" for number in range(9)),
        "peernet+https://host?service=A",
        "peernet+https://host?service=a:b_c",
        "peernet+https://host?" + "&".join(f"service=s{number}" for number in range(15)),
        "peernet+https://[host",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    for use in (checked_service, lambda url: join(url, on_signal=nobody)):
        with pytest.raises(SignalingError):
            use(url)


def test_urls_with_rooms() -> None:
    url = "peernet+https://host:1/path"
    assert checked_service(f"{url}?room=Den") == f"{url}?room=Den"
    assert with_rooms(f"{url}?room=den", ["attic"]) == f"{url}?room=den&room=attic"
    assert without_rooms(f"{url}?room=den") == url
    named = with_service(f"{url}?room=den", "peernet.file:1.0")
    assert named == f"{url}?room=den&service=peernet.file:1.0"
    assert with_rooms(named, ["attic"]) == f"{named}&room=attic"
    assert without_rooms("wss://host?key=x") == "wss://host?key=x"


async def test_a_server_that_is_none() -> None:
    async with web_server(web.Application()) as url:
        with pytest.raises(SignalingError, match="no PeerNet server"):
            await join(f"peernet+{url}", "device", on_signal=nobody).start()
    with pytest.raises(SignalingError, match="cannot be reached"):
        await join("peernet+http://127.0.0.1:9", "device", on_signal=nobody).start()


GARBAGE: list[Any] = [
    [],
    {"knocks": 7},
    {"knocks": [None, 7, {}, {"name": 1, "offer": 2}, {"name": "x", "offer": {"name": []}}]},
    {"knocks": [{"name": "x", "offer": {"name": "y", "candidates": [None, {"candidate": 7}]}}]},
    {"state": "ANSWERED", "answer": 7, "name": 7},
    {"state": "ANSWERED", "answer": {"sdp": 7, "candidates": 7}, "name": "a"},
    {"state": 7, "ice_servers": [7, {"urls": 7, "expire_time": "never"}]},
    {"error": 7},
]


async def test_a_server_that_answers_with_anything() -> None:
    turn = 0

    async def anything(request: web.Request) -> web.Response:
        nonlocal turn
        turn += 1
        if request.path.endswith(("/servers", "/ice_servers")):
            return web.json_response({"ice_servers": 7})
        return web.json_response(GARBAGE[turn % len(GARBAGE)], status=200 if turn % 3 else 404)

    app = web.Application()
    app.router.add_route("*", "/v1/{rest:.*}", anything)
    async with web_server(app) as url:
        async with joined(f"peernet+{url}", "device") as device:
            for number in range(20):
                connection = f"{CONNECTION}{number}"
                with contextlib.suppress(SignalingError):
                    await device.send(Signal(SignalKind.OFFER, "x", connection, sdp="v=0"))
            await until(lambda: turn > 200)
        assert all(isinstance(signal, Signal) for signal in device.came)


@pytest.mark.parametrize("name", ["/etc", "//evil.example/x", "servers/a/services/b/knocks/c?d"])
async def test_a_server_cannot_have_anything_asked_for_as_a_knock(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        if request.path.endswith("/claim_knocks"):
            await asyncio.sleep(0.02)
            knock = {"name": name, "offer": {"name": "s" * 22, "sdp": "v=0"}}
            return web.json_response({"knocks": [knock]})
        if request.path.endswith("/knocks"):
            return web.json_response({"name": name})
        known = request.path.endswith(("/servers", "/ice_servers"))
        return web.json_response({}, status=200 if known else 404)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with web_server(app) as url, joined(f"peernet+{url}", "device") as device:
        await device.send(offer("other"))
        await until(lambda: bool(device.came))
    assert device.came == [Signal(SignalKind.ABSENT, "other")]
    assert not [one for one in asked if "etc" in one or "evil" in one or "?d" in one]
    assert "signaling failed" not in caplog.text


async def test_logins_are_renewed_by_a_clock_that_is_fast_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ice_servers, "RENEWED_AT", 0.001)  # of a minute: 0.06 s
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        if request.path.endswith("/ice_servers"):
            asked += 1
            login = {"urls": ["turn:192.0.2.1"], "username": str(asked), "credential": "x"}
            server = login | {"expire_time": "2001-01-01T00:00:00.000Z"}
            return web.json_response({"ice_servers": [server]})
        if request.path.endswith("/claim_knocks"):
            await asyncio.sleep(0.02)
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with web_server(app) as url, joined(f"peernet+{url}", "device") as device:
        await until(lambda: asked > 2)
        await until(lambda: device.ice_servers[0].username == str(asked))


async def test_connecting_to_nobody(tmp_path: Path, serving: Any) -> None:
    async with serving() as wire:
        with pytest.raises(PeerUnavailable):
            await connect("device", signaling=wire.url, known_peers=tmp_path / "known")


async def test_a_client_that_gives_up_takes_its_knock_away(serving: Any) -> None:
    async with serving() as wire:
        await wire.create("device", services=[{"protocol": "peernet.http", "version": "2"}])
        async with joined(wire.url, takes_offers=False) as client:
            await client.send(offer())
            await until(lambda: wire.server.peernet.counts["waiting"] == 1)
            assert wire.server.peernet.counts["knocks"] == 1
        assert wire.server.peernet.counts["knocks"] == 0
