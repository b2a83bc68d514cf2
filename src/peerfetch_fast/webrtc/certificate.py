"""The certificate that one side shows in DTLS."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field

from peerfetch_fast.keys import check_certificate, make_certificate

__all__ = ["Certificate", "certificate_from_pem", "certificate_to_pem", "generate_certificate"]

_KEY, _CERTIFICATE = b"PRIVATE KEY", b"CERTIFICATE"

_LINE = 64
"""Characters (RFC 7468 §2)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key. Who has it is known by its fingerprint (RFC 8827 §6.5).

    :ivar der: the certificate (X.509 in DER).
    :ivar private_key: its key (PKCS #8 in DER, not encrypted).
    """

    der: bytes
    private_key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of it: 32 bytes."""
        return hashlib.sha256(self.der).digest()


def generate_certificate() -> Certificate:
    """A new self-signed certificate for DTLS: ECDSA with P-256, which every WebRTC stack takes."""
    return Certificate(*make_certificate())


def certificate_to_pem(certificate: Certificate) -> bytes:
    """Private key and certificate in PEM."""
    return _to_pem(_KEY, certificate.private_key) + _to_pem(_CERTIFICATE, certificate.der)


def certificate_from_pem(pem: bytes) -> Certificate:
    """Read a certificate that :func:`certificate_to_pem` wrote.

    Raises ValueError for anything else, and for a key that is not the certificate's.
    """
    certificate = Certificate(_from_pem(_CERTIFICATE, pem), _from_pem(_KEY, pem))
    check_certificate(certificate.der, certificate.private_key)
    return certificate


def _to_pem(label: bytes, der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return b"\n".join([b"-----BEGIN %b-----" % label, *lines, b"-----END %b-----" % label, b""])


def _from_pem(label: bytes, pem: bytes) -> bytes:
    found = re.search(b"-----BEGIN %b-----\\s(.*?)-----END %b-----" % (label, label), pem, re.S)
    if found is None:
        raise ValueError(f"there is no {label.decode().lower()}")
    return base64.b64decode(b"".join(found[1].split()), validate=True)
