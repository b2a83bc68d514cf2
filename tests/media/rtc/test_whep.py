"""Viewers by WebRTC, negotiated inside a session; the other end is aiortc's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.media.conftest import KEY_FRAMES, Script, annex_b, frames_of

from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.media.rtc import whep
from peerfetch_fast.media.rtc.pressure import BAD_REPORTS
from peerfetch_fast.media.rtc.viewing import Viewing
from support import Pair, http_pair, until

aiortc = pytest.importorskip("aiortc")

SDP = {"content-type": "application/sdp"}
FRAGMENT = {"content-type": "application/trickle-ice-sdpfrag"}


class Showing(Script):
    """A source that goes on by itself."""

    def __init__(self, audio: AudioFormat | None = None) -> None:
        super().__init__(audio)
        self._frames = frames_of(annex_b())
        self.shown = 0

    async def run(self, output: Any) -> None:
        self.started += 1
        output.begin(self.audio)
        number = 0
        try:
            while True:
                frame = self._frames[number % len(self._frames)]
                at = number * 20_000
                output.frame(Frame(frame.format, at, frame.data, frame.key))
                if self.audio is not None:
                    output.frame(Frame(self.audio, at, bytes.fromhex("fcfffe")))
                number += 1
                self.shown = number
                await asyncio.sleep(0.02)
        finally:
            self.stopped += 1


@contextlib.asynccontextmanager
async def served(source: Script) -> AsyncIterator[tuple[Pair, Camera]]:
    camera = Camera(source, linger=0.1)
    async with http_pair(camera) as pair:
        yield pair, camera
    await camera.close()


@contextlib.contextmanager
def refusing(most: int) -> Iterator[None]:
    before, whep.MAX_PER_PEER = whep.MAX_PER_PEER, most
    try:
        yield
    finally:
        whep.MAX_PER_PEER = before


@contextlib.asynccontextmanager
async def viewer(pair: Pair) -> AsyncIterator[tuple[Any, str]]:
    """A viewer that has been answered, and the path of its connection."""
    connection = aiortc.RTCPeerConnection()
    try:
        connection.addTransceiver("video", direction="recvonly")
        connection.addTransceiver("audio", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        answer = await pair.fetch(
            "/live", method="POST", headers=SDP, body=connection.localDescription.sdp
        )
        text = await answer.text()
        assert answer.status == 201, text
        await connection.setRemoteDescription(aiortc.RTCSessionDescription(text, "answer"))
        # aioice leaves a task behind if it is closed while it connects.
        await until(lambda: connection.connectionState == "connected")
        yield connection, f"/{answer.headers['location']}"
    finally:
        await connection.close()


async def test_pictures_and_sound_arrive() -> None:
    source = Showing(AudioFormat(1))
    async with served(source) as (pair, camera):
        async with viewer(pair) as (connection, place):
            video, audio = (one.receiver.track for one in connection.getTransceivers())
            async with asyncio.timeout(20):
                shown = [await video.recv() for _ in range(5)]
                heard = await audio.recv()
            assert (shown[0].width, shown[0].height) == (160, 120)
            assert heard.sample_rate == 48_000
            assert camera.feed.viewers == 1
            patched = await pair.fetch(
                place, method="PATCH", headers=FRAGMENT, body="a=end-of-candidates\r\n"
            )
            assert patched.status == 204
            told = await (await pair.fetch(place)).json()
            assert told == {"state": "connected", "pictures": "all"}
            assert (await pair.fetch(place, method="DELETE")).status == 200
            assert (await pair.fetch(place, method="DELETE")).status == 404
            await until(lambda: camera.feed.viewers == 0)
        await until(lambda: source.stopped == 1)


async def test_it_ends_with_the_session_and_with_the_viewer() -> None:
    source = Showing()
    camera = Camera(source, linger=0)
    async with http_pair(camera) as pair, viewer(pair):
        assert camera.feed.viewers == 1
        pair.client.abort()
        await until(lambda: camera.feed.viewers == 0)
    async with http_pair(camera) as pair:
        async with viewer(pair):
            pass
        await until(lambda: camera.feed.viewers == 0)
    await camera.close()


async def test_what_cannot_be_answered_says_why() -> None:
    async with served(Showing()) as (pair, camera):

        async def post(body: str, headers: dict[str, str] = SDP) -> tuple[int, str]:
            answer = await pair.fetch("/live", method="POST", headers=headers, body=body)
            return answer.status, await answer.text()

        async with viewer(pair) as (connection, place):
            good = connection.localDescription.sdp
            assert (await post(good, FRAGMENT))[0] == 415
            assert (await post("x" * 70_000))[0] == 413
            assert (await post("nonsense"))[0] == 400
            status, said = await post(good.replace("H264", "H265"))
            assert (status, "no H.264" in said) == (406, True)
            with refusing(1):
                assert (await post(good))[0] == 429
            for path, method in (("/live", "GET"), (place, "POST")):
                refused = await pair.fetch(path, method=method, headers=SDP)
                assert refused.status == 405
                assert refused.headers["allow"]
            broken = await pair.fetch(place, method="PATCH", headers=FRAGMENT, body="a\n" * 70_000)
            assert broken.status == 413
            assert (await pair.fetch("/live/other", method="DELETE")).status == 404
        await until(lambda: camera.feed.viewers == 0)


async def test_offers_that_are_being_answered_count() -> None:
    async with served(Showing()) as (pair, camera):
        async with viewer(pair) as (connection, _):
            offer = connection.localDescription.sdp
            with refusing(3):
                posted = [
                    pair.fetch("/live", method="POST", headers=SDP, body=offer) for _ in range(5)
                ]
                answers = await asyncio.gather(*posted)
            assert sorted(answer.status for answer in answers) == [201, 201, 429, 429, 429]
            for answer in answers:
                if answer.status == 201:
                    place = f"/{answer.headers['location']}"
                    assert (await pair.fetch(place, method="DELETE")).status == 200
        await until(lambda: camera.feed.viewers == 0)


async def test_another_peer_reaches_no_connection_of_this_one() -> None:
    camera = Camera(Showing(), linger=0)
    async with http_pair(camera) as pair, http_pair(camera) as other, viewer(pair) as (_, place):
        assert (await other.fetch(place, method="DELETE")).status == 404
        assert camera.feed.viewers == 1
    await camera.close()


async def test_single_pictures_are_no_video() -> None:
    source = Script()
    picture = Frame(VideoFormat("jpeg", 160, 120), 0, b"\xff\xd8")
    async with served(source) as (pair, _):
        connection = aiortc.RTCPeerConnection()
        connection.addTransceiver("video", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp
        asking = asyncio.ensure_future(pair.fetch("/live", method="POST", headers=SDP, body=offer))
        await until(lambda: source.output is not None)
        source.put(picture)
        assert (await asking).status == 406
        await connection.close()


async def test_a_narrow_network_gets_key_frames_alone() -> None:
    source = Showing()
    async with served(source) as (pair, camera):
        async with viewer(pair) as (_, place):
            [viewing] = camera._negotiated["live"]._all
            assert isinstance(viewing, Viewing)
            for _ in range(BAD_REPORTS):
                viewing._pressure.report(0, 0.5, None, 1e6)
            viewing._pressure._until = 1e12
            assert (await (await pair.fetch(place)).json())["pictures"] == "key"
            sent: list[bool] = []
            timestamps = viewing._timestamp
            viewing._timestamp = lambda at, rate: (  # type: ignore[method-assign]
                sent.append(True), timestamps(at, rate)
            )[1]  # fmt: skip
            shown = source.shown
            await until(lambda: source.shown - shown > 3 * KEY_FRAMES)
            # Of each ten one, and reports to the viewer.
            assert 1 <= len(sent) <= 3 * KEY_FRAMES // 2
        await until(lambda: camera.feed.viewers == 0)
