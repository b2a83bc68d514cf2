"""A device's own certificate authority."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from peerfetch_fast import local_authority
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.local_authority import LocalCertificate, local_certificate

ADDRESSES = ["127.0.0.1", "192.168.1.20", "fe80::1%eth0", "198.51.100.7"]


@pytest.fixture(autouse=True)
def camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_authority.socket, "gethostname", lambda: "Camera.home.arpa")


async def served(path: Path, authority: bytes, name: str) -> None:
    """Connect to a server with that certificate, known as ``name``. Raises ssl.SSLError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.load_verify_locations(cadata=authority)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname=name
        )
        writer.close()


@pytest.mark.parametrize("name", ["camera.local", "camera", "127.0.0.1", "192.168.1.20"])
async def test_who_trusts_it_trusts_this_device(tmp_path: Path, name: str) -> None:
    made = local_certificate(tmp_path, addresses=ADDRESSES)
    await served(made.path, made.authority, name)


async def test_public_addresses_are_left_out(tmp_path: Path) -> None:
    made = local_certificate(tmp_path, addresses=ADDRESSES)
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        await served(made.path, made.authority, "198.51.100.7")


@pytest.mark.parametrize("name", ["bank.example", "198.51.100.7"])
async def test_whoever_stole_it_cannot_pass_for_others(tmp_path: Path, name: str) -> None:
    made = local_certificate(tmp_path, addresses=ADDRESSES)
    pem = (tmp_path / "https-authority.pem").read_bytes()
    authority, key = x509.load_pem_x509_certificate(pem), load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    general: x509.GeneralName = x509.DNSName(name)
    if name[0].isdigit():
        general = x509.IPAddress(ipaddress.ip_address(name))
    forged = tmp_path / "forged.pem"
    forged.write_bytes(local_authority._issue([general], authority, key))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        await served(forged, made.authority, name)


def test_it_is_kept_and_the_certificate_follows_the_addresses(tmp_path: Path) -> None:
    def made(*addresses: str) -> tuple[LocalCertificate, bytes]:
        found = local_certificate(tmp_path, addresses=addresses)
        return found, found.path.read_bytes()

    first, before = made("192.168.1.20")
    again, same = made("192.168.1.20")
    other, after = made("192.168.1.21")
    assert before == same != after
    assert first.pin == again.pin == other.pin
    for name in ("https.pem", "https-authority.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) & 0o077 == 0


def test_one_with_little_time_left_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = local_certificate(tmp_path, addresses=ADDRESSES).path.read_bytes()
    monkeypatch.setattr(local_authority, "LEFT", local_authority.DAYS + 1)
    assert local_certificate(tmp_path, addresses=ADDRESSES).path.read_bytes() != before


def test_files_that_cannot_be_used_are_an_error(tmp_path: Path) -> None:
    local_certificate(tmp_path, addresses=ADDRESSES)
    (tmp_path / "https-authority.pem").write_text("nothing")
    with pytest.raises(PeerfetchError, match="delete both to begin anew"):
        local_certificate(tmp_path, addresses=ADDRESSES)
