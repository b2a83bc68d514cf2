"""Cameras by plain HTTP, for programs that know no peers."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from tests.media.rtc.test_whep import Showing

from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.door import Door
from peerfetch_fast.media.rtc.whep import OFFER
from support import until

aiortc = pytest.importorskip("aiortc")


async def negotiated(
    session: aiohttp.ClientSession, url: str, connection: aiortc.RTCPeerConnection
) -> str:
    """The URL of what was made of the connection's offer."""
    await connection.setLocalDescription(await connection.createOffer())
    body, headers = connection.localDescription.sdp, {"content-type": OFFER}
    async with session.post(url, data=body, headers=headers) as answer:
        text = await answer.text()
        assert answer.status == 201, text
        place = str(answer.url.join(aiohttp.client.URL(answer.headers["location"])))
    await connection.setRemoteDescription(aiortc.RTCSessionDescription(text, "answer"))
    await until(lambda: connection.connectionState == "connected")
    return place


async def test_whep_and_a_picture_by_its_address() -> None:
    camera = Camera(Showing(), linger=0)
    async with Door({"/garden": camera}) as door, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{await door.start('127.0.0.1', 0)}/garden"
        async with session.get(f"{url}/snapshot.jpg") as answer:
            assert (await answer.read()).startswith(b"\xff\xd8")
        connection = aiortc.RTCPeerConnection()
        connection.addTransceiver("video", direction="recvonly")
        place = await negotiated(session, f"{url}/whep", connection)
        [transceiver] = connection.getTransceivers()
        async with asyncio.timeout(20):
            assert (await transceiver.receiver.track.recv()).width == 160
        async with session.delete(place) as ended:
            assert ended.status == 200
        await connection.close()
        # A page from elsewhere, under a name that leads here, sees nothing.
        for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
            async with session.get(f"{url}/snapshot.jpg", headers=headers) as refused:
                assert refused.status == 403
    await camera.close()


async def test_whip_in_and_out_again() -> None:
    camera = Camera("publish:", linger=0)
    async with Door({"/in": camera}) as door, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{await door.start('127.0.0.1', 0)}/in"
        sending, second = aiortc.RTCPeerConnection(), aiortc.RTCPeerConnection()
        for one in (sending, second):
            one.addTrack(aiortc.VideoStreamTrack())
            one.getTransceivers()[0].setCodecPreferences(
                [
                    codec
                    for codec in aiortc.RTCRtpSender.getCapabilities("video").codecs
                    if codec.mimeType == "video/H264"
                ]
            )
        place = await negotiated(session, f"{url}/whip", sending)
        with pytest.raises(AssertionError, match="somebody else sends"):
            await negotiated(session, f"{url}/whip", second)
        async with session.get(f"{url}/snapshot.jpg") as answer:
            assert answer.status == 200
            assert camera.feed.video is not None
            assert (camera.feed.video.width, camera.feed.video.height) == (640, 480)
        async with session.delete(place) as ended:
            assert ended.status == 200
        await until(lambda: camera.inlet is not None and camera.inlet.publisher is None)
        for one in (sending, second):
            await one.close()
    await camera.close()
