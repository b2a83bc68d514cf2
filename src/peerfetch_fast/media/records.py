"""Frames on a stream, one after the other as they came: ``application/peerfetch-frames``.

A record is its kind (one byte), its length (four, the highest first) and its body. ``FORMAT`` is a
JSON object, and comes before the first frame and where something has changed; ``PICTURE`` and
``SOUND`` are a frame: flags (1: a key frame), its time in microseconds (eight bytes), the
microseconds until it is shown (four), and its data.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterable
from typing import Any

import orjson

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Format, Frame, VideoFormat
from peerfetch_fast.media.h264 import (
    MAX_PARAMETER_SET,
    MAX_SIDE,
    MAX_UNIT,
    split_lengths,
)
from peerfetch_fast.media.h265 import parse_sps
from peerfetch_fast.media.mp4 import decoder_configuration

__all__ = ["CONTENT_TYPE", "FrameReader", "FrameWriter"]

CONTENT_TYPE = "application/peerfetch-frames"

FORMAT, PICTURE, SOUND = 0, 1, 2

MAX_RECORD = 2 * MAX_UNIT
"""Bytes of a record that is read."""

MAX_FORMAT = 16 * 1024
"""Bytes of a description of formats."""

MAX_TIME = 1 << 53
"""Microseconds that a time may be: what JavaScript counts to, some 285 years."""

_SETS = {"h264": ("sps", "pps"), "h265": ("sps", "pps", "vps")}
"""The parameter sets of each codec that has any."""

_HEAD = struct.Struct(">BI")
_FRAME = struct.Struct(">BQI")


class FrameWriter:
    """Makes records of frames, for one reader.

    :param formats: of pictures and of sound, at most one each.
    """

    def __init__(self, formats: Iterable[Format]) -> None:
        self._formats = {type(format): format for format in formats}

    def header(self) -> bytes:
        """What comes before the first frame, and where a format has changed."""
        video, audio = self._formats.get(VideoFormat), self._formats.get(AudioFormat)
        told: dict[str, Any] = {"video": None, "audio": None}
        if isinstance(video, VideoFormat):
            told["video"] = video.told()
            if video.codec != "jpeg":
                known = {"description": decoder_configuration(video)}
                known |= {name: getattr(video, name) for name in _SETS[video.codec]}
                told["video"] |= {
                    name: base64.b64encode(value).decode() for name, value in known.items()
                }
        if isinstance(audio, AudioFormat):
            told["audio"] = audio.told()
        body = orjson.dumps(told)
        return _HEAD.pack(FORMAT, len(body)) + body

    def frame(self, frame: Frame) -> bytes:
        """A frame; frames of a kind that was not announced are nothing."""
        kind = type(frame.format)
        if kind not in self._formats:
            return b""
        before = b""
        if self._formats[kind] != frame.format:
            self._formats[kind] = frame.format
            before = self.header()
        number = PICTURE if kind is VideoFormat else SOUND
        length = _FRAME.size + len(frame.data)
        head = _HEAD.pack(number, length) + _FRAME.pack(frame.key, frame.time, frame.offset)
        return b"".join((before, head, frame.data))


class FrameReader:
    """Makes frames of records, which come in pieces.

    :ivar video: the format of the pictures, and ``audio`` that of the sound: None before it is
        known, and where there is none.
    :ivar described: whether the formats are known.
    """

    def __init__(self) -> None:
        self._waiting = bytearray()
        self.video: VideoFormat | None = None
        self.audio: AudioFormat | None = None
        self.described = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises CameraError for what are no records."""
        waiting = self._waiting
        waiting += data
        found: list[Frame] = []
        at = 0
        while len(waiting) - at >= _HEAD.size:
            kind, length = _HEAD.unpack_from(waiting, at)
            if kind > SOUND or length > (MAX_FORMAT if kind == FORMAT else MAX_RECORD):
                raise CameraError("what came from the camera are no frames")
            if len(waiting) - at - _HEAD.size < length:
                break
            body = bytes(waiting[at + _HEAD.size : at + _HEAD.size + length])
            at += _HEAD.size + length
            if kind == FORMAT:
                self._describe(body)
            else:
                found.append(self._frame(kind, body))
        del waiting[:at]
        return found

    def _describe(self, body: bytes) -> None:
        try:
            told = orjson.loads(body)
            video, audio = told["video"], told["audio"]
            self.video = None if video is None else _video(video)
            self.audio = None if audio is None else _audio(audio)
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise CameraError("what the camera says of its pictures makes no sense") from None
        self.described = True

    def _frame(self, kind: int, body: bytes) -> Frame:
        format = self.video if kind == PICTURE else self.audio
        if format is None or len(body) <= _FRAME.size:
            raise CameraError("what came from the camera are no frames")
        flags, time, offset = _FRAME.unpack_from(body)
        if time > MAX_TIME:
            raise CameraError("what came from the camera is of no time")
        data = body[_FRAME.size :]
        if isinstance(format, VideoFormat) and format.codec != "jpeg":
            if len(data) > MAX_UNIT:
                raise CameraError(f"the camera sends pictures of more than {MAX_UNIT} bytes")
            split_lengths(data, 4)  # whoever passes it on relies on its lengths
        return Frame(format, time, data, bool(flags & 1), offset)


def _video(told: dict[str, Any]) -> VideoFormat:
    codec, width, height = told["codec"], told["width"], told["height"]
    sizes = all(type(side) is int and 0 <= side <= MAX_SIDE for side in (width, height))
    if codec not in (*_SETS, "jpeg") or not sizes:
        raise ValueError
    if codec == "jpeg":
        return VideoFormat(codec, width, height)
    sets = [base64.b64decode(told[name], validate=True) for name in _SETS[codec]]
    if not all(4 <= len(one) <= MAX_PARAMETER_SET for one in sets):
        raise ValueError
    if codec == "h265":
        parse_sps(sets[0])  # whoever passes it on relies on what it says
    return VideoFormat(codec, width, height, *sets)


def _audio(told: dict[str, Any]) -> AudioFormat:
    channels = told["channels"]
    if told["codec"] != "opus" or type(channels) is not int or channels not in (1, 2):
        raise ValueError
    return AudioFormat(channels)
