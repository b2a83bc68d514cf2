"""The MP4 that viewers get, as another program reads it."""

from __future__ import annotations

import io
from dataclasses import replace

import av
from tests.media.conftest import annex_b, frames_of

from peerfetch_fast.media.frames import AudioFormat, Frame
from peerfetch_fast.media.mp4 import Mp4Writer, content_type


def written(frames: list[Frame]) -> bytes:
    formats = list(dict.fromkeys(frame.format for frame in frames))
    writer = Mp4Writer(formats)
    return writer.header() + b"".join(writer.frame(frame) for frame in frames)


def test_every_picture_is_decoded_at_its_time() -> None:
    frames = frames_of(annex_b())
    # A viewer may have begun at any time of the camera.
    later = [replace(frame, time=frame.time + 7_000_000) for frame in frames]
    with av.open(io.BytesIO(written(later))) as container:
        shown = [(frame.time, frame.width) for frame in container.decode(video=0)]
    assert len(shown) == len(frames)
    for number, (time, width) in enumerate(shown):
        assert abs(time - number / 30) < 0.001
        assert width == 160


def test_pictures_in_another_order_than_they_are_shown() -> None:
    pictures = annex_b(12, bframes=2)
    frames = [replace(frame, offset=66_667) for frame in frames_of(pictures)]
    with av.open(io.BytesIO(written(frames))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert all(packet.pts > packet.dts for packet in packets)


def test_sound_beside_pictures() -> None:
    sound = AudioFormat(2)
    packets = [Frame(sound, n * 20_000, bytes([0xFC, 0xFF, 0xFE])) for n in range(50)]
    frames = sorted((*frames_of(annex_b()), *packets), key=lambda frame: frame.time)
    data = written(frames)
    with av.open(io.BytesIO(data)) as container:
        audio = container.streams.audio[0]
        assert (audio.codec_context.name, audio.rate, audio.channels) in (
            ("opus", 48_000, 2),
            ("libopus", 48_000, 2),
        )
        assert len([packet for packet in container.demux(audio) if packet.size]) == 50
    assert content_type(dict.fromkeys(frame.format for frame in frames)).endswith(', opus"')


def test_a_camera_that_changes_its_size_is_described_anew() -> None:
    frames = frames_of(annex_b(3))
    writer = Mp4Writer([frames[0].format])
    writer.frame(frames[0])
    other = replace(frames[1], format=replace(frames[1].format, width=320), key=True)
    assert writer.frame(other)[4:8] == b"ftyp"
    assert writer.frame(replace(other, time=other.time + 1))[4:8] == b"moof"


def test_a_sound_that_was_not_announced_is_left_out() -> None:
    frames = frames_of(annex_b(3))
    writer = Mp4Writer([frames[0].format])
    assert writer.frame(Frame(AudioFormat(1), 0, b"x")) == b""
