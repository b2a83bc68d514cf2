"""The TLS certificate of a server, from files that are replaced while it runs."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509

from peerfetch_fast.errors import RendezvousError

__all__ = ["CertificateFiles"]

_State = tuple[int, int, int]


class CertificateFiles:
    """A certificate and its key, and what servers take them from.

    :param certificate: the chain in PEM.
    :param key: its private key, if that is in a file of its own.
    :ivar context: for servers: what it has been given last counts for connections to come, and
        those that stand go on with theirs.

    Raises RendezvousError if they cannot be used.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self.certificate = certificate
        self.key = certificate if key is None else key
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._look()
        self._expires = 0.0
        self._load(self.context)

    @property
    def expires(self) -> float:
        """When the certificate expires, in seconds since 1970."""
        return self._expires

    def reload_if_changed(self) -> bool:
        """Whether the files hold another certificate than before, which is used from now on.

        Raises RendezvousError if they do, and that one cannot be used: the one from before stays.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        # Certificate and key are replaced one after the other: half of a pair is tried elsewhere.
        self._load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        self._load(self.context)
        self._seen = seen
        return True

    def _look(self) -> tuple[_State, _State]:
        try:
            found = [path.stat() for path in (self.certificate, self.key)]
        except OSError as error:
            raise self._unusable(error) from error
        one, other = ((it.st_mtime_ns, it.st_ino, it.st_size) for it in found)
        return one, other

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            # Without a password there is nobody to ask for one.
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
            leaf = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        self._expires = leaf.not_valid_after_utc.timestamp()

    def _unusable(self, error: Exception) -> RendezvousError:
        return RendezvousError(f"{self.certificate} cannot be used as a certificate: {error}")
