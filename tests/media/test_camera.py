"""A camera as a client asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import itertools
import json
import os
import random
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import av
import pytest
from tests.media.conftest import Script, annex_b, cropped_picture, frames_of

from peerfetch_fast import connect, serve
from peerfetch_fast.errors import CameraError, PeerfetchError
from peerfetch_fast.media import feed
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.media.pyav import pictures
from peerfetch_fast.media.records import FrameReader
from peerfetch_fast.media.sources import make_source, shown
from processes import posix_only
from support import HANGS, Pair, http_pair, until
from test_peer import signaling_server

JPEG = b"\xff\xd8 a picture \xff\xd9"


@contextlib.asynccontextmanager
async def served(camera: Camera) -> AsyncIterator[Pair]:
    async with http_pair(camera) as pair:
        yield pair
    await camera.close()


async def put_when_asked(source: Script, frames: list[Frame]) -> None:
    await until(lambda: source.output is not None)
    source.put(*frames)


async def read_some(pair: Pair, target: str, mark: bytes, times: int) -> tuple[str, bytes]:
    """An answer that has no end, until ``mark`` was in it that often."""
    data = b""
    async with await pair.fetch(target) as response:
        assert response.status == 200
        async for piece in response:
            data += piece
            if data.count(mark) >= times:
                break
        return response.headers["content-type"], data


async def test_live_pictures_are_an_mp4_without_end() -> None:
    source = Script(AudioFormat(1))
    frames = frames_of(annex_b())
    async with served(Camera(source)) as pair:
        putting = asyncio.ensure_future(put_when_asked(source, frames))
        kind, data = await read_some(pair, "/live.mp4", b"moof", len(frames))
        await putting
        format = frames[0].format
        assert kind == f'video/mp4; codecs="{format.codecs}, opus"'
        with av.open(io.BytesIO(data)) as container:
            assert len(list(container.decode(video=0))) >= len(frames) - 1
        info = await (await pair.fetch("/info")).json()
        assert info["state"] == "live"
        assert info["video"] == {
            "codec": "h264", "codecs": format.codecs, "width": 160, "height": 120,
        }  # fmt: skip
        assert info["ice_servers"] == []
        assert info["audio"] == {"codec": "opus", "codecs": "opus", "channels": 1}


async def test_one_picture_is_the_newest() -> None:
    source = Script()
    frames = frames_of(annex_b())
    async with served(Camera(source)) as pair:
        putting = asyncio.ensure_future(put_when_asked(source, frames))
        answers = await asyncio.gather(*(pair.fetch("/snapshot.jpg") for _ in range(3)))
        pictures = [await answer.bytes() for answer in answers]
        await putting
        assert {answer.headers["content-type"] for answer in answers} == {"image/jpeg"}
        for data in pictures:
            with av.open(io.BytesIO(data), format="image2pipe") as container:
                assert next(container.decode(video=0)).width == 160


async def test_one_picture_is_made_at_a_time_however_many_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Script()
    making: list[int] = []
    go_on = threading.Event()

    def slow(frames: list[Frame]) -> bytes:
        making.append(len(frames))
        go_on.wait(HANGS)
        making.append(-len(frames))
        return b"picture"

    monkeypatch.setattr(pictures, "last_picture", slow)
    camera = Camera(source)
    async with served(camera) as pair:
        asked = [asyncio.ensure_future(pair.fetch("/snapshot.jpg"))]
        frames = frames_of(annex_b())[:4]
        await put_when_asked(source, frames[:1])
        await until(lambda: making == [1])
        for count in (2, 3, 4):
            source.put(frames[count - 1])
            asked += [asyncio.ensure_future(pair.fetch("/snapshot.jpg")) for _ in range(3)]
            await until(functools.partial(lambda count: camera.feed.viewers == count, len(asked)))
        given_up = asyncio.ensure_future(pair.fetch("/snapshot.jpg"))
        await until(lambda: camera.feed.viewers == len(asked) + 1)
        given_up.cancel()
        await until(lambda: camera.feed.viewers == len(asked))
        assert making == [1]
        go_on.set()
        for answer in await asyncio.gather(*asked):
            assert await answer.bytes() == b"picture"
    # Those who asked meanwhile have one picture for all.
    assert making == [1, -1, 2, -2]


async def test_a_picture_that_would_fill_the_memory_is_not_decoded() -> None:
    source = Script()
    async with served(Camera(source)) as pair:
        putting = asyncio.ensure_future(put_when_asked(source, [cropped_picture(8_000, 200)]))
        answer = await pair.fetch("/snapshot.jpg")
        await putting
        assert answer.status == 503
        assert "more than 9437184 pixels" in await answer.text()
        source.put(cropped_picture(1_000, 200))
        assert (await pair.fetch("/snapshot.jpg")).status == 200


async def test_a_picture_that_cannot_be_decoded_says_so() -> None:
    source = Script()
    [whole, *_] = frames_of(annex_b())
    nonsense = random.Random(1).randbytes(200)
    broken = replace(whole, data=len(nonsense).to_bytes(4, "big") + nonsense)
    async with served(Camera(source)) as pair:
        putting = asyncio.ensure_future(put_when_asked(source, [broken]))
        refused = await pair.fetch("/snapshot.jpg")
        await putting
        assert refused.status == 503
        assert "cannot be decoded" in await refused.text()
        # It goes on with the next one.
        source.put(whole)
        assert (await pair.fetch("/snapshot.jpg")).status == 200


async def test_pictures_one_by_one_of_either_camera() -> None:
    format = VideoFormat("jpeg", 160, 120)
    single = [Frame(format, n * 100_000, JPEG) for n in range(3)]
    for frames, expected in ((single, [JPEG] * 3), (frames_of(annex_b()), None)):
        source = Script()
        async with served(Camera(source)) as pair:
            putting = asyncio.ensure_future(put_when_asked(source, frames))
            kind, data = await read_some(pair, "/mjpeg", b"\xff\xd9", 1)
            await putting
            assert kind == "multipart/x-mixed-replace; boundary=peerfetch-picture"
            head, body = data.split(b"\r\n\r\n", 1)
            assert head.startswith(b"--peerfetch-picture\r\nContent-Type: image/jpeg\r\n")
            if expected is not None:
                assert body.startswith(JPEG)
                refused = await pair.fetch("/live.mp4")
                assert refused.status == 406
                assert await (await pair.fetch("/snapshot.jpg")).bytes() == JPEG
            else:
                assert body.startswith(b"\xff\xd8")


async def test_what_a_camera_has_not_is_refused() -> None:
    async with served(Camera(Script())) as pair:
        assert (await pair.fetch("/nothing")).status == 404
        refused = await pair.fetch("/snapshot.jpg", method="PUT", body=b"x")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
        for name in ("live.mp4", "mjpeg", "info"):
            assert (await pair.fetch(f"/{name}", method="HEAD")).status == 200
        page = await pair.fetch("/")
        assert b"camera.js" in await page.bytes()
        assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_a_camera_that_is_not_there_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peerfetch_fast.media.feed.START_TIMEOUT", 0.2)
    source = Script()
    source.failing = CameraError("the cable was pulled")
    async with served(Camera(source)) as pair:
        answer = await pair.fetch("/live.mp4")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert await answer.text() == "the cable was pulled\n"


async def test_an_answer_that_ends_never_looks_whole() -> None:
    source = Script()
    camera = Camera(source)
    async with http_pair(camera) as pair:
        putting = asyncio.ensure_future(put_when_asked(source, frames_of(annex_b())))
        async with await pair.fetch("/live.mp4") as response:
            await putting
            await camera.close()
            with pytest.raises(PeerfetchError):
                await response.bytes()


async def test_a_server_that_closes_waits_for_no_live_picture() -> None:
    source = Script()
    async with (
        signaling_server() as signaling,
        serve({"/cam": Camera(source)}, signaling=signaling) as server,
        connect(server.peer_id, signaling=signaling) as peer,
    ):
        putting = asyncio.ensure_future(put_when_asked(source, frames_of(annex_b())))
        async with await peer.fetch("/cam/live.mp4") as response:
            await putting
            await server.close(timeout=10 * HANGS)
            with pytest.raises(PeerfetchError):
                await response.bytes()


STAND_IN = """#!{python}
import json, signal, sys, time
with open("{directory}/said", "a") as said:
    json.dump(sys.argv[1:], said)
    said.write("\\n")
