"""The origins (RFC 6454) whose pages may use a server. Browsers name a page's origin truthfully."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from multidict import MultiMapping

from peerfetch_fast.urls import parse_url

__all__ = ["Origins", "parse_origin"]

_HOST = re.compile(r"[a-z0-9._:-]+")


def parse_origin(text: str) -> str:
    """``text`` as browsers write an origin (RFC 6454 §6.2): in lower case, without a default port.

    Raises ValueError if it is no origin. ``null`` is refused, because every sandboxed frame has it.
    """
    try:
        url = parse_url(text)
        origin = str(url.origin())
        bare = url.path in ("", "/") and not (url.query_string or url.fragment or url.user)
        if bare and _HOST.fullmatch(url.raw_host or ""):
            return origin
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no origin: write it as in https://app.example")


class Origins:
    """Admits the pages of every origin, or of some origins and the server's own.

    Requests without Origin come from programs and are admitted: a program could send any Origin.

    :param allowed: the origins; empty for all.

    Raises ValueError if one of them is no origin.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(map(parse_origin, allowed))

    def refusal(self, headers: MultiMapping[str]) -> str | None:
        """The sentence with which a request with ``headers`` is refused; None if it is admitted."""
        origins = headers.getall("Origin", [])
        host = headers.get("Host", "").lower()
        if all(self._allows(origin.lower(), host) for origin in origins):
            return None
        return (
            f"Pages of {' '.join(origins)[:200]!r} may not use this server: whoever runs it can "
            "let them in with --allow-origin"
        )

    def cors(self, headers: MultiMapping[str]) -> dict[str, str]:
        """The CORS fields by which a page may read the answer to a request with ``headers``."""
        # The origin itself is named even where all are admitted, as by PeerJS's servers: browsers
        # refuse "*" for a request with credentials, which pages for those servers may make.
        fields = {"Vary": "Origin"}  # so that no cache returns it for another origin
        origin = headers.get("Origin")
        if origin is not None and self.refusal(headers) is None:
            fields["Access-Control-Allow-Origin"] = origin
        return fields

    def _allows(self, origin: str, host: str) -> bool:
        return not self._allowed or origin in self._allowed or _is_own(origin, host)


def _is_own(origin: str, host: str) -> bool:
    """Whether a page of ``origin`` comes from the server that the request names as ``host``.

    An attacker's name can be made to resolve to this server after its page was loaded (DNS
    rebinding). Then Origin and Host agree. That needs a name in the public DNS, and plain HTTP: a
    page loaded by HTTPS needs a certificate for its name.
    """
    scheme, _, place = origin.partition("://")
    if not host or place != host:
        return False
    return scheme == "https" or (scheme == "http" and _is_local(host))


def _is_local(host: str) -> bool:
    """Whether ``host`` is an address, or a name outside the public DNS."""
    name = re.sub(r":\d*$", "", host).strip("[]")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        # RFC 6761 §6.3, RFC 6762 §3. A name without a dot is resolved on the local network.
        return "." not in name or name.endswith((".localhost", ".local"))
    return True
