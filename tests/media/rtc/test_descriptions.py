"""Offers of media and our answers, as browsers and others make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.media.rtc.descriptions import (
    OPUS_FORMAT,
    Answered,
    Offered,
    direction_for,
    h264_formats,
    read_fragment,
    read_offer,
    write_answer,
    write_offer,
)

VECTORS = Path(__file__).parents[2] / "vectors/media"
CHROMIUM = (VECTORS / "chromium.sdp").read_text().replace("\n", "\r\n")


def test_the_codec_that_is_sent_is_taken() -> None:
    for profile, number in (("", 103), ("42e0", 103), ("6400", 104), ("f400", 103)):
        video, audio, data = read_offer(CHROMIUM, profile).sections
        assert (video.kind, video.payload_type, video.direction) == ("video", number, "recvonly")
        assert (audio.kind, audio.payload_type, audio.direction) == ("audio", 111, "sendrecv")
        assert not data.usable


def test_the_answer_keeps_the_order_and_refuses_the_rest() -> None:
    offer = read_offer(CHROMIUM)
    sdp = write_answer(
        offer,
        {"0": Answered("sendonly", 7), "1": Answered("inactive")},
        session=1,
        ufrag="ufrag",
        password="p" * 22,
        fingerprint=bytes(32),
        setup="passive",
        candidates=[],
        complete=True,
        stream="s",
    )
    sections = sdp.split("m=")[1:]
    assert [section.split(" ")[:2] for section in sections] == [
        ["video", "9"],
        ["audio", "9"],
        ["application", "0"],
    ]
    assert "a=group:BUNDLE 0 1\r\n" in sdp
    assert "a=ssrc:7 cname:s\r\n" in sections[0]
    assert "a=rtcp-fb:103 nack pli\r\n" in sections[0]
    assert "transport-cc" not in sdp
    assert "packetization-mode=1;profile-level-id=42e01f" in sections[0]
    assert "a=inactive" in sections[1]
    assert sections[0].endswith("a=end-of-candidates\r\n")


@pytest.mark.parametrize(
    ("offered", "sends", "receives", "ours"),
    [
        ("recvonly", True, True, "sendonly"),
        ("sendrecv", True, True, "sendrecv"),
        ("sendrecv", True, False, "sendonly"),
        ("sendonly", True, True, "recvonly"),
        ("sendonly", True, False, "inactive"),
        ("inactive", True, True, "inactive"),
    ],
)
def test_directions(offered: str, sends: bool, receives: bool, ours: str) -> None:
    section = read_offer(CHROMIUM.replace("a=recvonly", f"a={offered}")).sections[0]
    assert direction_for(section, sends=sends, receives=receives) == ours


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("m=video", "m=vidéo"),
        ("a=mid:0", "a=nothing"),
        ("a=setup:actpass", "a=setup:maybe"),
        ("a=fingerprint:sha-256", "a=fingerprint:md9"),
        ("a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=ice-pwd:short"),
        ("a=mid:1", "a=mid:" + "x" * 3_000),
        ("a=mid:1", "a=x\r\n" * 20_000),
        ("m=audio", "m=audio 9 A 1\r\n" * 40 + "m=audio"),
        ("UDP/DTLS/SCTP webrtc-datachannel", "UDP/DTLS/SCTP  "),
    ],
)
def test_offers_that_cannot_be_used(before: str, after: str) -> None:
    with pytest.raises(InvalidDescription):
        read_offer(CHROMIUM.replace(before, after, 1))
    with pytest.raises(InvalidDescription):
        read_offer("v=0\r\n")


def test_fragments() -> None:
    line = "a=candidate:1 1 udp 2113937151 192.0.2.1 50000 typ host"
    candidates, complete = read_fragment(f"a=mid:0\r\n{line}\r\na=candidate:nonsense\r\n")
    assert [candidate.host for candidate in candidates] == ["192.0.2.1"]
    assert not complete
    assert read_fragment("a=end-of-candidates") == ([], True)


def test_an_offer_of_ours_names_the_pictures_own_profile_first() -> None:
    tracks = [
        Offered("video", 7, h264_formats("4d0029")),
        Offered("audio", 8, (OPUS_FORMAT,)),
    ]
    sdp = write_offer(
        tracks,
        session=1,
        ufrag="ufrag",
        password="p" * 22,
        fingerprint=bytes(32),
        candidates=[],
        complete=True,
        stream="s",
    )
    offer = read_offer(sdp, "4d00")
    video, audio = offer.sections
    assert (video.kind, video.payload_type, video.direction) == ("video", 96, "sendonly")
    assert "profile-level-id=4d0029" in video.format
    assert {"nack", "nack pli", "ccm fir", "goog-remb"} == set(video.feedback)
    assert (audio.kind, audio.payload_type, audio.feedback) == ("audio", 101, ())
    assert (offer.setup, offer.complete) == ("actpass", True)
    assert "a=msid:s s-video\r\na=ssrc:7 cname:s\r\n" in sdp
    assert read_offer(sdp, "6400").sections[0].payload_type == 99
    numbers = [line.split()[3:] for line in sdp.splitlines() if line.startswith("m=")]
    assert numbers == [["96", "97", "98", "99", "100"], ["101"]]
