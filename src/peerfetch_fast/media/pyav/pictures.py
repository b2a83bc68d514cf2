"""Single pictures (JPEG) out of a stream. In a thread: this is the only place that decodes."""

from __future__ import annotations

from collections.abc import Sequence

import av
import av.error

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.h264 import byte_stream

__all__ = ["last_picture", "picture_decoder"]

QUALITY = 4
"""Of JPEG, from 1 (best) to 31."""


_DECODERS = {"h264": "h264", "h265": "hevc", "jpeg": "mjpeg"}
"""What FFmpeg calls them."""


def picture_decoder(frame: Frame) -> av.VideoCodecContext:
    """A decoder of pictures such as this one."""
    assert isinstance(frame.format, VideoFormat)
    decoder = av.CodecContext.create(_DECODERS[frame.format.codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    return decoder


def last_picture(frames: Sequence[Frame]) -> bytes:
    """The last picture of frames that begin with a key frame. Raises CameraError."""
    pictures = [frame for frame in frames if frame.is_video]
    if not pictures:
        raise CameraError("the camera has given no picture yet")
    format = pictures[-1].format
    assert isinstance(format, VideoFormat)
    if format.codec == "jpeg":
        return pictures[-1].data
    try:
        return _encode(_decode(pictures))
    except (av.error.FFmpegError, ValueError) as error:
        raise CameraError(f"the camera's picture cannot be decoded: {error}") from None


def _decode(frames: Sequence[Frame]) -> av.VideoFrame:
    decoder = picture_decoder(frames[0])
    decoded: list[av.VideoFrame] = []
    for frame in frames:
        decoded = decoder.decode(av.Packet(byte_stream(frame))) or decoded
    decoded = decoder.decode(None) or decoded
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
