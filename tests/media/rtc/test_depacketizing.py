"""Packets into frames: in any order, with losses, from who sends nonsense."""

from __future__ import annotations

import random

import pytest
from tests.media.conftest import KEY_FRAMES, annex_b, frames_of

from peerfetch_fast.media.frames import Frame, VideoFormat
from peerfetch_fast.media.rtc.depacketizing import (
    MAX_WAITING,
    PATIENCE,
    H264Depacketizer,
    Packet,
    RtpOrder,
    Unwrapped,
)

rtp = pytest.importorskip("peerfetch_fast.webrtc._rtp")
srtp = pytest.importorskip("peerfetch_fast.webrtc._srtp")


def packets_of(frames: list[Frame]) -> list[Packet]:
    """Through our own sender, and opened again."""
    keys = ("SRTP_AES128_CM_SHA1_80", bytes(16), bytes(14))
    sender = rtp.RtpSender(srtp.Srtp(*keys, True), ssrc=1, payload_type=96, sequence=32_760)
    opener = srtp.Srtp(*keys, False)
    found = []
    for frame in frames:
        assert isinstance(frame.format, VideoFormat)
        sets = (frame.format.sps, frame.format.pps) if frame.key else (None, None)
        for protected in sender.picture(frame.data, frame.time * 9 // 100, *sets):
            data = opener.open_rtp(protected)
            sequence, timestamp = int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:8], "big")
            payload = rtp.payload_of(data)
            found.append(Packet(sequence, timestamp, data[1] > 127, payload))
    return found


def through(packets: list[Packet], step: float = 0.001) -> list[Frame]:
    order, pictures, found = RtpOrder(), H264Depacketizer(), []
    for number, packet in enumerate(packets):
        for one in order.put(packet, number * step):
            if one is None:
                pictures.lost()
                continue
            frame = pictures.put(one, one.timestamp)
            if frame is not None:
                found.append(frame)
    return found


def big_frames() -> list[Frame]:
    """Some of them of several packets."""
    return [
        Frame(f.format, f.time, f.data + (5_000).to_bytes(4, "big") + b"\x06" + bytes(4_999), f.key)
        for f in frames_of(annex_b())
    ]


def test_what_is_sent_is_put_together() -> None:
    frames = big_frames()
    assert [frame.data for frame in through(packets_of(frames))] == [f.data for f in frames]


def test_a_little_disorder_and_repetition_change_nothing() -> None:
    frames = big_frames()
    packets = packets_of(frames)
    chance = random.Random(1)
    mixed = sorted(packets, key=lambda one: packets.index(one) + chance.uniform(0, 6))
    first = mixed.index(packets[0])
    mixed = [packets[0], *mixed[:first], *mixed[first + 1 :]]
    assert [frame.data for frame in through(mixed + mixed[-20:])] == [f.data for f in frames]


def test_after_a_loss_all_waits_for_a_key_frame() -> None:
    frames = big_frames()
    packets = packets_of(frames)
    lost = next(n for n, one in enumerate(packets) if one.timestamp == frames[3].time * 9 // 100)
    seen = through(packets[:lost] + packets[lost + 1 :], step=PATIENCE / 10)
    expected = [f.data for n, f in enumerate(frames) if n < 3 or n >= KEY_FRAMES]
    assert [frame.data for frame in seen] == expected


def test_what_is_missing_is_asked_for_once() -> None:
    order = RtpOrder()
    packets = [Packet(number & 0xFFFF, 0, False, b"x") for number in range(65_530, 65_550)]
    assert order.put(packets[0], 0) == [packets[0]]
    assert order.missing() == []
    assert order.put(packets[8], 0) == []
    assert order.missing() == [65_531, 65_532, 65_533, 65_534, 65_535, 0, 1]
    assert order.missing() == []
    assert order.put(packets[10], 0) == []
    assert order.missing() == [3]
    for number in range(1, 8):
        order.put(packets[number], 0.1)
    assert order.put(packets[9], 0.1) == [packets[9], packets[10]]


def test_what_waits_is_bounded() -> None:
    order, given_up = RtpOrder(), 0
    order.put(Packet(0, 0, False, b"x"), 0)
    for number in range(2, 4_000, 2):
        given_up += None in order.put(Packet(number, 0, False, b"x"), 0)
        assert len(order._waiting) <= MAX_WAITING
    assert given_up > 1_000


def test_numbers_go_on() -> None:
    count = Unwrapped(16)
    numbers = [65_534, 65_535, 0, 65_533, 5]
    assert [count.count(number) for number in numbers] == [65_534, 65_535, 65_536, 65_533, 65_541]


def test_nonsense_is_nothing() -> None:
    chance = random.Random(7)
    pictures = H264Depacketizer()
    for number in range(5_000):
        payload = chance.randbytes(chance.randrange(40))
        pictures.put(Packet(number, number // 3, number % 3 == 2, payload), number)
    frames = frames_of(annex_b(2))
    found = [pictures.put(one, 0) for one in packets_of(frames)]
    assert frames[0].data in {one.data for one in found if one is not None}
