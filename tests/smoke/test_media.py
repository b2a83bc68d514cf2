"""Media streams between nodes in Python: from any source, passed on, and what a stranger says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.media.conftest import Script, annex_b, frames_of
from tests.smoke.test_node import nodes

from peerfetch_fast import Camera
from peerfetch_fast.errors import CameraError, InvalidDescription
from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.smoke import Node
from peerfetch_fast.smoke.media import MAX_MESSAGE, _read
from peerfetch_fast.smoke.rest import Request, Response
from support import until


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Moving(Script):
    """A source of one's own, which goes on by itself."""

    async def run(self, output: Any) -> None:
        self.started += 1
        output.begin(self.audio)
        frames = frames_of(annex_b())
        number = 0
        try:
            while True:
                frame = frames[number % len(frames)]
                output.frame(Frame(frame.format, number * 20_000, frame.data, frame.key))
                if self.audio is not None:
                    output.frame(Frame(self.audio, number * 20_000, bytes.fromhex("fcfffe")))
                number += 1
                await asyncio.sleep(0.02)
        finally:
            self.stopped += 1


class Single(Script):
    """A source of single pictures."""

    async def run(self, output: Any) -> None:
        output.begin(None)
        output.frame(Frame(VideoFormat("jpeg", 1, 1), 0, b"\xff\xd8\xff\xd9"))
        await asyncio.get_running_loop().create_future()


def shows(node: Node, source: Any) -> list[Any]:
    """Have a node show a source on port 80; what is being sent."""
    app = node.rest.create_server()
    sent: list[Any] = []

    @app.get("/stream")
    async def stream(_: Request, response: Response) -> None:
        sent.append(await response.mediastream(source))

    @app.get("/text")
    async def text(_: Request, response: Response) -> None:
        await response.text("no stream")

    app.listen(80)
    return sent


async def stream_of(node: Node, remote: Node, path: str = "/stream") -> Any:
    response = await node.rest.fetch(f"rest://{remote.address}{path}")
    return await response.mediastream()


@contextlib.asynccontextmanager
async def limit(seconds: float = 20) -> AsyncIterator[None]:
    async with asyncio.timeout(seconds):
        yield


async def test_a_stream_goes_on_from_node_to_node_unchanged() -> None:
    source = Moving(AudioFormat(2))
    known = {frame.data for frame in frames_of(annex_b())}
    async with limit(), nodes(3) as (first, second, third):
        sent = shows(first, source)
        async with await stream_of(second, first) as passed:
            shows(second, passed)
            async with await stream_of(third, second) as stream:
                frames = [await anext(stream) for _ in range(30)]
                assert frames[0].is_video
                assert frames[0].key
                pictures = {frame.data for frame in frames if frame.is_video}
                assert pictures <= known
                assert len(pictures) > 5
                assert any(not frame.is_video for frame in frames)
                picture = await stream.video.recv()
                assert (picture.width, picture.height) == (160, 120)
                assert (await stream.audio.recv()).sample_rate == 48_000
            sent[0].dispose()
            with pytest.raises(CameraError):
                while True:
                    await anext(passed)
        await until(lambda: source.stopped == 1)


async def test_a_proxy_lets_go_of_the_source_with_its_viewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Moving()
    camera = Camera(source, linger=0)
    async with limit(), nodes(3) as (host, proxy, guest):
        shows(host, camera)
        app = proxy.rest.create_server()
        ended: list[str] = []

        @app.get("/stream")
        async def stream(request: Request, response: Response) -> None:
            async with await stream_of(proxy, host) as passed:
                sending = await response.mediastream(passed)
                await sending.wait_closed()
            ended.append(request.url)

        app.listen(80)
        async with await stream_of(guest, proxy):
            assert camera.feed.viewers == 1
        await until(lambda: ended == ["/stream"])
        await until(lambda: camera.feed.viewers == 0)
        # Nor does it wait for who asks and does not come.
        monkeypatch.setattr("peerfetch_fast.smoke.continuations.PATIENCE", 0.01)
        await guest.rest.fetch(f"rest://{proxy.address}/stream")
        await until(lambda: ended == ["/stream"] * 2)
    await until(lambda: source.stopped > 0)
    await camera.close()


