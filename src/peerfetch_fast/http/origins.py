"""Whose origin a request names: the one that a person sees, ``peer://PEER-ID`` on the wire, or an
upstream's (docs/protocol.md, "Origins").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote

from yarl import URL

__all__ = ["NAMING_FIELDS", "Seen", "UpstreamOrigin", "below", "climbs", "peer_origin", "renamed"]

NAMING_FIELDS = frozenset(("origin", "referer", "destination"))
"""Fields of a request, their names in lower case, that name the origin of the server."""

_SEEN = re.compile(
    r"""host="((?:[0-9A-Za-z.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?)";proto=(https?)"""
)


def peer_origin(peer_id: str) -> str:
    """What stands for the origin of a peer's server, whatever either end calls it."""
    return f"peer://{peer_id}"


def below(value: str, origin: str) -> str | None:
    """What follows ``origin`` in a reference to something of it; None for all others.

    Compared octet by octet: who writes it otherwise (``PEER://``, ``peer://ID.evil``, with a login
    or a port) does not mean it, or means to be taken for it.
    """
    if not value.startswith(origin):
        return None
    rest = value[len(origin) :]
    return rest if rest[:1] in ("", "/", "?", "#") else None


def climbs(path: str) -> bool:
    """Whether a segment of ``path`` is one of dots, however it is written: encoded, with the other
    slash, or with parameters behind it (RFC 3986 §3.3).
    """
    if "." not in path and "%" not in path:
        return False
    segments = unquote(path).replace("\\", "/").split("/")
    return any(segment.partition(";")[0] in (".", "..") for segment in segments)


def renamed(name: str, value: str, origins: Iterable[str], to: str) -> str:
    """The value of a request's field, its name in lower case, with any of ``origins`` as ``to``."""
    if name in NAMING_FIELDS:
        for origin in origins:
            rest = below(value, origin)
            # An Origin has nothing behind it (RFC 6454 §7).
            if rest is not None and not (rest and name == "origin"):
                return to + rest
    return value


class Seen(NamedTuple):
    """Under which name a person sees the server, as the end that shows it says."""

    scheme: str
    authority: str

    @property
    def field(self) -> str:
        """The value of ``forwarded`` that says so on the wire."""
        return f'host="{self.authority}";proto={self.scheme}'

    @classmethod
    def parse(cls, value: str | None) -> Seen | None:
        """What ``forwarded`` on the wire says; None where it is of another shape, or where the name
        is not to be believed.

        Servers write links with it, into mails for instance. So a client is believed only where
        a link leads whoever follows it to their own machine.
        """
        found = None if value is None else _SEEN.fullmatch(value)
        if found is None:
            return None
        authority, scheme = found.groups()
        return cls(scheme, authority) if _is_loopback(authority) else None


def _is_loopback(authority: str) -> bool:
    host = re.sub(r":[0-9]+$", "", authority).lower()
    # RFC 6761 §6.3: names below localhost are the machine itself too.
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class UpstreamOrigin:
    """What an upstream is called in requests for it.

    :param url: of the upstream; its path is what a request's prefix stands for.
    """

    def __init__(self, url: URL) -> None:
        self._origin = str(url.origin())
        self._base = url.raw_path.rstrip("/")

    def header(self, name: str, value: str, own: str, prefix: str) -> str:
        """The value of a request's field, its name in lower case, as the upstream is to have it.

        :param own: the origin by which clients know this side.
        :param prefix: the path under which the client sees the upstream, without a slash behind.

        A Destination is for :meth:`destination`.
        """
        if name == "origin" and value == own:
            return self._origin
        if name == "referer" and (path := below(value, own)) is not None:
            inside = below(path, prefix)
            # Pages of another target share the origin with those of this one, and no path.
            return f"{self._origin}/" if inside is None else self._inside(inside)
        return value

    def destination(self, value: str, own: str, prefix: str) -> str | None:
        """A Destination (RFC 4918 §10.3) as the upstream is to have it; None where what is
        there is not for the client.

        Others than our own pass, so that the upstream can refuse them; but not to an upstream of
        which only what is below a path is served, and which knows itself by names that we do not.
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
