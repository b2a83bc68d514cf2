"""Each thing in HTTP/1.1 that we see otherwise than h11 and llhttp.

Whoever refuses says why, and a difference is known by these words. Each has an example, which is a
seed of the fuzzers, and which test_h1_differences.py holds against both sides: a difference that is
none any more has to go. Ours is the reader without any :class:`Leniency`; what is tolerated is said
beside the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fuzz.h1_oracles import Reading, Role

__all__ = ["FROM_H11", "FROM_LLHTTP", "Body", "Differences", "Refusal", "check", "examples"]


@dataclass(frozen=True)
class Refusal:
    """One side refuses what the other takes.

    :ivar words: of the one that refuses.
    :ivar why: both may be right, or the other is not.
    :ivar example: a message that shows it.
    """

    words: str
    why: str
    example: bytes


@dataclass(frozen=True)
class Body:
    """A head behind which an oracle sees another body than we do.

    :ivar name: says what head.
    :ivar of: whether what an oracle reads is it.
    :ivar why: we are right.
    :ivar example: a message that shows it.
    """

    name: str
    of: Callable[[list[Any]], bool]
    why: str
    example: bytes


@dataclass(frozen=True)
class Differences:
    """Between us and an oracle, in one role.

    :ivar ours: what we refuse and it takes.
    :ivar theirs: what it refuses and we take.
    :ivar bodies: where both take a head, and it sees the body end elsewhere.
    """

    ours: tuple[Refusal, ...]
    theirs: tuple[Refusal, ...]
    bodies: tuple[Body, ...] = ()


def check(known: Differences, ours: Reading, theirs: Reading, patient: Reading) -> None:
    """Hold what we read against what an oracle reads.

    :param patient: what we read if a head that is not complete is ended: an oracle may refuse what
        we only look at when all of it is there.
    :raises AssertionError: they differ in what is not known.
    """
    (events, why), (its_events, its_why) = ours, theirs
    if why is not None and its_why is not None:
        return
    if why is not None and _known(why, known.ours):
        return
    if any(body.of(its_events) for body in known.bodies):
        heads = [event for event in its_events if isinstance(event, tuple) and event[0] != "end"]
        assert events[: len(heads)] == heads, (ours, theirs)
    elif why is None and its_why is not None:
        assert patient[1] is not None or _known(its_why, known.theirs), (ours, theirs)
    else:
        assert events == its_events, (ours, theirs)


def _known(words: str, refusals: tuple[Refusal, ...]) -> bool:
    return any(one.words in words for one in refusals)


def _upgrades(events: list[Any]) -> bool:
    """Whether this is a request that was taken for the last before another protocol."""
    if len(events) != 2 or events[1] != ("end", []) or len(events[0]) != 3:
        return False
    method, _, fields = events[0]
    return method == "CONNECT" or "upgrade" in dict(fields)


def _endless(events: list[Any]) -> bool:
    """Whether this is an answer in chunks of which all that follows was taken for the body."""
    if len(events) < 2 or not isinstance(events[-1], bytes):
        return False
    return "chunked" in dict(events[-2][1]).get("transfer-encoding", "")


def _informational(events: list[Any]) -> bool:
    """Whether an informational answer was given a body."""
    return len(events) > 1 and isinstance(events[-1], bytes) and events[-2][0] < 200


def examples(role: Role) -> list[bytes]:
    """One message for each difference."""
    found: list[bytes] = []
    for known in (FROM_H11[role], FROM_LLHTTP[role]):
        found += [one.example for one in (*known.ours, *known.theirs, *known.bodies)]
    return found


def _get(more: bytes = b"", line: bytes = b"GET / HTTP/1.1\r\n") -> bytes:
    return line + b"Host: x\r\n" + more + b"\r\n"


def _chunks(body: bytes) -> bytes:
    return _get(_CHUNKED) + body


def _ok(more: bytes, body: bytes = b"", line: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    return line + more + b"\r\n" + body


_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_LENGTH = b"Content-Length: 2\r\n"


def _coming(body: bytes) -> bytes:
    return _ok(_CHUNKED, body)


# What we refuse, in our words, in both roles or before both oracles.
_VALUES = "a field value with characters that HTTP does not allow"
_WITHOUT_CR = "a line that ends in LF without CR"
_EMPTY_LINE = "an empty line where a message should begin"
_FOLDED = "a line that continues the one before"
_TWICE = "Content-Length is said twice"
_MANY = "more than 1000 fields"
_DIGITS = "the size of a chunk has too many digits"
_UNSIZED = "a chunk without a size"
_CR = "CR without LF before a chunk"
_NUL = "NUL before a chunk"
_HOST = "a request without a Host, or with two"
_VERSION = "another version than HTTP/1.1"
_FIELDS = b"A: b\r\n" * 1001
_ZEROS = b"0000000000000002\r\nok\r\n0\r\n\r\n"
_PADDED = b"2 \r\nok\r\n0\r\n\r\n"

_EXPECT = Refusal(
    "Expect for anything but 100-continue",
    "RFC 9110 section 10.1.1: 417 may be answered; the others leave Expect to their user",
    _get(b"Expect: tea\r\n"),
)
_OLD_CHUNKED = Refusal(
    "Transfer-Encoding in HTTP/1.0",
    "RFC 9112 section 6.1: its framing is faulty, and the others do not look",
    _get(_CHUNKED, b"GET / HTTP/1.0\r\n") + b"0\r\n\r\n",
)
_NO_REASON = Refusal(
    "a status line that ends behind the status",
    "RFC 9112 section 4 wants the space; Leniency.NO_REASON",
    _ok(_LENGTH, b"ok", b"HTTP/1.1 200\r\n"),
)
_BEYOND_599 = Refusal(
    "an answer with the status",
    "RFC 9110 section 15 has 100 to 599; Leniency.STATUS_BEYOND_599",
    _ok(_LENGTH, b"ok", b"HTTP/1.1 799 Odd\r\n"),
)

FROM_H11: dict[Role, Differences] = {
    "server": Differences(
        ours=(
            _EXPECT,
            Refusal(
                _HOST,
                "RFC 9112 section 3.2; h11 asks for it in HTTP/1.1 alone, not in what may follow",
                b"GET / HTTP/1.2\r\n\r\n",
            ),
            _OLD_CHUNKED,
            Refusal(
                _VERSION,
                "RFC 9110 section 15.6.6: 505; h11 leaves the version to its user",
                _get(line=b"GET / HTTP/2.0\r\n"),
            ),
            Refusal(
                _WITHOUT_CR,
                "two readers could see different ends; Leniency.BARE_LF",
                b"GET / HTTP/1.1\nHost: x\r\n\r\n",
            ),
            Refusal(
                _FOLDED, "RFC 9112 section 5.2: 400; h11 joins the lines", _get(b"A: b\r\n c\r\n")
            ),
            Refusal(
                "Transfer-Encoding without a coding",
                "a folded value, the first line of which is looked at first",
                _get(b"Transfer-Encoding:\r\n chunked\r\n") + b"0\r\n\r\n",
            ),
            Refusal(
                "Content-Length is no number",
                "the same",
                _get(b"Content-Length:\r\n 2\r\n") + b"ok",
            ),
            Refusal(
                _VALUES,
                "RFC 9110 section 5.5; h11 takes controls; Leniency.CONTROL_CHARACTERS",
                _get(b"A: \x01\r\n"),
            ),
            Refusal(_MANY, "MAX_FIELDS; h11 bounds the bytes of a head alone", _get(_FIELDS)),
            Refusal(_DIGITS, "SIZE_DIGITS; h11 takes twenty", _chunks(_ZEROS)),
            Refusal(
                "a request with both Content-Length and Transfer-Encoding",
                "RFC 9112 section 6.1 lets a server refuse it; h11 drops the length",
                _get(_CHUNKED + _LENGTH) + b"0\r\n\r\n",
            ),
            Refusal(
                _TWICE,
                "RFC 9110 section 8.6 lets a recipient refuse it; Leniency.REPEATED_LENGTH",
                _get(_LENGTH + _LENGTH) + b"ok",
            ),
            Refusal(
                _UNSIZED,
                "white space behind a size is no part of it; Leniency.PADDED_CHUNK_SIZE",
                _chunks(_PADDED),
            ),
            Refusal(_CR, "so with CR", _chunks(b"2;\r\0\r\nok\r\n0\r\n\r\n")),
            Refusal(
                _NUL, "no extension has it; h11 takes any", _chunks(b"2;\0\r\nok\r\n0\r\n\r\n")
            ),
        ),
        theirs=(
            Refusal(
                "illegal request line",
                "h11 takes ASCII targets; ours are octets, as nginx's are",
                _get(line=b"GET /\xe9 HTTP/1.1\r\n"),
            ),
            Refusal(
                "illegal chunk header",
                "RFC 9112 section 7.1.1 has white space before an extension; h11 takes none",
                _chunks(b"2 ;a\r\nok\r\n0\r\n\r\n"),
            ),
            Refusal(
                "Content-Length",
                "h11 reads framing in trailers, where it means nothing (RFC 9110 section 6.5.1)",
                _chunks(b"0\r\nContent-Length: x\r\n\r\n"),
            ),
            Refusal(
                "Transfer-Encoding",
                "the same of Transfer-Encoding",
                _chunks(b"0\r\nTransfer-Encoding: gzip\r\n\r\n"),
            ),
        ),
    ),
    "client": Differences(
        ours=(
            _NO_REASON,
            _BEYOND_599,
            Refusal(
                _VERSION,
                "h11 leaves the version to its user",
                _ok(_LENGTH, b"ok", b"HTTP/2.0 200 \r\n"),
            ),
            Refusal(
                _WITHOUT_CR, "as of requests; Leniency.BARE_LF", b"HTTP/1.1 204 No\nA: b\r\n\r\n"
            ),
            Refusal(_FOLDED, "as of requests", _ok(b"A: b\r\n c\r\n" + _LENGTH, b"ok")),
            Refusal(
                "Transfer-Encoding without a coding",
                "as of requests",
                _ok(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
            ),
            Refusal(
                "Content-Length is no number",
                "as of requests",
                _ok(b"Content-Length:\r\n 2\r\n", b"ok"),
            ),
            Refusal(_VALUES, "as of requests", _ok(b"A: \x01\r\n" + _LENGTH, b"ok")),
            Refusal(_MANY, "as of requests", _ok(_FIELDS + _LENGTH, b"ok")),
            Refusal(_DIGITS, "as of requests", _coming(_ZEROS)),
            Refusal(_TWICE, "as of requests", _ok(_LENGTH + _LENGTH, b"ok")),
            Refusal(_UNSIZED, "as of requests", _coming(_PADDED)),
            Refusal(_CR, "as of requests", _coming(b"2;\r\0\r\nok\r\n0\r\n\r\n")),
            Refusal(_NUL, "as of requests", _coming(b"2;\0\r\nok\r\n0\r\n\r\n")),
            Refusal(
                "Transfer-Encoding beside Content-Length, or in HTTP/1.0",
                "RFC 9112 section 6.3; h11 drops the length; Leniency.LENGTH_BESIDE_CODING",
                _ok(_CHUNKED + _LENGTH, b"0\r\n\r\n"),
            ),
        ),
        theirs=(
            Refusal("illegal chunk header", "as of requests", _coming(b"2 ;a\r\nok\r\n0\r\n\r\n")),
            Refusal(
                "Content-Length",
                "as of requests",
                _coming(b"0\r\nContent-Length: x\r\n\r\n"),
            ),
            Refusal(
                "Transfer-Encoding",
                "h11 reads framing in informational answers too, where it means nothing",
                b"HTTP/1.1 100 \r\nTransfer-Encoding: gzip\r\n\r\nHTTP/1.1 204 \r\n\r\n",
            ),
            Refusal(
                "ConnectionClosed",
                "to us an answer that never began is an end: the request may be repeated",
                b"",
            ),
        ),
    ),
}

_UPGRADING = b"Connection: upgrade\r\nUpgrade: h2c\r\n"

FROM_LLHTTP: dict[Role, Differences] = {
    "server": Differences(
        ours=(
            _EXPECT,
            Refusal(_HOST, "RFC 9112 section 3.2; llhttp does not look", b"GET / HTTP/1.1\r\n\r\n"),
            _OLD_CHUNKED,
            Refusal(
                _VERSION,
                "RFC 9110 section 15.6.6: 505; llhttp's list has HTTP/2.0 and HTTP/0.9",
                _get(line=b"GET / HTTP/2.0\r\n"),
            ),
            Refusal(_EMPTY_LINE, "RFC 9112 section 2.2; Leniency.EMPTY_LINES", b"\r\n" + _get()),
            Refusal(
                "a request without a method",
                "llhttp skips any CR and LF before a request; to us a CR is none without LF",
                b"\r" + _get(),
            ),
            Refusal(
                _WITHOUT_CR,
                "llhttp takes a line without a version for HTTP/0.9, and LF alone behind it",
                b"GET /\n\r\n",
            ),
            Refusal(
                "a request without a target",
                "llhttp takes a line without a version for HTTP/0.9",
                b"GET /\r\n\r\n",
            ),
            Refusal(
                "a request line that does not end in HTTP/1.1",
                "llhttp skips spaces before the version; RFC 9112 section 3 has one",
                _get(line=b"GET /  HTTP/1.1\r\n"),
            ),
            Refusal(
                "another transfer coding than chunked",
                "RFC 9112 section 6.1: 501; llhttp leaves the others to its user",
                _get(b"Transfer-Encoding: gzip, chunked\r\n") + b"0\r\n\r\n",
            ),
            Refusal(_MANY, "MAX_FIELDS; llhttp leaves bounds to its user", _get(_FIELDS)),
            Refusal(_DIGITS, "SIZE_DIGITS; llhttp bounds the number alone", _chunks(_ZEROS)),
        ),
        theirs=(
            Refusal(
                "Invalid method encountered",
                "llhttp has a list; a method is any token (RFC 9110 section 9.1)",
                _get(line=b"MUX / HTTP/1.1\r\n"),
            ),
            Refusal("Expected space after method", "the same", _get(line=b"GETS / HTTP/1.1\r\n")),
            Refusal(
                "Invalid method for HTTP/x.x request",
                "the same: RTSP's methods are tokens too",
                _get(line=b"SETUP / HTTP/1.1\r\n"),
            ),
            Refusal(
                "Invalid HTTP version",
                "a higher minor version is compatible (RFC 9110 section 6.2); llhttp has a list",
                _get(line=b"GET / HTTP/1.4\r\n"),
            ),
            Refusal(
                "in url path",
                "llhttp takes ASCII targets; ours are octets, as nginx's are",
                _get(line=b"GET /\xe9 HTTP/1.1\r\n"),
            ),
            Refusal("in url query", "the same", _get(line=b"GET /?\xe9 HTTP/1.1\r\n")),
            Refusal("in url fragment", "the same", _get(line=b"GET /#\xe9 HTTP/1.1\r\n")),
            Refusal(
                "start char in url",
                "llhttp reads a URL; what a target begins with is looked at above this floor",
                _get(line=b"GET \xe9 HTTP/1.1\r\n"),
            ),
            Refusal("in url schema", "the same", _get(line=b"GET a/ HTTP/1.1\r\n")),
            Refusal("Invalid characters in url", "the same", _get(line=b"GET a HTTP/1.1\r\n")),
            Refusal(
                "in chunk size",
                "RFC 9112 section 7.1.1 has white space before an extension; llhttp takes none",
                _chunks(b"2 ;a\r\nok\r\n0\r\n\r\n"),
            ),
            Refusal(
                "in chunk extensions",
                "llhttp reads extensions by their grammar; we drop them, but for CR, LF and NUL",
                _chunks(b"2;\r\nok\r\n0\r\n\r\n"),
            ),
            Refusal(
                "Content-Length",
                "llhttp reads framing in trailers, where it means nothing (RFC 9110 section 6.5.1)",
                _chunks(b"0\r\nContent-Length: 2\r\n\r\n"),
            ),
            Refusal(
                "Transfer-Encoding",
                "the same of Transfer-Encoding",
                _chunks(b"0\r\nTransfer-Encoding: gzip\r\n\r\n"),
            ),
        ),
        bodies=(
            Body(
                "a request for another protocol",
                _upgrades,
                "a body goes before the other protocol (RFC 9110 section 7.8); llhttp skips it",
                _get(_UPGRADING + _LENGTH) + b"ok",
            ),
        ),
    ),
    "client": Differences(
        ours=(
            _NO_REASON,
            Refusal(_VERSION, "as of requests", _ok(_LENGTH, b"ok", b"HTTP/2.0 200 \r\n")),
            _BEYOND_599,
            Refusal(
                _EMPTY_LINE,
                "llhttp skips empty lines before an answer; Leniency.EMPTY_LINES",
                b"\r\n" + _ok(_LENGTH, b"ok"),
            ),
            Refusal(
                "an answer without a status line",
                "llhttp skips any CR and LF before an answer; to us a CR is none without LF",
                b"\r" + _ok(_LENGTH, b"ok"),
            ),
            Refusal(
                _VALUES,
                "RFC 9112 section 4; llhttp looks at no octet of a reason",
                _ok(_LENGTH, b"ok", b"HTTP/1.1 200 \0\r\n"),
            ),
            Refusal(
                "Transfer-Encoding without a coding",
                "the same of a list without members",
                _ok(b"Transfer-Encoding: ,\r\n", b"ok"),
            ),
            Refusal(
                "Transfer-Encoding beside Content-Length, or in HTTP/1.0",
                "RFC 9112 section 6.1; llhttp does not look; Leniency.LENGTH_BESIDE_CODING",
                _ok(_CHUNKED, b"0\r\n\r\n", b"HTTP/1.0 200 \r\n"),
            ),
            Refusal(
                "another transfer coding than chunked",
                "nobody asked for one (RFC 9112 section 6.1); llhttp reads until the end",
                _ok(b"Transfer-Encoding: gzip\r\n", b"ok"),
            ),
            Refusal(
                "which nobody asked for",
                "llhttp does not know what was asked",
                b"HTTP/1.1 101 \r\n" + _UPGRADING + b"\r\n",
            ),
            Refusal(_MANY, "as of requests", _ok(_FIELDS + _LENGTH, b"ok")),
            Refusal(_DIGITS, "as of requests", _coming(_ZEROS)),
        ),
        theirs=(
            Refusal(
                "Invalid HTTP version", "as of requests", _ok(_LENGTH, b"ok", b"HTTP/1.4 200 \r\n")
            ),
            Refusal(
                "Data after `Connection: close`",
                "llhttp takes an informational answer with it for the last",
                b"HTTP/1.1 100 \r\nConnection: close\r\n\r\nHTTP/1.1 204 \r\n\r\n",
            ),
            Refusal("in chunk size", "as of requests", _coming(b"2 ;a\r\nok\r\n0\r\n\r\n")),
            Refusal("in chunk extensions", "as of requests", _coming(b"2;\r\nok\r\n0\r\n\r\n")),
            Refusal("Content-Length", "as of requests", _coming(b"0\r\nContent-Length: 2\r\n\r\n")),
        ),
        bodies=(
            Body(
                "an informational answer with a transfer coding",
                _informational,
                "it has no body (RFC 9112 section 6.3); llhttp reads until the end",
                b"HTTP/1.1 120 \r\nTransfer-Encoding: gzip\r\n\r\n" + _ok(_LENGTH, b"ok"),
            ),
            Body(
                "chunked with a comma or white space behind it",
                _endless,
                "both are no part of it (RFC 9110 section 5.6.1.2); llhttp reads until the end",
                _ok(b"Transfer-Encoding: chunked,\r\n", b"2\r\nok\r\n0\r\n\r\n"),
            ),
        ),
    ),
}
