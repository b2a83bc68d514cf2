"""The certificates of peers: pinned beforehand, or remembered from the first connection.

The file ``known_peers`` has a line for each peer: ``sha256:``, 64 hexadecimal digits, a space and
the peer id. Empty lines and those that begin with ``#`` are left alone. Only its owner may be
able to write it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from peerfetch_fast.errors import IdentityChanged, InvalidPin, PeerfetchError
from peerfetch_fast.identity import format_pin, parse_pin
from peerfetch_fast.state import locked, state_directory, write_whole

__all__ = ["KnownPeers", "Pin", "Trust", "trust"]

logger = logging.getLogger(__name__)

MAX_FILE = 4 * 1024 * 1024
"""Bytes of the largest file that is read: some 40,000 peers."""


class Trust(Protocol):
    """Decides, on every connection, whether the peer is the one that was meant."""

    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        """Return if ``fingerprint``, the SHA-256 of the certificate in the DTLS handshake, belongs
        to ``peer_id``. May read and write files.

        :param lasting: whether the peer keeps its certificate. Old proxies have a new one for each
        connection, so theirs is not remembered; a peer with a known certificate must still
        show that one.

        Raises IdentityChanged.
        """


def trust(pin: str | None, known_peers: Path | None) -> Trust:
    """Trust in the given pin alone, or else in the file ``known_peers`` (None for the one in the
    state directory).

    Raises InvalidPin.
    """
    if pin is not None:
        return Pin(pin)
    return KnownPeers(known_peers or state_directory() / "known_peers")


class Pin:
    """Trusts one fingerprint that was given beforehand.

    Raises InvalidPin.
    """

    def __init__(self, pin: str) -> None:
        self._expected = parse_pin(pin)

    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        """See :class:`Trust`."""
        if fingerprint != self._expected:
            raise IdentityChanged(
                f"{peer_id} shows the certificate {format_pin(fingerprint)} instead of the pinned "
                f"{format_pin(self._expected)}: it is another device, or somebody stands between; "
                "compare with what its proxy prints before you change the pin"
            )


class KnownPeers:
    """A file of peers and their fingerprints. An unknown peer is added (trust on first use).

    :param path: the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        """See :class:`Trust`. Also raises PeerfetchError for a file that cannot be used.

        If the file cannot be written, an unknown peer is trusted all the same, and the log says
        that it is not remembered.
        """
        if not self._knows(self._read(), peer_id, fingerprint) and lasting:
            try:
                self._add(peer_id, fingerprint)
            except OSError as error:
                logger.warning(
                    "the certificate of %s cannot be remembered in %s: %s",
                    *(peer_id, self.path, error.strerror),
                )

    def peers(self) -> dict[str, str]:
        """The pins of the known peers, by peer id.

        Raises PeerfetchError for a file that cannot be used.
        """
        found: dict[str, str] = {}
        for _, pin, peer_id in self._entries(self._read()):
            found.setdefault(peer_id, format_pin(pin))  # the first line counts, as in check()
        return found

    def forget(self, peer_id: str) -> bool:
        """Forget ``peer_id``, and return whether it was known.

        Raises PeerfetchError for a file that cannot be used, OSError when it cannot be written.
        """
        if peer_id not in self.peers():
            return False
        with locked(self.path):
            lines = self._read()
            numbers = {number for number, _, name in self._entries(lines) if name == peer_id}
            kept = [
                line for number, line in enumerate(lines.splitlines(), 1) if number not in numbers
            ]
            write_whole(self.path, "".join(f"{line}\n" for line in kept).encode())
        return True

    def _entries(self, lines: str) -> Iterator[tuple[int, bytes, str]]:
        """Number, fingerprint and peer id of each line that holds a peer."""
        for number, line in enumerate(lines.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            pin, _, name = line.partition(" ")
            try:
                yield number, parse_pin(pin), name.strip()
            except InvalidPin:
                raise PeerfetchError(
                    f"line {number} of {self.path} is not 'sha256:… PEER-ID': correct or remove it"
                ) from None

    def _knows(self, lines: str, peer_id: str, fingerprint: bytes) -> bool:
        for number, known, name in self._entries(lines):
            if name == peer_id:
                if known == fingerprint:
                    return True
                raise IdentityChanged(
                    f"the certificate of {peer_id} has changed from {format_pin(known)} to "
                    f"{format_pin(fingerprint)}: somebody may stand between; if you know that the "
                    f"device has a new one, remove line {number} of {self.path}"
                )
        return False

    def _read(self) -> str:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise PeerfetchError(f"cannot read {self.path}: {error.strerror}") from None
        if os.name == "posix" and stat.S_IMODE(mode) & 0o022:
            raise PeerfetchError(
                f"{self.path} may be written by others: check it, then run 'chmod 600 {self.path}'"
            )
        if len(content) > MAX_FILE:
            raise PeerfetchError(f"{self.path} is larger than {MAX_FILE} bytes: shorten it")
        return content.decode(errors="replace")

    def _add(self, peer_id: str, fingerprint: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path):
            lines = self._read()
            if self._knows(lines, peer_id, fingerprint):  # another process added it first
                return
            if lines and not lines.endswith("\n"):
                lines += "\n"
            write_whole(self.path, f"{lines}{format_pin(fingerprint)} {peer_id}\n".encode())
        logger.info("%s is known as %s from now on", peer_id, format_pin(fingerprint))
