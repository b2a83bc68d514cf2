"""H.265: passed on where the viewer can play it, and what makes no sense."""

from __future__ import annotations

import asyncio
import functools
import io
import math
import random
from pathlib import Path

import av
import pytest
from tests.media.films import clip

from peerfetch_fast.errors import CameraError
from peerfetch_fast.media import h265
from peerfetch_fast.media.camera import Camera
from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.h264 import MAX_SIDE, nal_units, split_lengths
from peerfetch_fast.media.h265 import H265Frames, decoder_configuration, parse_sps
from peerfetch_fast.media.mp4 import Mp4Writer, content_type
from peerfetch_fast.media.pyav import decoder
from peerfetch_fast.media.pyav.pictures import last_picture
from peerfetch_fast.media.pyav.testpicture import TestPicture
from peerfetch_fast.media.records import FrameReader, FrameWriter
from support import http_pair

KEY_FRAMES = 10


@functools.cache
def annex_b(width: int = 160, height: int = 120) -> tuple[bytes, ...]:
    """Pictures with start codes, and parameter sets before each key frame."""
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate = 30  # type: ignore[assignment]
    params = f"keyint={KEY_FRAMES}:scenecut=0:repeat-headers=1:bframes=0:info=0:log-level=none"
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x265-params": params}
    source, made = TestPicture(160, 120), list[av.Packet]()
    for number in range(30):
        picture = source.picture(number * 33).reformat(width=width, height=height)
        picture.pts = number
        made += encoder.encode(picture)
    return tuple(bytes(packet) for packet in (*made, *encoder.encode(None)))


def frames_of(pictures: tuple[bytes, ...]) -> list[Frame]:
    maker = H265Frames()
    made = [
        maker.frame(nal_units(data), number * 1_000_000 // 30)
        for number, data in enumerate(pictures)
    ]
    return [frame for frame in made if frame is not None]


def test_frames_have_no_parameter_sets_and_know_theirs() -> None:
    frames = frames_of(annex_b())
    assert [frame.key for frame in frames] == [n % KEY_FRAMES == 0 for n in range(30)]
    for frame in frames:
        kinds = {H265Frames.kind(unit) for unit in split_lengths(frame.data, 4)}
        assert not kinds & {h265.VPS, h265.SPS, h265.PPS, h265.DELIMITER}
    format = frames[0].format
    assert isinstance(format, VideoFormat)
    assert (format.codec, format.width, format.height) == ("h265", 160, 120)
    # Main profile, compatible with itself and Main 10, main tier, level 2; a progressive source.
    assert format.codecs == "hvc1.1.6.L60.90"


def test_a_size_that_is_cropped() -> None:
    [frame, *_] = frames_of(annex_b(178, 98))
    assert isinstance(frame.format, VideoFormat)
    assert (frame.format.width, frame.format.height) == (178, 98)


def test_a_decoder_configuration_is_read_as_it_is_written() -> None:
    frames = frames_of(annex_b())
    assert isinstance(frames[0].format, VideoFormat)
    reader = H265Frames()
    assert reader.configure(decoder_configuration(frames[0].format)) == 4
    assert reader.frame(split_lengths(frames[0].data, 4), 0) == frames[0]
    data = Mp4Writer([frames[0].format])
    stream = data.header() + b"".join(map(data.frame, frames))
    with av.open(io.BytesIO(stream)) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        assert len(list(container.decode(video=0))) == len(frames)
    assert content_type([frames[0].format]) == 'video/mp4; codecs="hvc1.1.6.L60.90"'


def test_what_is_written_for_a_peer_is_read() -> None:
    frames = frames_of(annex_b())
    writer = FrameWriter([frames[0].format])
    stream = writer.header() + b"".join(map(writer.frame, frames))
    assert FrameReader().feed(stream) == frames
    said = writer.header().replace(b'"sps":"Q', b'"sps":"/')
    with pytest.raises(CameraError):
        FrameReader().feed(said[:60] + b"!" + said[61:])


def test_what_makes_no_sense_is_an_error_of_the_camera() -> None:
    sps = next(unit for unit in nal_units(annex_b()[0]) if H265Frames.kind(unit) == h265.SPS)
    chance = random.Random(5)
    for _ in range(2_000):
        broken = bytearray(sps)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(2, len(broken))] = chance.randrange(256)
        said = bytes(broken[: chance.randint(4, len(broken))])
        try:
            found = parse_sps(said)
        except CameraError:
            continue
        assert 0 < found.width <= MAX_SIDE
        assert 0 < found.height <= MAX_SIDE
        format = VideoFormat("h265", found.width, found.height, said, b"pps!", b"vps!")
        assert decoder_configuration(format)
        assert format.codecs.startswith("hvc1.")


@pytest.mark.parametrize("record", ["01", f"01{21 * '00'}01a0000100ff00"])
def test_a_record_that_is_cut_off(record: str) -> None:
    with pytest.raises(CameraError, match="describes its decoder wrongly"):
        H265Frames().configure(bytes.fromhex(record))


async def test_a_camera_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MP4 for who plays that, JPEG for who does not, and a word to those who want WebRTC."""
    camera = Camera(str(clip(tmp_path / "film.mkv", "libx265")))
    async with http_pair(camera) as pair:
        async with await pair.fetch("/live.mp4") as response:
            assert response.headers["content-type"] == 'video/mp4; codecs="hvc1.1.6.L30.90"'
            data = b""
            async for piece in response:
                data += piece
                if data.count(b"moof") > 20:
                    break
        with av.open(io.BytesIO(data)) as container:
            assert len(list(container.decode(video=0))) >= 20
        info = await (await pair.fetch("/info")).json()
        assert (info["video"]["codec"], info["video"]["width"]) == ("h265", 160)
        snapshot = await (await pair.fetch("/snapshot.jpg")).bytes()
        with av.open(io.BytesIO(snapshot), format="image2pipe") as container:
            assert next(container.decode(video=0)).width == 160
        async with await pair.fetch("/mjpeg") as response:
            async with asyncio.timeout(60):
                assert b"image/jpeg" in await response.read()
        headers = {"content-type": "application/sdp"}
        offer = Path(__file__).parents[1].joinpath("vectors/media/chromium.sdp").read_text()
        refused = await pair.fetch("/live", method="POST", headers=headers, body=offer)
        assert refused.status == 406
        assert "H.265" in await refused.text()
    await camera.close()
    assert caplog.text.count("the camera gives H.265: browsers that do not play it") == 1


DECODED = 160, 128
"""Of 152 by 114: x265 codes squares of 16."""


def test_what_is_cropped_is_decoded_too() -> None:
    [sps] = [unit for unit in nal_units(annex_b(152, 114)[0]) if H265Frames.kind(unit) == h265.SPS]
    found = parse_sps(sps)
    assert (found.width, found.height) == (152, 114)
    assert found.decoded == DECODED


def test_pictures_that_would_fill_the_memory_are_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = frames_of(annex_b(152, 114))[0]
    monkeypatch.setattr(decoder, "MAX_PIXELS", math.prod(DECODED))
    assert last_picture([frame])
    monkeypatch.setattr(decoder, "MAX_PIXELS", math.prod(DECODED) - 1)
    with pytest.raises(CameraError, match="pixels"):
        last_picture([frame])