async def test_a_camera_is_shared_and_lets_go_of_who_leaves() -> None:
    source = Moving()
    camera = Camera(source, linger=0)
    async with limit(), nodes(2) as (host, guest):
        shows(host, camera)
        streams = [await stream_of(guest, host) for _ in range(2)]
        assert (source.started, camera.feed.viewers) == (1, 2)
        assert streams[0].audio_format is None
        served = Camera(streams[0], linger=0)  # a source as any other
        async with served.feed.join() as viewer:
            assert (await viewer.next()).key
        await served.close()
        await streams[0].close()
        await streams[0].close()
        await until(lambda: camera.feed.viewers == 1)
    await until(lambda: source.stopped == 1)
    await camera.close()


async def test_streams_to_one_node_are_bounded_and_end_with_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.smoke.media.MAX_PER_NODE", 2)
    source = Moving()
    async with limit(), nodes(2) as (host, guest):
        sent = shows(host, source)
        stream = await stream_of(guest, host)
        url = f"rest://{host.address}/stream"
        await guest.rest.fetch(url)  # which is not come for
        refused = await guest.rest.fetch(url)
        said = "2 media streams to one node: end one of them"
        assert (refused.status, await refused.text()) == (503, said)
        await stream.close()
        await sent[0].wait_closed()
        assert (await guest.rest.fetch(url)).status == 200
        await guest.close()
        assert len(sent) == 3
        for sending in sent:
            await sending.wait_closed()


async def test_a_stream_that_cannot_be_offered_takes_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.smoke.media.MAX_PER_NODE", 1)
    async with limit(), nodes(2) as (host, guest):
        app = host.rest.create_server()

        @app.get("/late")
        async def late(_: Request, response: Response) -> None:
            await response.text("sent")
            with pytest.raises(RuntimeError, match="already"):
                await response.mediastream(Moving())

        @app.get("/stream")
        async def stream(_: Request, response: Response) -> None:
            await response.mediastream(Moving())

        app.listen(80)
        late_answer = await guest.rest.fetch(f"rest://{host.address}/late")
        assert await late_answer.text() == "sent"
        async with await stream_of(guest, host):
            pass


async def test_why_no_stream_comes_is_said() -> None:
    async with limit(), nodes(2) as (host, guest):
        shows(host, Single())
        with pytest.raises(CameraError, match="this camera gives single pictures"):
            await stream_of(guest, host)
        with pytest.raises(CameraError, match=r"the answer \(status 200\) holds no media stream"):
            await stream_of(guest, host, "/text")


@pytest.mark.parametrize(
    "said",
    [
        b"{}",
        "{",
        " " * (MAX_MESSAGE + 1),
        orjson.dumps({"description": {"type": "offer", "sdp": "v=0"}}).decode(),
        orjson.dumps({"description": {"type": "answer", "sdp": "v=0"}}).decode(),
    ],
)
async def test_what_makes_no_sense_ends_the_stream_alone(said: str | bytes) -> None:
    source = Moving()
    async with limit(), nodes(2) as (host, guest):
        shows(host, source)
        response = await guest.rest.fetch(f"rest://{host.address}/stream")
        target = response._continued("media")
        assert target is not None
        async with await response._open(target) as socket:
            offer = orjson.loads(await socket.receive())["description"]
            assert offer["type"] == "offer"
            await socket.send(said)
            assert "error" in orjson.loads(await socket.receive())
        await until(lambda: source.stopped == 1)
        text = await guest.rest.fetch(f"rest://{host.address}/text")
        assert await text.text() == "no stream"


def test_messages_that_say_nothing_are_passed_over() -> None:
    for said in ("[]", "1", "{}", '{"candidate": {}}', '{"description": {"sdp": "v=0"}}'):
        assert _read(said) == ("", "")
    for length, kind in ((1_024, "candidate"), (1_025, "")):
        assert _read(f'{{"candidate": {{"candidate": "{"x" * length}"}}}}')[0] == kind
    with pytest.raises(CameraError, match=r"^x{200}$"):
        _read(orjson.dumps({"error": "x" * 300}).decode())
    with pytest.raises(InvalidDescription):
        _read("nonsense")
