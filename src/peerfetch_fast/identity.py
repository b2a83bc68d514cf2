"""Who a peer is: the fingerprint of its certificate, and the URL that carries it."""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

from aiortc import RTCCertificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from peerfetch_fast.errors import InvalidPin

__all__ = [
    "PeerUrl",
    "certificate_from_pem",
    "certificate_pin",
    "certificate_to_pem",
    "format_pin",
    "generate_certificate",
    "parse_peer_url",
    "parse_pin",
]

_PIN = re.compile(r"sha256:([0-9a-f]{64})")

# The device's clock may be wrong when it makes its certificate, and nobody checks the dates of one
# that is known by its fingerprint (RFC 8827 §6.5): so it is valid from before the project began
# until RFC 5280 §4.1.2.5's date for "no end".
_NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def format_pin(fingerprint: bytes) -> str:
    """A SHA-256 fingerprint (32 bytes) as it is printed: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{fingerprint.hex()}"


def certificate_pin(certificate: RTCCertificate) -> str:
    """The pin of a certificate of ours."""
    return format_pin(certificate._cert.fingerprint(SHA256()))


def parse_pin(text: str) -> bytes:
    """The fingerprint (32 bytes) in ``text``; also with colons and capitals, as in SDP.

    Raises InvalidPin.
    """
    kind, _, digits = text.strip().lower().partition(":")
    found = _PIN.fullmatch(f"{kind}:{digits.replace(':', '')}")
    if found is None:
        raise InvalidPin(
            f"{text!r} is no pin: write sha256: and the 64 digits that the proxy prints"
        )
    return bytes.fromhex(found[1])


class PeerUrl(NamedTuple):
    """The parts of ``peer://PEER-ID/TARGET#PIN``, of which all but the id may be left out."""

    peer_id: str
    target: str
    pin: str | None

    def __str__(self) -> str:
        return f"peer://{self.peer_id}{self.target}" + (f"#{self.pin}" if self.pin else "")


def parse_peer_url(text: str) -> PeerUrl:
    """The parts of a ``peer://`` URL, or of an id alone; none of them is checked."""
    rest, _, pin = text.removeprefix("peer://").partition("#")
    peer_id = re.split("[/?]", rest, maxsplit=1)[0]
    target = rest[len(peer_id) :]
    return PeerUrl(peer_id, target if target.startswith("/") else f"/{target}", pin or None)


def generate_certificate() -> RTCCertificate:
    """A new self-signed certificate for DTLS: ECDSA with P-256, which every WebRTC stack takes."""
    key = ec.generate_private_key(ec.SECP256R1())
    # A name would tell observers of the handshake which device this is; the fingerprint is enough.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "WebRTC")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .sign(key, SHA256())
    )
    return RTCCertificate(key=key, cert=certificate)


def certificate_to_pem(certificate: RTCCertificate) -> bytes:
    """Private key and certificate in PEM."""
    key = certificate._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + certificate._cert.public_bytes(Encoding.PEM)


def certificate_from_pem(pem: bytes) -> RTCCertificate:
    """What :func:`certificate_to_pem` wrote.

    Raises ValueError for anything else, and for a key that is not the certificate's.
    """
    try:
        key = load_pem_private_key(pem, None)
        certificate = x509.load_pem_x509_certificate(pem)
    except TypeError:
        raise ValueError("the private key is encrypted") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the private key is not one of P-256")
    if certificate.public_key() != key.public_key():
        raise ValueError("the private key is not the certificate's")
    return RTCCertificate(key=key, cert=certificate)