def end(*_):
    open("{directory}/ended", "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("[0:10] INFO Camera camera_manager.cpp: what it always says", file=sys.stderr)
pictures = [bytes.fromhex(line) for line in open("{directory}/pictures")]
while True:
    for data in pictures:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        time.sleep(0.01)
"""


def stand_in(directory: Path, name: str) -> Path:
    """A program that writes what rpicam-vid does, and keeps what it was asked for."""
    (directory / "pictures").write_text("\n".join(data.hex() for data in annex_b()))
    program = directory / name
    program.write_text(STAND_IN.format(python=sys.executable, directory=directory))
    program.chmod(0o755)
    return program


async def idle(pair: Pair) -> None:
    """Wait until the camera is stopped."""
    while (await (await pair.fetch("/info")).json())["state"] != "idle":
        await asyncio.sleep(0.05)


async def test_a_program_that_writes_h264(tmp_path: Path) -> None:
    command = f"exec:{sys.executable} {stand_in(tmp_path, 'camera.py')}"
    async with served(Camera(command, linger=0.1)) as pair:
        _, data = await read_some(pair, "/live.mp4", b"moof", 15)
        with av.open(io.BytesIO(data)) as container:
            assert len(list(container.decode(video=0))) >= 5
        # Nobody looks on any more.
        await idle(pair)


@posix_only
async def test_the_camera_of_a_raspberry_pi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "rpicam-vid")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    async with served(Camera("rpicam:--width 160 --height 120", linger=0)) as pair:
        async with await pair.fetch("/frames") as response:
            reader, frames = FrameReader(), list[Frame]()
            async for piece in response:
                frames += reader.feed(piece)
                if len(frames) > 40:
                    break
        pictures = [frame.data for frame in frames_of(annex_b())]
        begin = pictures.index(frames[0].data)
        assert [frame.data for frame in frames] == [
            pictures[(begin + number) % len(pictures)] for number in range(len(frames))
        ]
        await idle(pair)
        assert (tmp_path / "ended").exists()
    [asked] = [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]
    # Until it is ended, parameter sets before each key frame, at once, to its standard output.
    assert asked == [
        *("--timeout", "0", "--inline", "--codec", "h264", "--flush", "--nopreview"),
        *("--output", "-", "--width", "160", "--height", "120"),
    ]


@pytest.mark.parametrize("command", ["exec:no-such-program", "exec:true"])
async def test_a_program_that_does_not_run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerfetch_fast.media.feed.START_TIMEOUT", 0.5)
    async with served(Camera(command)) as pair:
        answer = await pair.fetch("/snapshot.jpg")
        assert answer.status == 503
        assert command.partition(":")[2] in await answer.text()


async def test_a_file_is_shown_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, width=160, height=120, pix_fmt="yuv420p")
        for number in range(15):
            frame = av.VideoFrame(160, 120, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    async with served(Camera(str(path))) as pair, await pair.fetch("/live.mp4") as response:
        data = b""
        async for piece in response:
            data += piece
            if data.count(b"moof") > 40:  # twice and a half
                break
    with av.open(io.BytesIO(data)) as opened:
        times = [frame.time for frame in opened.decode(video=0)]
    assert len(times) > 30
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert min(steps) > 0
    assert max(steps) < 0.5


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://camera/video", "is no camera"),
        ("exec:", "needs a command"),
        ("test:?width=9", "160x120"),
        ("test:?colour=red", "test:?width"),
        ("v4l2:/dev/video0?codec=h264", "has no codec"),
        ("/no/such/file:x", "is no camera"),
    ],
)
def test_an_address_that_is_none_says_what_is(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        make_source(address)
    assert said in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert shown("rtsp://admin:secret@10.0.0.9/stream") == "rtsp://…@10.0.0.9/stream"
    assert "secret" not in str(Camera("rtsp://admin:secret@10.0.0.9/stream"))
    with pytest.raises(ValueError, match="is no camera") as caught:
        make_source("http://admin:secret@10.0.0.9/")
    assert "secret" not in str(caught.value)


async def test_one_peer_does_not_take_the_room_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_VIEWERS", 3)
    monkeypatch.setattr(feed, "MAX_PER_PEER", 2)
    source = Script()
    camera = Camera(source, linger=0)
    async with http_pair(camera) as pair, http_pair(camera) as other:
        putting = asyncio.ensure_future(put_when_asked(source, frames_of(annex_b())))
        taken = [await pair.fetch("/frames"), await pair.fetch("/live.mp4")]
        await putting
        refused = await pair.fetch("/snapshot.jpg")
        assert refused.status == 503
        assert "are yours" in await refused.text()
        assert (await other.fetch("/snapshot.jpg")).status == 200
        taken.pop().close()
        await until(lambda: camera.feed.viewers == 1)
        assert (await pair.fetch("/snapshot.jpg")).status == 200
        taken.pop().close()
    await until(lambda: camera.feed._by_peer == {})
    await camera.close()
