"""H.265 as far as it is passed on undecoded: its parameter sets, and which pictures are key frames.

What comes from a camera is trusted as little as H.264 is (:mod:`peerfetch_fast.media.h264`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import VideoFormat
from peerfetch_fast.media.h264 import MAX_SIDE, Bits, NalFrames, nal_units

__all__ = ["H265Frames", "decoder_configuration", "parse_sps"]

VPS, SPS, PPS, DELIMITER = 32, 33, 34, 35

RECORD = 23
"""Bytes of a decoder configuration record before its parameter sets."""

PROFILE = slice(3, 15)
"""Where a parameter set has its profile, tier and level, which the record repeats."""


class H265Frames(NalFrames):
    """Makes frames of H.265."""

    SETS, DELIMITER = (VPS, SPS, PPS), DELIMITER
    KEYS, PICTURES = frozenset(range(16, 22)), frozenset((*range(10), *range(16, 22)))

    @staticmethod
    def kind(unit: bytes) -> int:
        """See :class:`NalFrames`."""
        return unit[0] >> 1 & 63

    @staticmethod
    def describe(sets: Mapping[int, bytes]) -> VideoFormat:
        """See :class:`NalFrames`."""
        found = parse_sps(sets[SPS])
        return VideoFormat("h265", found.width, found.height, sets[SPS], sets[PPS], sets[VPS])

    def configure(self, extradata: bytes) -> int:
        """See :class:`NalFrames`; the record is of 8.3.3.1 there."""
        if extradata[:1] != b"\1":
            self._remember(nal_units(extradata))
            return 0
        if len(extradata) < RECORD:
            raise CameraError("the stream describes its decoder wrongly")
        units: list[bytes] = []
        at = RECORD
        for _ in range(extradata[RECORD - 1]):
            count = int.from_bytes(extradata[at + 1 : at + 3], "big")
            at += 3
            for _ in range(count):
                size = int.from_bytes(extradata[at : at + 2], "big")
                unit = extradata[at + 2 : at + 2 + size]
                if not unit or len(unit) != size:
                    raise CameraError("the stream describes its decoder wrongly")
                units.append(unit)
                at += 2 + size
        self._remember(units)
        return (extradata[21] & 3) + 1


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """What a sequence parameter set says.

    :ivar width: and ``height``: of the pictures, in pixels.
    :ivar decoded: the same of what is decoded, of which parts may be cropped.
    :ivar chroma: which samples have colours (H.265 table 6-1).
    :ivar depths: the bits of a sample, above eight: of brightness and of colour.
    :ivar layers: how many temporal ones there are, and ``nested``: whether one may go up anywhere.
    """

    width: int
    height: int
    decoded: tuple[int, int]
    chroma: int
    depths: tuple[int, int]
    layers: int
    nested: int


def parse_sps(sps: bytes) -> ParameterSet:
    """What a sequence parameter set says (H.265 7.3.2.2.1). Raises CameraError."""
    bits = Bits(sps)
    bits.read(16 + 4)
    layers, nested = bits.read(3) + 1, bits.read(1)
    bits.read(8 * 12)
    _skip_layers(bits, layers - 1)
    bits.unsigned()
    chroma = bits.unsigned()
    if chroma == 3:
        bits.read(1)
    width, height = decoded = bits.unsigned(), bits.unsigned()
    if bits.read(1):
        # Cropping is counted in samples of the colours.
        across, down = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1)
        width -= across * (bits.unsigned() + bits.unsigned())
        height -= down * (bits.unsigned() + bits.unsigned())
    depths = bits.unsigned(), bits.unsigned()
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise CameraError(f"the camera sends pictures of {width} by {height} pixels")
    if chroma > 3 or max(depths) > 8:
        raise CameraError("the camera sends a parameter set that makes no sense")
    return ParameterSet(width, height, decoded, chroma, depths, layers, nested)


def _skip_layers(bits: Bits, count: int) -> None:
    """Skip the profiles and levels of temporal layers below the highest (H.265 7.3.3)."""
    present = [(bits.read(1), bits.read(1)) for _ in range(count)]
    if count:
        bits.read(2 * (8 - count))
    for profile, level in present:
        bits.read(88 * profile + 8 * level)


def decoder_configuration(format: VideoFormat) -> bytes:
    """The decoder configuration record of MP4 (ISO/IEC 14496-15 8.3.3.1). Raises CameraError."""
    said = parse_sps(format.sps)
    plain = format.sps.replace(b"\0\0\3", b"\0\0")
    sets = ((VPS, format.vps), (SPS, format.sps), (PPS, format.pps))
    return (
        b"\1" + plain[PROFILE] + b"\xf0\0\xfc"
        + bytes((0xFC | said.chroma, 0xF8 | said.depths[0] & 7, 0xF8 | said.depths[1] & 7))
        + b"\0\0" + bytes(((said.layers & 7) << 3 | said.nested << 2 | 3, len(sets)))
        + b"".join(
            bytes((0x80 | kind,)) + b"\0\1" + len(unit).to_bytes(2, "big") + unit
            for kind, unit in sets
        )
    )  # fmt: skip
