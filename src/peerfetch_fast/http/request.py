"""Requests of the client, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

import orjson
from multidict import CIMultiDict

from peerfetch_fast.errors import InvalidRequest, MessageError
from peerfetch_fast.http.content import Body, Content, Pieces, make_content
from peerfetch_fast.http.heads import HeadersLike, content_length, end_to_end, header_pairs
from peerfetch_fast.http.message import OnInformational

__all__ = [
    "OnInformational",
    "OnProgress",
    "Params",
    "Priority",
    "Request",
    "make_request",
    "quoted_target",
]

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]
Priority = Literal["auto", "high", "low"]
OnProgress = Callable[[int, int | None], object]

_URL_CHARACTERS = "/?:@!$&'()*+,;=-._~%[]"
_PLAIN_TARGET = re.compile(rf"/[A-Za-z0-9{re.escape(_URL_CHARACTERS)}]*")

_SURROGATE = "a lone surrogate is no text that can be sent"

# RFC 9110 §9.2.2.
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))

# RFC 9218 §4.1 leaves the numbers to us: on either side of the default of 3, with room around them.
_URGENCY = {"high": "u=1", "low": "u=5"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to be sent."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    content: Content | None
    on_progress: OnProgress | None = None
    on_informational: OnInformational | None = None
    trailers: Callable[[], list[tuple[str, str]]] | None = None
    """The trailers, which are read once the body was sent."""

    @property
    def idempotent(self) -> bool:
        """Whether the method is idempotent (RFC 9110 §9.2.2)."""
        return self.method in _IDEMPOTENT

    @property
    def repeatable(self) -> bool:
        """Whether the body can be sent again."""
        return self.content is None or self.content.repeatable


def make_request(
    target: str,
    *,
    method: str | None = None,
    headers: HeadersLike | None = None,
    params: Params | None = None,
    body: Body | None = None,
    json: Any = None,
    priority: Priority = "auto",
    on_progress: OnProgress | None = None,
    on_informational: OnInformational | None = None,
) -> Request:
    """The request for these parameters of :func:`peerfetch_fast.http.client.fetch`.

    Raises InvalidRequest, OSError.
    """
    try:
        pairs = end_to_end(header_pairs(headers))
        target = quoted_target(target)
        if params:
            items = list(params.items()) if isinstance(params, Mapping) else list(params)
            target += ("&" if "?" in target else "?") + urlencode(items, doseq=True)
    except MessageError as error:
        raise InvalidRequest(str(error)) from None
    except UnicodeEncodeError:
        raise InvalidRequest(_SURROGATE) from None
    names = {name for name, _ in pairs}
    if json is not None:
        if body is not None:
            raise InvalidRequest("body= and json= exclude each other")
        body = orjson.dumps(json)
        if "content-type" not in names:
            pairs.append(("content-type", "application/json"))
    elif isinstance(body, str) and "content-type" not in names:
        pairs.append(("content-type", "text/plain;charset=UTF-8"))
    if method is None:
        method = "GET" if body is None else "POST"
    elif not method.isascii() or not method.replace("-", "").replace("_", "").isalnum():
        raise InvalidRequest(f"{method!r} is no method")
    if priority not in ("auto", *_URGENCY):
        raise InvalidRequest(f"priority must be 'auto', 'high' or 'low', not {priority!r}")
    if priority != "auto" and "priority" not in names:
        pairs.append(("priority", _URGENCY[priority]))
    content = None if body is None else _content(body, pairs)
    return Request(method.upper(), target, pairs, content, on_progress, on_informational)


def _content(body: Body, pairs: list[tuple[str, str]]) -> Content:
    """The content for ``body``. Content-Length in ``pairs`` is set to its length, if known."""
    content = make_content(body)
    if isinstance(content, Pieces):
        try:
            content.length = content_length(CIMultiDict(pairs))
        except MessageError as error:
            raise InvalidRequest(str(error)) from None
    elif content.length is not None:
        pairs[:] = [pair for pair in pairs if pair[0] != "content-length"]
        pairs.append(("content-length", str(content.length)))
    return content


def quoted_target(target: str) -> str:
    """``target`` with characters quoted that a URL cannot hold, and without a fragment.

    Raises InvalidRequest for a target that does not begin with ``/``.
    """
    if _PLAIN_TARGET.fullmatch(target):
        return target
    target, _, _ = target.partition("#")
    if not target.startswith("/"):
        raise InvalidRequest(f"the target {target!r} does not begin with '/'")
    try:
        # All characters that a URL can hold stay (RFC 3986 §2.2, §2.3), "%" included.
        return quote(target, safe=_URL_CHARACTERS)
    except UnicodeEncodeError:
        raise InvalidRequest(_SURROGATE) from None
