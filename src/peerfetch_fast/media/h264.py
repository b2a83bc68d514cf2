"""H.264 streams as far as they are passed on undecoded: NAL units, access units, parameter sets.

What comes from a camera is not trusted: everything is bounded, and what makes no sense is a
:class:`CameraError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame, VideoFormat

__all__ = [
    "MAX_SIDE",
    "AccessUnits",
    "Bits",
    "H264Frames",
    "NalFrames",
    "byte_stream",
    "decoded_size",
    "decoder_configuration",
    "nal_units",
    "parse_sps",
]

MAX_UNIT = 4 * 1024 * 1024
"""Bytes of the largest picture that is passed on."""

MAX_NALS = 1_024
"""NAL units of one picture."""

MAX_PARAMETER_SET = 1_024
"""Bytes of a parameter set; those of cameras have some 30."""

MAX_SIDE = 16_384
"""Pixels of a picture's longest side."""

SLICE, IDR, SEI, SPS, PPS, DELIMITER = 1, 5, 6, 7, 8, 9

_START = b"\0\0\1"

_WITH_CHROMA = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 138, 144, 244))
"""Profiles whose parameter sets say what their colours are (H.264 7.3.2.1.1), by FFmpeg's list: it
must find the size there that is found here."""


def nal_units(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream (H.264 Annex B). Raises CameraError for too many."""
    units: list[bytes] = []
    at = data.find(_START)
    while at >= 0:
        following = data.find(_START, at + 3)
        # Zeros before a start code belong to it (leading_zero_8bits), not to the unit.
        unit = data[at + 3 : following if following >= 0 else len(data)].rstrip(b"\0")
        if unit:
            if len(units) == MAX_NALS:
                raise CameraError(f"the camera sends pictures of more than {MAX_NALS} parts")
            units.append(unit)
        at = following
    return units


class AccessUnits:
    """Cuts the byte stream of a program into pictures.

    A picture is whole when the next one begins: a pipe has no other marks.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._units: list[bytes] = []
        self._size = 0
        self._pictured = False
        self._begun = False

    def feed(self, data: bytes) -> list[list[bytes]]:
        """The NAL units of each picture that is whole now. Raises CameraError."""
        rest = self._rest
        rest += data
        found: list[list[bytes]] = []
        start = 0
        while True:
            at = rest.find(_START, max(self._searched, start))
            if at < 0:
                break
            if self._begun:  # what comes before the first start code is nothing
                self._take(bytes(rest[start:at]).rstrip(b"\0"), found)
            self._begun = True
            start = at + 3
            self._searched = start
        del rest[:start]
        # A start code may have come in part.
        self._searched = max(len(rest) - 2, 0)
        if len(rest) + self._size > MAX_UNIT:
            raise CameraError(
                f"the camera sends more than {MAX_UNIT} bytes without a picture: is it H.264 "
                "with start codes (Annex B)?"
            )
        return found

    def _take(self, unit: bytes, found: list[list[bytes]]) -> None:
        if not unit:
            return
        kind = unit[0] & 31
        is_slice = SLICE <= kind <= IDR
        # A slice that begins with the first macroblock begins a picture: ue(0) is one bit.
        begins = kind in (SEI, SPS, PPS, DELIMITER) or (is_slice and len(unit) > 1 and unit[1] >> 7)
        if self._pictured and begins:
            found.append(self._units)
            self._units, self._size, self._pictured = [], 0, False
        if len(self._units) == MAX_NALS:
            raise CameraError(f"the camera sends pictures of more than {MAX_NALS} parts")
        self._pictured = self._pictured or is_slice
        self._units.append(unit)
        self._size += len(unit)


class NalFrames:
    """Makes frames of NAL units, and remembers the parameter sets that came last.

    :cvar SETS: which kinds of units those are.
    :cvar DELIMITER: which kind is left out, as it says nothing.
    :cvar KEYS: and ``PICTURES``: which are parts of key frames, and of any.
    """

    SETS: tuple[int, ...]
    DELIMITER: int
    KEYS: frozenset[int]
    PICTURES: frozenset[int]

    def __init__(self) -> None:
        self._sets = dict.fromkeys(self.SETS, b"")
        self._format: VideoFormat | None = None

    @staticmethod
    def kind(unit: bytes) -> int:
        """Which kind a unit is of."""
        raise NotImplementedError

    @staticmethod
    def describe(sets: Mapping[int, bytes]) -> VideoFormat:
        """The format by all of its parameter sets. Raises CameraError."""
        raise NotImplementedError

    def configure(self, extradata: bytes) -> int:
        """Take what a container says of the stream: a decoder configuration record (ISO/IEC
        14496-15) or parameter sets with start codes. Returns the bytes of the lengths before NAL
        units; 0 where they have start codes.

        Raises CameraError.
        """
        raise NotImplementedError

    def frame(self, units: Iterable[bytes], time: int, offset: int = 0) -> Frame | None:
        """The frame of these NAL units; None if it has no picture, or cannot be decoded yet.

        Raises CameraError.
        """
        units = list(units)
        self._remember(units)
        kept = [unit for unit in units if self.kind(unit) not in (*self.SETS, self.DELIMITER)]
        kinds = {self.kind(unit) for unit in kept}
        if self._format is None or not kinds & self.PICTURES:
            return None
        data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in kept)
        if len(data) > MAX_UNIT:
            raise CameraError(f"the camera sends pictures of more than {MAX_UNIT} bytes")
        return Frame(self._format, time, data, bool(kinds & self.KEYS), offset)

    def _remember(self, units: Iterable[bytes]) -> None:
        for unit in units:
            kind = self.kind(unit)
            if kind not in self.SETS or unit == self._sets[kind]:
                continue
            if not 4 <= len(unit) <= MAX_PARAMETER_SET:
                raise CameraError(f"the camera sends a parameter set of {len(unit)} bytes")
            self._sets[kind], self._format = unit, None
        if self._format is None and all(self._sets.values()):
            self._format = self.describe(self._sets)


