"""The identity of a share that survives restarts, in the state directory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from peerfetch_fast.errors import SharingError
from peerfetch_fast.sharing.share import Identity
from peerfetch_fast.state import kept_token, load_certificate, load_secret, state_directory

__all__ = ["kept_identity"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@contextlib.contextmanager
def kept_identity(
    name: str, signaling: str, state: Path | None = None, *, kind: str = "share"
) -> Iterator[Identity]:
    """The identity of the share that is called ``name``; on first use, a new one.

    :param kind: see :meth:`.Identity.new`.

    Raises SharingError for what is no name, PeerfetchError and OSError where it cannot be kept.
    """
    if _NAME.fullmatch(name) is None:
        raise SharingError(
            f"{name!r} is no name for a share: use up to 64 letters, digits and . _ -"
        )
    directory = (state or state_directory()) / f"{kind}s" / name
    peer_id = f"{kind}-{load_secret(directory, 'id', 12)}"
    token = load_secret(directory, "token", 16)
    certificate = load_certificate(directory)
    with kept_token(directory, peer_id, signaling) as signaling_token:
        yield Identity(peer_id, token, certificate, signaling_token)
