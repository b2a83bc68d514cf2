"""Heads and trailers: their JSON and its valid members (docs/protocol.md, section 7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import orjson
from multidict import CIMultiDict, CIMultiDictProxy

from peerfetch_fast.errors import MessageError
from peerfetch_fast.http.blocks import HEAD, TRAILERS, block
from peerfetch_fast.http.h1._wire import checked_fields

__all__ = [
    "Headers",
    "HeadersLike",
    "content_length",
    "decode_request",
    "decode_response",
    "decode_trailers",
    "encode_request",
    "encode_response",
    "encode_trailers",
    "end_to_end",
    "header_pairs",
    "parse_priority",
]

Headers = CIMultiDictProxy[str]
"""Ordered, repeatable, case-insensitive."""

HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]]

# RFC 9110 §5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_TARGET = re.compile(r"[\x21-\x7e]+")
_PRIORITY_URGENCY = re.compile(r"(?:^|[,\s])u=([0-7])(?=$|[,;\s])")
_PRIORITY_SEQUENTIAL = re.compile(r"(?:^|[,\s])i=\?0(?=$|[,;\s])")

# RFC 9110 §9.3 and RFC 5789.
_METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
)

# RFC 9110 §7.6.1: these concern one connection alone (hop-by-hop).
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def header_pairs(headers: HeadersLike | None) -> list[tuple[str, str]]:
    """``headers`` as (name, value) pairs, names in lower case.

    Raises MessageError for a name that HTTP does not allow, or a value that could break a head
    (RFC 9110 §5.1, §5.5).
    """
    if headers is None:
        return []
    if type(headers) is not list and isinstance(headers, Mapping):
        headers = headers.items()
    return checked_fields(headers)


def end_to_end(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """``pairs`` (names in lower case) without the hop-by-hop fields."""
    if type(pairs) is not list:
        pairs = list(pairs)
    if HOP_BY_HOP.isdisjoint([name for name, _ in pairs]):
        return pairs
    named = {
        token.strip().lower()
        for name, value in pairs
        if name == "connection"
        for token in value.split(",")
    }
    return [(n, v) for n, v in pairs if n not in HOP_BY_HOP and n not in named]


def content_length(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> int | None:
    """The value of Content-Length, or None. Raises MessageError for no number, or unequal ones."""
    fields = headers.getall("content-length", ())
    if not fields:
        return None
    values = {value.strip(" \t") for field in fields for value in field.split(",")}
    value = values.pop()
    if values or not value.isascii() or not value.isdigit() or len(value) > 18:
        raise MessageError("Content-Length is no number")
    return int(value)


def parse_priority(value: str) -> tuple[int, bool]:
    """Urgency and incremental of a Priority field (RFC 9218 §5), with this protocol's defaults."""
    urgency = _PRIORITY_URGENCY.search(value)
    return int(urgency[1]) if urgency else 3, not _PRIORITY_SEQUENTIAL.search(value)


def encode_request(
    method: str, target: str, headers: list[tuple[str, str]], protocol: str | None = None
) -> bytes:
    """The HEAD block of a request; of a request for an upgrade if ``protocol`` is given."""
    head: dict[str, object] = {"method": method, "target": target, "headers": headers}
    if protocol is not None:
        head["protocol"] = protocol
    return block(HEAD, orjson.dumps(head))


def encode_response(status: int, headers: list[tuple[str, str]]) -> bytes:
    """A HEAD block of an answer."""
    return block(HEAD, orjson.dumps({"status": status, "headers": headers}))


def encode_trailers(headers: list[tuple[str, str]]) -> bytes:
    """A TRAILERS block."""
    return block(TRAILERS, orjson.dumps({"headers": headers}))


def _decode(payload: bytes) -> dict[str, object]:
    try:
        head = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise MessageError("a head that is not JSON") from None
    if not isinstance(head, dict):
        raise MessageError("a head that is no JSON object")
    return head


def _decode_headers(head: dict[str, object]) -> Headers:
    headers = head.get("headers", [])
    if not isinstance(headers, list):
        raise MessageError("a head whose headers are no list")
    for pair in headers:
        if type(pair) is not list or len(pair) != 2:
            raise MessageError("a head with a header that is no pair")
    return CIMultiDictProxy(CIMultiDict(end_to_end(header_pairs(headers))))


def decode_request(payload: bytes) -> tuple[str, str, Headers, str | None]:
    """Method, target, headers and protocol of a request. Raises MessageError.

    Methods are case-sensitive, but some servers compare them without regard to case. The methods of
    RFC 9110 are therefore returned in upper case, so that access rules and servers see the same.
    """
    head = _decode(payload)
    method, target, protocol = head.get("method"), head.get("target"), head.get("protocol")
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise MessageError("a request without a method")
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise MessageError("a request without a target")
    if protocol is not None and (not isinstance(protocol, str) or not _TOKEN.fullmatch(protocol)):
        raise MessageError("a request whose protocol is no token")
    upper = method.upper()
    return upper if upper in _METHODS else method, target, _decode_headers(head), protocol


def decode_response(payload: bytes) -> tuple[int, Headers]:
    """Status and headers of an answer. Raises MessageError."""
    head = _decode(payload)
    status = head.get("status")
    if type(status) is not int or not 100 <= status <= 999:
        raise MessageError("an answer without a status from 100 to 999")
    return status, _decode_headers(head)


def decode_trailers(payload: bytes) -> Headers:
    """The trailers. Raises MessageError."""
    return _decode_headers(_decode(payload))
