"""A camera that is published to."""

from __future__ import annotations

import asyncio

import pytest
from tests.media.conftest import picture

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.inlet import Inlet
from support import http_pair, until


class Page:
    """Who publishes."""

    audio = None

    def __init__(self) -> None:
        self.asked = 0

    def want_key(self) -> None:
        self.asked += 1


async def test_one_at_a_time_and_a_key_frame_for_whoever_comes() -> None:
    inlet, page = Inlet(), Page()
    camera = Camera(inlet, linger=0)
    inlet.begin(page)
    with pytest.raises(CameraError, match="somebody else"):
        inlet.begin(Page())
    inlet.frame(picture(0, key=True))  # nobody watches
    assert page.asked == 0

    async def watch() -> None:
        async with camera.feed.join() as viewer:
            assert (await viewer.next()).key

    watching = asyncio.ensure_future(watch())
    while page.asked == 0:
        await asyncio.sleep(0)
    inlet.frame(picture(0, key=True))
    await watching
    inlet.end(Page())  # of another: nothing
    assert inlet.publisher is page
    inlet.end(page)
    assert inlet.publisher is None
    await camera.close()


async def test_who_waits_for_a_publisher_sees_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not when the source that has failed would be started again.
    monkeypatch.setattr("peerfetch_fast.media.feed.FIRST_PAUSE", 1e6)
    camera = Camera("publish:", linger=0)
    inlet, page = camera.inlet, Page()
    assert inlet is not None
    assert camera.info()["published"] is False

    async def watch() -> None:
        async with camera.feed.join() as viewer:
            assert (await viewer.next()).key

    watching = asyncio.ensure_future(watch())
    await until(lambda: camera.feed.error is not None)
    inlet.begin(page)
    assert camera.info()["published"] is True
    await until(lambda: page.asked == 1)
    inlet.frame(picture(0, key=True))
    await watching
    await camera.close()


async def test_without_a_publisher_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerfetch_fast.media.feed.START_TIMEOUT", 0.1)
    camera = Camera("publish:")
    async with http_pair(camera) as pair:
        answer = await pair.fetch("/snapshot.jpg")
        assert (answer.status, await answer.text()) == (503, "nobody sends a picture here yet\n")
        info = await (await pair.fetch("/info")).json()
        assert info["publish"] is True
    await camera.close()
    other = Camera("test:")
    async with http_pair(other) as pair:
        headers = {"content-type": "application/sdp"}
        refused = await pair.fetch("/publish", method="POST", headers=headers, body="v=0")
        assert refused.status == 404
    await other.close()
