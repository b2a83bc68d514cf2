"""Translate origins in requests between the one that a user sees, ``peer://PEER-ID`` on the wire,
and an upstream's (docs/protocol.md, "Origins").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

from yarl import URL

__all__ = [
    "NAMING_FIELDS",
    "UNIX",
    "Seen",
    "UpstreamOrigin",
    "below",
    "climbs",
    "peer_origin",
    "renamed",
]

UNIX = "unix:"
"""The prefix of an upstream's URL that names a Unix socket."""

NAMING_FIELDS = frozenset(("origin", "referer", "destination"))
"""Fields of a request, their names in lower case, that name the origin of the server."""

_SEEN = re.compile(
    r"""host="((?:[0-9A-Za-z.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?)";proto=(https?)"""
)


def peer_origin(peer_id: str) -> str:
    """The origin of a peer's server on the wire, whatever either end calls it."""
    return f"peer://{peer_id}"


def below(value: str, origin: str) -> str | None:
    """The rest of a reference behind ``origin``; None if the reference has another origin.

    The comparison is by octets. Other spellings (``PEER://``, ``peer://ID.evil``, a login, a port)
    name another origin, or try to be taken for this one.
    """
    if not value.startswith(origin):
        return None
    rest = value[len(origin) :]
    return rest if rest[:1] in ("", "/", "?", "#") else None


def climbs(path: str) -> bool:
    """Whether ``path`` has a dot segment in any spelling: percent-encoded, with backslashes, or
    with parameters (RFC 3986 §3.3).
    """
    if "." not in path and "%" not in path:
        return False
    segments = unquote(path).replace("\\", "/").split("/")
    return any(segment.partition(";")[0] in (".", "..") for segment in segments)


def renamed(name: str, value: str, origins: Iterable[str], to: str) -> str:
    """The value of a request's field, its name in lower case, with any of ``origins`` replaced by
    ``to``.
    """
    if name in NAMING_FIELDS:
        for origin in origins:
            rest = below(value, origin)
            # An Origin field has no path (RFC 6454 §7).
            if rest is not None and not (rest and name == "origin"):
                return to + rest
    return value


class Seen(NamedTuple):
    """The scheme and host under which a user sees the server, as the end that shows it says."""

    scheme: str
    authority: str

    @property
    def field(self) -> str:
        """The value of ``forwarded`` for it on the wire."""
        return f'host="{self.authority}";proto={self.scheme}'

    @classmethod
    def parse(cls, value: str | None) -> Seen | None:
        """Parse ``forwarded`` from the wire; None if it has another form or names another host.

        Servers build links with the name, in mails for example. So a client is believed only if the
        name leads every user to their own machine.
        """
        found = None if value is None else _SEEN.fullmatch(value)
        if found is None:
            return None
        authority, scheme = found.groups()
        return cls(scheme, authority) if _is_loopback(authority) else None


def _is_loopback(authority: str) -> bool:
    host = re.sub(r":[0-9]+$", "", authority).lower()
    # Names below localhost are the machine itself, too (RFC 6761 §6.3).
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class UpstreamOrigin:
    """The origin of an upstream in requests to it.

    :param url: the URL of the upstream; its path replaces a request's prefix.
    """

    def __init__(self, url: URL) -> None:
        self._origin = str(url.origin())
        self._base = url.raw_path.rstrip("/")

    def header(self, name: str, value: str, own: str, prefix: str) -> str:
        """The value of a request's field, its name in lower case, translated for the upstream.

        :param own: the origin by which clients know this side.
        :param prefix: the path under which the client sees the upstream, without a slash behind.

        A Destination is for :meth:`destination`.
        """
        if name == "origin" and value == own:
            return self._origin
        if name == "referer" and (path := below(value, own)) is not None:
            inside = below(path, prefix)
            # Pages of another target have the same origin, but another path.
            return f"{self._origin}/" if inside is None else self._inside(inside)
        return value

    def destination(self, value: str, own: str, prefix: str) -> str | None:
        """A Destination (RFC 4918 §10.3) translated for the upstream; None if the client has no
        access to it.

        Foreign destinations pass, so that the upstream can refuse them. They do not pass if only
        a path of the upstream is served: it may know itself by names that are unknown here.
        """
        path = value if value.startswith("/") and value[1:2] != "/" else below(value, own)
        if path is None:
            return None if self._base else value
        inside = below(path, prefix)
        if inside is None or climbs(inside.partition("?")[0]):
            return None
        return self._inside(inside)

    def _inside(self, path: str) -> str:
        slash = "" if path.startswith("/") else "/"
        return f"{self._origin}{self._base}{slash}{path}"
