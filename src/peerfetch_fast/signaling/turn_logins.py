"""Logins at TURN servers that expire.

The scheme is that of coturn's ``use-auth-secret`` (draft-uberti-behave-turn-rest-00): the user name
holds the time of expiry, and the password is a keyed hash of the user name. The issuer and the TURN
server share nothing but a secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from peerfetch_fast.errors import InvalidIceServer
from peerfetch_fast.webrtc.ice.servers import IceServer, servers_of

__all__ = ["DEFAULT_TTL", "MIN_TTL", "TurnLogins"]

DEFAULT_TTL = 3600.0
"""Seconds for which a login is good; an allocation that was made with it may last longer."""

MIN_TTL = 60.0
"""The shortest time: clients come for another login before the last has expired."""

MAX_NAME = 64
"""Characters of an account that a user name shows; of a longer one, or one with other characters
than letters, digits, ``-`` and ``_``, it shows a hash."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@dataclass(frozen=True, slots=True)
class TurnLogins:
    """The URLs of a TURN server, and the secret from which logins are made.

    Raises ValueError if a URL is none of a TURN server, the secret is empty, or the time too short.
    """

    urls: tuple[str, ...]
    """``turn:`` and ``turns:`` URLs of one server."""
    secret: str = field(repr=False)
    """The server's ``static-auth-secret``."""
    ttl: float = DEFAULT_TTL
    """Seconds for which a login is good."""
    withheld: Callable[[str], bool] | None = None
    """Whether an account, as it stands in user names, gets none just now."""

    def __post_init__(self) -> None:
        if not self.urls or not self.secret:
            raise ValueError("logins at TURN servers need the servers' URLs and their secret")
        if not all(server.relays for server in servers_of([IceServer(self.urls, "", "")])):
            raise InvalidIceServer("logins are for TURN servers alone: write turn: or turns: URLs")
        if not self.ttl >= MIN_TTL:
            raise ValueError(f"a login must be good for {MIN_TTL:g} seconds at least")

    def refuses(self, account: str) -> bool:
        """Whether ``account`` gets no login just now."""
        return self.withheld is not None and self.withheld(_name(account))

    def login(self, account: str, unix_time: float) -> IceServer:
        """The servers with a login that counts for ``account`` there.

        :param unix_time: when it is made, in seconds since 1970.
        """
        username = f"{math.ceil(unix_time + self.ttl)}:{_name(account)}"
        digest = hmac.new(self.secret.encode(), username.encode(), hashlib.sha1).digest()
        return IceServer(self.urls, username, base64.b64encode(digest).decode())


def _name(account: str) -> str:
    """The part of an account that a user name shows."""
    if 0 < len(account) <= MAX_NAME and _PLAIN.issuperset(account):
        return account
    octets = account.encode(errors="surrogatepass")
    return hashlib.sha256(octets).hexdigest()[:32]
