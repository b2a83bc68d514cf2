"""Certificates by ACME (RFC 8555), with certbot's own library.

All of it blocks: it is run in a thread.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from peerfetch_fast._version import __version__
from peerfetch_fast.errors import MissingExtra, RendezvousError
from peerfetch_fast.rendezvous.challenges import Challenges, Kind
from peerfetch_fast.state import write_whole

try:
    import requests
    from acme import challenges as acme_challenges
    from acme import client, errors, messages
    from acme.crypto_util import make_csr
    from josepy.errors import Error as JoseError
    from josepy.jwa import ES256
    from josepy.jwk import JWK, JWKEC
except ImportError as error:
    raise MissingExtra(
        "certificates are issued with acme: pip install 'peerfetch-fast[rendezvous]', or give one "
        "by --tls-certificate"
    ) from error

__all__ = ["LETS_ENCRYPT", "Issuer"]

logger = logging.getLogger(__name__)

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

ORDER_TIMEOUT = 180.0
"""Seconds that an authority may take to look at our names, and then to make the certificate."""


# acme had this until its version 4.
@acme_challenges.ChallengeResponse.register
class _TlsAlpnResponse(acme_challenges.KeyAuthorizationChallengeResponse):
    typ = "tls-alpn-01"


@acme_challenges.Challenge.register
class _TlsAlpn(acme_challenges.KeyAuthorizationChallenge):
    response_cls = _TlsAlpnResponse
    typ = response_cls.typ

    def validation(self, account_key: JWK, **_: Any) -> str:
        """The answer that is shown."""
        return self.key_authorization(account_key)


class Issuer:
    """Gets certificates of one authority.

    :param directory: URL of the authority's directory.
    :param names: what a certificate is for.
    :param state: a directory, in which our account's key is kept.
    :param email: where the authority may write to; None for nowhere.
    :param kinds: of challenges, the one to be tried first; another is tried after it failed.
    """

    def __init__(
        self,
        directory: str,
        names: Sequence[str],
        state: Path,
        challenges: Challenges,
        *,
        email: str | None = None,
        kinds: Sequence[Kind] = ("tls-alpn-01", "http-01"),
    ) -> None:
        self.names = tuple(names)
        self._directory = directory
        self._state = state
        self._challenges = challenges
        self._email = email
        self._kinds = list(kinds)

    def obtain(self) -> bytes:
        """A certificate with its chain and its key, in PEM.

        Raises RendezvousError, which says why, if there is none to be had just now.
        """
        try:
            return self._obtain()
        except errors.ValidationError as error:
            self._kinds.append(self._kinds.pop(0))
            raise RendezvousError(_of_validation(error)) from error
        except (errors.Error, messages.Error, JoseError) as error:
            raise RendezvousError(f"{self._directory} gives no certificate: {error}") from error
        except (requests.RequestException, ValueError) as error:
            raise RendezvousError(f"{self._directory} cannot be asked: {error}") from error
        except OSError as error:
            raise RendezvousError(f"{self._state} cannot be used: {error}") from error

    def _obtain(self) -> bytes:
        account = JWKEC(key=self._account_key())
        acme = self._client(account)
        key = _pem_of(ec.generate_private_key(ec.SECP256R1()))
        order = acme.new_order(make_csr(key, list(self.names)))
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=ORDER_TIMEOUT)
        with ExitStack() as shown:
            for authorization in order.authorizations:
                if authorization.body.status != messages.STATUS_VALID:
                    self._answer(acme, account, authorization.body, shown)
            order = acme.poll_authorizations(order, deadline)
        order = acme.finalize_order(order, deadline)
        chain = order.fullchain_pem.encode()
        found = x509.load_pem_x509_certificates(chain)
        if not found:
            raise ValueError("it has sent no certificate")
        logger.info("a certificate for %s is there", ", ".join(self.names))
        return chain.rstrip(b"\n") + b"\n" + key

    def _client(self, account: JWK) -> client.ClientV2:
        """A client that the authority knows."""
        net = client.ClientNetwork(account, alg=ES256, user_agent=f"peerfetch-fast/{__version__}")
        acme = client.ClientV2(client.ClientV2.get_directory(self._directory, net), net)
        asked = messages.NewRegistration.from_data(email=self._email, terms_of_service_agreed=True)
        try:
            acme.new_account(asked)
        except errors.ConflictError as known:
            net.account = messages.RegistrationResource(uri=known.location, body=asked)
        return acme

    def _answer(self, acme: client.ClientV2, account: JWK, asked: Any, shown: ExitStack) -> None:
        """Show what proves one of our names, and say that it is there."""
        domain = asked.identifier.value
        offered = {body.chall.typ: body for body in asked.challenges}
        kind = next((kind for kind in self._kinds if kind in offered), None)
        if kind is None:
            raise RendezvousError(
                f"{self._directory} takes no proof of ours for {domain}: it wants one of "
                f"{', '.join(offered)}"
            )
        body = offered[kind]
        authorization = body.chall.key_authorization(account)
        token = body.chall.encode("token")
        shown.enter_context(self._challenges.shown(kind, domain, token, authorization))
        acme.answer_challenge(body, body.chall.response(account))

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        """The key by which the authority knows us, made the first time."""
        path = self._state / "account.pem"
        if path.exists():
            key = load_pem_private_key(path.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{path} holds another kind of key")
            return key
        key = ec.generate_private_key(ec.SECP256R1())
        write_whole(path, _pem_of(key))
        return key


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _of_validation(error: errors.ValidationError) -> str:
    """Which names the authority does not believe to be ours, and why, in one sentence."""
    reasons = [
        f"{found.body.identifier.value} by {body.chall.typ}: {body.error.detail or body.error}"
        for found in error.failed_authzrs
        for body in found.body.challenges
        if body.error is not None
    ]
    return f"the certificate authority could not check {'; '.join(reasons)}"
