"""NAL units, pictures and parameter sets of H.264, also of cameras that send nonsense."""

from __future__ import annotations

import random

import pytest
from tests.media.conftest import KEY_FRAMES, cropped_sps, frames_of

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media import h264
from peerfetch_fast.media.frames import VideoFormat
from peerfetch_fast.media.h264 import (
    AccessUnits,
    H264Frames,
    decoded_size,
    decoder_configuration,
    nal_units,
    parse_sps,
    split_lengths,
)


def test_frames_have_no_parameter_sets_and_know_theirs(pictures: tuple[bytes, ...]) -> None:
    frames = frames_of(pictures)
    assert len(frames) == len(pictures)
    assert [frame.key for frame in frames] == [n % KEY_FRAMES == 0 for n in range(len(frames))]
    for frame in frames:
        assert isinstance(frame.format, VideoFormat)
        assert (frame.format.width, frame.format.height) == (160, 120)
        assert not {unit[0] & 31 for unit in split_lengths(frame.data, 4)} & {
            h264.SPS,
            h264.PPS,
            h264.DELIMITER,
        }
    assert frames[0].format.codecs == f"avc1.{frames[0].format.sps[1:4].hex()}"


@pytest.mark.parametrize("most", [1, 7, 4096])
def test_a_pipe_is_cut_into_pictures_wherever_its_pieces_end(
    pictures: tuple[bytes, ...], most: int
) -> None:
    stream = b"nonsense before" + b"".join(pictures)
    cutter, found, at = AccessUnits(), [], 0
    chance = random.Random(most)
    while at < len(stream):
        size = chance.randint(1, most)
        found += cutter.feed(stream[at : at + size])
        at += size
    # The last one is whole when the next begins.
    assert found == [nal_units(data) for data in pictures[:-1]]


def test_a_decoder_configuration_is_read_as_it_is_written(pictures: tuple[bytes, ...]) -> None:
    format = frames_of(pictures[:1])[0].format
    assert isinstance(format, VideoFormat)
    reader = H264Frames()
    assert reader.configure(decoder_configuration(format)) == 4
    units = [unit for unit in nal_units(pictures[0]) if unit[0] & 31 == h264.IDR]
    frame = reader.frame(units, 0)
    assert frame is not None
    assert frame.format == format
    assert split_lengths(frame.data, 4) == units


@pytest.mark.parametrize(
    ("profile", "size"),
    [
        # High, 1920 by 1080: cropped from 1088 lines.
        ("6764001facd940780227e5c05a808080a0000003002000000781e30632c0", (1920, 1080)),
        # Baseline, 640 by 360.
        ("6742c01eda0280bfe58400000300040000030 0f23c58ba80".replace(" ", ""), (640, 360)),
    ],
)
def test_the_size_is_in_the_parameter_set(profile: str, size: tuple[int, int]) -> None:
    assert parse_sps(bytes.fromhex(profile)) == size


def test_what_makes_no_sense_is_an_error_of_the_camera(pictures: tuple[bytes, ...]) -> None:
    sps = next(unit for unit in nal_units(pictures[0]) if unit[0] & 31 == h264.SPS)
    chance = random.Random(5)
    for _ in range(2_000):
        broken = bytearray(sps)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(1, len(broken))] = chance.randrange(256)
        try:
            width, height = parse_sps(bytes(broken[: chance.randint(4, len(broken))]))
        except CameraError:
            continue
        assert 0 < width <= h264.MAX_SIDE
        assert 0 < height <= h264.MAX_SIDE


@pytest.mark.parametrize(
    "record", ["01", "0142c01effe1", "0142c01effe1ffff00", "0142c01effe10004674200"]
)
def test_a_record_that_is_cut_off(record: str) -> None:
    reader = H264Frames()
    try:
        reader.configure(bytes.fromhex(record))
    except CameraError:
        return
    assert reader.frame([b"\x65\x88"], 0) is None


def test_nothing_is_collected_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "MAX_UNIT", 10_000)
    cutter = AccessUnits()
    with pytest.raises(CameraError, match="Annex B"):
        for _ in range(20):
            cutter.feed(bytes(range(1, 256)) * 4)
    cutter = AccessUnits()
    with pytest.raises(CameraError, match="parts"):
        cutter.feed(b"\0\0\1\x41" * (h264.MAX_NALS + 2))
    with pytest.raises(CameraError):
        split_lengths(b"\0\0\0\x09abc", 4)


def test_what_is_cropped_is_decoded_too() -> None:
    for profile in (66, 144):
        found = cropped_sps(8_000, 200, profile)
        assert parse_sps(found) == (200, 200)
        assert decoded_size(found) == (8_000, 8_000)
