"""What a device keeps between runs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.signaling.messages import is_peer_id

__all__ = ["load_peer_id", "state_directory"]


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
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        peer_id = secrets.token_hex(16)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{peer_id}\n")
    if not is_peer_id(peer_id):
        raise PeerfetchError(f"{path} holds no peer id: delete it to get a new one")
    return peer_id
