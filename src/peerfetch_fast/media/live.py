"""A camera of another peer: its frames as they came, or decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.media.records import CONTENT_TYPE, FrameReader
from peerfetch_fast.media.sources import Output
from peerfetch_fast.printable import printable

if TYPE_CHECKING:
    from peerfetch_fast.http.response import Response
    from peerfetch_fast.media.pyav.tracks import DecodedTrack
    from peerfetch_fast.peer import Peer

__all__ = ["Live", "PeerCamera"]

MAX_SAID = 200
"""Characters of a refusal that are told."""


class Live:
    """What a camera gives, from the last key frame on.

    Iterate over it for encoded frames, or take :attr:`video` and :attr:`audio`, which decode.

    :ivar video_format: and ``audio_format``: of pictures and sound; None where there are none.
    """

    def __init__(self, response: Response) -> None:
        self._response = response
        self._reader = FrameReader()
        self._waiting: deque[Frame] = deque()
        self._video: DecodedTrack | None = None
        self._audio: DecodedTrack | None = None

    @property
    def video_format(self) -> VideoFormat | None:
        """The format of the pictures."""
        return self._reader.video

    @property
    def audio_format(self) -> AudioFormat | None:
        """The format of the sound."""
        return self._reader.audio

    async def _begin(self) -> None:
        while not self._reader.described:
            await self._more()

    async def _more(self) -> None:
        data = await self._response.read()
        if not data:
            raise CameraError("the camera has ended")
        self._waiting.extend(self._reader.feed(data))

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next frame. Raises CameraError, and as :meth:`Response.read`."""
        while not self._waiting:
            await self._more()
        return self._waiting.popleft()

    @property
    def video(self) -> DecodedTrack:
        """The pictures decoded, as a track of aiortc. Raises MissingExtra, CameraError."""
        self._decode()
        assert self._video is not None
        return self._video

    @property
    def audio(self) -> DecodedTrack | None:
        """The sound decoded, as a track of aiortc; None without. Raises as :attr:`video`."""
        self._decode()
        return self._audio

    def _decode(self) -> None:
        if self._video is None:
            from peerfetch_fast.media.pyav.tracks import decoded_tracks

            self._video, self._audio = decoded_tracks(self)

    async def close(self) -> None:
        """Let go of the camera. Idempotent."""
        for track in (self._video, self._audio):
            if track is not None:
                track.stop()
        self._response.close()

    async def __aenter__(self) -> Live:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def open_live(peer: Peer, path: str) -> Live:
    """Watch the camera at ``path`` of a peer.

    Raises CameraError where there is none, or it gives nothing; and as :meth:`Peer.fetch`.
    """
    response = await peer.fetch(f"{path.rstrip('/')}/frames", decode=False)
    kind = response.headers.get("content-type", "").partition(";")[0]
    if response.status != 200 or kind != CONTENT_TYPE:
        said = kind if response.status == 200 else (await response.read()).decode(errors="replace")
        response.close()
        raise CameraError(
            f"{path} shows nothing: {response.status} {printable(said.strip(), MAX_SAID)}"
        )
    live = Live(response)
    try:
        await live._begin()
    except BaseException:
        await live.close()
        raise
    return live


class PeerCamera:
    """A camera of another peer as a source: what comes is served on unchanged.

    :param peer: connected, and kept so by the caller.
    :param path: where the camera is, as ``/garden``.
    """

    def __init__(self, peer: Peer, path: str) -> None:
        self._peer, self._path = peer, path

    async def run(self, output: Output) -> None:
        """See :class:`~peerfetch_fast.media.sources.Source`."""
        async with await open_live(self._peer, self._path) as live:
            output.begin(live.audio_format)
            async for frame in live:
                output.frame(frame)
