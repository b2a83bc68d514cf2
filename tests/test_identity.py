from __future__ import annotations

import hashlib
import ssl

import pytest

from peerfetch_fast.errors import InvalidPin
from peerfetch_fast.identity import (
    InvitationLink,
    PeerUrl,
    certificate_pin,
    format_pin,
    parse_invitation,
    parse_peer_url,
    parse_pin,
)
from peerfetch_fast.webrtc.certificate import certificate_to_pem, generate_certificate

DIGEST = bytes(range(32))
DIGITS = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


def test_a_pin_is_the_sha256_of_the_certificate_in_der() -> None:
    certificate = generate_certificate()
    pem = certificate_to_pem(certificate)
    _, begin, rest = pem.decode().partition("-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(begin + rest)
    assert certificate_pin(certificate) == f"sha256:{hashlib.sha256(der).hexdigest()}"
    # As it is announced in SDP.
    announced = certificate.fingerprint.hex(":").upper()
    assert format_pin(parse_pin(f"sha256:{announced}")) == certificate_pin(certificate)


@pytest.mark.parametrize(
    "text",
    [
        f"sha256:{DIGITS}",
        f" SHA256:{DIGITS.upper()}\n",
        "sha256:" + ":".join(DIGITS[i : i + 2] for i in range(0, 64, 2)),
    ],
)
def test_pins_are_read_in_every_form_and_written_in_one(text: str) -> None:
    assert parse_pin(text) == DIGEST
    assert format_pin(parse_pin(text)) == f"sha256:{DIGITS}"


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", DIGITS, f"sha1:{DIGITS}", f"sha256:{DIGITS}0", f"sha256:{DIGITS[:-1]}g", "ä"],
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(InvalidPin, match="sha256:"):
        parse_pin(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("id", ("id", "/", None)),
        ("peer://id", ("id", "/", None)),
        ("peer://id/", ("id", "/", None)),
        ("peer://id?x=/y", ("id", "/?x=/y", None)),
        ("peer://id/a/b?c#sha256:00", ("id", "/a/b?c", "sha256:00")),
        ("id#sha256:00", ("id", "/", "sha256:00")),
        ("peer://my id/#", ("my id", "/", None)),
        ("", ("", "/", None)),
    ],
)
def test_peer_urls_are_read_into_their_parts_and_written_again(
    text: str, parts: tuple[str, str, str | None]
) -> None:
    assert parse_peer_url(text) == parts
    assert parse_peer_url(str(PeerUrl(*parts))) == parts


@pytest.mark.parametrize(
    "before", ["", "peer://", "http://127.0.0.1:9000/#", "https://a.example/#"]
)
@pytest.mark.parametrize(("hash_sign", "colon"), [("#", ":"), ("%23", "%3A"), ("/#", ":")])
def test_a_link_that_invites(before: str, hash_sign: str, colon: str) -> None:
    link = InvitationLink("dev-1", "sha256:" + "0a" * 32, "3f" * 16)
    there = str(link).replace("#sha256:", f"{hash_sign}sha256{colon}")
    assert parse_invitation(before + there) == link
    for broken in (there[:-1], f"{there}0", there.replace(".", ""), there.replace("dev", "d v")):
        assert parse_invitation(before + broken) is None
