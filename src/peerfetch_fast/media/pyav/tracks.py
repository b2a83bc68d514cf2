"""Frames of a camera decoded, as tracks of aiortc."""

from __future__ import annotations

import asyncio
import contextlib
from fractions import Fraction
from typing import Any

import av
import av.error
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from peerfetch_fast.errors import CameraError, PeerfetchError
from peerfetch_fast.media.frames import AudioFormat, Frame, Frames, VideoFormat
from peerfetch_fast.media.pyav.decoder import PictureDecoder

__all__ = ["DecodedTrack", "decoded_tracks"]

MAX_DECODED = 30
"""Frames of a track that wait to be taken; the oldest give way."""


_MICROSECOND = Fraction(1, 1_000_000)


class DecodedTrack(MediaStreamTrack):
    """Pictures or sound. ``recv()`` gives the next ``av.VideoFrame`` or ``av.AudioFrame``."""

    def __init__(self, kind: str, source: _Decoding) -> None:
        super().__init__()
        self.kind = kind
        self._source = source
        self._frames: asyncio.Queue[Any] = asyncio.Queue()

    async def recv(self) -> Any:
        """The next frame. Raises MediaStreamError, which is aiortc's, at the end."""
        if self.readyState != "live":
            raise MediaStreamError
        self._source.start()
        frame = await self._frames.get()
        if frame is None:
            self.stop()
            raise MediaStreamError
        return frame

    def _put(self, frame: Any) -> None:
        if self._frames.qsize() >= MAX_DECODED:
            self._frames.get_nowait()
        self._frames.put_nowait(frame)

    def stop(self) -> None:
        """End the track. Idempotent."""
        super().stop()
        self._source.stop()


class _Decoding:
    """Decodes what one camera gives, once somebody takes it."""

    def __init__(self, live: Frames) -> None:
        self._live = live
        self._task: asyncio.Task[None] | None = None
        self._decoders: dict[object, PictureDecoder | _SoundDecoder] = {}
        self.tracks: dict[bool, DecodedTrack] = {}

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        if self._task is not None and all(
            track.readyState != "live" for track in self.tracks.values()
        ):
            self._task.cancel()

    async def _run(self) -> None:
        try:
            async for frame in self._live:
                track = self.tracks.get(frame.is_video)
                if track is None:
                    continue
                with contextlib.suppress(av.error.FFmpegError):
                    for decoded in await asyncio.to_thread(self._decode, frame):
                        track._put(decoded)
        except PeerfetchError:
            pass  # the tracks end
        finally:
            for track in self.tracks.values():
                track._put(None)

    def _decode(self, frame: Frame) -> list[Any]:
        decoder = self._decoders.get(frame.format)
        if decoder is None:
            if not frame.key:
                return []
            self._decoders = {
                known: one for known, one in self._decoders.items()
                if isinstance(known, VideoFormat) != frame.is_video
            }  # fmt: skip
            decoder = self._decoders[frame.format] = _decoder(frame)
        packet = decoder.packet(frame)
        packet.pts = packet.dts = frame.time
        packet.time_base = _MICROSECOND
        made = list(decoder.context.decode(packet))
        for one in made:
            one.time_base = _MICROSECOND
        return made


class _SoundDecoder:
    """Decodes sound, as :class:`PictureDecoder` does pictures."""

    def __init__(self, format: AudioFormat) -> None:
        self.context: Any = av.CodecContext.create("libopus", "r")
        self.context.sample_rate = 48_000
        self.context.layout = "stereo" if format.channels == 2 else "mono"

    def packet(self, frame: Frame) -> Any:
        return av.Packet(frame.data)


def _decoder(frame: Frame) -> PictureDecoder | _SoundDecoder:
    if isinstance(frame.format, AudioFormat):
        return _SoundDecoder(frame.format)
    decoder = PictureDecoder(frame.format)
    # Each picture as soon as it is there.
    decoder.context.flags |= av.codec.context.Flags.low_delay
    return decoder


def decoded_tracks(live: Frames) -> tuple[DecodedTrack, DecodedTrack | None]:
    """The tracks of a camera. Raises CameraError for one without pictures."""
    if live.video_format is None:
        raise CameraError("the camera has no pictures")
    source = _Decoding(live)
    video = source.tracks[True] = DecodedTrack("video", source)
    if live.audio_format is None:
        return video, None
    audio = source.tracks[False] = DecodedTrack("audio", source)
    return video, audio
