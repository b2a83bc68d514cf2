"""The certificate that one side shows in DTLS, which ``cryptography`` makes and reads."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass, field

__all__ = ["Certificate", "certificate_from_pem", "certificate_to_pem", "generate_certificate"]

# The device's clock may be wrong when it makes its certificate, and nobody checks the dates of one
# that is known by its fingerprint (RFC 8827 §6.5): so it is valid from before the project began
# until RFC 5280 §4.1.2.5's date for "no end".
_NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


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
    # Here and below, because to import it takes as long as to connect.
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

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
    return Certificate(
        certificate.public_bytes(Encoding.DER),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )


def certificate_to_pem(certificate: Certificate) -> bytes:
    """Private key and certificate in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_der_private_key,
    )

    key = load_der_private_key(certificate.private_key, None)
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ) + x509.load_der_x509_certificate(certificate.der).public_bytes(Encoding.PEM)


def certificate_from_pem(pem: bytes) -> Certificate:
    """Read a certificate that :func:`certificate_to_pem` wrote.

    Raises ValueError for anything else, and for a key that is not the certificate's.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(pem, None)
        certificate = x509.load_pem_x509_certificate(pem)
    except TypeError:
        raise ValueError("the private key is encrypted") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the private key is not one of P-256")
    if certificate.public_key() != key.public_key():
        raise ValueError("the private key is not the certificate's")
    return Certificate(
        certificate.public_bytes(Encoding.DER),
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    )
