"""The changes that a proxy makes to heads (docs/proxy.md)."""

from __future__ import annotations

import re
from functools import lru_cache

from yarl import URL

from peerfetch_fast.http.origins import Seen
from peerfetch_fast.urls import parse_url

__all__ = ["REWRITTEN", "Rewriting", "forwarded_headers", "host_name", "is_claim"]

# Fields by which proxies state the client. Nothing but the client itself stands before this proxy,
# so these are its own claims.
_CLAIMS = frozenset(("forwarded", "x-real-ip", "x-peerfetch-person"))
_CLAIMS_PREFIX = "x-forwarded-"

REWRITTEN = frozenset(("location", "content-location", "refresh", "set-cookie"))
"""Fields of an answer, their names in lower case, that :class:`Rewriting` may change."""

_NO_TOKEN = re.compile(r"[^0-9A-Za-z._-]")
# Matches up to the reference. A pattern that also matched its end would take quadratic time for a
# run of blanks.
_REFRESH = re.compile(r"\s*[\d.]+\s*[;,]\s*url\s*=\s*", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_claim(name: str) -> bool:
    """Whether a field, its name in lower case, states the client or its scheme. The proxy alone
    sets these. To servers that make variables of fields, "_" and "-" are one (RFC 3875 §4.1.18).
    """
    name = name.replace("_", "-")
    return name in _CLAIMS or name.startswith(_CLAIMS_PREFIX)


@lru_cache(maxsize=64)
def host_name(peer_id: str) -> str:
    """A peer id as a host name."""
    return _NO_TOKEN.sub("-", peer_id)


def forwarded_headers(
    client: str,
    server: str,
    prefix: str = "",
    *,
    address: str | None = None,
    person: str | None = None,
    seen: Seen | None = None,
    websocket: bool = False,
) -> list[tuple[str, str]]:
    """The fields that tell the upstream where a request comes from (RFC 7239).

    :param client: the peer id of the client: an obfuscated identifier (§6.3), no address.
    :param server: the peer id of the server.
    :param prefix: the part of the path that was removed.
    :param address: the IP address of the client, if known.
    :param person: the name of the person who uses the client, if the device knows one.
    :param seen: the name under which a user sees the upstream, if known.
    :param websocket: whether the request is for a WebSocket. It gets no host here: some servers
    compare it with Origin, which names the upstream as Host does, and would refuse the request.
    """
    who = f"for=_{host_name(client)}"
    fields = []
    if seen is None:
        fields.append(("forwarded", f"{who};host={host_name(server)};proto=peer"))
    elif websocket:
        fields.append(("forwarded", f"{who};proto={seen.scheme}"))
    else:
        fields.append(("forwarded", f"{who};{seen.field}"))
        fields.append(("x-forwarded-host", seen.authority))
    if seen is not None:
        fields.append(("x-forwarded-proto", seen.scheme))
    if address is not None:
        fields.append(("x-forwarded-for", address.partition("%")[0]))
    if person is not None:
        fields.append(("x-peerfetch-person", person))
    if prefix:
        fields.append(("x-forwarded-prefix", prefix))
    return fields


class Rewriting:
    """Translate an upstream's references to itself, so that they lead back through the proxy.

    :param url: the URL of the upstream; its path replaces ``prefix``.
    """

    def __init__(self, url: URL) -> None:
        self._scheme = url.scheme
        self._place = (url.raw_host or "").lower(), url.port
        self._base = url.raw_path.rstrip("/")

    def header(self, name: str, value: str, prefix: str) -> str:
        """The value of an answer's field, its name in lower case, translated for the client.

        :param prefix: the path under which the client sees the upstream, without a slash behind.
        """
        match name:
            case "location" | "content-location":
                return self._reference(value, prefix)
            case "refresh":
                return self._refresh(value, prefix)
            case "set-cookie":
                return self._cookie(value, prefix)
            case _:
                return value

    def _reference(self, value: str, prefix: str) -> str:
        """A URI reference: to the upstream itself, as a path; to other servers, unchanged."""
        found = re.fullmatch(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/?#\\]*)([^\\]*)", value)
        if found is not None:
            scheme, authority, path = found.groups()
            if not self._is_here((scheme or self._scheme).lower(), authority):
                return value
            path = path if path.startswith("/") else f"/{path}"
        elif value.startswith("/"):
            path = value
        else:
            return value  # relative to the request, whose path has the same end on both sides
        inside = self._inside(path)
        if inside is None:
            return value
        moved = f"{prefix}{inside or '/'}"
        # Two leading slashes would begin a host (RFC 3986 §4.2).
        return f"/.{moved}" if moved.startswith("//") else moved

    def _is_here(self, scheme: str, authority: str) -> bool:
        try:
            other = parse_url(f"{scheme}://{authority}")
            place = (other.raw_host or "").lower(), other.port or _DEFAULT_PORTS.get(scheme)
        except ValueError:
            return False
        return scheme == self._scheme and place == self._place

    def _inside(self, path: str) -> str | None:
        """``path`` without the upstream's own path; None if it is not below that."""
        rest = path.removeprefix(self._base) if path.startswith(self._base) else None
        return rest if rest is not None and rest[:1] in ("", "/", "?", "#") else None

    def _refresh(self, value: str, prefix: str) -> str:
        found = _REFRESH.match(value)
        if found is None:
            return value
        begin = found.end()
        end = max(begin, len(value.rstrip()))
        if end - begin > 1 and value[begin] in "'\"" and value[begin] == value[end - 1]:
            begin, end = begin + 1, end - 1
        moved = self._reference(value[begin:end], prefix)
        return f"{value[:begin]}{moved}{value[end:]}"

    def _cookie(self, value: str, prefix: str) -> str:
        """A cookie without Domain, its Path translated to where the client sees the upstream."""
        pair, *attributes = value.split(";")
        kept = [pair]
        for attribute in attributes:
            name, _, content = attribute.partition("=")
            match name.strip().lower():
                case "domain":
                    continue
                case "path" if not pair.lstrip().startswith("__Host-"):
                    kept.append(f" Path={self._cookie_path(content.strip(), prefix)}")
                case _:
                    kept.append(attribute)
        return ";".join(kept)

    def _cookie_path(self, path: str, prefix: str) -> str:
        inside = self._inside(path)
        if inside is not None:
            return f"{prefix}{inside}" or "/"
        # A Path above the upstream's own becomes the whole prefix.
        if self._base.startswith(path.rstrip("/") + "/"):
            return prefix or "/"
        return path
