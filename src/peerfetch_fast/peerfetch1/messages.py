"""The messages of ``peerfetch.1``: their JSON, and the checks on what comes in.

A request is one text message, an answer a text message (the head) and, unless its status is 204, a
second one of either kind (the whole body). Answers carry no number: they come in the order of the
requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode

import orjson

from peerfetch_fast.errors import MessageError

__all__ = [
    "MAX_REQUEST",
    "PING",
    "PONG",
    "WAITING",
    "Head",
    "Request",
    "encode_head",
    "encode_request",
    "parse_head",
    "parse_request",
]

MAX_REQUEST = 256 * 1024
"""Characters of the longest request that is read, the largest message that browsers send."""

MAX_URL = 8192
"""Characters of the longest URL that is read, because libraries cache URLs."""

PONG = "pong"
"""The body of the answer to a ping."""

_METHODS = frozenset(("GET", "PUT", "POST"))
_LONGEST_HEAD = 4096
# The characters of a field value (RFC 9110 section 5.5).
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SCALARS = (str, int, float, bool)


@dataclass(frozen=True, slots=True)
class Request:
    """A request of an old client. ``url`` is unchanged, but for an empty query."""

    url: str
    method: str = "GET"
    body: bytes | None = None
    content_type: str | None = None

    @property
    def is_ping(self) -> bool:
        """Whether the request is a ping."""
        return self.url.startswith("ping")


@dataclass(frozen=True, slots=True)
class Head:
    """The first message of an answer."""

    status: int
    content_type: str | None = None
    is_waiting: bool = False
    """Whether the head only announces that the answer will follow."""


def parse_request(message: bytes | str) -> Request:
    """Read a request.

    Raises MessageError, whose text can complete a sentence for the client.
    """
    if not isinstance(message, str):
        raise MessageError("it is no text message")
    if len(message) > MAX_REQUEST:
        raise MessageError(f"it is longer than {MAX_REQUEST} characters")
    fields = _object(message)
    url, method = fields.get("url"), fields.get("method", "GET")
    if not isinstance(url, str) or not url:
        raise MessageError("it has no url")
    if len(url) > MAX_URL:
        raise MessageError(f"its url is longer than {MAX_URL} characters")
    if not isinstance(method, str) or method.upper() not in _METHODS:
        raise MessageError("its method is none of GET, PUT and POST")
    body, content_type = _body(fields.get("json"), fields.get("data"))
    if method.upper() == "GET":
        body = content_type = None  # old proxies send none
    return Request(url.removesuffix("?"), method.upper(), body, content_type)


def _body(json: object, data: object) -> tuple[bytes | None, str | None]:
    """The body that the HTTP client of old proxies sends for ``json`` and ``data``."""
    if json is not None and data is not None:
        raise MessageError("json and data exclude each other")
    try:
        if json is not None:
            return orjson.dumps(json), "application/json"
        if isinstance(data, str):
            return data.encode(), "text/plain; charset=utf-8"
        if isinstance(data, dict) and all(isinstance(value, _SCALARS) for value in data.values()):
            return urlencode(data).encode(), "application/x-www-form-urlencoded"
    except (ValueError, orjson.JSONEncodeError):
        raise MessageError("its body has no encoding") from None
    if data is not None:
        raise MessageError("data is neither text nor an object of plain values")
    return None, None


def encode_request(request: Request) -> str:
    """Write a request as old proxies read it.

    Raises MessageError for a body that the protocol cannot carry.
    """
    # The newest old proxies pass each member to a function with exactly these parameters.
    fields: dict[str, object] = {"url": request.url, "method": request.method}
    if request.body:
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        try:
            if kind == "application/json":
                fields["json"] = orjson.loads(request.body)
            else:
                fields["data"] = request.body.decode()
        except (UnicodeDecodeError, orjson.JSONDecodeError):
            raise MessageError("its body is neither text nor JSON") from None
    return orjson.dumps(fields).decode()


PING = encode_request(Request("ping"))
"""A ping."""


def parse_head(message: bytes | str) -> Head:
    """Read the first message of an answer. Raises MessageError."""
    if len(message) > _LONGEST_HEAD:
        raise MessageError(f"a head of more than {_LONGEST_HEAD} bytes")
    fields = _object(message)
    status, content_type = fields.get("status"), fields.get("content-type")
    if type(status) is not int or not 200 <= status <= 599:
        raise MessageError("a head without a status from 200 to 599")
    if not isinstance(content_type, str) or not _FIELD_VALUE.fullmatch(content_type):
        content_type = None
    # The head of an upstream's own 202 has a content type, because a body follows.
    waiting = status == 202 and not fields.keys() & {"content-type", "content-length"}
    return Head(status, content_type, waiting)


def encode_head(status: int, content_type: str, length: int) -> str:
    """Write the first message of an answer."""
    fields = {"status": status, "content-type": content_type, "content-length": length}
    return orjson.dumps(fields).decode()


WAITING = '{"status":202}'
"""The head that tells an old client to keep waiting."""


def _object(message: bytes | str) -> dict[str, object]:
    try:
        fields = orjson.loads(message)
    except orjson.JSONDecodeError:
        raise MessageError("it is not JSON") from None
    if not isinstance(fields, dict):
        raise MessageError("it is no JSON object")
    return fields
