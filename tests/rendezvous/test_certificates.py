"""A certificate that is replaced while it is used."""

from __future__ import annotations

import os
import shutil
import ssl
from pathlib import Path

import pytest

from certificates import self_signed
from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.rendezvous.certificates import CertificateFiles


def shown(files: CertificateFiles, trusted: Path) -> bool:
    """Whether who trusts this certificate alone comes to terms with the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=trusted).wrap_bio(
        to_client, to_server, server_hostname="127.0.0.1"
    )
    server = files.context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for end in (client, server, client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLCertVerificationError:
        return False
    return True


def made(directory: Path, name: str) -> tuple[Path, Path]:
    (directory / name).mkdir()
    return self_signed(directory / name)


def test_another_certificate_is_used_from_when_it_is_whole(tmp_path: Path) -> None:
    first, second = made(tmp_path, "first"), made(tmp_path, "second")
    used = made(tmp_path, "used")
    for source, target in zip(first, used, strict=True):
        shutil.copy(source, target)
    files = CertificateFiles(*used)
    assert shown(files, first[0])
    assert not files.reload_if_changed()
    shutil.copy(second[0], used[0])
    with pytest.raises(RendezvousError, match="cannot be used as a certificate"):
        files.reload_if_changed()  # its key is the other's still
    assert shown(files, first[0])
    shutil.copy(second[1], used[1])
    assert files.reload_if_changed()
    assert shown(files, second[0])
    assert not shown(files, first[0])
    assert not files.reload_if_changed()


def test_files_that_are_gone_change_nothing(tmp_path: Path) -> None:
    used = made(tmp_path, "used")
    files = CertificateFiles(*used)
    os.unlink(used[1])
    with pytest.raises(RendezvousError):
        files.reload_if_changed()
    assert shown(files, used[0])


def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RendezvousError, match="cannot be used as a certificate"):
        CertificateFiles(tmp_path / "nothing")
    with pytest.raises(RendezvousError, match="cannot be used as a certificate"):
        CertificateFiles(Path(__file__))
