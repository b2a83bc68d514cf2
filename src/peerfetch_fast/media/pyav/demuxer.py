"""Files, network cameras and devices, read by PyAV and never decoded. In threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import av
import av.error

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.h264 import H264Frames, NalFrames, nal_units, split_lengths
from peerfetch_fast.media.h265 import H265Frames
from peerfetch_fast.media.pyav.opus import SoundFrames
from peerfetch_fast.media.threaded import Handover, Threaded, described

__all__ = ["CameraDevice", "MediaFile", "RtspCamera"]

logger = logging.getLogger(__name__)

OPEN_TIMEOUT = 10.0
"""Seconds that a camera may take to describe itself."""

ANALYSIS = 200_000
"""Microseconds of a network camera that FFmpeg looks at before any of it is seen: the rest is known
by its description. What was looked at is kept: with it a key frame would be lost."""

READ_TIMEOUT = 10.0
"""Seconds without anything of a camera after which it counts as gone."""

MAX_JPEG = 8 * 1024 * 1024
"""Bytes of the largest picture of a camera that gives JPEG."""


_FRAMES: dict[str, type[NalFrames]] = {"h264": H264Frames, "hevc": H265Frames}
"""By what FFmpeg calls what comes."""


class _Demuxed(Threaded):
    """A container that PyAV opens.

    :param url: what PyAV calls it.
    :param format: the name of its format; None to find out.
    :param options: for the demuxer.
    """

    paced = False
    """Whether frames are put out by their times: a file is there all at once."""

    def __init__(self, url: str, format: str | None, options: Mapping[str, str]) -> None:
        self._url, self._format, self._options = url, format, dict(options)
        self._warned = False

    def work(self, output: Handover) -> None:
        """See :class:`Threaded`."""
        with self._open() as container:
            try:
                reading = _Reading(container, output, paced=self.paced)
                self._warn_of(reading.codec)
                reading.run()
            except av.error.ExitError:
                raise CameraError(f"nothing came from the camera for {READ_TIMEOUT:g} s") from None
            except (av.error.FFmpegError, OSError) as error:
                raise described(error) from None

    def _warn_of(self, codec: str) -> None:
        if codec == "hevc" and not self._warned:
            self._warned = True
            logger.warning(
                "the camera gives H.265: browsers that do not play it show its key frames alone, "
                "and nothing goes by WebRTC; have it give H.264, perhaps as its second stream"
            )

    def _open(self) -> Any:
        began = time.monotonic()
        try:
            return av.open(
                self._url,
                format=self._format,
                options=self._options,
                timeout=(OPEN_TIMEOUT, READ_TIMEOUT),
            )
        except (av.error.FFmpegError, OSError) as error:
            # PyAV breaks it off then, and FFmpeg gives whatever reason that looks like.
            if time.monotonic() - began >= OPEN_TIMEOUT:
                raise CameraError(f"the camera has not answered in {OPEN_TIMEOUT:g} s") from None
            raise described(error) from None


class RtspCamera(_Demuxed):
    """A network camera. RTP comes within the RTSP connection, where nothing of it is lost."""

    def __init__(self, url: str) -> None:
        options = {"rtsp_transport": "tcp", "analyzeduration": str(ANALYSIS)}
        super().__init__(url, "rtsp", options)


class CameraDevice(_Demuxed):
    """A camera of this machine (V4L2), as H.264 where it has that, else as JPEG.

    :param options: ``format`` (``h264`` or ``mjpeg``), ``size`` (``1280x720``), ``rate``.

    Raises ValueError for other options.
    """

    def __init__(self, device: str, options: Mapping[str, str]) -> None:
        names = {"format": "input_format", "size": "video_size", "rate": "framerate"}
        if not options.keys() <= names.keys():
            raise ValueError(
                f"a camera device has no {', '.join(options.keys() - names.keys())}: write "
                "v4l2:/dev/video0?format=mjpeg&size=1280x720&rate=30"
            )
        super().__init__(device, "v4l2", {names[name]: value for name, value in options.items()})
        self._chosen = "format" in options

    def _open(self) -> Any:
        if self._chosen:
            return super()._open()
        try:
            self._options["input_format"] = "h264"
            return super()._open()
        except CameraError:
            self._options["input_format"] = "mjpeg"
            return super()._open()


class MediaFile(_Demuxed):
    """A file, again and again."""

    paced = True

    def __init__(self, path: str) -> None:
        super().__init__(path, None, {})

    def work(self, output: Handover) -> None:
        """See :class:`Threaded`."""
        while True:
            super().work(output)


class _Reading:
    """Makes frames of the packets of one container.

    :ivar codec: of the pictures, as FFmpeg calls it.
    """

    def __init__(self, container: Any, output: Handover, *, paced: bool) -> None:
        self._container = container
        self._output = output
        self._paced = paced
        self._started: float | None = None
        self._lengths = 0
        self._next = self._shown = 0
        video = next(iter(container.streams.video), None)
        if video is None:
            raise CameraError("the camera has no pictures")
        codec = video.codec_context.name
        if codec in _FRAMES:
            self._frames = _FRAMES[codec]()
            self._lengths = self._frames.configure(video.codec_context.extradata or b"")
        elif codec != "mjpeg":
            raise CameraError(
                f"the camera gives {codec}, which is not passed on: have it give H.264, perhaps as "
                "its second stream"
            )
        self.codec, self._video = codec, video
        self._audio = next(iter(container.streams.audio), None)
        self._sound = None if self._audio is None else SoundFrames(self._audio.codec_context)
        self._size = (video.codec_context.width, video.codec_context.height)

    def run(self) -> None:
        """Put all out. Raises CameraError, Stopped."""
        sound = self._sound
        self._output.begin(None if sound is None else sound.format)
        streams = [self._video] if sound is None else [self._video, self._audio]
        for packet in self._container.demux(streams):
            if packet.size == 0:
                continue  # what ends the stream
            if packet.stream is self._video:
                self._put(self._picture(packet))
            elif sound is not None:
                for frame in sound.frames(packet):
                    self._put(frame)
        if self._paced and self._started is not None:
            # The last picture too is shown for as long as each.
            self._output.wait_until(self._started + self._next / 1e6)

    def _put(self, frame: Frame | None) -> None:
        if frame is None:
            return
        if self._paced:
            if self._started is None:
                self._started = time.monotonic() - frame.time / 1e6
            self._output.wait_until(self._started + frame.time / 1e6)
            if frame.is_video:
                self._next, self._shown = 2 * frame.time - self._shown, frame.time
        self._output.frame(frame)

    def _picture(self, packet: Any) -> Frame | None:
        base = packet.time_base or Fraction(1, 90_000)
        shown = packet.pts if packet.pts is not None else packet.dts
        decoded = packet.dts if packet.dts is not None else shown
        if decoded is None:
            at, offset = time.monotonic_ns() // 1_000, 0
        else:
            at = int(decoded * base * 1_000_000)
            offset = max(int((shown - decoded) * base * 1_000_000), 0)
        data = bytes(packet)
        if self.codec == "mjpeg":
            if len(data) > MAX_JPEG:
                raise CameraError(f"the camera sends pictures of more than {MAX_JPEG} bytes")
            return Frame(VideoFormat("jpeg", *self._size), at, data)
        units = split_lengths(data, self._lengths) if self._lengths else nal_units(data)
        return self._frames.frame(units, at, offset)
