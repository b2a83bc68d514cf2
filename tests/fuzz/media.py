"""What cameras and viewers send: H.264, H.265, offers of media, RTCP."""

from __future__ import annotations

import contextlib
from pathlib import Path

from peerfetch_fast.errors import CameraError, InvalidDescription
from peerfetch_fast.media.frames import VideoFormat
from peerfetch_fast.media.h264 import (
    MAX_UNIT,
    AccessUnits,
    H264Frames,
    byte_stream,
    nal_units,
    split_lengths,
)
from peerfetch_fast.media.h265 import H265Frames, decoder_configuration
from peerfetch_fast.media.mp4 import Mp4Writer
from peerfetch_fast.media.records import FrameReader, FrameWriter
from peerfetch_fast.media.rtc.rtcp import (
    MAX_LOST,
    nack,
    picture_loss,
    read_feedback,
    receiver_report,
    sender_report,
)

SEEDS = Path(__file__).parents[1] / "vectors/media"


def h264(data: bytes) -> None:
    """A camera's stream: of a pipe in pieces, whose number the first byte says, and of a container
    with a description of its own.
    """
    count = data[0] if data else 0
    stream = data[1:]
    with contextlib.suppress(CameraError):
        pictures, frames = AccessUnits(), H264Frames()
        size = len(stream) // (count + 1) + 1
        for at in range(0, len(stream), size):
            for units in pictures.feed(stream[at : at + size]):
                frame = frames.frame(units, at)
                if frame is not None:
                    assert len(frame.data) <= MAX_UNIT
                    byte_stream(frame)
    with contextlib.suppress(CameraError):
        frames = H264Frames()
        lengths = frames.configure(stream[:count])
        if lengths:
            frames.frame(split_lengths(stream[count:], lengths), 0)


def h264_seeds() -> list[bytes]:
    """Pictures, whole and with a decoder configuration record before them."""
    stream = (SEEDS / "pictures.h264").read_bytes()
    return [b"\0" + stream, b"\x0f" + stream, b"\x20\1B\xc0\x1e\xff\xe1\0\4\x67B\xc0\x1e" + stream]


def h265(data: bytes) -> None:
    """A camera's pictures with start codes, and a container's description of them, whose length the
    first byte says.
    """
    count = data[0] if data else 0
    with contextlib.suppress(CameraError):
        frames = H265Frames()
        lengths = frames.configure(data[1 : 1 + count])
        rest = data[1 + count :]
        frame = frames.frame(split_lengths(rest, lengths) if lengths else nal_units(rest), 0)
        if frame is not None:
            assert len(frame.data) <= MAX_UNIT
            byte_stream(frame)
            assert frame.data in Mp4Writer([frame.format]).frame(frame)
            assert Mp4Writer([frame.format]).header()
            assert frame.format.codecs.isprintable()


def h265_seeds() -> list[bytes]:
    """Pictures alone, and behind a decoder configuration record."""
    stream = (SEEDS / "pictures.h265").read_bytes()
    frame = H265Frames().frame(nal_units(stream), 0)
    assert frame is not None
    assert isinstance(frame.format, VideoFormat)
    record = decoder_configuration(frame.format)
    return [b"\0" + stream, bytes((len(record),)) + record + frame.data]


def media(data: bytes) -> None:
    """An offer of media, RTCP, or frames of another peer: the first byte says which."""
    if data[:1] == b"\2":
        with contextlib.suppress(CameraError):
            for frame in FrameReader().feed(data[1:]):
                assert frame.time < 1 << 54
        return
    if data[:1] == b"\0":
        feedback = read_feedback(data[1:])
        assert all(len(lost) <= MAX_LOST for lost in feedback.lost.values())
        return
    from peerfetch_fast.media.rtc.descriptions import Answered, read_offer, write_answer

    with contextlib.suppress(InvalidDescription):
        offer = read_offer(data[1:].decode(errors="replace"))
        answered = {one.mid: Answered("sendonly", 1) for one in offer.sections if one.usable}
        if answered:
            answer = write_answer(
                offer, answered, session=1, ufrag="ufrag", password="p" * 22,
                fingerprint=bytes(32), setup="passive", candidates=[], complete=True, stream="s",
            )  # fmt: skip
            # What an answer says is of one line each, whatever was offered.
            assert answer.count("\r\nm=") == len(offer.sections)


def media_seeds() -> list[bytes]:
    """One of each."""
    report = sender_report(1, "name", now=0, timestamp=1, packets=2, octets=3)
    rest = receiver_report(1, "n", bytes(24)) + nack(1, 2, [3, 4]) + picture_loss(1, 2)
    maker = H264Frames()
    pictures = AccessUnits().feed((SEEDS / "pictures.h264").read_bytes())
    frames = [frame for units in pictures if (frame := maker.frame(units, 0)) is not None]
    offer = (SEEDS / "chromium.sdp").read_text().replace("\n", "\r\n").encode()
    writer = FrameWriter([frames[0].format])
    records = writer.header() + b"".join(map(writer.frame, frames))
    return [b"\2" + records, b"\0" + report, b"\0" + rest, b"\1" + offer]
