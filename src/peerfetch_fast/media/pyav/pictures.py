"""Single pictures (JPEG) out of a stream. In a thread: this is the only place that decodes."""

from __future__ import annotations

from collections.abc import Sequence

import av
import av.error

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.pyav.decoder import PictureDecoder

__all__ = ["last_picture"]

QUALITY = 4
"""Of JPEG, from 1 (best) to 31."""


def last_picture(frames: Sequence[Frame]) -> bytes:
    """The last picture of frames, no JPEG, that begin with a key frame. Raises CameraError."""
    pictures = [frame for frame in frames if frame.is_video]
    if not pictures:
        raise CameraError("the camera has given no picture yet")
    try:
        return _encode(_decode(pictures))
    except (av.error.FFmpegError, ValueError) as error:
        raise CameraError(f"the camera's picture cannot be decoded: {error}") from None


def _decode(frames: Sequence[Frame]) -> av.VideoFrame:
    format = frames[0].format
    assert isinstance(format, VideoFormat)
    decoder = PictureDecoder(format)
    decoded: list[av.VideoFrame] = []
    for frame in frames:
        decoded = decoder.context.decode(decoder.packet(frame)) or decoded
    decoded = decoder.context.decode(None) or decoded
    if not decoded:
        raise CameraError("the camera's picture cannot be decoded")
    return decoded[-1]


def _encode(picture: av.VideoFrame) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuvj420p"
    encoder.framerate = 1  # type: ignore[assignment]
    encoder.options = {"flags": "+qscale", "global_quality": str(QUALITY * 118)}
    converted = picture.reformat(format="yuvj420p", dst_color_range=2)
    converted.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(converted), *encoder.encode(None)))
