"""What decodes pictures: a camera of a few bytes could else have it fill this machine's memory."""

from __future__ import annotations

import math
from typing import Any

import av

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media import h265
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.h264 import SPS, H264Frames, byte_stream, decoded_size, nal_units

__all__ = ["MAX_PIXELS", "PictureDecoder"]

MAX_PIXELS = 4_096 * 2_304
"""Pixels of a picture that is decoded: as many as H.264 has at its level 5.2. Larger ones are
passed on."""

_DECODERS = {"h264": "h264", "h265": "hevc", "jpeg": "mjpeg"}
"""What FFmpeg calls them."""


class PictureDecoder:
    """Decodes pictures of one format, in one thread.

    :ivar context: PyAV's.
    """

    def __init__(self, format: VideoFormat) -> None:
        self._codec = format.codec
        self.context: Any = av.CodecContext.create(_DECODERS[format.codec], "r")
        self.context.thread_count = 1
        if format.codec == "jpeg":
            self.context.options = {"max_pixels": str(MAX_PIXELS)}

    def packet(self, frame: Frame) -> Any:
        """What is to be decoded. Raises CameraError for a picture that is too large."""
        if self._codec == "jpeg":
            return av.Packet(frame.data)
        data = byte_stream(frame)
        # Of these FFmpeg counts what is shown, and takes memory for what is decoded.
        for unit in nal_units(data):
            if math.prod(self._size(unit)) > MAX_PIXELS:
                raise CameraError(f"the camera's pictures have more than {MAX_PIXELS} pixels")
        return av.Packet(data)

    def _size(self, unit: bytes) -> tuple[int, int]:
        """That of the pictures that a unit describes, if it does."""
        if self._codec == "h264" and H264Frames.kind(unit) == SPS:
            return decoded_size(unit)
        if self._codec == "h265" and h265.H265Frames.kind(unit) == h265.SPS:
            return h265.parse_sps(unit).decoded
        return 0, 0
