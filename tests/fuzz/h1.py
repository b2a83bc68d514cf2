"""HTTP/1.1 in both roles, with h11 and llhttp as oracles, and what they see
otherwise in h1_differences.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.fuzz.h1_differences import FROM_H11, FROM_LLHTTP, check, examples
from tests.fuzz.h1_oracles import Reading, Role, joined, read_by_h11, read_by_llhttp

from peerfetch_fast.errors import MessageError
from peerfetch_fast.http.h1 import (
    MAX_HEAD,
    PROGRAM,
    UPSTREAM,
    ClientConnection,
    End,
    Leniency,
    Request,
    Response,
    ServerConnection,
)

__all__ = [
    "connecting",
    "h1_requests",
    "h1_requests_seeds",
    "h1_responses",
    "h1_responses_seeds",
    "read",
]

Connect = Callable[[Leniency], ClientConnection | ServerConnection]

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\nall of it",
    b"http/1.1 999 x\nContent-Length: 2, 2\n\nok",
)


def connecting(role: Role, method: str = "GET") -> Connect:
    """Makes a connection that waits for a request, or for the answer to one."""

    def connect(leniency: Leniency) -> ClientConnection | ServerConnection:
        if role == "server":
            return ServerConnection(leniency=leniency)
        client = ClientConnection(leniency=leniency)
        client.write_request(method, "/", [("host", "x")])
        return client

    return connect


def h1_requests(data: bytes) -> None:
    """A server's connection. The first byte says how the rest is cut."""
    _compare(data, "server", PROGRAM)


def h1_responses(data: bytes) -> None:
    """A client's connection that has asked with GET, or HEAD where the second bit is set."""
    _compare(data, "client", UPSTREAM, "HEAD" if data and data[0] & 2 else "GET")


def h1_requests_seeds() -> list[bytes]:
    return _seeds(REQUESTS, "server")


def h1_responses_seeds() -> list[bytes]:
    return _seeds(RESPONSES, "client")


def _seeds(messages: Sequence[bytes], role: Role) -> list[bytes]:
    """What both kinds of message have, and one input for each difference that is known."""
    known = [bytes([flags]) + message for message in messages for flags in (0, 2, 60)]
    return known + [b"\0" + example for example in examples(role)]


def _compare(data: bytes, role: Role, leniency: Leniency, method: str = "GET") -> None:
    if not data:
        return
    connect = connecting(role, method)
    count, data = (data[0] >> 2) % 16 + 1, data[1:]
    size = max(1, len(data) // count)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    whole = read(connect(leniency), [data, b""] if data else [b""])
    lenient = read(connect(leniency), [*pieces, b""])
    assert whole == lenient
    strict, why = read(connect(Leniency(0)), [*pieces, b""])
    # What is no departure from the RFC is read the same, whatever is tolerated.
    assert why is not None or lenient == (strict, None)
    _against_h11(role, connect, pieces, method)
    if method != "HEAD":
        _against_llhttp(role, connect, pieces)


def _against_h11(role: Role, connect: Connect, pieces: list[bytes], method: str = "GET") -> None:
    """Hold a message and the connection's end behind it against what h11 reads."""
    pieces = [*pieces, b""]
    ours = read(connect(Leniency(0)), pieces)
    check(FROM_H11[role], ours, read_by_h11(role, pieces, method), ours)


def _against_llhttp(role: Role, connect: Connect, pieces: list[bytes]) -> None:
    """Hold a message against what llhttp reads. httptools cannot tell it that the connection has
    ended, nor that an answer is one to HEAD."""
    ours = read(connect(Leniency(0)), pieces)
    patient = read(connect(Leniency(0)), [*pieces, b"\r\n\r\n"])
    check(FROM_LLHTTP[role], ours, read_by_llhttp(role, pieces), patient)


def read(connection: ClientConnection | ServerConnection, pieces: Sequence[bytes]) -> Reading:
    """The first message, its body joined, and why it is none."""
    events: list[Any] = []
    try:
        for piece in pieces:
            connection.receive(piece)
            while (event := connection.next_event()) is not None:
                if isinstance(event, Request):
                    assert not set(event.method + event.target) & set(" \r\n\0")
                    events.append((event.method, event.target, _fields(event.headers)))
                elif isinstance(event, Response):
                    events.append((event.status, _fields(event.headers)))
                elif isinstance(event, bytes):
                    assert event
                    joined(events, event)
                else:
                    trailers = event.trailers if isinstance(event, End) else "closed"
                    events.append(("end", trailers))
                    return events, None
        assert connection.waiting <= MAX_HEAD or connection.read_all
    except MessageError as error:
        return [*events, "error"], str(error)
    return events, None


def _fields(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    for name, value in fields:
        assert name == name.lower()
        assert name
        assert not set(name + value) & set("\r\n\0")
    # h11 puts the names of codings into lower case.
    return [(n, v.lower() if n == "transfer-encoding" else v) for n, v in fields]
