"""What a proxy changes in the heads that pass through it (docs/proxy.md)."""

from __future__ import annotations

import re
from functools import lru_cache

from yarl import URL

from peerfetch_fast.http.origins import Seen

__all__ = ["REWRITTEN", "Rewriting", "forwarded_headers", "host_name", "is_claim"]

# What others before us said about who asks: here, nobody is before us but the one who asks.
_CLAIMS = frozenset(("forwarded", "x-real-ip"))
_CLAIMS_PREFIX = "x-forwarded-"

REWRITTEN = frozenset(("location", "content-location", "refresh", "set-cookie"))
"""Fields of an answer, their names in lower case, that :class:`Rewriting` may change."""

_NO_TOKEN = re.compile(r"[^0-9A-Za-z._-]")
# Up to the reference. Where that ends is not for a pattern, which would go through a run of blanks
# again from each of them.
_REFRESH = re.compile(r"\s*[\d.]+\s*[;,]\s*url\s*=\s*", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_claim(name: str) -> bool:
    """Whether a header, its name in lower case, says who asks or how: for us alone to say."""
    return name in _CLAIMS or name.startswith(_CLAIMS_PREFIX)


@lru_cache(maxsize=64)
def host_name(peer_id: str) -> str:
    """A peer id where a host is named."""
    return _NO_TOKEN.sub("-", peer_id)


def forwarded_headers(
    client: str,
    server: str,
    prefix: str = "",
    *,
    address: str | None = None,
    seen: Seen | None = None,
    websocket: bool = False,
) -> list[tuple[str, str]]:
    """What the upstream is told about where a request came from (RFC 7239).

    :param client: the peer id of who asks: an obfuscated identifier (§6.3), no address.
    :param server: the peer id that was asked.
    :param prefix: the part of the path that was taken off.
    :param address: the IP address of who asks, if known.
    :param seen: under which name a person sees the upstream, if any does.
    :param websocket: whether it asks for a WebSocket. Servers that compare its Origin, which names
        them as Host does, with a host said here would refuse it: none is said.
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
    if prefix:
        fields.append(("x-forwarded-prefix", prefix))
    return fields


class Rewriting:
    """Translate an upstream's references to itself, so that they lead back through the proxy.

    :param url: of the upstream; its path is what ``prefix`` stands for.
    """

    def __init__(self, url: URL) -> None:
        self._scheme = url.scheme
        self._place = (url.raw_host or "").lower(), url.port
        self._base = url.raw_path.rstrip("/")

    def header(self, name: str, value: str, prefix: str) -> str:
        """The value of an answer's header, its name in lower case, as the client is to have it.

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
        """A URI reference: to the upstream itself, as a path; to others, as it is."""
        found = re.fullmatch(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/?#\\]*)([^\\]*)", value)
        if found is not None:
            scheme, authority, path = found.groups()
            if not self._is_here((scheme or self._scheme).lower(), authority):
                return value
            path = path if path.startswith("/") else f"/{path}"
        elif value.startswith("/"):
            path = value
        else:
            return value  # relative to what was asked for, which ends as it does here
        inside = self._inside(path)
        if inside is None:
            return value
        moved = f"{prefix}{inside or '/'}"
        # Two slashes would make a host of what follows (RFC 3986 §4.2).
        return f"/.{moved}" if moved.startswith("//") else moved

    def _is_here(self, scheme: str, authority: str) -> bool:
        try:
            other = URL(f"{scheme}://{authority}")
            place = (other.raw_host or "").lower(), other.port or _DEFAULT_PORTS.get(scheme)
        except ValueError:
            return False
        return scheme == self._scheme and place == self._place

    def _inside(self, path: str) -> str | None:
        """``path`` without the upstream's own, or None where it is not below it."""
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
        """A cookie for where the client sees the upstream: no Domain, its Path moved."""
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
        # One that holds for more than the upstream's part holds for all of it.
        if self._base.startswith(path.rstrip("/") + "/"):
            return prefix or "/"
        return path
