"""The two roles against each other, and each against a state it is not in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import MessageError, MessageTruncated, WireError
from peerfetch_fast.http.h1 import (
    ClientConnection,
    Closed,
    End,
    Request,
    Response,
    ServerConnection,
    Writing,
)

token = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=20)
value = st.text(
    st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n"), max_size=30
).map(lambda text: text.strip(" \t"))
framing = ("content-length", "transfer-encoding", "connection", "upgrade", "expect", "host")
fields = st.lists(st.tuples(token.map(str.lower).filter(lambda name: name not in framing), value))
target = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"))
bodies = st.lists(st.binary(max_size=50), max_size=5)


def events(connection: ClientConnection | ServerConnection, *pieces: bytes) -> list[Any]:
    found: list[Any] = []
    for piece in pieces:
        connection.receive(piece)
        while (event := connection.next_event()) is not None:
            found.append(event)
    return found


def joined(found: list[Any]) -> bytes:
    return b"".join(event for event in found if isinstance(event, bytes))


def asked(head: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> ServerConnection:
    server = ServerConnection()
    assert isinstance(events(server, head)[0], Request)
    return server


def asking(method: str = "GET", **more: Any) -> ClientConnection:
    client = ClientConnection()
    client.write_request(method, "/", [("host", "x")], **more)
    return client


@given(token, target.map(lambda text: "/" + text), fields, bodies, st.booleans(), fields)
def test_a_request_there_and_an_answer_back(
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: list[bytes],
    known: bool,
    trailers: list[tuple[str, str]],
) -> None:
    client, server = ClientConnection(), ServerConnection()
    length = sum(map(len, body)) if known else None
    octets = client.write_request(method, target, [("host", "x"), *headers], length=length)
    for piece in body:
        octets += b"".join(client.write_body(piece))
    octets += client.write_end(trailers)
    head, *found = events(server, octets)
    assert (head.method, head.target) == (method, target)
    assert head.headers[1 : 1 + len(headers)] == headers
    assert joined(found) == b"".join(body)
    assert found[-1].trailers == ([] if known else trailers)
    announced = [("content-length", str(length))] if known else []
    octets = server.write_response(200, [*headers, *announced])
    if method != "HEAD":
        for piece in body:
            octets += b"".join(server.write_body(piece))
    octets += server.write_end(trailers)
    head, *found = events(client, octets)
    assert head.status == 200
    assert head.headers[: len(headers)] == headers
    assert joined(found) == (b"" if method == "HEAD" else b"".join(body))
    assert found[-1].trailers == ([] if known or method == "HEAD" else trailers)
    for side in (client, server):
        assert side.reusable
        side.next_cycle()
    assert client.idle


def test_requests_that_come_together_are_read_one_by_one() -> None:
    server = ServerConnection()
    one = b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
    (first, *_) = events(server, one % 1 + one % 2)
    assert first.target == "/1"
    assert server.read_all
    assert server.waiting == len(one % 2)
    server.write_response(200, [("content-length", "0")])
    server.next_cycle()
    second = server.next_event()
    assert isinstance(second, Request)
    assert second.target == "/2"


def test_a_client_that_has_said_all_it_had_to_say() -> None:
    server = ServerConnection()
    found = events(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"")
    assert [type(event) for event in found] == [Request, End]
    assert server.eof
    assert server.write_response(200, [("content-length", "2")])
    assert server.write_body(b"ok") == (b"ok",)
    server.write_end()
    server.next_cycle()
    assert isinstance(server.next_event(), Closed)


@pytest.mark.parametrize(
    ("head", "headers", "answer"),
    [
        ("GET / HTTP/1.1\r\nHost: x", [], "transfer-encoding: chunked\r\n"),
        ("GET / HTTP/1.1\r\nHost: x", [("content-length", "2")], "content-length: 2\r\n"),
        ("GET / HTTP/1.0", [], "connection: close\r\n"),
        ("GET / HTTP/1.0\r\nConnection: keep-alive", [], "connection: close\r\n"),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive",
            [("Content-Length", "2")],
            "Content-Length: 2\r\nconnection: keep-alive\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close",
            [],
            "transfer-encoding: chunked\r\nconnection: close\r\n",
        ),
        ("HEAD / HTTP/1.1\r\nHost: x", [("content-length", "9")], "content-length: 9\r\n"),
        ("HEAD / HTTP/1.1\r\nHost: x", [], ""),
    ],
)
def test_only_framing_is_added(head: str, headers: list[tuple[str, str]], answer: str) -> None:
    server = asked(f"{head}\r\n\r\n".encode())
    assert server.write_response(200, headers) == f"HTTP/1.1 200 OK\r\n{answer}\r\n".encode()


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_where_there_is_none(status: int) -> None:
    server = asked()
    assert b"chunked" not in server.write_response(status, [])
    assert server.writing is Writing.DONE
    assert server.reusable


def test_an_answer_to_what_is_no_request() -> None:
    server = ServerConnection()
    with pytest.raises(WireError) as raised:
        events(server, b"nonsense\r\n\r\n")
    head = server.write_response(raised.value.status, [("content-length", "0")])
    assert head == b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert not server.reusable


def test_informational_answers_are_told_before_the_final_one() -> None:
    server = asked(
        b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    )
    octets = server.write_informational(100)
    octets += server.write_informational(103, [("link", "</a>")])
    octets += server.write_response(200, [("content-length", "0")])
    client = asking()
    found = events(client, octets)
    assert [event.status for event in found[:-1]] == [100, 103, 200]
    assert asked(b"GET / HTTP/1.0\r\n\r\n").write_informational(103) == b""


def test_a_connection_with_a_body_that_was_not_read_is_not_used_again() -> None:
    server = asked(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    server.write_response(413, [("content-length", "0")])
    server.write_end()
    assert not server.reusable


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\r\n",
    ],
)
def test_a_client_does_not_reuse_a_connection_that_closes_or_said_too_much(answer: bytes) -> None:
    client = asking()
    events(client, answer)
    assert client.read_all
    assert not client.reusable


def test_a_connection_that_receives_anything_is_not_idle() -> None:
    for octets in (b"\r\n", b"H", b""):
        client = asking()
        events(client, b"HTTP/1.1 204 x\r\n\r\n")
        client.next_cycle()
        assert client.idle
        client.receive(octets)
        assert not client.idle


def test_a_request_whose_body_was_not_written_is_in_the_way() -> None:
    client = asking(method="PUT", length=10)
    events(client, b"HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n")
    assert client.read_all
    assert not client.reusable


def test_an_upgrade_both_ways() -> None:
    client, server = ClientConnection(), ServerConnection()
    octets = client.write_request("GET", "/", [("host", "x")], upgrade="websocket")
    (head, end) = events(server, octets + b"\0early")
    assert head.upgrade
    assert isinstance(end, End)
    answer = server.write_response(101, [("connection", "upgrade"), ("upgrade", "websocket")])
    assert events(server, b"later") == [b"\0early", b"later"]
    (head, body) = events(client, answer + b"\1back")
    assert (head.status, body) == (101, b"\1back")
    assert client.write_body(b"x") == (b"x",)
    assert server.write_body(b"y") == (b"y",)
    assert isinstance(events(client, b"")[0], Closed)
    assert not client.reusable
    assert not server.reusable


def test_an_upgrade_that_is_refused() -> None:
    client = asking(upgrade="websocket")
    (head, body, _) = events(client, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
    assert isinstance(head, Response)
    assert body == b"no"
    assert client.reusable


def test_bodies_that_are_not_of_their_length() -> None:
    for side in (asking("PUT", length=3), asked()):
        if isinstance(side, ServerConnection):
            side.write_response(200, [("content-length", "3")])
        side.write_body(b"ab")
        with pytest.raises(MessageError, match="longer"):
            side.write_body(b"cd")
        with pytest.raises(MessageTruncated, match="1 bytes short"):
            side.write_end()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("a\r\nb", "x"),
        ("\xe4", "x"),
        ("\u0100", "x"),
        ("a", "x\r\nb: c"),
        ("a", "x\n"),
        ("a", "x\0"),
        ("a", "\u20ac"),
    ],
)
def test_fields_that_cannot_be_sent(name: str, value: str) -> None:
    with pytest.raises(MessageError):
        ClientConnection().write_request("GET", "/", [(name, value)])
    with pytest.raises(MessageError):
        asked().write_response(200, [(name, value)])
    client = asking("PUT", length=None)
    with pytest.raises(MessageError):
        client.write_end([(name, value)])


@pytest.mark.parametrize(
    ("method", "target"),
    [("", "/"), ("G T", "/"), ("GET", ""), ("GET", "/ x"), ("GET", "/\r\n"), ("GET", "/\u0100")],
)
def test_requests_that_cannot_be_sent(method: str, target: str) -> None:
    with pytest.raises(MessageError):
        ClientConnection().write_request(method, target, [])


def test_a_head_is_written_as_it_is_given() -> None:
    head = ClientConnection().write_request("get", "//a?;%2f\xc3", [("X-A", "\xe4"), ("b", "")])
    assert head == b"get //a?;%2f\xc3 HTTP/1.1\r\nX-A: \xe4\r\nb: \r\n\r\n"
    head = asked().write_response(299, [("content-length", "0")], reason="So \xe4")
    assert head == b"HTTP/1.1 299 So \xe4\r\ncontent-length: 0\r\n\r\n"
