"""A device's own certificate authority, for HTTPS on a local network without a domain.

Whoever trusts it trusts it for the device's name and for private addresses alone: the constraints
are in its certificate (RFC 5280 section 4.2.1.10), and critical.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.finding import is_host_name
from peerfetch_fast.identity import format_pin
from peerfetch_fast.interfaces import LOOPBACK, host_addresses
from peerfetch_fast.state import write_whole

__all__ = ["LocalCertificate", "device_names", "local_certificate"]

AUTHORITY_DAYS = 3650
"""Days for which the authority is good: to trust it anew is a person's work."""

DAYS, LEFT = 397, 30
"""Days for which a certificate is good, and how many are left when another is made. Browsers take
no more than 398 of one that a device's own authority did not issue, and some of any."""

PRIVATE = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
    *("fc00::/7", "fe80::/10", "::1/128"),
)
"""The addresses that the authority may issue certificates for."""


@dataclass(frozen=True, slots=True)
class LocalCertificate:
    """A certificate for this device, and who issued it."""

    path: Path
    """The certificate and its key, in PEM."""
    authority: bytes
    """The authority's certificate, in DER."""

    @property
    def pin(self) -> str:
        """The fingerprint of the authority's certificate."""
        return format_pin(x509.load_der_x509_certificate(self.authority).fingerprint(SHA256()))


def device_names() -> list[str]:
    """The names of this device on its local network; the one of mDNS first."""
    name = socket.gethostname().partition(".")[0].lower()
    return [f"{name}.local", name] if is_host_name(name) else []


def local_certificate(
    state: Path, names: Iterable[str] | None = None, addresses: Iterable[str] | None = None
) -> LocalCertificate:
    """A certificate for this device. It is made anew when it is for others than ``names`` and
    ``addresses`` (by default, those of now), or has little time left.

    Raises PeerfetchError for files in ``state`` that cannot be used or written.
    """
    wanted = _wanted(device_names() if names is None else names, addresses)
    path, authority_path = state / "https.pem", state / "https-authority.pem"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not authority_path.exists():
            write_whole(authority_path, _new_authority(device_names()))
        pem = authority_path.read_bytes()
        authority, key = x509.load_pem_x509_certificate(pem), load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("it holds another kind of key")
        if not path.exists() or not _serves(path.read_bytes(), wanted, authority):
            write_whole(path, _issue(wanted, authority, key))
    except (OSError, ValueError) as error:
        raise PeerfetchError(
            f"{authority_path} or {path} cannot be used: {error}; delete both to begin anew, and "
            "have phones trust the new authority"
        ) from error
    return LocalCertificate(path, authority.public_bytes(Encoding.DER))


def _wanted(names: Iterable[str], addresses: Iterable[str] | None) -> list[x509.GeneralName]:
    hosts = [*host_addresses(), LOOPBACK] if addresses is None else list(addresses)
    found = {ipaddress.ip_address(host.partition("%")[0]) for host in hosts}
    networks = [ipaddress.ip_network(network) for network in PRIVATE]
    private = [one for one in found if any(one in network for network in networks)]
    return [
        *map(x509.DNSName, names),
        *(x509.IPAddress(one) for one in sorted(private, key=lambda one: (one.version, int(one)))),
    ]


def _serves(pem: bytes, wanted: list[x509.GeneralName], authority: x509.Certificate) -> bool:
    found = x509.load_pem_x509_certificate(pem)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return (
        list(names) == wanted
        and left > datetime.timedelta(days=LEFT)
        and found.issuer == authority.subject
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A phone's clock may be behind ours.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _new_authority(names: list[str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    called = f"peerfetch on {names[-1] if names else 'this device'}"
    # Two devices of one name are two authorities.
    unit = x509.random_serial_number().to_bytes(20, "big").hex()[:8]
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, called[:64]),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        ]
    )
    permitted = [
        *map(x509.DNSName, names or ["localhost"]),
        *(x509.IPAddress(ipaddress.ip_network(network)) for network in PRIVATE),
    ]
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(subject, subject, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + _pem_of(key)


def _issue(
    names: list[x509.GeneralName], authority: x509.Certificate, by: ec.EllipticCurvePrivateKey
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peerfetch")])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    certificate = (
        _builder(subject, authority.subject, key.public_key(), DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(by, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + _pem_of(key)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
