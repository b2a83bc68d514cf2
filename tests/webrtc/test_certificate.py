from __future__ import annotations

from cryptography import x509

from peerfetch_fast.webrtc.certificate import (
    certificate_from_pem,
    certificate_to_pem,
    generate_certificate,
)


def test_a_certificate_survives_being_written() -> None:
    certificate = generate_certificate()
    assert certificate_from_pem(certificate_to_pem(certificate)) == certificate


def test_a_certificate_says_nothing_and_lasts() -> None:
    one, other = (x509.load_der_x509_certificate(generate_certificate().der) for _ in range(2))
    assert one.subject == other.subject
    assert one.not_valid_after_utc.year == 9999


def test_a_certificate_does_not_show_its_key() -> None:
    certificate = generate_certificate()
    assert repr(certificate.private_key) not in repr(certificate)
