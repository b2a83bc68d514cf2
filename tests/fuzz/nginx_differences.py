"""Each thing that nginx, as a reverse proxy, does otherwise than `forward` and the proxy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["CONNECTION", "NGINX_STRICTER", "OURS_STRICTER", "Passed", "differs"]

Fields = list[tuple[str, str]]

OURS_STRICTER = {
    "a line that ends in LF without CR": "two readers could see different ends; nginx takes LF",
    "LF without CR before a chunk": "the same within a body in chunks",
    "a chunk without a size": "white space is no part of a chunk's size (RFC 9112 section 7.1)",
    "the size of a chunk has too many digits": "SIZE_DIGITS; nginx bounds the number alone",
    "NUL before a chunk": "no extension of a chunk has it",
    "a line in a head that is no field": "nginx drops such a line, with what it was to say",
    "a field value with characters": "nginx takes several CR before LF for one",
    "a line that continues the one before": "nginx drops such a line (RFC 9112 section 5.2: 400)",
    "Expect for anything but 100-continue": "RFC 9110 section 10.1.1: 417; nginx takes it off",
    "does not begin with '/'": "`forward` is nobody's proxy; nginx takes the path of such a target",
    "a request without a target": "nginx takes a line without a version for HTTP/0.9",
    "a request without a method": "nginx skips any CR and LF before a request",
    "a request line that does not end in HTTP/1.1": "nginx skips spaces before the version",
    "HTTP/1.1 403 Forbidden": "`forward` answers to names of this machine, and to no foreign page",
    "a chunk that is longer than its size": "LF behind a chunk's data, which nginx takes",
    "a WebSocket takes a Sec-WebSocket-Key": "`forward` shakes hands; nginx takes Upgrade off",
}
"""What we refuse and nginx passes on: our words, and why."""

NGINX_STRICTER = {
    "client sent invalid host header": "white space before a value may be a tab",
    "client sent invalid request": "targets pass as they are: `%` with no octet behind it as well",
    "client sent invalid method": "a method is any token (RFC 9110 section 9.1), not A to Z alone",
    "Connection has close in it": "nginx looks for it in any part of the value, not for a member",
}
"""What nginx refuses and we pass on: its words in its log, and why."""

CONNECTION = re.compile(rb"(?i)\nconnection:[ \t]*([^\r\n]*)")

OF_ONE_CONNECTION = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    )
)
"""Fields that each proxy says itself, or keeps to itself (docs/proxy.md)."""


RAW = re.compile(r"[^\x21-\x7e]")
"""What targets of peerfetch.2 do not have."""


BEYOND_NGINX = re.compile(r"[^0-9a-z_-]")
"""What tokens may have (RFC 9110 section 5.6.2), and names of fields have not in nginx."""


@dataclass(frozen=True)
class Passed:
    """A request as it reached the upstream."""

    method: str
    target: str
    fields: Fields
    body: bytes


def differs(ours: Passed, theirs: Passed, asked: bytes) -> Iterator[str]:
    """The names of what is passed on otherwise of what was asked; "" for what has no name."""
    if ours.method != theirs.method:
        yield ""
    if ours.target != theirs.target:
        encoded = RAW.sub(lambda found: f"%{ord(found[0]):02X}", theirs.target)
        yield "raw octets of a target are percent-encoded" if ours.target == encoded else ""
    mine = [pair for pair in ours.fields if pair[0] not in OF_ONE_CONNECTION]
    its = [pair for pair in theirs.fields if pair[0] not in OF_ONE_CONNECTION]
    if [pair for pair in mine if BEYOND_NGINX.search(pair[0])]:
        mine = [pair for pair in mine if not BEYOND_NGINX.search(pair[0])]
        yield "nginx drops fields whose names have more than letters, digits, - and _"
    if mine != its:
        named = {
            token.strip().lower()
            for line in CONNECTION.findall(asked)
            for token in line.decode("latin-1").split(",")
        }
        of_more = [pair for pair in its if pair[0] not in named]
        yield "nginx passes on what Connection names (RFC 9110 section 7.6.1)" * (mine == of_more)
    if ours.body != theirs.body:
        yield ""
