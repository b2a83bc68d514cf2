"""What is read of octets, however they are cut; what is refused, and what is tolerated by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import MessageError, MessageTruncated, WireError
from peerfetch_fast.http.h1 import (
    MAX_CHUNK_LINE,
    MAX_FIELDS,
    MAX_HEAD,
    PROGRAM,
    UPSTREAM,
    Closed,
    End,
    Leniency,
    Request,
    Response,
)
from peerfetch_fast.http.h1._wire import Reader

STRICT = Leniency(0)
EOF = b""


def told(reader: Reader) -> Iterator[Any]:
    """What the reader tells, going on from message to message."""
    while True:
        event = reader.next_event()
        if event is None:
            if not reader.done or not reader.waiting:
                return
            reader.next_message()
        elif isinstance(event, bytes):
            assert event
            yield event
        elif isinstance(event, End):
            yield "end", event.trailers
        elif isinstance(event, Closed):
            yield "closed"
            return
        else:
            framing = event.version, event.length, event.chunked, event.keep_alive
            if isinstance(event, Request):
                yield event.method, event.target, event.headers, framing
            else:
                yield event.status, event.reason, event.headers, framing


def read(
    pieces: list[bytes], *, requests: bool, leniency: Leniency, head: bool = False
) -> list[Any]:
    """What comes of these pieces, bodies joined; an error stands as its class at the end."""
    reader = Reader(requests=requests, leniency=leniency)
    reader.no_body = head
    reader.upgrade_asked = True
    events: list[Any] = []
    try:
        for piece in pieces:
            reader.receive(piece)
            for event in told(reader):
                if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
                    events[-1] += event
                else:
                    events.append(event)
    except MessageError as error:
        events.append(type(error))
    return events


def request(octets: bytes, leniency: Leniency = PROGRAM) -> Request:
    reader = Reader(requests=True, leniency=leniency)
    reader.receive(octets)
    event = reader.next_event()
    assert isinstance(event, Request)
    return event


def response(octets: bytes, leniency: Leniency = UPSTREAM) -> Response:
    reader = Reader(requests=False, leniency=leniency)
    reader.receive(octets)
    event = reader.next_event()
    assert isinstance(event, Response)
    return event


# -- heads ------------------------------------------------------------------------------------


def test_a_request_keeps_every_octet_of_target_and_values() -> None:
    head = request(
        b"PROPFIND //a;b/%2F\xc3\xa4?? HTTP/1.1\r\nHost: x\r\nX-A:\t \xe4\x01b \t\r\nx-a:\r\n"
        b"Cookie: a=1\r\n\r\n"
    )
    assert (head.method, head.target, head.version) == ("PROPFIND", "//a;b/%2F\xc3\xa4??", 11)
    assert head.headers == [("host", "x"), ("x-a", "\xe4\x01b"), ("x-a", ""), ("cookie", "a=1")]
    assert (head.length, head.chunked, head.keep_alive) == (None, False, True)


@pytest.mark.parametrize("method", ["GET", "get", "M-SEARCH", "VERSION-CONTROL", "!#$%&'*+-.^_`|~"])
def test_any_token_is_a_method(method: str) -> None:
    assert request(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode()).method == method


def test_the_head_of_an_answer_is_read_with_repeated_fields() -> None:
    head = response(b"HTTP/1.1 404 Not \xe4\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n")
    assert (head.status, head.reason, head.version) == (404, "Not \xe4", 11)
    assert head.headers == [("set-cookie", "a"), ("set-cookie", "b")]


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "Keep-Alive, CLOSE", False),
        ("1.1", "closed", True),
        ("1.2", "", True),
        ("1.0", "", False),
        ("1.0", "x , Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_whether_the_connection_goes_on(version: str, connection: str, keep_alive: bool) -> None:
    fields = f"HTTP/{version}\r\nHost: x\r\nConnection: {connection}\r\n\r\n"
    assert request(f"GET / {fields}".encode()).keep_alive == keep_alive
    answer = fields.replace("\r\n", " 204 \r\n", 1)
    assert response(answer.encode()).keep_alive == keep_alive


def test_expect_and_upgrade_are_seen() -> None:
    head = request(
        b"GET / HTTP/1.1\r\nHost: x\r\nexpect: 100-Continue\r\nupgrade: websocket\r\n"
        b"connection: keep-alive, Upgrade\r\n\r\n"
    )
    assert head.expect_continue
    assert head.upgrade
    assert not request(b"GET / HTTP/1.1\r\nHost: x\r\nupgrade: websocket\r\n\r\n").upgrade
    old = request(b"GET / HTTP/1.0\r\nexpect: 100-continue\r\n\r\n")
    assert not old.expect_continue


# -- what is refused, whoever sends it ----------------------------------------------------------

OF_A_REQUEST = {
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method that is no token": b"GE(T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a control in the target": b"GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "a version of its own": b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
    "words behind the version": b"GET / HTTP/1.1 x\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "another expectation": b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
OF_A_HEAD = {
    "folding": b"A: 1\r\n b\r\n",
    "folding at once": b" A: 1\r\n",
    "a space before the colon": b"A : 1\r\n",
    "a tab before the colon": b"Content-Length\t: 1\r\n",
    "no colon": b"A\r\n",
    "no name": b": 1\r\n",
    "a name that is no token": b"A(b: 1\r\n",
    "a name of Latin-1": b"\xc4: 1\r\n",
    "NUL": b"A: a\0b\r\n",
    "a bare CR": b"A: a\rb\r\n",
    "a bare CR at the end": b"A: a\r\r\n",
    "a length that is none": b"Content-Length: x\r\n",
    "a hexadecimal length": b"Content-Length: 0x1\r\n",
    "a negative length": b"Content-Length: -1\r\n",
    "a length with a sign": b"Content-Length: +1\r\n",
    "an empty length": b"Content-Length:\r\n",
    "half a list of lengths": b"Content-Length: 1,\r\n",
    "a length with a space in it": b"Content-Length: 1 1\r\n",
    "a length beyond 64 bits": b"Content-Length: 18446744073709551617\r\n",
    "two lengths": b"Content-Length: 1\r\nContent-Length: 2\r\n",
    "a list of lengths": b"Content-Length: 1, 2\r\n",
    "chunked and more": b"Transfer-Encoding: chunked, gzip\r\n",
    "more and chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
    "no coding": b"Transfer-Encoding:\r\n",
    "a coding like chunked": b"Transfer-Encoding: xchunked\r\n",
    "a quoted coding": b'Transfer-Encoding: "chunked"\r\n',
    "a vertical tab before the coding": b"Transfer-Encoding: \x0bchunked\r\n",
    "a parameter of the coding": b"Transfer-Encoding: chunked;a=b\r\n",
}
OF_CHUNKS = {
    "0x": b"0x1\r\na\r\n0\r\n\r\n",
    "a sign": b"+1\r\na\r\n0\r\n\r\n",
    "a minus": b"-1\r\na\r\n0\r\n\r\n",
    "a space before the size": b" 1\r\na\r\n0\r\n\r\n",
    "no size": b"\r\na\r\n0\r\n\r\n",
    "only an extension": b";a\r\na\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\na\r\n0\r\n\r\n",
    "no digit": b"g\r\na\r\n0\r\n\r\n",
    "too many digits": b"1" * 16 + b"\r\na",
    "2^64": b"10000000000000001\r\na",
    "NUL in an extension": b"1;a=\0\r\na\r\n0\r\n\r\n",
    "a bare CR in an extension": b"1;a\rb\r\na\r\n0\r\n\r\n",
    "a bare CR behind the size": b"1\ra\r\n0\r\n\r\n",
    "data that is longer": b"1\r\nab\r\n0\r\n\r\n",
    "data that is shorter": b"3\r\na\r\n0\r\n\r\n",
    "a bare CR behind the data": b"1\r\na\rx\r\n0\r\n\r\n",
    "spaces within the size": b"1 1\r\na\r\n0\r\n\r\n",
    "a broken trailer": b"0\r\nA : 1\r\n\r\n",
    "a folded trailer": b"0\r\nA: 1\r\n b\r\n\r\n",
    "a bare CR in a trailer": b"0\r\nA: 1\rb\r\n\r\n",
}


@pytest.mark.parametrize("octets", OF_A_REQUEST.values(), ids=OF_A_REQUEST)
def test_requests_that_are_none(octets: bytes) -> None:
    for leniency in (STRICT, PROGRAM):
        assert read([octets], requests=True, leniency=leniency) == [WireError]


@pytest.mark.parametrize("fields", OF_A_HEAD.values(), ids=OF_A_HEAD)
def test_heads_that_are_none(fields: bytes) -> None:
    """In either role, whatever is tolerated."""
    post = b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n"
    answer = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n"
    for leniency in (STRICT, PROGRAM, UPSTREAM):
        assert read([post], requests=True, leniency=leniency) == [WireError]
        assert read([answer], requests=False, leniency=leniency) == [WireError]


@pytest.mark.parametrize("body", OF_CHUNKS.values(), ids=OF_CHUNKS)
def test_chunks_that_are_none(body: bytes) -> None:
    post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    for leniency in (STRICT, PROGRAM, UPSTREAM):
        assert read([post], requests=True, leniency=leniency)[-1] is WireError
        assert read([answer], requests=False, leniency=leniency)[-1] is WireError


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
    ],
)
def test_status_lines_that_are_none(octets: bytes) -> None:
    for leniency in (STRICT, UPSTREAM):
        assert read([octets], requests=False, leniency=leniency) == [WireError]


def test_smuggling_with_two_framings_is_refused() -> None:
    for fields in (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 4\r\n",
        b"Content-Length: 4, 4\r\n",
    ):
        octets = b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        assert read([octets], requests=True, leniency=PROGRAM) == [WireError]


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
    ],
)
def test_a_broken_request_has_the_status_to_answer_with(octets: bytes, status: int) -> None:
    with pytest.raises(WireError) as raised:
        request(octets)
    assert raised.value.status == status


def test_nothing_is_read_after_an_error() -> None:
    reader = Reader(requests=True, leniency=PROGRAM)
    reader.receive(b"GET\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(2):
        with pytest.raises(WireError, match="request"):
            reader.next_event()


# -- what is tolerated, by its name --------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

TOLERATED = {
    Leniency.REPEATED_LENGTH: [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2 , 2\r\n\r\nok",
    ],
    Leniency.LOWER_CASE_VERSION: [b"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
    Leniency.BARE_LF: [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
        CHUNKED + b"2\r\nok\r\n0\r\nA: b\n\n",
    ],
    Leniency.BARE_LF_IN_CHUNKS: [CHUNKED + b"2\nok\n0\n\r\n", CHUNKED + b"2;a=b\nok\r\n0\r\n\r\n"],
    Leniency.STATUS_BEYOND_599: [
        b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    Leniency.LENGTH_BESIDE_CODING: [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
    Leniency.NO_REASON: [b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"],
    Leniency.CONTROL_CHARACTERS: [
        b"HTTP/1.1 200 OK\r\nX: a\x01\x7fb\r\nContent-Length: 2\r\n\r\nok",
    ],
    Leniency.EMPTY_LINES: [
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    Leniency.PADDED_CHUNK_SIZE: [CHUNKED + b"2  \r\nok\r\n0 \r\n\r\n"],
}
CASES = [(leniency, octets) for leniency, several in TOLERATED.items() for octets in several]


@pytest.mark.parametrize(("leniency", "octets"), CASES)
def test_what_is_tolerated_by_name(leniency: Leniency, octets: bytes) -> None:
    for tolerated in (leniency, UPSTREAM):
        events = read([octets], requests=False, leniency=tolerated)
        assert events[1] == b"ok"
        assert events[2][0] == "end"
        assert not any(name == "content-length" and v == "9" for name, v in events[0][2])
    assert read([octets], requests=False, leniency=UPSTREAM & ~leniency)[-1] is WireError


def test_octets_that_nobody_asked_for() -> None:
    octets = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for leniency in (UPSTREAM, UPSTREAM & ~Leniency.SURPLUS):
        reader = Reader(requests=False, leniency=leniency)
        reader.no_body = True
        reader.receive(octets)
        assert isinstance(reader.next_event(), Response)
        assert isinstance(reader.next_event(), End)
        assert not reader.untouched
        if leniency & Leniency.SURPLUS:
            assert reader.next_event() is None
        else:
            with pytest.raises(WireError, match="nobody asked"):
                reader.next_event()


def test_a_contradicted_length_ends_the_connection() -> None:
    for octets in TOLERATED[Leniency.LENGTH_BESIDE_CODING]:
        assert not response(octets).keep_alive


# -- bodies -----------------------------------------------------------------------------------


def test_a_piece_that_is_all_body_is_handed_on_as_it_came() -> None:
    for head in (b"Content-Length: 100000\r\n", b"Transfer-Encoding: chunked\r\n", b""):
        reader = Reader(requests=False, leniency=STRICT)
        reader.receive(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        assert isinstance(reader.next_event(), Response)
        if b"chunked" in head:
            reader.receive(b"fffff\r\n")
            assert reader.next_event() is None
        piece = bytes(50_000)
        reader.receive(piece)
        assert reader.next_event() is piece


def test_bodies_that_are_cut_short() -> None:
    for octets in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        CHUNKED,
        CHUNKED + b"2",
        CHUNKED + b"2\r\n",
        CHUNKED + b"2\r\nok",
        CHUNKED + b"2\r\nok\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\n",
        CHUNKED + b"2\r\nok\r\n0\r\nA: b\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"H",
    ):
        events = read([octets, EOF], requests=False, leniency=UPSTREAM)
        assert events[-1] is MessageTruncated


def test_a_body_that_ends_with_its_connection() -> None:
    octets = b"HTTP/1.1 200 OK\r\n\r\nall of it"
    (head, body, end) = read([octets, EOF], requests=False, leniency=STRICT)
    assert head[3] == (11, None, False, False)
    assert (body, end) == (b"all of it", ("end", []))


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(status: int) -> None:
    for field in (b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b""):
        octets = b"HTTP/1.1 %d x\r\n%s\r\n" % (status, field)
        assert read([octets], requests=False, leniency=STRICT)[1:] == [("end", [])]


def test_trailers_are_read_behind_the_last_chunk() -> None:
    octets = CHUNKED + b'2;a;b="c"\r\nok\r\n000\r\nX-Sum: 1\r\nx-sum: \xe4\r\n\r\n'
    events = read([octets], requests=False, leniency=STRICT)
    assert events[1:] == [b"ok", ("end", [("x-sum", "1"), ("x-sum", "\xe4")])]


def test_trailers_do_not_say_where_a_message_ends() -> None:
    octets = CHUNKED + b"0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: y\r\nA: b\r\n\r\n"
    assert read([octets], requests=False, leniency=STRICT)[1:] == [("end", [("a", "b")])]


def test_informational_answers_and_what_they_cost() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    events = read(
        [b"HTTP/1.1 100 Continue\r\n\r\n" + hints + final], requests=False, leniency=STRICT
    )
    assert [event[0] for event in events] == [100, 103, 200, "end"]
    many = hints * (MAX_HEAD // len(hints) + 1)
    assert read([many], requests=False, leniency=UPSTREAM)[-1] is WireError


def test_octets_after_a_switch_of_protocol_are_handed_on_as_they_are() -> None:
    reader = Reader(requests=False, leniency=UPSTREAM)
    octets = b"HTTP/1.1 101 x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n\0raw"
    reader.receive(octets)
    with pytest.raises(WireError, match="nobody asked"):
        reader.next_event()
    assert read([octets, b"more", EOF], requests=False, leniency=STRICT)[1:] == [
        b"\0rawmore",
        "closed",
    ]


def test_the_end_between_messages() -> None:
    assert read([EOF], requests=True, leniency=STRICT) == ["closed"]
    octets = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    reader = Reader(requests=True, leniency=STRICT)
    reader.receive(octets)
    reader.receive(EOF)
    assert len(list(told(reader))) == 2
    reader.next_message()
    assert list(told(reader)) == ["closed"]


# -- bounds -----------------------------------------------------------------------------------


def test_a_head_of_the_largest_size_is_read_and_one_octet_more_refused() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %s\r\n\r\n"
    fits = head % (b"y" * (MAX_HEAD - len(head) + 2))  # less "%s"
    assert len(fits) == MAX_HEAD
    for pieces in ([fits], [fits[:1000], fits[1000:]]):
        assert len(read(pieces, requests=False, leniency=STRICT)) == 2
    more = head % (b"y" * (MAX_HEAD - len(head) + 3))
    for pieces in ([more], [more[:1000], more[1000:]], [(head % bytes(MAX_HEAD))[:-4]]):
        assert read(pieces, requests=False, leniency=STRICT) == [WireError]


@pytest.mark.parametrize("without_end", [b"x", b"\r\n", b"GET / HTTP/1.1\r\nA: ", b"A: b\r\n"])
def test_what_never_ends_is_not_kept(without_end: bytes) -> None:
    reader = Reader(requests=True, leniency=PROGRAM)
    with pytest.raises(WireError, match="more than"):
        for _ in range(2 * MAX_HEAD):
            reader.receive(without_end)
            reader.next_event()


def test_the_longest_line_before_a_chunk() -> None:
    line = b"2;" + b"x" * (MAX_CHUNK_LINE - 4) + b"\r\n"
    assert read([CHUNKED + line + b"ok"], requests=False, leniency=STRICT)[1] == b"ok"
    line = b"2;" + b"x" * (MAX_CHUNK_LINE - 3) + b"\r\n"
    assert read([CHUNKED + line + b"ok"], requests=False, leniency=STRICT)[1] is WireError


def test_trailers_that_are_too_long_or_too_many_are_refused() -> None:
    many = CHUNKED + b"0\r\n" + b"A: %s\r\n" % (b"b" * 1000) * 70
    assert read([many], requests=False, leniency=UPSTREAM)[-1] is WireError
    many = CHUNKED + b"0\r\n" + b"A:\r\n" * (MAX_FIELDS + 1) + b"\r\n"
    assert read([many], requests=False, leniency=UPSTREAM)[-1] is WireError


# -- however it is cut --------------------------------------------------------------------------

STREAMS = [
    (True, b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" * 3),
    (
        True,
        b"\r\n\r\nPOST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n1f;x=y\r\n0123456789012345678901234567890\r\n0\r\nA: b\r\n\r\n\r\n"
        b"GET / HTTP/1.0\r\n\r\n",
    ),
    (False, b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\nA: b\n\r\nhttp/1.1 999\r\n\nbody"),
    (False, CHUNKED + b"2 \nok\n3;\r\nabc\r\n00\nA: b\n\n"),
    (False, b"HTTP/1.1 101 S\r\nA: b\r\n\r\n\r\n\r\nraw"),
    *((False, octets) for _, octets in CASES),
    *((True, octets) for octets in OF_A_REQUEST.values()),
    *((False, CHUNKED + octets) for octets in OF_CHUNKS.values()),
]


@given(st.sampled_from(STREAMS), st.lists(st.integers(1, 40)), st.sampled_from([PROGRAM, UPSTREAM]))
def test_the_same_comes_out_however_it_is_cut(
    stream: tuple[bool, bytes], sizes: list[int], leniency: Leniency
) -> None:
    requests, octets = stream
    pieces, at = [], 0
    for size in sizes:
        pieces.append(octets[at : at + size])
        at += size
    pieces = [piece for piece in [*pieces, octets[at:]] if piece] + [EOF]
    whole = read([octets, EOF], requests=requests, leniency=leniency)
    assert read(pieces, requests=requests, leniency=leniency) == whole


@pytest.mark.parametrize(("requests", "octets"), STREAMS)
def test_the_same_comes_out_of_single_octets(requests: bool, octets: bytes) -> None:
    single = [octets[at : at + 1] for at in range(len(octets))] + [EOF]
    whole = read([octets, EOF], requests=requests, leniency=UPSTREAM)
    assert read(single, requests=requests, leniency=UPSTREAM) == whole


@given(st.binary(max_size=200), st.integers(1, 7), st.booleans())
def test_any_octets_end_in_a_typed_error_or_in_a_message(
    octets: bytes, size: int, requests: bool
) -> None:
    pieces = [octets[at : at + size] for at in range(0, len(octets), size)] + [EOF]
    whole = [octets, EOF] if octets else [EOF]
    assert read(pieces, requests=requests, leniency=UPSTREAM) == read(
        whole, requests=requests, leniency=UPSTREAM
    )
