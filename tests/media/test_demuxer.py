"""What is said of network cameras that are none."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.pyav import demuxer
from peerfetch_fast.media.pyav.demuxer import RtspCamera

NONSENSE = random.Random(3).randbytes(100_000)


class Nowhere:
    """Takes nothing: no frame is to come."""

    def begin(self, audio: AudioFormat | None) -> None:
        raise AssertionError("there is no camera")

    def frame(self, frame: Frame) -> None:
        raise AssertionError("there is no camera")


@contextlib.asynccontextmanager
async def answering(said: bytes | None) -> AsyncIterator[str]:
    """The URL of a server that says this to whoever comes; None: nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"rtsp://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/cam"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (NONSENSE, "the camera gives nothing: Invalid data"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the camera gives nothing: Invalid data"),
        (b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n", "404 Not Found"),
        (b"RTSP/1.0 200 OK\r\n" + 1_000_000 * b"A: b\r\n", "the camera"),
        (None, "the camera has not answered in 2 s"),
    ],
    ids=["nonsense", "http", "404", "endless", "silence"],
)
async def test_what_is_no_camera_says_why(
    answer: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demuxer, "OPEN_TIMEOUT", 2.0)
    async with answering(answer) as url:
        with pytest.raises(CameraError) as caught:
            await RtspCamera(url).run(Nowhere())
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)


async def test_a_camera_that_is_away_says_so() -> None:
    async with answering(None) as url:
        pass
    with pytest.raises(CameraError, match="the camera gives nothing: "):
        await RtspCamera(url).run(Nowhere())
