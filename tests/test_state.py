from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from peerfetch_fast import state
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.identity import certificate_pin
from peerfetch_fast.state import (
    kept_token,
    load_certificate,
    load_peer_id,
    state_directory,
    write_whole,
)
from peerfetch_fast.webrtc.certificate import (
    Certificate,
    certificate_to_pem,
    generate_certificate,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


def test_the_directory_is_that_of_the_environment_or_of_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PEERFETCH_STATE_DIR", str(tmp_path / "explicit"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_directory() == tmp_path / "explicit"
    monkeypatch.delenv("PEERFETCH_STATE_DIR")
    assert state_directory() == tmp_path / "xdg" / "peerfetch"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert state_directory() == tmp_path / ".local" / "state" / "peerfetch"


def test_an_id_is_made_once(tmp_path: Path) -> None:
    first = load_peer_id(tmp_path / "a" / "b")
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert load_peer_id(tmp_path / "a" / "b") == first
    assert load_peer_id(tmp_path / "c") != first


@posix_only
def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    load_peer_id(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "peer-id").stat().st_mode) == 0o600


def test_an_id_may_be_chosen_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "peer-id").write_text("  my-device \n")
    assert load_peer_id(tmp_path) == "my-device"


@pytest.mark.parametrize("content", [b"", b"\n", b"a/b", b"\xff\xfe\x00", b"x" * 1000, b"a\nb"])
def test_what_is_no_id_is_not_used_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "peer-id").write_bytes(content)
    with pytest.raises(PeerfetchError, match="delete it"):
        load_peer_id(tmp_path)
    assert (tmp_path / "peer-id").read_bytes() == content


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        load_peer_id(tmp_path / "file" / "state")


def test_a_certificate_is_made_once(tmp_path: Path) -> None:
    first = load_certificate(tmp_path / "a" / "b")
    assert certificate_pin(load_certificate(tmp_path / "a" / "b")) == certificate_pin(first)
    assert certificate_pin(load_certificate(tmp_path / "c")) != certificate_pin(first)


@posix_only
def test_a_certificate_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    pin = certificate_pin(load_certificate(tmp_path / "a"))
    path = tmp_path / "a" / "certificate.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(PeerfetchError, match="chmod 600"):
            load_certificate(tmp_path / "a")
    path.chmod(0o600)
    assert certificate_pin(load_certificate(tmp_path / "a")) == pin


WHOLE = certificate_to_pem(generate_certificate())
KEY, CERTIFICATE = WHOLE.split(b"-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\xff" * 1000,
        WHOLE[: len(WHOLE) // 2],
        KEY,
        b"-----BEGIN CERTIFICATE-----" + CERTIFICATE,
        certificate_to_pem(generate_certificate()).split(b"-----BEGIN CERT")[0]
        + b"-----BEGIN CERTIFICATE-----"
        + CERTIFICATE,
        KEY.replace(b"BEGIN PRIVATE KEY", b"BEGIN ENCRYPTED PRIVATE KEY"),
        b"x" * 200_000,
    ],
)
def test_what_is_no_certificate_is_not_used_and_not_overwritten(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "certificate.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(PeerfetchError, match=r"holds no usable certificate .*delete it"):
        load_certificate(tmp_path)
    assert path.read_bytes() == content


def test_only_keys_that_every_stack_takes(tmp_path: Path) -> None:
    certificate = generate_certificate()
    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(certificate_to_pem(Certificate(certificate.der, other)))
    path.chmod(0o600)
    with pytest.raises(PeerfetchError, match="P-256"):
        load_certificate(tmp_path)


def test_what_is_written_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        write_whole(path, b"third")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


URL = "wss://signaling.example"


def test_a_token_is_kept_for_each_id_and_each_server(tmp_path: Path) -> None:
    def told(*of: str) -> str:
        with kept_token(tmp_path / "a", *of) as token:
            return token

    first = told("my device", URL)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert told("my device", URL) == first
    assert len({first, told("another", URL), told("my device", "wss://other.example")}) == 3


@posix_only
def test_who_runs_beside_it_has_another_token(tmp_path: Path) -> None:
    with kept_token(tmp_path, "id", URL) as first, kept_token(tmp_path, "id", URL) as second:
        assert second != first
    with kept_token(tmp_path, "id", URL) as again:
        assert again == first
    assert stat.S_IMODE((tmp_path / "signaling-tokens" / "id").stat().st_mode) == 0o600


def test_a_token_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    with kept_token(tmp_path, "id", URL):
        pass
    (tmp_path / "signaling-tokens" / "id").write_bytes(b"half")
    with kept_token(tmp_path, "id", URL) as token:
        pass
    with kept_token(tmp_path, "id", URL) as again:
        assert again == token


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has the lock")
@pytest.mark.parametrize("load", [load_certificate, load_peer_id])
def test_programs_that_begin_at_once_get_the_same(tmp_path: Path, load: Callable[..., Any]) -> None:
    """None of them reads half of what another writes."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(load, [tmp_path / "state"] * 8))
    assert len({str(getattr(one, "fingerprint", one)) for one in found}) == 1


class FakeMsvcrt:
    """Windows' locks of octets of a file, by POSIX's of the whole file."""

    LK_LOCK, LK_NBLCK = 1, 2

    def __init__(self, fcntl: Any) -> None:
        self._fcntl = fcntl
        self.places: set[int] = set()
        self.gave_up = 0

    def locking(self, descriptor: int, mode: int, size: int) -> None:
        assert size == 1
        self.places.add(os.lseek(descriptor, 0, os.SEEK_CUR))
        try:
            self._fcntl.flock(descriptor, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except BlockingIOError:
            if mode == self.LK_NBLCK:
                raise PermissionError(errno.EACCES, "locked") from None
            self.gave_up += 1
            raise OSError(errno.EDEADLK, "locked for 10 s") from None


@posix_only
def test_windows_locks_where_nobody_reads_and_waits_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeMsvcrt(state.fcntl)
    monkeypatch.setattr(state, "fcntl", None)
    monkeypatch.setattr(state, "msvcrt", fake, raising=False)
    with kept_token(tmp_path, "id", URL) as first, kept_token(tmp_path, "id", URL) as second:
        assert second != first
    with kept_token(tmp_path, "id", URL) as again:
        assert again == first
    with ThreadPoolExecutor(1) as pool:
        with state.locked(tmp_path / "file"):
            waiting = pool.submit(load_after_lock, tmp_path / "file")
            while not fake.gave_up:
                pass
            assert not waiting.done()
        waiting.result(10)
    assert min(fake.places) >= 1 << 20


def load_after_lock(path: Path) -> None:
    with state.locked(path):
        pass