class H264Frames(NalFrames):
    """Makes frames of H.264."""

    SETS, DELIMITER = (SPS, PPS), DELIMITER
    KEYS, PICTURES = frozenset((IDR,)), frozenset((SLICE, 2, IDR))

    @staticmethod
    def kind(unit: bytes) -> int:
        """See :class:`NalFrames`."""
        return unit[0] & 31

    @staticmethod
    def describe(sets: Mapping[int, bytes]) -> VideoFormat:
        """See :class:`NalFrames`."""
        return VideoFormat("h264", *parse_sps(sets[SPS]), sets[SPS], sets[PPS])

    def configure(self, extradata: bytes) -> int:
        """See :class:`NalFrames`; the record is of 5.3.3.1 there."""
        if extradata[:1] != b"\1":
            self._remember(nal_units(extradata))
            return 0
        units: list[bytes] = []
        at, masks = 5, (31, 255)
        for mask in masks:
            count = extradata[at] & mask if at < len(extradata) else 0
            at += 1
            for _ in range(count):
                size = int.from_bytes(extradata[at : at + 2], "big")
                unit = extradata[at + 2 : at + 2 + size]
                if not unit or len(unit) != size:
                    raise CameraError("the stream describes its decoder wrongly")
                units.append(unit)
                at += 2 + size
        self._remember(units)
        return (extradata[4] & 3) + 1 if len(extradata) > 4 else 4


def split_lengths(data: bytes, size: int) -> list[bytes]:
    """The NAL units behind lengths of ``size`` bytes each. Raises CameraError."""
    units: list[bytes] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + size], "big")
        at += size
        if length > len(data) - at or len(units) == MAX_NALS:
            raise CameraError("the stream's pictures are not what they say they are")
        if length:
            units.append(data[at : at + length])
        at += length
    return units


def decoder_configuration(format: VideoFormat) -> bytes:
    """The decoder configuration record of MP4 (ISO/IEC 14496-15 5.3.3.1)."""
    sps, pps = format.sps, format.pps
    return (
        b"\1" + sps[1:4] + b"\xff\xe1" + len(sps).to_bytes(2, "big") + sps
        + b"\1" + len(pps).to_bytes(2, "big") + pps
    )  # fmt: skip


class Bits:
    """Reads a parameter set bit by bit (H.264 9.1, H.265 9.2)."""

    def __init__(self, data: bytes) -> None:
        # An emulation prevention byte keeps start codes out of the data (H.264 7.4.1.1).
        plain = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(plain, "big"), 8 * len(plain)

    def read(self, count: int) -> int:
        """The next ``count`` bits. Raises CameraError where there are no more, as the others."""
        if count > self._left:
            raise CameraError("the camera sends a parameter set that is cut off")
        self._left -= count
        return (self._value >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        """A number of as many bits as it takes: ue(v)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise CameraError("the camera sends a parameter set that makes no sense")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """The same with a sign: se(v)."""
        value = self.unsigned()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def parse_sps(sps: bytes) -> tuple[int, int]:
    """Width and height of the pictures in pixels. Raises CameraError."""
    (width, height), _ = _sizes(sps)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise CameraError(f"the camera sends pictures of {width} by {height} pixels")
    return width, height


def decoded_size(sps: bytes) -> tuple[int, int]:
    """Width and height of what is decoded, of which parts may be cropped. Raises CameraError."""
    return _sizes(sps)[1]


def _sizes(sps: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is shown, and what is decoded for that, in pixels (H.264 7.3.2.1.1)."""
    bits = Bits(sps[1:])
    profile = bits.read(8)
    bits.read(16)
    bits.unsigned()
    chroma = 1
    if profile in _WITH_CHROMA:
        chroma = bits.unsigned()
        if chroma == 3:
            bits.read(1)
        bits.unsigned()
        bits.unsigned()
        bits.read(1)
        if bits.read(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.unsigned()
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.read(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    bits.unsigned()
    bits.read(1)
    width, height = 16 * (bits.unsigned() + 1), 16 * (bits.unsigned() + 1)
    frames_only = bits.read(1)
    if not frames_only:
        bits.read(1)
        height *= 2
    bits.read(1)
    decoded = width, height
    if bits.read(1):
        # Cropping is counted in samples of the colours, and in pairs of lines for fields.
        across = 2 if chroma in (1, 2) else 1
        down = (2 if chroma == 1 else 1) * (2 - frames_only)
        width -= across * (bits.unsigned() + bits.unsigned())
        height -= down * (bits.unsigned() + bits.unsigned())
    return (width, height), decoded


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def byte_stream(frame: Frame) -> bytes:
    """A picture with start codes (Annex B of H.264 and H.265), as decoders take it; a key frame
    with its parameter sets before it. Raises CameraError.
    """
    assert isinstance(frame.format, VideoFormat)
    units = split_lengths(frame.data, 4)
    if frame.key:
        units = [*frame.format.parameter_sets, *units]
    return b"".join(b"\0" + _START + unit for unit in units)
