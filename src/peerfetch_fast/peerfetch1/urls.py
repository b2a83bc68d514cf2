"""The mapping of old clients' URLs to targets that are served here."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from yarl import URL

from peerfetch_fast.errors import MessageError
from peerfetch_fast.urls import parse_url

__all__ = ["locate", "locate_here"]


def locate(url: str, upstreams: Mapping[str, str]) -> str | None:
    """The target (path and query) that ``url`` names; None if it leads elsewhere.

    Old clients name the upstream by its URL on the device. Names are compared and not resolved;
    only the device's own names (``localhost``, 127.0.0.1) are equivalent.

    :param upstreams: the URLs of the upstreams, and the path of each. If there are none (an
    application in this process, a directory), a URL may name the device itself, on any port.

    Raises MessageError for an invalid URL.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        url = _quoted(url)
    url = url.partition("#")[0]
    if url.startswith("/") and not url.startswith("//"):
        return url
    try:
        asked = parse_url(url, encoded=True)
        origin = _origin(asked)
    except ValueError:
        raise MessageError("its url is none") from None
    if origin is None:
        raise MessageError("its url is neither http nor https, and no path")
    path = url.split("/", 3)[3] if url.count("/") > 2 else ""
    if not upstreams and origin[1] is _THIS_DEVICE and asked.raw_user is None:
        return f"/{path}"
    for upstream, below in upstreams.items():
        served = URL(upstream)
        base = served.raw_path.strip("/")
        if asked.raw_user is None and _origin(served) == origin:
            if not base:
                return f"{below.rstrip('/')}/{path}"
            rest = path.removeprefix(base)
            if path.startswith(base) and rest[:1] in ("", "/", "?"):
                return f"{below.rstrip('/')}/{rest.removeprefix('/')}"
    return None


def locate_here(url: str) -> str | None:
    """The target ``/http://localhost:PORT/path`` for a URL of this device, on any port; None for
    one that leads elsewhere. Raises as :func:`locate` does.
    """
    path = locate(url, {})
    if path is None or url.startswith("/"):
        return None
    asked = parse_url(url)
    return f"/{asked.scheme}://{_THIS_DEVICE}:{asked.port}{path}"


def _quoted(url: str) -> str:
    try:
        return str(parse_url(url))
    except ValueError:
        raise MessageError("its url is none") from None


_THIS_DEVICE = "localhost"


def _origin(url: URL) -> tuple[str, str, int] | None:
    """Scheme, host and port, with one name for this device."""
    if url.scheme not in ("http", "https") or not url.host or url.port is None:
        return None
    host = url.host.lower().rstrip(".")
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return url.scheme, _THIS_DEVICE if loopback else host, url.port
