"""What receivers say, and what senders report."""

from __future__ import annotations

import random

import pytest
from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSrPacket,
    pack_remb_fci,
)

from peerfetch_fast.media.rtc.rtcp import (
    MAX_LOST,
    Loss,
    Sent,
    is_rtcp,
    nack,
    picture_loss,
    read_feedback,
    receiver_report,
    sender_report,
)


def test_a_senders_report_is_what_another_reads() -> None:
    data = sender_report(9, "name", now=1.5, timestamp=7, packets=3, octets=4)
    assert is_rtcp(data)
    report, description = RtcpPacket.parse(data)
    assert isinstance(report, RtcpSrPacket)
    assert isinstance(description, RtcpSdesPacket)
    info = report.sender_info
    assert (report.ssrc, info.rtp_timestamp, info.packet_count, info.octet_count) == (9, 7, 3, 4)
    assert info.ntp_timestamp == (2_208_988_801 << 32) + (1 << 31)
    assert description.chunks[0].items == [(1, b"name")]
    assert read_feedback(data).sent == {9: Sent(7, 2_208_988_801_500_000)}
    assert read_feedback(data[:20]).sent == {}


@pytest.mark.parametrize("name", ["", "a", "ab", "abc", "abcd"])
def test_reports_are_padded(name: str) -> None:
    assert len(RtcpPacket.parse(receiver_report(1, name))) == 2


def test_what_another_says_is_understood() -> None:
    info = RtcpReceiverInfo(
        ssrc=5, fraction_lost=64, packets_lost=-2, highest_sequence=65_541, jitter=0, lsr=0, dlsr=0
    )
    data = b"".join(
        map(
            bytes,
            [
                RtcpRrPacket(ssrc=1, reports=[info]),
                RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=5, lost=[10, 11, 26, 65_535]),
                RtcpPsfbPacket(fmt=1, ssrc=1, media_ssrc=5),
                RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=pack_remb_fci(2_000_000, [5])),
                RtcpByePacket(sources=[1]),
            ],
        )
    )
    feedback = read_feedback(data)
    assert feedback.losses == {5: Loss(-2, 65_541)}
    assert feedback.lost == {5: [10, 11, 26, 65_535]}
    assert feedback.wants_key
    assert feedback.ended
    assert feedback.bitrate is not None
    assert 1_990_000 < feedback.bitrate <= 2_000_000


def test_what_we_ask_for_is_understood() -> None:
    [wish, loss] = RtcpPacket.parse(nack(1, 5, [3, 9]) + picture_loss(1, 5))
    assert isinstance(wish, RtcpRtpfbPacket)
    assert (wish.media_ssrc, wish.lost) == (5, [3, 9])
    assert isinstance(loss, RtcpPsfbPacket)
    assert (loss.fmt, loss.media_ssrc) == (1, 5)


def test_nonsense_is_left_out_and_bounded() -> None:
    chance = random.Random(2)
    for _ in range(5_000):
        kind = chance.choice((200, 201, 203, 205, 206))
        body = chance.randbytes(4 * chance.randrange(16))
        head = bytes([0x80 | chance.randrange(32), kind]) + (len(body) // 4).to_bytes(2, "big")
        read_feedback((head + body)[: chance.randrange(4, 80)])
    full = b"\xff" * 4
    many = bytes([0x81, 205]) + (2 + 300).to_bytes(2, "big") + bytes(8) + full * 300
    assert len(read_feedback(many).lost[0]) == MAX_LOST
