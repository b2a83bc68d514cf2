"""Strange offers, and what is read of them."""

from __future__ import annotations

import pytest

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.sdp import Remote, read, write

DIGEST = ":".join(["AB"] * 32)
OFFER = f"""v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 {DIGEST}
a=setup:actpass
a=sctp-port:5000
a=max-message-size:262144
"""
OLD = OFFER.replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5001").replace(
    "a=sctp-port:5000", "a=sctpmap:5001 webrtc-datachannel 65535"
)
CANDIDATE = "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\n"


def without(*names: str) -> str:
    return "".join(
        line
        for line in OFFER.splitlines(True)
        if not line.startswith(tuple(f"a={n}" for n in names))
    )


def test_an_offer_is_read_into_what_it_says() -> None:
    remote = read(OFFER + CANDIDATE + "a=end-of-candidates\n")
    assert (remote.ufrag, remote.password) == ("abcd", "0123456789012345678901")
    assert remote.fingerprints == (("sha-256", b"\xab" * 32),)
    assert (remote.setup, remote.sctp_port, remote.max_message_size) == ("actpass", 5000, 262_144)
    assert [(one.host, one.port) for one in remote.candidates] == [("192.0.2.1", 5000)]
    assert remote.complete
    assert not remote.lite
    assert not remote.legacy


@pytest.mark.parametrize(
    ("offer", "name", "value"),
    [
        (OFFER.replace("actpass", "active"), "setup", "active"),
        (OFFER.replace("actpass", "passive"), "setup", "passive"),
        (OLD, "legacy", True),
        (OLD, "sctp_port", 5001),
        (without("sctp-port"), "sctp_port", 5000),
        (without("max-message-size"), "max_message_size", None),
        (OFFER.replace("262144", "0"), "max_message_size", 0),
        (OFFER.replace("262144", "-1"), "max_message_size", None),
        (OFFER.replace("262144", "9" * 16), "max_message_size", None),
        (OFFER.replace("s=-\n", "s=-\na=ice-lite\n"), "lite", True),
        (OFFER + "a=ice-options:trickle x\n", "ice_options", frozenset(("trickle", "x"))),
        (OFFER, "sctp_init", None),
        (OFFER + "a=sctp-init:AQAA\n", "sctp_init", b"\1\0\0"),
        (OLD + "a=sctp-init:AQAA\n", "sctp_init", None),
        (OFFER + CANDIDATE.replace("192.0.2.1", "nobody at all"), "candidates", ()),
    ],
)
def test_lines_that_offers_may_have_are_understood(offer: str, name: str, value: object) -> None:
    assert getattr(read(offer), name) == value


def test_fingerprints_of_the_session_and_of_several_algorithms() -> None:
    others = f"a=fingerprint:sha-384 {':'.join(['cd'] * 48)}\na=fingerprint:SHA-512 " + (
        ":".join(["EF"] * 64) + "\na=fingerprint:md5 00\n"
    )
    lines = without("fingerprint").replace("t=0 0\n", "t=0 0\n" + others)
    of_session = (("sha-384", b"\xcd" * 48), ("sha-512", b"\xef" * 64))
    assert read(lines).fingerprints == of_session
    # What the section says goes before what the session does.
    assert read(lines + f"a=fingerprint:sha-256 {DIGEST}\n").fingerprints == (
        ("sha-256", b"\xab" * 32),
    )


@pytest.mark.parametrize(
    ("offer", "says"),
    [
        (without("ice-ufrag"), "no ice-ufrag"),
        (without("ice-pwd"), "no ice-pwd"),
        (OFFER.replace("abcd", "abc"), "not an ice-ufrag"),
        (OFFER.replace("abcd", "ab cd"), "not an ice-ufrag"),
        (OFFER.replace("0123456789012345678901", "é" * 30), "not an ice-pwd"),
        (without("fingerprint"), "no fingerprint"),
        (OFFER.replace("sha-256", "md5"), "no fingerprint"),
        (OFFER.replace(DIGEST, "AB:CD"), "not a fingerprint"),
        (OFFER.replace(DIGEST, "ABCD"), "not a fingerprint"),
        (without("setup"), "not a role"),
        (OFFER.replace("actpass", "holdconn"), "not a role"),
        (OFFER.replace("port:5000", "port:0"), "not an SCTP port"),
        (OFFER.replace("port:5000", "port:65536"), "not an SCTP port"),
        (OFFER.replace("port:5000", "port:\u0665"), "not an SCTP port"),
        (OFFER + "a=sctp-init:AQA\n", "not base64"),
        (OFFER + "a=sctp-init:AQ AA\n", "not base64"),
        (OFFER + "a=sctp-init:\u0665AAA\n", "not base64"),
        (OFFER + f"a=sctp-init:{'AAAA' * 342}\n", "at most 1024"),
    ],
)
def test_offers_that_cannot_be_used_are_refused(offer: str, says: str) -> None:
    with pytest.raises(InvalidDescription, match=says):
        read(offer)


def written(answers: Remote | None) -> str:
    return write(
        session=7,
        version=2,
        mid="0",
        ufrag="abcd",
        password="0123456789012345678901",
        fingerprint=b"\xab" * 32,
        setup="active",
        sctp_port=5000,
        max_message_size=1000,
        sctp_init=b"\1\0\0\4",
        ice_options=("trickle", "x"),
        candidates=[Candidate("1", 1, "udp", 5, "192.0.2.1", 9, "host")],
        complete=True,
        answers=answers,
    )


def test_what_is_written_is_read_again() -> None:
    remote = read(written(None))
    assert (remote.ufrag, remote.password) == ("abcd", "0123456789012345678901")
    assert remote.fingerprints == (("sha-256", b"\xab" * 32),)
    assert (remote.setup, remote.max_message_size) == ("active", 1000)
    assert remote.sctp_port == 5000
    assert remote.sctp_init == b"\1\0\0\4"
    assert remote.ice_options == {"trickle", "x"}
    assert [one.to_sdp() for one in remote.candidates] == ["1 1 udp 5 192.0.2.1 9 typ host"]
    assert remote.complete


def test_an_answer_has_the_form_of_its_offer() -> None:
    assert "m=application 9 DTLS/SCTP 5000\r\n" in written(read(OLD))
    assert "a=sctpmap:5000 webrtc-datachannel" in written(read(OLD))
    # Who names no sections is answered with none.
    nameless = written(read(without("mid", "group")))
    assert "a=mid" not in nameless
    assert "a=group" not in nameless
