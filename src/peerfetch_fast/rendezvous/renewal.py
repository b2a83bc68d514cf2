"""When a certificate is renewed, and what becomes of it."""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cryptography import x509

from peerfetch_fast.aside import aside
from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.rendezvous.challenges import self_signed
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.state import write_whole

__all__ = ["Renewal", "due"]

logger = logging.getLogger(__name__)

LEFT = 1 / 3
"""The part of its lifetime that a certificate has left when it is renewed, as Let's Encrypt
recommends."""

LONGEST_SLEEP = 3600.0
"""Seconds between two looks at the clock, which somebody may set."""

RETRY_FIRST, RETRY_LAST = 60.0, 3 * 3600.0
"""Seconds until another attempt at first, and at most: authorities refuse who asks too often."""


NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)
"""When a certificate was due that is not to be used at all."""


class Source(Protocol):
    """Where certificates come from (:class:`.issuing.Issuer`)."""

    names: tuple[str, ...]

    def obtain(self) -> bytes:
        """See :meth:`.issuing.Issuer.obtain`."""


def due(pem: bytes, names: tuple[str, ...]) -> datetime.datetime:
    """When the certificate in ``pem`` is to be renewed; long ago for one that nobody trusts, or
    that is not for all ``names``.

    Raises ValueError if it is none.
    """
    found = x509.load_pem_x509_certificates(pem)[0]
    try:
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        covered = set(alternative.value.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        covered = set()
    if found.issuer == found.subject or not covered.issuperset(names):
        return NEVER
    life = found.not_valid_after_utc - found.not_valid_before_utc
    return found.not_valid_after_utc - life * LEFT


class Renewal:
    """Keeps a certificate and its key in a file, renewed in time."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source = source
        self.path = path

    def prepare(self) -> bool:
        """Have something in the file, if it be a certificate that nobody trusts; whether it is one
        that others do. Raises RendezvousError.
        """
        try:
            if not self.path.exists():
                write_whole(self.path, self_signed(self._source.names[0]))
            return self._due() > NEVER
        except (OSError, ValueError) as error:
            raise RendezvousError(f"{self.path} cannot be used: {error}") from error

    def _due(self) -> datetime.datetime:
        return due(self.path.read_bytes(), self._source.names)

    def _left(self) -> float:
        """Seconds until it is due; less than 0 where the file is gone, or holds something else."""
        try:
            due = self._due()
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be used, and is made anew: %s", self.path, error)
            due = NEVER
        return (due - datetime.datetime.now(datetime.UTC)).total_seconds()

    async def run(self, renewed: Callable[[], None], certified: asyncio.Event) -> None:
        """Renew it whenever that is due, until cancelled.

        :param renewed: called when another one is in the file.
        :param certified: set once one is there that others trust.
        """
        loop = asyncio.get_running_loop()
        backoff = Backoff(RETRY_FIRST, RETRY_LAST, 0.0, random.Random())  # noqa: S311 - no secret
        pem: bytes | None = None
        while True:
            left = self._left()
            if left > 0:
                certified.set()
                await asyncio.sleep(min(left, LONGEST_SLEEP))
                continue
            try:
                # Of one that the disk does not take the authority is not asked for another: it
                # gives few of the same in a week.
                if pem is None:
                    pem = await aside(self._source.obtain, "certificate")
                write_whole(self.path, pem)
            except Exception as error:  # whatever it is, there has to be another attempt
                delay = RETRY_FIRST / 2 + backoff.failed(loop.time())
                logger.error("no certificate yet: %s; the next attempt is in %.0f s", error, delay)
                await asyncio.sleep(delay)
                continue
            pem = None
            backoff.reset()
            renewed()
            certified.set()
            # Even if the new certificate is due at once, the authority is not asked all the time.
            await asyncio.sleep(RETRY_FIRST)
