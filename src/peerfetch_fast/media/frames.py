"""Encoded pictures and sound, as they come from a source and go to viewers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["AudioFormat", "Format", "Frame", "Frames", "VideoFormat"]


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What a viewer must know before the first picture.

    :ivar codec: ``h264``, ``h265``, or ``jpeg`` where each picture stands alone.
    :ivar width: and ``height``: in pixels; 0 where they are not known.
    :ivar sps: and ``pps``, ``vps`` of H.265: the parameter sets, without start codes.
    """

    codec: Literal["h264", "h265", "jpeg"]
    width: int
    height: int
    sps: bytes = b""
    pps: bytes = b""
    vps: bytes = b""

    @property
    def codecs(self) -> str:
        """The codec as RFC 6381 names it: ``avc1.64001f``, ``hvc1.1.6.L93.90``."""
        if self.codec == "h265":
            return _hvc1(self.sps)
        return f"avc1.{self.sps[1:4].hex()}" if self.codec == "h264" else "jpeg"

    @property
    def parameter_sets(self) -> list[bytes]:
        """In the order in which decoders take them; none of JPEG."""
        return [one for one in (self.vps, self.sps, self.pps) if one]

    def told(self) -> dict[str, object]:
        """What viewers are told of it (docs/cameras.md)."""
        return {
            "codec": self.codec,
            "codecs": self.codecs,
            "width": self.width,
            "height": self.height,
        }


def _hvc1(sps: bytes) -> str:
    """H.265 by the profile, tier and level in its parameter set (ISO/IEC 14496-15 annex E)."""
    plain = sps.replace(b"\0\0\3", b"\0\0").ljust(15, b"\0")
    space, tier, profile = plain[3] >> 6, plain[3] >> 5 & 1, plain[3] & 31
    compatible = int(f"{int.from_bytes(plain[4:8], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{flags:X}" for flags in plain[8:14].rstrip(b"\0"))
    name = f"{' ABC'[space].strip()}{profile}.{compatible:X}.{'LH'[tier]}{plain[14]}"
    return f"hvc1.{name}{constraints}"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """Sound is Opus at 48 kHz (RFC 6716), whatever the source gives.

    :ivar channels: 1 or 2.
    """

    channels: int

    @property
    def codecs(self) -> str:
        """The codec as RFC 6381 names it."""
        return "opus"

    def told(self) -> dict[str, object]:
        """What viewers are told of it."""
        return {"codec": "opus", "codecs": self.codecs, "channels": self.channels}


Format = VideoFormat | AudioFormat


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, or one packet of sound.

    :ivar format: what it is decoded with.
    :ivar time: when it is decoded, in microseconds of the source's clock.
    :ivar data: of H.264 and H.265 its NAL units, each behind its length in four bytes, without
        parameter sets; of JPEG the picture; of sound an Opus packet.
    :ivar key: whether it can be decoded without others. Sound always can.
    :ivar offset: microseconds from ``time`` until it is shown: more than 0 only where pictures are
        shown in another order than they are decoded (B pictures).
    """

    format: Format
    time: int
    data: bytes
    key: bool = True
    offset: int = 0

    @property
    def is_video(self) -> bool:
        """Whether it is a picture."""
        return isinstance(self.format, VideoFormat)


class Frames(Protocol):
    """Frames as they come, whose formats are known."""

    @property
    def video_format(self) -> VideoFormat | None:
        """The format of the pictures; None where there are none."""

    @property
    def audio_format(self) -> AudioFormat | None:
        """The format of the sound; None where there is none."""

    def __aiter__(self) -> AsyncIterator[Frame]:
        """Raises PeerfetchError at the end."""
