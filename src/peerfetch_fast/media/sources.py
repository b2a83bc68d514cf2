"""Where pictures and sound come from, by the address that people write."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from peerfetch_fast.media.frames import AudioFormat, Frame

__all__ = ["Output", "Source", "make_source", "shown"]

RPICAM = ("rpicam-vid", "--timeout", "0", "--inline", "--codec", "h264", "--flush", "--nopreview",
          "--output", "-")  # fmt: skip
"""What a Raspberry Pi's camera is read with: parameter sets before each key frame (``--inline``),
each picture as soon as it is there (``--flush``)."""


class Output(Protocol):
    """Where a source puts what it has."""

    def begin(self, audio: AudioFormat | None) -> None:
        """The source is there. To be called before the first frame.

        :param audio: the format of the sound that comes with the pictures; None for none.
        """

    def frame(self, frame: Frame) -> None:
        """A frame, by the source's clock."""


class Source(Protocol):
    """Pictures, and perhaps sound."""

    async def run(self, output: Output) -> None:
        """Put frames out until cancelled, or until there are no more.

        Raises CameraError.
        """


def make_source(address: str, microphone: str | None = None) -> Source:
    """The source at an address: ``rtsp://…``, ``v4l2:/dev/video0``, ``rpicam:``, ``exec:COMMAND``,
    ``test:``, ``publish:`` or the path of a file.

    :param microphone: ``alsa:DEVICE``, for sources without sound of their own.

    Raises ValueError for what is no address, MissingExtra where PyAV is needed and not installed.
    """
    if address == "publish:":
        from peerfetch_fast.media.inlet import Inlet

        return Inlet()
    source = _pictures(address)
    if microphone is None:
        return source
    scheme, colon, device = microphone.partition(":")
    if scheme != "alsa" or not colon:
        raise ValueError(f"{microphone!r} is no microphone: write alsa:default, or alsa:hw:1")
    from peerfetch_fast.media.pyav.microphone import Microphone, WithSound

    return WithSound(source, Microphone(device or "default"))


def _pictures(address: str) -> Source:
    scheme, colon, rest = address.partition(":")
    if colon and scheme in ("rpicam", "exec"):
        from peerfetch_fast.media.program import Program

        arguments = shlex.split(rest)
        if scheme == "exec" and not arguments:
            raise ValueError("exec: needs a command that writes H.264 to its standard output")
        return Program([*RPICAM, *arguments] if scheme == "rpicam" else arguments)
    if colon and scheme == "test":
        from peerfetch_fast.media.pyav.testpicture import TestPicture

        options = dict(parse_qsl(rest.removeprefix("?"), keep_blank_values=True))
        return TestPicture(**_test_options(options))
    from peerfetch_fast.media.pyav.demuxer import CameraDevice, MediaFile, RtspCamera

    if scheme in ("rtsp", "rtsps") and rest.startswith("//"):
        return RtspCamera(address)
    if colon and scheme == "v4l2":
        device, _, query = rest.partition("?")
        return CameraDevice(device or "/dev/video0", dict(parse_qsl(query)))
    if colon and scheme not in ("file",) and not Path(address).exists():
        raise ValueError(
            f"{shown(address)!r} is no camera: write rtsp://…, v4l2:/dev/video0, rpicam:, "
            "exec:COMMAND, test:, publish:, or the path of a file"
        )
    return MediaFile(rest.removeprefix("//") if scheme == "file" and colon else address)


def _test_options(options: dict[str, str]) -> dict[str, int]:
    allowed = {"width", "height", "rate", "bitrate", "interval"}
    values = {name: int(value) for name, value in options.items() if value.isdecimal()}
    if values.keys() != options.keys() or not values.keys() <= allowed:
        raise ValueError(
            "a test picture is test: or test:?width=1280&height=720&rate=30&bitrate=4000000"
        )
    return values


def shown(address: str) -> str:
    """The address without its password, for people and logs."""
    if "://" not in address or "@" not in address:
        return address
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"…@{host}").geturl()
