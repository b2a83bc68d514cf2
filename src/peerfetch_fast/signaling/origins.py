"""Pages of which origins may ask (RFC 6454): browsers say truly which page a request is of."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from multidict import MultiMapping
from yarl import URL

__all__ = ["Origins", "parse_origin"]

_HOST = re.compile(r"[a-z0-9._:-]+")


def parse_origin(text: str) -> str:
    """``text`` as browsers write an origin (RFC 6454 §6.2): in lower case, without a default port.

    :raises ValueError: it is none. ``null`` is none either: every sandboxed frame has it.
    """
    try:
        url = URL(text)
        origin = str(url.origin())
        bare = url.path in ("", "/") and not (url.query_string or url.fragment or url.user)
        if bare and _HOST.fullmatch(url.raw_host or ""):
            return origin
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no origin: write it as in https://app.example")


class Origins:
    """Whose pages may ask: those of everybody, or of some origins and the server's own.

    Programs send no Origin and are not held up: they could write anything there.

    :param allowed: origins; none for everybody's.
    :raises ValueError: one of them is none.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(map(parse_origin, allowed))

    def refusal(self, headers: MultiMapping[str]) -> str | None:
        """A sentence for whoever sent a request with ``headers`` and may not; None for others."""
        origins = headers.getall("Origin", [])
        host = headers.get("Host", "").lower()
        if all(self._allows(origin.lower(), host) for origin in origins):
            return None
        return (
            f"Pages of {' '.join(origins)[:200]!r} may not use this server: whoever runs it can "
            "let them in with --allow-origin"
        )

    def cors(self, headers: MultiMapping[str]) -> dict[str, str]:
        """What lets a page read the answer to a request with ``headers``, if it may."""
        # The origin itself even where all may ask, as PeerJS's servers do: browsers take no "*" for
        # a request with credentials, and pages written for those servers may make one.
        fields = {"Vary": "Origin"}  # so that no cache gives it to others
        origin = headers.get("Origin")
        if origin is not None and self.refusal(headers) is None:
            fields["Access-Control-Allow-Origin"] = origin
        return fields

    def _allows(self, origin: str, host: str) -> bool:
        return not self._allowed or origin in self._allowed or _is_own(origin, host)


def _is_own(origin: str, host: str) -> bool:
    """Whether a page of ``origin`` comes from the server that is asked as ``host``.

    A name that belongs to somebody else can be made to lead here after its page was loaded (DNS
    rebinding), and then Origin and Host agree. That takes a name in the public DNS, and no
    certificate: a page by HTTPS has seen one for its name, and asks by TLS only.
    """
    scheme, _, place = origin.partition("://")
    if not host or place != host:
        return False
    return scheme == "https" or (scheme == "http" and _is_local(host))


def _is_local(host: str) -> bool:
    """Whether ``host`` is an address, or a name that the public DNS does not lead to."""
    name = re.sub(r":\d*$", "", host).strip("[]")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        # RFC 6761 §6.3, RFC 6762 §3; a name without a dot is looked up on the local network.
        return "." not in name or name.endswith((".localhost", ".local"))
    return True
