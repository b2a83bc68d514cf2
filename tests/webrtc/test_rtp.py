"""SRTP and RTP packets, against libsrtp and the RFCs' vectors."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("pylibsrtp")
rtp = pytest.importorskip("peerfetch_fast.webrtc._rtp")

from pylibsrtp import Policy, Session  # noqa: E402

from peerfetch_fast.webrtc._rtp import MAX_PACKET_PAYLOAD, RtpSender, payload_of  # noqa: E402
from peerfetch_fast.webrtc._srtp import PROFILES, Srtp  # noqa: E402

LIBSRTP = {
    "SRTP_AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "SRTP_AES128_CM_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}

profiles = pytest.mark.parametrize("profile", PROFILES)


def keys(profile: str) -> tuple[bytes, bytes]:
    key, salt = PROFILES[profile]
    return bytes(range(key)), bytes(range(100, 100 + salt))


def ours(profile: str, *, sending: bool) -> Srtp:
    return Srtp(profile, *keys(profile), sending)


def theirs(profile: str, *, sending: bool) -> Session:
    kind = Policy.SSRC_ANY_OUTBOUND if sending else Policy.SSRC_ANY_INBOUND
    key, salt = keys(profile)
    return Session(Policy(key=key + salt, ssrc_type=kind, srtp_profile=LIBSRTP[profile]))


def sender(profile: str, sequence: int = 7) -> RtpSender:
    srtp = ours(profile, sending=True)
    return RtpSender(srtp, ssrc=0xDEADBEEF, payload_type=96, sequence=sequence)


@profiles
def test_libsrtp_opens_what_we_protect(profile: str) -> None:
    made, other = sender(profile, 0x7FF0), theirs(profile, sending=False)
    for number in range(40_000):  # sequence numbers begin anew
        packet = made.packet(b"a payload %d" % number, number * 960, number % 2 == 1)
        if number % 400 < 3:
            opened = other.unprotect(packet)
            assert opened[12:] == b"a payload %d" % number
            assert opened[1] == 96 | (128 if number % 2 else 0)
            assert payload_of(opened) == opened[12:]


@profiles
def test_we_open_what_libsrtp_protects(profile: str) -> None:
    opener, other = ours(profile, sending=False), theirs(profile, sending=True)
    for number in range(65_000, 66_000):
        head = bytes([0x80, 96]) + (number & 0xFFFF).to_bytes(2, "big") + bytes(4) + b"ssrc"
        protected = other.protect(head + b"payload")
        assert opener.open_rtp(protected) == head + b"payload"
        assert opener.open_rtp(protected) is None, "repeated"
        changed = bytearray(protected)
        changed[number % len(changed)] ^= 1
        assert opener.open_rtp(bytes(changed)) is None


@profiles
def test_rtcp_both_ways(profile: str) -> None:
    report = bytes.fromhex("80c900010000000781ca00020000000701026162")
    protecting, opening = ours(profile, sending=True), ours(profile, sending=False)
    there, back = theirs(profile, sending=False), theirs(profile, sending=True)
    for _ in range(5):
        protected = protecting.protect_rtcp(report)
        assert there.unprotect_rtcp(protected) == report
        answer = back.protect_rtcp(report)
        assert opening.open_rtcp(answer) == report
        assert opening.open_rtcp(answer) is None, "repeated"
        assert opening.open_rtcp(answer[:-1] + bytes([answer[-1] ^ 1])) is None


@profiles
def test_a_stranger_opens_nothing_and_costs_nothing(profile: str) -> None:
    opener = ours(profile, sending=False)
    chance = random.Random(3)
    for _ in range(2_000):
        data = bytes([chance.choice((0x80, 0x90, 0x8F, 0xB0)), 96]) + chance.randbytes(
            chance.randrange(1_600)
        )
        assert opener.open_rtp(data) is None
        assert opener.open_rtcp(data) is None
    # Those who are genuine are bounded too.
    other = theirs(profile, sending=True)
    opened = 0
    for ssrc in range(100):
        packet = other.protect(bytes([0x80, 96, 0, 1, 0, 0, 0, 0]) + ssrc.to_bytes(4, "big") + b"x")
        opened += opener.open_rtp(packet) is not None
    assert opened == 16


def plain(profile: str, packets: list[bytes]) -> list[bytes]:
    other = theirs(profile, sending=False)
    return [other.unprotect(packet) for packet in packets]


@pytest.mark.parametrize("size", [1, MAX_PACKET_PAYLOAD, MAX_PACKET_PAYLOAD + 1, 100_000])
def test_a_picture_comes_apart_and_together(size: int) -> None:
    profile = "SRTP_AEAD_AES_128_GCM"
    unit = b"\x65" + random.Random(size).randbytes(size - 1)
    extra = b"\x06\x05\x04"
    data = b"".join(len(one).to_bytes(4, "big") + one for one in (extra, unit))
    packets = sender(profile).picture(data, 90_000, b"\x67sps", b"\x68pps")
    assert max(map(len, packets)) <= 1_200
    opened = plain(profile, packets)
    assert [packet[1] >> 7 for packet in opened] == [0] * (len(opened) - 1) + [1]
    # The parameter sets are one packet (STAP-A).
    assert opened[0][12:] == b"\x78\x00\x04\x67sps\x00\x04\x68pps"
    assert opened[1][12:] == extra
    parts = [packet[12:] for packet in opened[2:]]
    if size <= MAX_PACKET_PAYLOAD:
        assert parts == [unit]
        return
    assert {part[0] for part in parts} == {0x60 | 28}
    assert parts[0][1] == 0x80 | 5
    assert parts[-1][1] == 0x40 | 5
    assert b"\x65" + b"".join(part[2:] for part in parts) == unit
    # Datagrams of one size leave in one call.
    assert len({len(packet) for packet in packets[2:-1]}) <= 1


def test_what_was_sent_is_sent_again_for_a_while() -> None:
    made = sender("SRTP_AES128_CM_SHA1_80", 100)
    packets = [made.packet(b"%d" % number, number) for number in range(2_000)]
    assert made.again(2_099) == packets[1_999]
    assert made.again(1_700) == packets[1_600]
    assert made.again(1_699) is None
    assert made.again(100) is None
    assert made.again(5_000) is None
    assert (made.packets, made.octets) == (2_000, sum(len(b"%d" % n) for n in range(2_000)))


def test_what_cannot_be_sent_is_refused() -> None:
    made = sender("SRTP_AES128_CM_SHA1_80")
    with pytest.raises(ValueError, match="payload"):
        made.packet(bytes(MAX_PACKET_PAYLOAD + 1), 0)
    with pytest.raises(ValueError, match="lengths"):
        made.picture(b"\0\0\0\x09abc", 0, None, None)
    with pytest.raises(ValueError, match="keys"):
        Srtp("SRTP_NULL_SHA1_80", bytes(16), bytes(14), True)


@pytest.mark.parametrize(
    ("packet", "payload"),
    [
        ("8060000100000000000000ff" + "aabb", "aabb"),
        ("a060000100000000000000ff" + "aa0002", "aa"),  # padding counts itself
        ("a060000100000000000000ff" + "aa0009", None),
        ("9060000100000000000000ff" + "bede0001deadbeef" + "cc", "cc"),
        ("9060000100000000000000ff" + "bede7fff", None),
        ("8f60000100000000000000ff", None),
        ("80", None),
    ],
)
def test_payloads(packet: str, payload: str | None) -> None:
    found = payload_of(bytes.fromhex(packet))
    assert found == (None if payload is None else bytes.fromhex(payload))
