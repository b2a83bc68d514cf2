"""Viewers by WebRTC, negotiated inside a session; the other end is aiortc's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket
from tests.media.conftest import KEY_FRAMES, Script, annex_b, frames_of

from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.media.rtc import whep
from peerfetch_fast.media.rtc.pressure import BAD_SECONDS, Second
from peerfetch_fast.media.rtc.rtcp import nack
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


async def test_a_narrow_network_gets_from_key_frames_on_what_it_carries() -> None:
    source = Showing()
    async with served(source) as (pair, camera):
        async with viewer(pair) as (_, place):
            [viewing] = camera._negotiated["live"]._all
            assert isinstance(viewing, Viewing)
            viewing._weigh = lambda: None  # type: ignore[method-assign]
            for _ in range(BAD_SECONDS):
                viewing._pressure.take(Second(1e6, 1e5, 0.9))
            assert (await (await pair.fetch(place)).json())["pictures"] == "key"
            sent: list[bool] = []
            packets_of = viewing._packets_of
            viewing._packets_of = lambda picture: (  # type: ignore[method-assign]
                sent.append(picture.key), packets_of(picture)
            )[1]  # fmt: skip
            # Of a group of pictures what is behind the first that would wait for too long is left
            # out, as if all had waited since.
            viewing._outbox.put([bytes(1_200)] * 200)
            viewing._outbox.rate = 1.0
            shown = source.shown
            await until(lambda: source.shown - shown > 2 * KEY_FRAMES)
            assert sent == []
            viewing._outbox.rate = 1e9
            viewing._outbox.close()
            await until(lambda: len(sent) > 2 * KEY_FRAMES)
            assert sent[0]
            assert sent[KEY_FRAMES]
        await until(lambda: camera.feed.viewers == 0)


async def test_what_a_viewer_reports_is_weighed() -> None:
    """A network that loses half of what is sent, by what the viewer's reports say."""
    async with served(Showing()) as (pair, camera):
        async with viewer(pair) as (_, place):
            [viewing] = camera._negotiated["live"]._all
            assert isinstance(viewing, Viewing)
            await until(lambda: "video" in viewing._senders)
            ssrc, newest, lost = viewing._ssrcs["video"], 1_000, 0
            while viewing._pressure.pace is None:
                newest, lost = newest + 100, lost + 50
                info = RtcpReceiverInfo(
                    ssrc=ssrc, fraction_lost=128, packets_lost=lost, highest_sequence=newest,
                    jitter=0, lsr=0, dlsr=0,
                )  # fmt: skip
                viewing._on_rtcp(bytes(RtcpRrPacket(ssrc=1, reports=[info])))
                await asyncio.sleep(0.01)
                viewing._weigh()
            assert (await (await pair.fetch(place)).json())["pictures"] == "key"
            assert viewing._outbox.rate == viewing._pressure.pace
        await until(lambda: camera.feed.viewers == 0)


async def test_only_so_much_is_repeated_as_is_sent() -> None:
    async with served(Showing()) as (pair, camera):
        async with viewer(pair):
            [viewing] = camera._negotiated["live"]._all
            assert isinstance(viewing, Viewing)
            await until(lambda: "video" in viewing._senders)
            sender = viewing._senders["video"]
            await until(lambda: sender.packets > 20)
            again: list[bytes] = []
            viewing._outbox.put_first = again.extend  # type: ignore[method-assign]
            viewing._repeats = 5
            lost = [number for number in range(1 << 16) if sender.again(number) is not None]
            for _ in range(3):
                viewing._on_rtcp(nack(1, sender.ssrc, lost[:10]))
            assert again == [sender.again(number) for number in lost[:5]]
        await until(lambda: camera.feed.viewers == 0)


async def test_who_is_sent_away_at_once_is_let_go_of() -> None:
    """Also before the task that serves it has begun."""
    source = Showing()
    async with served(source) as (pair, camera):
        start = Viewing.start

        def start_and_close(viewing: Viewing, *arguments: Any) -> None:
            start(viewing, *arguments)
            viewing.close()

        Viewing.start = start_and_close  # type: ignore[method-assign]
        try:
            connection = aiortc.RTCPeerConnection()
            connection.addTransceiver("video", direction="recvonly")
            await connection.setLocalDescription(await connection.createOffer())
            offer = connection.localDescription.sdp
            answer = await pair.fetch("/live", method="POST", headers=SDP, body=offer)
            assert answer.status == 201
            await connection.close()
        finally:
            Viewing.start = start  # type: ignore[method-assign]
        await until(lambda: camera.feed.viewers == 0)
        assert camera._negotiated["live"]._all == set()


async def test_a_sound_that_no_packet_holds_is_left_out() -> None:
    source = Showing(AudioFormat(1))
    async with served(source) as (pair, camera):
        async with viewer(pair) as (connection, _):
            audio = connection.getTransceivers()[1].receiver.track
            camera.feed.frame(Frame(AudioFormat(1), 0, bytes(2_000)))
            async with asyncio.timeout(20):
                await audio.recv()
            assert camera.feed.viewers == 1
            [viewing] = camera._negotiated["live"]._all
            shown = source.shown
            await until(lambda: source.shown > shown + KEY_FRAMES)
            assert viewing.told()["state"] == "connected"
        await until(lambda: camera.feed.viewers == 0)
