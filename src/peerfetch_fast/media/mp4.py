"""Fragmented MP4 (ISO/IEC 14496-12), a frame a fragment, so that nothing waits for what follows.

Browsers play it by Media Source Extensions, players as a stream, and kept in a file it is a
recording.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from peerfetch_fast.media import h264, h265
from peerfetch_fast.media.frames import AudioFormat, Format, Frame, VideoFormat

__all__ = ["Mp4Writer", "content_type", "decoder_configuration"]

_TIMESCALE = {VideoFormat: 90_000, AudioFormat: 48_000}
_FIRST_DURATION = {VideoFormat: 3_000, AudioFormat: 960}
"""Of a track's first frame: a thirtieth of a second; 20 ms."""

_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)

_KEY, _OTHER = 0x02000000, 0x01010000
"""The flags of a sample: it depends on none; on others, and is no place to begin."""


def content_type(formats: Iterable[Format]) -> str:
    """The media type of a stream of these formats (RFC 6381)."""
    return f'video/mp4; codecs="{", ".join(format.codecs for format in formats)}"'


class Mp4Writer:
    """Writes one stream, for one viewer.

    :param formats: of the tracks, of pictures and of sound at most one each.
    """

    def __init__(self, formats: Iterable[Format]) -> None:
        self._tracks = {type(format): format for format in formats}
        self._numbers = {kind: number for number, kind in enumerate(self._tracks, 1)}
        self._last: dict[type[Format], int] = {}
        self._duration = dict(_FIRST_DURATION)
        self._sequence = 0
        self._begin: int | None = None

    def header(self) -> bytes:
        """What comes before the first frame."""
        tracks = b"".join(
            _track(number, self._tracks[kind]) for kind, number in self._numbers.items()
        )
        extends = b"".join(
            _full("trex", 0, 0, struct.pack(">5I", number, 1, 0, 0, 0))
            for number in self._numbers.values()
        )
        return (
            _box("ftyp", b"iso5\0\0\2\0iso5iso6mp41")
            + _box("moov", _movie(len(self._tracks) + 1), tracks, _box("mvex", extends))
        )  # fmt: skip

    def frame(self, frame: Frame) -> bytes:
        """The fragment of a frame, with a header before it where the format is another than before.

        Frames of a kind that the stream has no track of are nothing.
        """
        kind = type(frame.format)
        if kind not in self._tracks:
            return b""
        before = b""
        if frame.format != self._tracks[kind]:
            self._tracks[kind] = frame.format
            before = self.header()
        if self._begin is None:
            self._begin = frame.time
        scale = _TIMESCALE[kind]
        at = max(frame.time - self._begin, 0) * scale // 1_000_000
        last = self._last.get(kind)
        if last is not None and at > last:
            # How long this one is shown is known when the next comes: it is taken to be as long as
            # the one before.
            self._duration[kind] = min(at - last, scale)
        self._last[kind] = at
        self._sequence += 1
        flags = _KEY if frame.key else _OTHER
        offset = frame.offset * scale // 1_000_000
        sample = struct.pack(">3Ii", self._duration[kind], len(frame.data), flags, offset)
        # The place of the data is counted from the beginning of moof.
        size = 8 + 16 + 8 + 16 + 20 + 20 + len(sample)
        fragment = _box(
            "moof",
            _full("mfhd", 0, 0, struct.pack(">I", self._sequence)),
            _box(
                "traf",
                _full("tfhd", 0, 0x020000, struct.pack(">I", self._numbers[kind])),
                _full("tfdt", 1, 0, struct.pack(">Q", at)),
                _full("trun", 1, 0xF01, struct.pack(">Ii", 1, size + 8), sample),
            ),
        )
        return b"".join((before, fragment, struct.pack(">I4s", len(frame.data) + 8, b"mdat"),
                         frame.data))  # fmt: skip


def _box(name: str, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, name.encode()) + body


def _full(name: str, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), *parts)


def _movie(next_track: int) -> bytes:
    return _full(
        "mvhd", 0, 0, struct.pack(">4IIH10x", 0, 0, 1000, 0, 0x10000, 0x100),
        _MATRIX, bytes(24), struct.pack(">I", next_track),
    )  # fmt: skip


def _track(number: int, format: Format) -> bytes:
    scale = _TIMESCALE[type(format)]
    if isinstance(format, VideoFormat):
        width, height, volume = format.width, format.height, 0
        handler, about = b"vide", _full("vmhd", 0, 1, bytes(8))
        entry = _video_entry(format)
    else:
        width = height = 0
        volume, handler, about = 0x100, b"soun", _full("smhd", 0, 0, bytes(4))
        entry = _audio_entry(format)
    samples = _box(
        "stbl",
        _full("stsd", 0, 0, struct.pack(">I", 1), entry),
        *(_full(name, 0, 0, bytes(4)) for name in ("stts", "stsc")),
        _full("stsz", 0, 0, bytes(8)),
        _full("stco", 0, 0, bytes(4)),
    )
    place = _box("dinf", _full("dref", 0, 0, struct.pack(">I", 1), _full("url ", 0, 1)))
    return _box(
        "trak",
        _full("tkhd", 0, 3, struct.pack(">5I8x2hHH", 0, 0, number, 0, 0, 0, 0, volume, 0),
              _MATRIX, struct.pack(">2I", width << 16, height << 16)),
        _box(
            "mdia",
            _full("mdhd", 0, 0, struct.pack(">4IHH", 0, 0, scale, 0, 0x55C4, 0)),
            _full("hdlr", 0, 0, bytes(4), handler, bytes(12), b"\0"),
            _box("minf", about, place, samples),
        ),
    )  # fmt: skip


def decoder_configuration(format: VideoFormat) -> bytes:
    """What a decoder must know before the first picture (ISO/IEC 14496-15): not of JPEG.

    Raises CameraError.
    """
    if format.codec == "h265":
        return h265.decoder_configuration(format)
    return h264.decoder_configuration(format)


def _video_entry(format: VideoFormat) -> bytes:
    entry, configuration = ("hvc1", "hvcC") if format.codec == "h265" else ("avc1", "avcC")
    return _box(
        entry,
        struct.pack(">6xH16x2H2I4xH32x2H", 1, format.width, format.height, 0x480000, 0x480000, 1,
                    0x18, 0xFFFF),
        _box(configuration, decoder_configuration(format)),
    )  # fmt: skip


def _audio_entry(format: AudioFormat) -> bytes:
    # Opus in ISOBMFF: version 0, channels, pre-skip, rate, gain, mapping family 0.
    about = struct.pack(">BBHIhB", 0, format.channels, 312, 48_000, 0, 0)
    return _box(
        "Opus",
        struct.pack(">6xH8x2H4xI", 1, format.channels, 16, 48_000 << 16),
        _box("dOps", about),
    )
