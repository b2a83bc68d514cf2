"""Keys by OpenSSL and by ``cryptography``: each makes what the other reads."""

from __future__ import annotations

import datetime
from types import ModuleType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast import _portable_keys, keys

_keys = pytest.importorskip("peerfetch_fast._keys", reason="there was no OpenSSL to build with")

BOTH = pytest.mark.parametrize("made_by", [_keys, _portable_keys], ids=["OpenSSL", "cryptography"])

octets = st.binary(min_size=32, max_size=32)


def pkcs8(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def test_openssl_does_it_where_it_was_there_to_build_with() -> None:
    assert keys.make_certificate is _keys.make_certificate
    assert keys.x25519 is _keys.x25519


@BOTH
def test_a_certificate_is_for_webrtc(made_by: ModuleType) -> None:
    der, _ = made_by.make_certificate()
    certificate = x509.load_der_x509_certificate(der)
    certificate.verify_directly_issued_by(certificate)  # signed by itself
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert certificate.version is x509.Version.v3
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == "CN=WebRTC"
    assert certificate.not_valid_before_utc == datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert certificate.not_valid_after_utc.year == 9999
    assert 0 < certificate.serial_number < 1 << 159


@BOTH
def test_no_two_certificates_are_alike(made_by: ModuleType) -> None:
    (one, one_key), (other, other_key) = made_by.make_certificate(), made_by.make_certificate()
    serials = {x509.load_der_x509_certificate(der).serial_number for der in (one, other)}
    assert len(serials) == 2
    assert one_key != other_key


@BOTH
@pytest.mark.parametrize("read_by", [_keys, _portable_keys], ids=["OpenSSL", "cryptography"])
class TestCheck:
    def test_it_takes_what_either_has_made(self, made_by: ModuleType, read_by: ModuleType) -> None:
        read_by.check_certificate(*made_by.make_certificate())

    def test_another_key_is_refused(self, made_by: ModuleType, read_by: ModuleType) -> None:
        (der, _), (_, key) = made_by.make_certificate(), made_by.make_certificate()
        with pytest.raises(ValueError, match="is not the certificate's"):
            read_by.check_certificate(der, key)

    def test_what_is_cut_off_is_refused(self, made_by: ModuleType, read_by: ModuleType) -> None:
        der, key = made_by.make_certificate()
        for length in (0, 1, len(key) // 2, len(key) - 1):
            with pytest.raises(ValueError, match="private key cannot be read"):
                read_by.check_certificate(der, key[:length])
        for length in (0, 1, len(der) // 2, len(der) - 1):
            with pytest.raises(ValueError, match="certificate cannot be read"):
                read_by.check_certificate(der[:length], key)

    def test_what_has_more_behind_it_is_refused(
        self, made_by: ModuleType, read_by: ModuleType
    ) -> None:
        der, key = made_by.make_certificate()
        with pytest.raises(ValueError, match="private key cannot be read"):
            read_by.check_certificate(der, key + b"\0")
        with pytest.raises(ValueError, match="certificate cannot be read"):
            read_by.check_certificate(der + b"\0", key)

    @pytest.mark.parametrize(
        "key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()]
    )
    def test_a_key_of_another_kind_is_refused(
        self,
        made_by: ModuleType,
        read_by: ModuleType,
        key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    ) -> None:
        der, _ = made_by.make_certificate()
        with pytest.raises(ValueError, match="is not one of P-256"):
            read_by.check_certificate(der, pkcs8(key))


@given(octets, octets)
def test_both_know_the_same_x25519(scalar: bytes, point: bytes) -> None:
    found = []
    for module in (_keys, _portable_keys):
        try:
            found.append(module.x25519(scalar, point))
        except ValueError:
            found.append(b"")
    assert found[0] == found[1]


# RFC 7748 §5.2, and the point of order 1.
SCALAR = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
POINT = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
PRODUCT = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"


@BOTH
def test_x25519_of_the_rfc(made_by: ModuleType) -> None:
    assert made_by.x25519(SCALAR, POINT).hex() == PRODUCT


@BOTH
@pytest.mark.parametrize(
    ("scalar", "point"),
    [(SCALAR, bytes(32)), (SCALAR, b""), (SCALAR, POINT + b"\0"), (SCALAR[:31], POINT)],
)
def test_x25519_of_nothing_secret_is_refused(
    made_by: ModuleType, scalar: bytes, point: bytes
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        made_by.x25519(scalar, point)
