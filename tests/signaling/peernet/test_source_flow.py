"""The flow of PeerNet's source: plain HTTP requests by aiohttp, and stock aiortc at both ends."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import pytest

from peerfetch_fast.signaling.peernet import protobuf
from support import run

aiortc = pytest.importorskip("aiortc")

CREATE = """
{
  "unique_id": "my-public-name",
  "rooms": ["the-good-place", "the-bad-place"],
  "auth_token": "%s",
  "display_name": "Chidi",
  "services": [{"protocol": "peernet.ping", "version": "0"}]
}
"""
FILTER = r'{"filter": "service.name=\"peernet.ping\" AND service.version=\"0\""}'


class Json:
    """Requests whose bodies are JSON, sent without a content type as the source does."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str = "") -> None:
        self._session = session
        self._base = base
        self._headers = {"Authorization": token} if token else {}

    async def ask(self, method: str, path: str, body: Any, kind: str, answer: str) -> Any:
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        async with self._session.request(
            method, f"{self._base}/{path}", data=data, headers=self._headers
        ) as response:
            assert response.status == 200, await response.text()
            return await response.json()


class Protobuf(Json):
    """The same in Protobuf."""

    async def ask(self, method: str, path: str, body: Any, kind: str, answer: str) -> Any:
        types = protobuf._types()
        data = None
        if body is not None:
            fields = json.loads(body) if isinstance(body, str) else body
            data = _message(types[kind](), fields).SerializeToString()
        mime = "application/x-protobuf"
        headers = {**self._headers, "Accept": mime, "Content-Type": mime}
        async with self._session.request(
            method, f"{self._base}/{path}", data=data, headers=headers
        ) as response:
            assert response.status == 200
            return _plain(types[answer].FromString(await response.read()))


def _message(message: Any, fields: dict[str, Any]) -> Any:
    from google.protobuf import json_format

    return json_format.ParseDict(fields, message, ignore_unknown_fields=True)


def _plain(message: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(message, preserving_proto_field_name=False)


async def serve_one(api: Json, server: str) -> None:
    """The source's server: poll, and give each knock to a worker."""
    while True:
        path = f"servers/{server}/claim_knocks"
        found = await api.ask("GET", path, FILTER, "ClaimKnocksRequest", "ClaimKnocksResponse")
        for knock in found.get("knocks", ()):
            return await handle_offer(knock, api)
        await asyncio.sleep(1)


async def handle_offer(knock: Any, api: Json) -> None:
    """The source's worker, from the offer to the end of the connection."""
    pc = aiortc.RTCPeerConnection()
    done = asyncio.Event()

    @pc.on("datachannel")
    def on_datachannel(channel: Any) -> None:
        @channel.on("message")
        def on_message(message: str) -> None:
            channel.send("pong" + message[4:])

    @pc.on("connectionstatechange")
    def on_connectionstatechange() -> None:
        if pc.connectionState in ("failed", "closed"):
            done.set()

    offer = knock["offer"]
    description = aiortc.RTCSessionDescription(sdp=offer["sdp"], type=offer["sdpType"])
    await pc.setRemoteDescription(description)
    await pc.setLocalDescription(await pc.createAnswer())
    session = str(uuid.uuid4())
    answer = {"name": session, "sdp": pc.localDescription.sdp, "sdpType": "answer"}
    await api.ask("PATCH", knock["name"], {"answer": answer}, "Knock", "Knock")
    path = f"sessions/{session}/claim/candidates"
    while pc.connectionState not in ("connected", "failed", "closed"):
        found = await api.ask("GET", path, None, "", "ListCandidatesResponse")
        for candidate in found.get("candidates", ()):
            made = aiortc.sdp.candidate_from_sdp(candidate["candidate"].partition(":")[2])
            made.sdpMid = candidate.get("sdpMid")
            made.sdpMLineIndex = candidate.get("sdpLineIndex", 0)
            await pc.addIceCandidate(made)
        await asyncio.sleep(0.2)
    await done.wait()
    await pc.close()


async def ping(api: Json) -> str:
    """A client of the source's server: find it, knock, and say ping."""
    room = await api.ask("GET", "rooms/the-bad-place/servers", None, "", "ListRoomServersResponse")
    service = room["servers"][0]["services"][0]["name"]
    pc = aiortc.RTCPeerConnection()
    channel = pc.createDataChannel("peernet.ping")
    answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    channel.on("open", lambda: channel.send("ping: hello"))
    channel.on("message", answered.set_result)
    await pc.setLocalDescription(await pc.createOffer())
    offer = {"name": str(uuid.uuid4()), "sdp": pc.localDescription.sdp, "sdpType": "offer"}
    knock = await api.ask("POST", f"{service}/knocks", {"offer": offer}, "Knock", "Knock")
    while "answer" not in knock:
        knock = await api.ask("GET", f"{knock['name']}?wait=25", None, "", "Knock")
    answer = knock["answer"]
    await pc.setRemoteDescription(aiortc.RTCSessionDescription(answer["sdp"], "answer"))
    # What aiortc has is in its description: one of them is sent once more, on the way of others.
    line = next(line for line in offer["sdp"].splitlines() if line.startswith("a=candidate:"))
    candidate = {"candidate": line[2:], "sdpMid": "0", "sdpLineIndex": 0}
    path = f"sessions/{answer['name']}/candidates"
    await api.ask("POST", path, candidate, "AddCandidatesRequest", "Empty")
    try:
        return await answered
    finally:
        await pc.close()


@pytest.mark.parametrize("kind", [Json, Protobuf])
def test_the_source_s_server_and_a_client(serving: Any, kind: type[Json]) -> None:
    async def main() -> None:
        async with serving() as wire:
            token = str(uuid.uuid4())
            owner = kind(wire.session, wire.base, token)
            created = await owner.ask("POST", "servers", CREATE % token, "Server", "Server")
            server = created.get("unique_id") or created["uniqueId"]
            worker = asyncio.create_task(serve_one(owner, server))
            assert await ping(kind(wire.session, wire.base)) == "pong: hello"
            await worker

    run(main())
