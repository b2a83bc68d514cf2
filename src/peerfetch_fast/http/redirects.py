"""Following redirects, by the Fetch standard's HTTP-redirect fetch, within one peer."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Literal
from urllib.parse import urljoin, urlsplit

from peerfetch_fast.errors import InvalidRequest, RedirectError
from peerfetch_fast.http.heads import Headers
from peerfetch_fast.http.request import Request, quoted_target

__all__ = ["MAX_REDIRECTS", "STATUSES", "Redirect", "redirected", "resolve"]

Redirect = Literal["follow", "error", "manual"]

MAX_REDIRECTS = 20
"""Redirects that one fetch follows."""

STATUSES = frozenset((301, 302, 303, 307, 308))
"""The status codes of redirects with a Location."""

_OF_THE_BODY = frozenset(
    ("content-encoding", "content-language", "content-length", "content-location", "content-type")
)


def redirected(request: Request, status: int, headers: Headers, origin: str) -> Request | None:
    """The request to which an answer redirects; None if it is no redirect.

    :param origin: the origin of the peer's URLs: ``peer://PEER-ID``.

    Raises RedirectError for a redirect that cannot be followed.
    """
    location = headers.get("location")
    if status not in STATUSES or location is None:
        return None
    target = resolve(request.target, location, origin)
    if (status in (301, 302) and request.method == "POST") or (
        status == 303 and request.method not in ("GET", "HEAD")
    ):
        pairs = [pair for pair in request.headers if pair[0] not in _OF_THE_BODY]
        return replace(request, method="GET", target=target, headers=pairs, content=None)
    if status != 303 and not request.repeatable:
        raise RedirectError(
            f"the answer redirects to {location!r}, and the request's body cannot be sent again: "
            "give it as bytes or a file, or ask there in the first place"
        )
    return replace(request, target=target)


def resolve(base: str, location: str, origin: str) -> str:
    """The target that ``location`` names in the answer to ``base``.

    Raises RedirectError for a target that is not on this peer.
    """
    with contextlib.suppress(UnicodeDecodeError):
        # Header values come one character per octet; what is in a Location is UTF-8, as a rule.
        location = location.encode("latin-1").decode()
    try:
        parts = urlsplit(location)
        stays = parts.scheme in ("", "peer") and (
            f"peer://{parts.netloc}" == origin if parts.scheme or parts.netloc else True
        )
        if stays:
            if parts.netloc and not parts.path:
                parts = parts._replace(path="/")
            path = parts._replace(scheme="", netloc="", fragment="").geturl()
            found = urlsplit(urljoin(f"http://peer{base}", path))
            return quoted_target((found.path or "/") + (f"?{found.query}" if found.query else ""))
    except (ValueError, InvalidRequest):
        pass
    raise RedirectError(
        f"the answer redirects to {location!r}, which is not on this peer: ask there, or do not "
        "let redirects be followed"
    )
