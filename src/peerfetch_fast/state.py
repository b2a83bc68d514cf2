"""What a device keeps between runs."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.signaling.messages import is_peer_id
from peerfetch_fast.webrtc.certificate import (
    Certificate,
    certificate_from_pem,
    certificate_to_pem,
    generate_certificate,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment,unused-ignore]

__all__ = [
    "kept_token",
    "load_certificate",
    "load_peer_id",
    "locked",
    "state_directory",
    "write_whole",
]

_SECRET_SIZE = 32

MAX_CERTIFICATE = 64 * 1024
"""Bytes of the largest certificate file that is read."""


def state_directory() -> Path:
    """Where state is kept: ``PEERFETCH_STATE_DIR``, or ``peerfetch`` in the XDG state directory."""
    explicit = os.environ.get("PEERFETCH_STATE_DIR")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "peerfetch"


def load_peer_id(directory: Path) -> str:
    """The id kept in ``directory``; the first time a random one of 128 bits.

    Whoever knows the id can knock, so only the owner may read the file.

    Raises PeerfetchError for a file that holds something else, OSError when it cannot be written.
    """
    path = directory / "peer-id"
    try:
        peer_id = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        peer_id = secrets.token_hex(16)
        _create(path, f"{peer_id}\n".encode())
    if not is_peer_id(peer_id):
        raise PeerfetchError(f"{path} holds no peer id: delete it to get a new one")
    return peer_id


@contextlib.contextmanager
def kept_token(directory: Path, peer_id: str, signaling: str) -> Iterator[str]:
    """What proves to the signaling server at that URL that ``peer_id`` is ours, the same in every
    run: after a power cut the server still holds a connection of the last.

    Another program that runs with the same id from the same directory meanwhile gets another token,
    and so is told that the id is taken, in place of throwing this one out. No server learns what
    another is told. Raises OSError.
    """
    path = directory / "signaling-tokens" / peer_id
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield secrets.token_hex(16)
                return
        secret = file.read(_SECRET_SIZE)
        if len(secret) < _SECRET_SIZE:
            secret = secrets.token_bytes(_SECRET_SIZE)
            file.seek(0)
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        yield hmac.digest(secret, signaling.encode(), "sha256").hex()[:32]


def load_certificate(directory: Path) -> Certificate:
    """The certificate kept in ``directory``, whose fingerprint is the device's identity; the first
    time a new one.

    Raises PeerfetchError for a file that others may read, or that holds something else; OSError
    when it cannot be read or written.
    """
    path = directory / "certificate.pem"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read(MAX_CERTIFICATE)
    except FileNotFoundError:
        certificate = generate_certificate()
        _create(path, certificate_to_pem(certificate))
        return certificate
    # Windows has no such bits: what it reports says nothing about who may read.
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise PeerfetchError(
            f"{path} may be read by others, who could then pass for this device: run "
            f"'chmod 600 {path}', or delete it to get a new identity if somebody may have read it"
        )
    try:
        return certificate_from_pem(pem)
    except ValueError as error:
        raise PeerfetchError(
            f"{path} holds no usable certificate ({error}): restore it, or delete it to get a new "
            "identity, which those who have pinned the old one will refuse"
        ) from None


def _create(path: Path, content: bytes) -> None:
    """Write a file that only the owner may read, and that is not there yet."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that only the owner may read, in the place of one that is there already. It is
    renamed into place, so that a reader or a power cut never sees half of it. Raises OSError.
    """
    import tempfile

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes and threads wait for before they write ``path`` anew. Raises
    OSError.
    """
    lock = path.with_name(f"{path.name}.lock")
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)) as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
