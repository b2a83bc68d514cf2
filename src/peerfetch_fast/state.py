"""The state that a device keeps between runs: its id, its token and its certificate."""

from __future__ import annotations

import contextlib
import errno
import hmac
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.webrtc.certificate import (
    Certificate,
    certificate_from_pem,
    certificate_to_pem,
    generate_certificate,
)

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None  # type: ignore[assignment,unused-ignore]

__all__ = [
    "kept_token",
    "load_certificate",
    "load_peer_id",
    "load_secret",
    "locked",
    "own_certificate",
    "state_directory",
    "write_whole",
]

logger = logging.getLogger(__name__)

_SECRET_SIZE = 32

_LOCKED = 1 << 30
"""The octet that is locked on Windows, where nobody could read one that the file has."""

MAX_CERTIFICATE = 64 * 1024
"""Bytes of the largest certificate file that is read."""


def state_directory() -> Path:
    """The state directory: ``PEERFETCH_STATE_DIR``, or ``peerfetch`` in the XDG state directory."""
    explicit = os.environ.get("PEERFETCH_STATE_DIR")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "peerfetch"


def load_peer_id(directory: Path) -> str:
    """The id kept in ``directory``; on first use, a new random one of 128 bits.

    The id is enough to ask for a connection, so only the owner may read the file.

    Raises PeerfetchError for a file that holds something else, OSError when it cannot be written.
    """
    path = directory / "peer-id"
    try:
        peer_id = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        peer_id = secrets.token_hex(16)
        if not _create(path, f"{peer_id}\n".encode()):
            return load_peer_id(directory)
    if not is_peer_id(peer_id):
        raise PeerfetchError(f"{path} holds no peer id: delete it to get a new one")
    return peer_id


@contextlib.contextmanager
def kept_token(directory: Path, peer_id: str, signaling: str) -> Iterator[str]:
    """The token that proves to the signaling server at that URL that ``peer_id`` is ours. It stays
    the same between runs: after a power cut, the server still holds the last run's connection.

    If another program runs with the same id and directory at the same time, it gets another token:
    the server tells it that the id is taken and keeps the first one. Each server gets a token of
    its own. Raises OSError.
    """
    path = directory / "signaling-tokens" / peer_id
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        if not _lock(file, wait=False):
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
    """The certificate kept in ``directory``, whose fingerprint is the device's identity; on first
    use, a new one.

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
        if not _create(path, certificate_to_pem(certificate)):
            return load_certificate(directory)
        return certificate
    # Windows has no such permission bits, and reports meaningless ones.
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


def load_secret(directory: Path, name: str, size: int) -> str:
    """``size`` random bytes that are kept in the file ``name``, as hexadecimal digits; on first
    use, new ones. Only the owner may read the file.

    Raises PeerfetchError for a file that holds something else, OSError where it cannot be written.
    """
    path = directory / name
    try:
        found = path.read_text(errors="replace").strip()
    except FileNotFoundError:
        found = secrets.token_hex(size)
        if not _create(path, f"{found}\n".encode()):
            return load_secret(directory, name, size)
    if len(found) != 2 * size or set(found) - set("0123456789abcdef"):
        raise PeerfetchError(f"{path} does not hold what it should: delete it to get a new one")
    return found


def own_certificate() -> Certificate | None:
    """The certificate in the state directory, by which those know us who have let us in. Where none
    can be kept, None: then each connection has one of its own, and the log says so.

    Raises PeerfetchError as :func:`load_certificate` does.
    """
    try:
        return load_certificate(state_directory())
    except OSError as error:
        logger.warning("nobody will know us again, as no certificate can be kept: %s", error)
        return None


def _create(path: Path, content: bytes) -> bool:
    """Create a file that only the owner may read, whole at once; whether that was done, or another
    program was faster. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(path):
        if path.exists():
            return False
        write_whole(path, content)
        return True


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by one that only the owner may read. The new file is renamed into place, so
    that a reader or a power cut never sees half of it. Raises OSError.
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
    """Hold a lock for replacing ``path``, for which other processes and threads wait. Raises
    OSError.
    """
    lock = path.with_name(f"{path.name}.lock")
    with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)) as file:
        _lock(file, wait=True)
        yield


def _lock(file: IO[Any], *, wait: bool) -> bool:
    """Lock a file until it is closed; whether that was done, which it was if we wait. Raises
    OSError.
    """
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
    while True:
        os.lseek(file.fileno(), _LOCKED, os.SEEK_SET)
        try:
            # Even LK_LOCK gives up after 10 s, with EDEADLOCK; without waiting it is EACCES.
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            if wait:
                continue
            return False
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        return True
