"""What h11 and llhttp make of HTTP/1.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import h11
import httptools

__all__ = ["Reading", "Role", "joined", "read_by_h11", "read_by_llhttp"]

Role = Literal["client", "server"]

Reading = tuple[list[Any], str | None]
"""Events of the first message, and why it is none."""


def joined(events: list[Any], piece: bytes) -> None:
    """Add a piece of a body to what came of it."""
    if events and isinstance(events[-1], bytes):
        events[-1] += piece
    else:
        events.append(piece)


# We drop these from trailers, where they come too late, and the oracles do not.
_IN_HEADS = frozenset(("content-length", "host", "transfer-encoding"))


def _trailers(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [field for field in fields if field[0] not in _IN_HEADS]


# -- h11 ----------------------------------------------------------------------------------------


def read_by_h11(role: Role, pieces: Sequence[bytes], method: str) -> Reading:
    """What h11 makes of the first message; b"" is the connection's end."""
    connection = h11.Connection(
        h11.SERVER if role == "server" else h11.CLIENT, max_incomplete_event_size=1 << 20
    )
    if role == "client":
        connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
    events: list[Any] = []
    try:
        for piece in pieces:
            connection.receive_data(piece)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Data):
                    if event.data:
                        joined(events, bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    return [*events, ("end", _trailers(_decoded(event.headers)))], None
                elif isinstance(event, h11.ConnectionClosed):
                    return [*events, ("end", "closed")], None
                elif isinstance(event, h11.Request):
                    target = event.target.decode("latin-1")
                    events.append((event.method.decode(), target, _decoded(event.headers)))
                else:
                    events.append((event.status_code, _decoded(event.headers)))
    except h11.RemoteProtocolError as error:
        return [*events, "error"], str(error)
    return events, None


def _decoded(fields: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


# -- llhttp -------------------------------------------------------------------------------------


class _Enough(Exception):
    """The first message has ended."""


class _Reader:
    """llhttp's callbacks, as httptools has them."""

    def __init__(self, role: Role) -> None:
        self.events: list[Any] = []
        self._target = b""
        self._fields: list[tuple[str, str]] = []
        self._requests = role == "server"
        made = httptools.HttpRequestParser if self._requests else httptools.HttpResponseParser
        self.parser = made(self)

    def on_message_begin(self) -> None:
        self._target = b""

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp leaves the space behind a value to its user (RFC 9110 section 5.5).
        text = value.decode("latin-1").strip(" \t")
        name_text = name.decode("latin-1").lower()
        # As h11 does, with which we are compared too.
        self._fields.append((name_text, text.lower() if name_text == "transfer-encoding" else text))

    def on_headers_complete(self) -> None:
        fields, self._fields = self._fields, []
        if self._requests:
            method = self.parser.get_method().decode()
            self.events.append((method, self._target.decode("latin-1"), fields))
        else:
            self.events.append((self.parser.get_status_code(), fields))

    def on_body(self, piece: bytes) -> None:
        joined(self.events, piece)

    def on_message_complete(self) -> None:
        if self._requests or not 100 <= self.parser.get_status_code() < 200:
            self.events.append(("end", _trailers(self._fields)))
            raise _Enough


def read_by_llhttp(role: Role, pieces: Sequence[bytes]) -> Reading:
    """What llhttp makes of the first message. It is not told of the connection's end: httptools has
    no word for that."""
    reader = _Reader(role)
    try:
        for piece in pieces:
            reader.parser.feed_data(piece)
    except httptools.HttpParserCallbackError as error:
        if not isinstance(error.__context__, _Enough):
            raise
    except httptools.HttpParserUpgrade:
        reader.events.append(("end", []))
    except httptools.HttpParserError as error:
        return [*reader.events, "error"], str(error)
    return reader.events, None
