"""Conditional requests (RFC 9110 §13): whether to send a file, and whether a range of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from peerfetch_fast.http.heads import Headers

__all__ = ["check_conditions", "file_time", "http_date", "range_holds"]

# RFC 9110 §8.8.3.
_ETAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')

MAX_DATE = 64
"""Characters of an HTTP date; real ones have at most 33."""

_EARLIEST = datetime(1000, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def check_conditions(headers: Headers, etag: str, modified: int) -> int | None:
    """The status that the conditions of a GET or HEAD lead to, in the order of RFC 9110 §13.2.2:
    304, 412, or None to go on.

    :param etag: the strong entity tag of what would be sent, quotes included.
    :param modified: when it was last modified, in whole seconds since 1970.
    """
    if "if-match" in headers:
        if not _names(headers, "if-match", etag, weak=False):
            return 412
    elif (since := _date(headers, "if-unmodified-since")) is not None and modified > since:
        return 412
    if "if-none-match" in headers:
        if _names(headers, "if-none-match", etag, weak=True):
            return 304
    elif (since := _date(headers, "if-modified-since")) is not None and modified <= since:
        return 304
    return None


def range_holds(headers: Headers, etag: str, modified: int, now: float) -> bool:
    """Whether If-Range lets the Range field apply (RFC 9110 §13.1.5).

    :param now: seconds since 1970. A file that was modified within the last second may be modified
        again in it, so that its date says too little.
    """
    value = headers.get("if-range")
    if value is None:
        return True
    if value.startswith(('"', "W/")):
        return value == etag
    return _date(headers, "if-range") == modified and now - modified > 1


def _names(headers: Headers, field: str, etag: str, *, weak: bool) -> bool:
    """Whether the field names ``etag``, or anything (``*``); by the weak comparison or not."""
    value = ",".join(headers.getall(field))
    if value.strip() == "*":
        return True
    return any(tag == etag and (weak or not weakness) for weakness, tag in _ETAG.findall(value))


def _date(headers: Headers, field: str) -> int | None:
    """Seconds since 1970, or None for what is no date: such a field is ignored (§13.1.3)."""
    values = headers.getall(field, ())
    if len(values) != 1 or len(values[0]) > MAX_DATE:
        return None
    try:
        date = parsedate_to_datetime(values[0])
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def file_time(seconds: float) -> datetime:
    """When a file was modified, in UTC. File systems keep times that no calendar has: what is left
    of them has four digits for the year, as the formats of dates want it.
    """
    return datetime.fromtimestamp(min(max(seconds, _EARLIEST), _LATEST), UTC)


def http_date(seconds: float) -> str:
    """RFC 9110 §5.6.7, whatever the locale."""
    return format_datetime(file_time(seconds), usegmt=True)
