from __future__ import annotations

import hashlib
import ssl

import pytest

from peerfetch_fast.errors import InvalidPin
from peerfetch_fast.identity import (
    PeerUrl,
    certificate_pin,
    format_pin,
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
def test_pins(text: str) -> None:
    assert parse_pin(text) == DIGEST
    assert format_pin(parse_pin(text)) == f"sha256:{DIGITS}"


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", DIGITS, f"sha1:{DIGITS}", f"sha256:{DIGITS}0", f"sha256:{DIGITS[:-1]}g", "ä"],
)
def test_what_is_no_pin(text: str) -> None:
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
def test_peer_urls(text: str, parts: tuple[str, str, str | None]) -> None:
    assert parse_peer_url(text) == parts
    assert parse_peer_url(str(PeerUrl(*parts))) == parts
