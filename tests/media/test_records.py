"""Frames on a stream of ours."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.media.conftest import annex_b, frames_of

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media.frames import AudioFormat, Frame, VideoFormat
from peerfetch_fast.media.h264 import MAX_UNIT
from peerfetch_fast.media.records import MAX_RECORD, FrameReader, FrameWriter

SOUND = Frame(AudioFormat(2), 5, b"sound")


@pytest.mark.parametrize("most", [1, 50, 100_000])
def test_what_is_written_is_read_wherever_pieces_end(most: int) -> None:
    frames = [*frames_of(annex_b(12)), SOUND]
    bigger = replace(frames[0].format, width=320)
    frames.append(replace(frames[0], format=bigger, time=9_000_000, offset=7))
    writer = FrameWriter([frames[0].format, SOUND.format])
    stream = writer.header() + b"".join(map(writer.frame, frames))
    reader, found, at = FrameReader(), [], 0
    chance = random.Random(most)
    while at < len(stream):
        size = chance.randint(1, most)
        found += reader.feed(stream[at : at + size])
        at += size
    assert found == frames
    assert reader.video == bigger
    assert reader.audio == SOUND.format


def test_single_pictures_and_a_sound_that_was_not_announced() -> None:
    format = VideoFormat("jpeg", 160, 120)
    writer = FrameWriter([format])
    picture = Frame(format, 1, b"\xff\xd8")
    stream = writer.header() + writer.frame(SOUND) + writer.frame(picture)
    assert FrameReader().feed(stream) == [picture]


@pytest.mark.parametrize(
    "data",
    [
        b"\3\0\0\0\0",
        b"\1" + (MAX_RECORD + 1).to_bytes(4, "big"),
        b"\0\0\1\0\0",
        b"\0\0\0\0\2{}",
        b"\0\0\0\0\4null",
        b"\1\0\0\0\x12" + bytes(18),
        b'\0\0\0\0\x3b{"video":{"codec":"h265","width":1,"height":1},"audio":null}',
        b'\0\0\0\0\x36{"video":null,"audio":{"codec":"opus","channels":1.0}}',
        b'\0\0\0\0\x37{"video":null,"audio":{"codec":"opus","channels":true}}',
    ],
)
def test_what_are_no_records(data: bytes) -> None:
    with pytest.raises(CameraError):
        FrameReader().feed(data)


def test_pictures_of_wrong_lengths_and_of_no_time() -> None:
    frame = frames_of(annex_b(1))[0]
    huge = MAX_UNIT.to_bytes(4, "big") + bytes(MAX_UNIT)
    for wrong in (
        replace(frame, data=b"\0\0\0\x09abc"),
        replace(frame, time=1 << 60),
        replace(frame, data=huge),
    ):
        writer = FrameWriter([frame.format])
        with pytest.raises(CameraError):
            FrameReader().feed(writer.header() + writer.frame(wrong))
