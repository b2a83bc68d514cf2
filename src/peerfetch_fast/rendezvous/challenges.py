"""How a certificate authority sees that a name is ours (RFC 8555 section 8, RFC 8737)."""

from __future__ import annotations

import datetime
import hashlib
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from peerfetch_fast.errors import RendezvousError

__all__ = ["ALPN", "Challenges", "Kind", "self_signed"]

Kind = Literal["http-01", "tls-alpn-01", "dns-01"]

KINDS: tuple[Kind, ...] = get_args(Kind)

ALPN = b"\x0aacme-tls/1"
"""The protocol of TLS-ALPN-01 as it stands in a ClientHello: its length, and its name."""

HOOK_TIMEOUT = 600.0
"""Seconds that a hook for DNS may take, which may wait until all servers of the zone know."""

MAX_SAID = 500
"""Characters of what a hook says that go into an error."""

_ACME_IDENTIFIER = ObjectIdentifier("1.3.6.1.5.5.7.1.31")  # RFC 8737 section 3


class Challenges:
    """Answers to a certificate authority that checks whether a name is ours.

    Set by the thread that asks for a certificate, read by the event loop.

    :param hook: a program that is run as ``HOOK present NAME. VALUE`` to have a TXT record, and as
        ``HOOK cleanup NAME. VALUE`` to have it no more; None: no names can be proved by DNS.
    """

    def __init__(self, hook: Path | None = None) -> None:
        self.hook = hook
        self.alpn = ALPN
        self.http: dict[str, str] = {}
        """By the token of each, what ``/.well-known/acme-challenge/TOKEN`` answers."""
        self.tls: ssl.SSLContext | None = None
        """The protocol for a client that asks for :data:`ALPN`."""

    def shown(
        self, kind: Kind, domain: str, token: str, authorization: str
    ) -> AbstractContextManager[None]:
        """Show the key authorization of a challenge for a domain, for as long as the context is
        entered. Raises RendezvousError where that cannot be done.
        """
        show: Callable[[str, str, str], AbstractContextManager[None]] = {
            "http-01": self._by_http,
            "tls-alpn-01": self._by_tls,
            "dns-01": self._by_dns,
        }[kind]
        return show(domain, token, authorization)

    @contextmanager
    def _by_http(self, _domain: str, token: str, authorization: str):  # type: ignore[no-untyped-def]
        self.http[token] = authorization
        try:
            yield
        finally:
            del self.http[token]

    @contextmanager
    def _by_tls(self, domain: str, _token: str, authorization: str):  # type: ignore[no-untyped-def]
        # The digest as a DER octet string (RFC 8737 section 3).
        digest = b"\x04\x20" + hashlib.sha256(authorization.encode()).digest()
        pem = self_signed(domain, x509.UnrecognizedExtension(_ACME_IDENTIFIER, digest))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols([ALPN[1:].decode()])
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)
        self.tls = context
        try:
            yield
        finally:
            self.tls = None

    @contextmanager
    def _by_dns(self, domain: str, _token: str, authorization: str):  # type: ignore[no-untyped-def]
        from base64 import urlsafe_b64encode

        digest = hashlib.sha256(authorization.encode()).digest()
        value = urlsafe_b64encode(digest).rstrip(b"=").decode()
        name = f"_acme-challenge.{domain.removeprefix('*.')}."
        self._run_hook("present", name, value)
        try:
            yield
        finally:
            # A record that is left in the zone does no harm; the certificate counts.
            with suppress(RendezvousError):
                self._run_hook("cleanup", name, value)

    def _run_hook(self, *arguments: str) -> None:
        if self.hook is None:
            raise RendezvousError("a name can be proved by DNS with a hook alone: --dns-hook")
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own
                [self.hook, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=HOOK_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RendezvousError(f"{self.hook} cannot be run: {error}") from error
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip()[-MAX_SAID:]
            raise RendezvousError(
                f"{self.hook} {' '.join(arguments)} ended with {done.returncode}: {said}"
            )


def self_signed(domain: str, extension: x509.ExtensionType | None = None) -> bytes:
    """A certificate that nobody trusts and its key, in PEM: until there is another, or with a
    critical ``extension`` to be looked at.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peerfetch")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    certificate = builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
    return certificate + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
