"""Certificates that are renewed, whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from peerfetch_fast.rendezvous import renewal as module
from peerfetch_fast.rendezvous.renewal import Renewal

NAME = "meet.example"


def issued() -> bytes:
    """A certificate that somebody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, issuer = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (NAME, "authority")
    )
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), 1)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=90))
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    signed = builder.add_extension(names, critical=False).sign(key, SHA256())
    return signed.public_bytes(Encoding.PEM)


class Authority:
    """Gives certificates, and at first raises ``failures``."""

    names = (NAME,)

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked = 0

    def obtain(self) -> bytes:
        self.asked += 1
        if self.failures:
            raise self.failures.pop()
        return issued()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRY_FIRST", "RETRY_LAST", "LONGEST_SLEEP"):
        monkeypatch.setattr(module, name, 0.01)


@contextlib.asynccontextmanager
async def renewing(authority: Authority, path: Path) -> AsyncIterator[asyncio.Queue[None]]:
    """Renew, and tell of each certificate; the first is there."""
    renewed: asyncio.Queue[None] = asyncio.Queue()
    renewal, certified = Renewal(authority, path), asyncio.Event()
    renewal.prepare()
    running = asyncio.ensure_future(renewal.run(lambda: renewed.put_nowait(None), certified))
    try:
        async with asyncio.timeout(60.0):
            await renewed.get()
            assert certified.is_set()
            yield renewed
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait((running,))


async def test_what_the_disk_does_not_take_is_not_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, full = Authority(), 3
    write_whole = module.write_whole

    def write(path: Path, content: bytes) -> None:
        nonlocal full
        if authority.asked and full:
            full -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr(module, "write_whole", write)
    async with renewing(authority, tmp_path / "pem"):
        assert (authority.asked, full) == (1, 0)


async def test_whatever_the_authority_does_it_is_asked_again(tmp_path: Path) -> None:
    authority = Authority(KeyError("nonce"), AssertionError(), OSError("no network"))
    async with renewing(authority, tmp_path / "pem"):
        assert authority.asked == 4


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_file_that_somebody_spoils_is_made_anew(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "pem"
    async with renewing(Authority(), path) as renewed:
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        await renewed.get()
        assert path.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
