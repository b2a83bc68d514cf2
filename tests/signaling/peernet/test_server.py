"""The server on a real socket, against aiohttp's client and raw TCP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from peerfetch_fast.errors import MissingExtra
from peerfetch_fast.signaling.peernet import protobuf
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import IceServer
from support import until

TOKEN = "5d0c5b6e-6f0e-4c1e-9d0b-1b6d2f1f7a11"
KNOCKS = "servers/chidi/services/peernet.http/knocks"
OFFER = {"offer": {"name": "one-session-of-a-client", "sdp": "v=0", "sdpType": "offer"}}
ANSWER = {"answer": {"name": "one-session-of-a-server", "sdp": "v=0", "sdpType": "answer"}}


async def test_the_flow_in_json(serving: Any) -> None:
    async with serving() as wire:
        made = await wire.create(display_name="Chidi")
        assert made["unique_id"] == "chidi"
        assert "auth_token" not in made
        _, room = await wire.ask("GET", "rooms/the-good-place/servers")
        assert [server["display_name"] for server in room["servers"]] == ["Chidi"]
        _, knock = await wire.ask("POST", KNOCKS, OFFER)
        wanted = {"filter": 'service.name="peernet.http" AND service.version="1.1"'}
        _, claimed = await wire.ask("GET", "servers/chidi/claim_knocks", wanted, token=TOKEN)
        assert [one["offer"]["sdp"] for one in claimed["knocks"]] == ["v=0"]
        status, _ = await wire.ask("PATCH", knock["name"], knock | ANSWER, token=TOKEN)
        assert status == 200
        _, answered = await wire.ask("GET", knock["name"])
        assert answered["state"] == "ANSWERED"
        candidate = {"candidate": "1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0"}
        to = f"sessions/{OFFER['offer']['name']}"
        assert (await wire.ask("POST", f"{to}/candidates", candidate))[0] == 200
        for path in ("candidates", "claim/candidates"):
            assert (await wire.ask("GET", f"{to}/{path}"))[1] == {"candidates": [candidate]}
        assert (await wire.ask("GET", f"{to}/claim/candidates"))[1] == {"candidates": []}
        assert (await wire.ask("DELETE", "servers/chidi", token=f"Bearer {TOKEN}"))[0] == 200
        assert (await wire.ask("GET", "servers/chidi"))[0] == 404


async def test_the_flow_in_protobuf(serving: Any) -> None:
    types = protobuf._types()

    async def ask(method: str, path: str, answer: str, body: Any = None, **headers: str) -> Any:
        content = {"Content-Type": "application/x-protobuf"} if body else {}
        async with wire.session.request(
            method,
            f"{wire.base}/{path}",
            data=body.SerializeToString() if body else None,
            headers={"Accept": "application/x-protobuf", **content, **headers},
        ) as response:
            assert response.content_type == "application/x-protobuf"
            return types[answer].FromString(await response.read())

    async with serving() as wire:
        server = types["Server"](unique_id="chidi", auth_token=TOKEN)
        server.services.add(protocol="peernet.http", version="1.1")
        assert (await ask("POST", "servers", "Server", server)).name == "servers/chidi"
        offer = types["Knock"]()
        offer.offer.sdp = "v=0"
        knock = await ask("POST", KNOCKS, "Knock", offer)
        assert len(knock.offer.name) >= 22
        wanted = types["ClaimKnocksRequest"](filter="service.version=1.1")
        path = "servers/chidi/claim_knocks"
        claimed = await ask("POST", path, "ClaimKnocksResponse", wanted, Authorization=TOKEN)
        assert [one.name for one in claimed.knocks] == [knock.name]
        knock.answer.sdp = "v=0"
        await ask("PATCH", knock.name, "Knock", knock, Authorization=TOKEN)
        answered = await ask("GET", knock.name, "Knock")
        assert answered.state == answered.ANSWERED
        refused = await ask("GET", "servers/tahani", "Error")
        assert (refused.code, refused.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "body", "token", "status"),
    [
        ("POST", "servers", None, None, 400),
        ("POST", "servers", {"auth_token": "short"}, None, 400),
        ("POST", "servers", {"unique_id": "chidi", "auth_token": "x" * 16}, None, 409),
        ("GET", "servers", None, None, 403),
        ("GET", "rooms", None, None, 403),
        ("GET", "rooms/nowhere", None, None, 404),
        ("GET", "nothing", None, None, 404),
        ("PUT", "servers", {}, None, 405),
        ("DELETE", "servers/chidi", None, None, 401),
        ("DELETE", "servers/chidi", None, "wrong", 403),
        ("GET", "servers/chidi/claim_knocks?filter=x", None, TOKEN, 400),
        ("GET", "servers/chidi/claim_knocks?wait=soon", None, TOKEN, 400),
        ("GET", "servers/chidi/claim_knocks?page_size=-1", None, TOKEN, 400),
        ("POST", "servers/chidi:heartbeat", None, TOKEN, 200),
        ("POST", "servers/chidi:other", None, TOKEN, 404),
        ("PATCH", "servers/chidi?update_mask=rooms", {"rooms": ["x"]}, TOKEN, 200),
        ("POST", KNOCKS, {}, None, 400),
        ("POST", KNOCKS, {"offer": {"name": "short", "sdp": "v=0"}}, None, 400),
        ("POST", "servers/chidi/services/other/knocks", OFFER, None, 404),
        ("GET", KNOCKS, None, TOKEN, 200),
        ("GET", f"{KNOCKS}/unknown", None, None, 404),
        ("POST", "sessions/unknown-session-id-000/candidates", {"candidate": "x"}, None, 404),
        ("POST", "sessions/unknown-session-id-000/candidates", {}, None, 400),
        ("GET", "ice_servers", None, None, 200),
    ],
)
async def test_statuses(
    serving: Any, method: str, path: str, body: Any, token: str | None, status: int
) -> None:
    async with serving() as wire:
        await wire.create()
        found, answer = await wire.ask(method, path, body, token=token)
        assert found == status, answer
        if status >= 400:
            assert answer["error"]["code"] == status
            assert answer["error"]["message"]


async def test_a_token_may_be_any_octets(serving: Any) -> None:
    octets = b"\xff\xfe" * 8

    async def ask(port: int, path: str, token: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        fields = b"Host: x\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
        line = f"POST /v1/{path} HTTP/1.1\r\n".encode()
        writer.write(line + fields + b"Authorization: " + token + b"\r\n\r\n" + body)
        answer = await reader.read()
        writer.close()
        return answer.split(maxsplit=2)[1]

    async with serving() as wire:
        await wire.create()
        assert await ask(wire.port, "servers/chidi:heartbeat", octets, b"") == b"403"
        assert await ask(wire.port, "servers", octets, b'{"unique_id": "tahani"}') == b"200"
        assert await ask(wire.port, "servers/tahani:heartbeat", octets, b"") == b"200"
        assert await ask(wire.port, "servers/tahani:heartbeat", octets[:-1], b"") == b"403"


async def test_without_protobuf_who_asks_for_it_is_told_in_json(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise MissingExtra("Protobuf needs the package protobuf")

    monkeypatch.setattr(protobuf, "_types", missing)
    accept = {"Accept": "application/x-protobuf"}
    sent = {"Content-Type": "application/x-protobuf"}
    async with serving() as wire:
        await wire.create()
        for path, headers, status in (
            ("servers/chidi", accept, 406),
            ("servers/tahani", accept, 404),
        ):
            found, answer = await wire.ask("GET", path, headers=headers)
            assert (found, answer["error"]["code"]) == (status, status)
        async with wire.session.post(f"{wire.base}/servers", data=b"x", headers=sent) as response:
            assert response.status == 415
            assert "protobuf" in (await response.json())["error"]["message"]


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[]", b"7", b'{"rooms": ' + b"[" * 9_000])
async def test_what_is_no_json_object(serving: Any, data: bytes) -> None:
    async with serving() as wire, wire.session.post(f"{wire.base}/servers", data=data) as response:
        assert response.status == 400
        assert (await response.json())["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_body_that_is_too_long_or_too_slow(serving: Any) -> None:
    async with serving(signaling={"head_timeout": 0.3}) as wire:
        async with wire.session.post(f"{wire.base}/servers", data=b"x" * 70_000) as response:
            assert response.status == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"POST /v1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert b" 400 " in await reader.readline()
        writer.close()


async def test_a_claim_waits_and_is_answered_as_soon_as_somebody_knocks(serving: Any) -> None:
    async with serving() as wire:
        await wire.create()
        claim = wire.ask("POST", "servers/chidi/claim_knocks?wait=30", token=TOKEN)
        waiting = asyncio.ensure_future(claim)
        await until(lambda: wire.server.peernet.counts["waiting"] == 1)
        _, knock = await wire.ask("POST", KNOCKS, OFFER)
        assert [one["name"] for one in (await waiting)[1]["knocks"]] == [knock["name"]]
        answered = asyncio.ensure_future(wire.ask("GET", f"{knock['name']}?wait=30"))
        await until(lambda: wire.server.peernet.counts["waiting"] == 1)
        await wire.ask("PATCH", knock["name"], ANSWER, token=TOKEN)
        assert (await answered)[1]["answer"]["sdp"] == "v=0"


async def test_waiting_ends_with_nothing(serving: Any) -> None:
    async with serving() as wire:
        await wire.create()
        body = {"wait": 0.1}
        found = await wire.ask("POST", "servers/chidi/claim_knocks", body, token=TOKEN)
        assert found == (200, {"knocks": [], "next_page_token": ""})
        assert wire.server.peernet.counts["waiting"] == 0


async def test_a_knock_is_not_handed_to_a_claimer_that_is_gone(serving: Any) -> None:
    async with serving() as wire:
        await wire.create()
        _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(
            b"GET /v1/servers/chidi/claim_knocks?wait=30 HTTP/1.1\r\nHost: x\r\n"
            b"Authorization: " + TOKEN.encode() + b"\r\n\r\n"
        )
        await until(lambda: wire.server.peernet.counts["waiting"] == 1)
        writer.transport.abort()
        await asyncio.sleep(0)
        claim = wire.ask("GET", "servers/chidi/claim_knocks?wait=30", token=TOKEN)
        waiting = asyncio.ensure_future(claim)
        await until(lambda: wire.server.peernet.counts["waiting"] == 2)
        await wire.ask("POST", KNOCKS, OFFER)
        assert len((await waiting)[1]["knocks"]) == 1


async def test_races_of_many_claimers(serving: Any) -> None:
    async with serving(max_knocks_per_address=64, request_burst=100_000) as wire:
        await wire.create()
        path = "servers/chidi/claim_knocks?wait=30&page_size=2"
        claims = [asyncio.ensure_future(wire.ask("GET", path, token=TOKEN)) for _ in range(6)]
        await until(lambda: wire.server.peernet.counts["waiting"] == 6)
        knocks = [{"offer": {"sdp": f"v={number}"}} for number in range(6)]
        names = await asyncio.gather(*(wire.ask("POST", KNOCKS, knock) for knock in knocks))
        got = []
        while len(got) < 6:
            done, _ = await asyncio.wait(claims, return_when=asyncio.FIRST_COMPLETED)
            for claim in done:
                got += [knock["name"] for knock in (await claim)[1]["knocks"]]
                claims.remove(claim)
        assert sorted(got) == sorted(answer["name"] for _, answer in names)
        for claim in claims:
            claim.cancel()
        await asyncio.gather(*claims, return_exceptions=True)


async def test_who_waits_is_told_when_the_server_closes(serving: Any) -> None:
    async with serving() as wire:
        await wire.create()
        claim = wire.ask("GET", "servers/chidi/claim_knocks?wait=30", token=TOKEN)
        waiting = asyncio.ensure_future(claim)
        await until(lambda: wire.server.peernet.counts["waiting"] == 1)
        await wire.server.close()
        assert (await waiting)[0] == 503


async def test_a_flood_is_refused_with_the_time_to_wait(serving: Any) -> None:
    async with serving(request_burst=5, request_rate=0.5) as wire:
        for _ in range(5):
            assert (await wire.ask("GET", "ice_servers"))[0] == 200
        async with wire.session.get(f"{wire.base}/ice_servers") as response:
            assert response.status == 429
            assert 1 <= int(response.headers["Retry-After"]) <= 2
        assert sum(wire.server.peernet.refused.values()) == 1


async def test_pages_of_allowed_origins_may_ask(serving: Any) -> None:
    allowed = {"allowed_origins": ("https://app.example",)}
    async with serving(signaling=allowed) as wire:
        for origin, status in (("https://app.example", 200), ("https://evil.example", 403)):
            headers = {"Origin": origin}
            async with wire.session.get(f"{wire.base}/ice_servers", headers=headers) as response:
                assert response.status == status
                named = response.headers.get("Access-Control-Allow-Origin")
                assert named == (origin if status == 200 else None)
        ask = {"Origin": "https://app.example", "Access-Control-Request-Method": "PATCH"}
        async with wire.session.options(f"{wire.base}/servers/x", headers=ask) as response:
            assert response.status == 204
            assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


async def test_servers_for_ice_are_told_with_logins_that_expire(serving: Any) -> None:
    told = {
        "ice_servers": (IceServer("stun:stun.example"),),
        "turn": TurnLogins(("turn:turn.example",), "secret"),
    }
    async with serving(signaling=told) as wire:
        _, answer = await wire.ask("GET", "ice_servers")
        stun, turn = answer["ice_servers"]
        assert stun == {"urls": ["stun:stun.example"]}
        assert turn["credential"]
        assert turn["expire_time"].endswith("Z")


async def test_the_document_is_served(serving: Any) -> None:
    async with serving() as wire:
        _, document = await wire.ask("GET", "openapi.json")
        assert document["openapi"].startswith("3.")
        assert json.dumps(document).count("operationId") >= 20
