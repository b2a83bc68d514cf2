"""WebSocket messages as RFC 6455 has them on a connection: for either end. Sans-I/O, but for
:class:`WireWebSocket`, which has the face of :class:`~peerfetch_fast.http.websocket.WebSocket`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Protocol

from peerfetch_fast.errors import MessageError, WebSocketClosed, WebSocketError
from peerfetch_fast.http.h1 import Octets, Response
from peerfetch_fast.http.websocket_frames import (
    ABNORMAL,
    INVALID_PAYLOAD,
    MAX_CONTROL_SIZE,
    MESSAGE_TOO_BIG,
    NO_CODE,
    PROTOCOL_ERROR,
    Close,
    Event,
    Ping,
    Pong,
    close_payload,
    may_be_sent,
)

__all__ = [
    "MAX_WIRE_MESSAGE",
    "Endpoint",
    "Pipe",
    "WireFrameReader",
    "WireWebSocket",
    "accept_key",
    "check_handshake",
    "new_key",
]

MAX_WIRE_MESSAGE = 16 * 1024 * 1024
"""Bytes of the largest message that is accepted, its fragments joined (else 1009)."""

# RFC 6455 §11.8
_CONTINUATION = 0x0
_TEXT = 0x1
_BINARY = 0x2
_CLOSE = 0x8
_PING = 0x9
_PONG = 0xA
_KNOWN = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG))

_FIN = 0x80
_RESERVED = 0x70
_MASKED = 0x80

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def new_key() -> str:
    """A new value of Sec-WebSocket-Key, for a client."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_key(key: str) -> str:
    """The value of Sec-WebSocket-Accept with which a server answers ``key``."""
    digest = hashlib.sha1(f"{key}{_MAGIC}".encode("latin-1"), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def check_handshake(answer: Response, key: str, offered: list[str]) -> None:
    """Check that a 101 opens the WebSocket that was asked for (RFC 6455 §4.1). Raises MessageError.

    :param offered: the values of Sec-WebSocket-Protocol.
    """
    fields: dict[str, list[str]] = {}
    for name, value in answer.headers:
        fields.setdefault(name, []).append(value)
    if not answer.upgrade or [v.lower() for v in fields["upgrade"]] != ["websocket"]:
        raise MessageError("another protocol than websocket")
    if fields.get("sec-websocket-accept") != [accept_key(key)]:
        raise MessageError("no Sec-WebSocket-Accept for the key that was sent")
    if "sec-websocket-extensions" in fields:
        raise MessageError("a WebSocket with an extension that was not offered")
    chosen = fields.get("sec-websocket-protocol", [])
    if chosen and chosen[0] not in [p.strip() for value in offered for p in value.split(",")]:
        raise MessageError("a WebSocket with a sub-protocol that was not offered")


def _masked(data: Octets, mask: bytes) -> bytes:
    """``data`` with the mask laid over it (RFC 6455 §5.3)."""
    size = len(data)
    whole = (mask * (size // 4 + 1))[:size]
    joined = int.from_bytes(data, "little") ^ int.from_bytes(whole, "little")
    return joined.to_bytes(size, "little")


def _frame(kind: int, payload: Octets, masked: bool) -> tuple[Octets, ...]:
    size = len(payload)
    flag = _MASKED if masked else 0
    if size < 126:
        head = bytes((_FIN | kind, flag | size))
    elif size < 1 << 16:
        head = bytes((_FIN | kind, flag | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FIN | kind, flag | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head, payload
    mask = os.urandom(4)
    return head + mask, _masked(payload, mask)


class WireFrameReader:
    """Turn the octets of one end into messages and control frames.

    :param masked: whether the other side has to mask its frames: it is a client (RFC 6455 §5.1).
    :param max_message_size: bytes of the largest message that is accepted.
    """

    def __init__(self, *, masked: bool, max_message_size: int = MAX_WIRE_MESSAGE) -> None:
        self._masked = masked
        self._max = max_message_size
        self._data = b""  # octets that were fed and not parsed yet, from _at on
        self._at = 0
        self._kind = _CONTINUATION
        self._final = True
        self._mask = b""
        self._left = -1  # octets of the frame's payload that have not come; -1 between frames
        self._frame = bytearray()  # the part of that payload that has come
        self._message_kind: int | None = None
        self._message = bytearray()  # of the message whose fragments are coming in

    def feed(self, data: bytes) -> None:
        """Take in the next octets; :meth:`next_event` gives their messages and frames."""
        self._data = self._data[self._at :] + data
        self._at = 0

    def next_event(self) -> Event | None:
        """The next message or control frame, or None if more octets are needed for it.

        Raises WebSocketError for a frame that is not allowed; the reader is of no use after that.
        """
        while True:
            if self._left < 0 and not self._begin():
                return None
            payload = self._data[self._at : self._at + self._left]
            self._at += len(payload)
            self._left -= len(payload)
            if self._left or self._frame:
                self._frame += payload
                if self._left:
                    return None
                payload, self._frame = bytes(self._frame), bytearray()
            self._left = -1
            if self._masked and payload:
                payload = _masked(payload, self._mask)
            event = self._ended(payload)
            if event is not None:
                return event

    def _begin(self) -> bool:
        """Read the head of a frame; refuse one that may not come now before any of it is kept."""
        data, at = self._data, self._at
        if len(data) - at < 2:
            return False
        first, second = data[at], data[at + 1]
        self._kind, self._final = first & 0x0F, bool(first & _FIN)
        if first & _RESERVED or self._kind not in _KNOWN:
            raise WebSocketError("a frame of no known kind", PROTOCOL_ERROR)
        if bool(second & _MASKED) != self._masked:
            raise WebSocketError("a frame with a mask, or without one", PROTOCOL_ERROR)
        length = second & 0x7F
        at += 2
        extended = {126: 2, 127: 8}.get(length, 0)
        mask = 4 if self._masked else 0
        if self._kind >= _CLOSE and (length > MAX_CONTROL_SIZE or not self._final):
            raise WebSocketError("a control frame that is too long or in parts", PROTOCOL_ERROR)
        if len(data) - at < extended + mask:
            return False
        if extended:
            length = int.from_bytes(data[at : at + extended], "big")
            at += extended
        if self._kind < _CLOSE:
            self._begin_data(length)
        self._mask = data[at : at + mask]
        self._at, self._left = at + mask, length
        return True

    def _begin_data(self, length: int) -> None:
        if self._kind == _CONTINUATION:
            if self._message_kind is None:
                raise WebSocketError("a continuation of nothing", PROTOCOL_ERROR)
        elif self._message_kind is not None:
            raise WebSocketError("a message inside another", PROTOCOL_ERROR)
        if len(self._message) + length > self._max:
            raise WebSocketError(f"a message of more than {self._max} bytes", MESSAGE_TOO_BIG)
        if self._kind != _CONTINUATION:
            self._message_kind = self._kind

    def _ended(self, payload: bytes) -> Event | None:
        """The event of a frame whose payload is complete; None for a part of a message."""
        if self._kind == _PING:
            return Ping(payload)
        if self._kind == _PONG:
            return Pong(payload)
        if self._kind == _CLOSE:
            return _close(payload)
        if not self._final or self._message:
            self._message += payload
            if not self._final:
                return None
            payload, self._message = bytes(self._message), bytearray()
        kind, self._message_kind = self._message_kind, None
        return _text(payload) if kind == _TEXT else payload


def _close(payload: bytes) -> Close:
    if not payload:
        return Close(NO_CODE, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not may_be_sent(code):
        raise WebSocketError(f"a CLOSE with the code {code}", PROTOCOL_ERROR)
    return Close(code, _text(payload[2:]))


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise WebSocketError("text that is not UTF-8", INVALID_PAYLOAD) from None


class Endpoint(Protocol):
    """One end of a WebSocket that is not on a stream of ours."""

    async def receive_event(self) -> Event: ...
    async def send(self, message: str | bytes) -> None: ...
    async def send_ping(self, data: bytes) -> None: ...
    async def send_pong(self, data: bytes) -> None: ...
    async def send_close(self, code: int, reason: str = "") -> None: ...


class Pipe(Protocol):
    """The octets of a connection that speaks WebSocket from now on."""

    async def read(self) -> bytes:
        """The next octets, b"" at the end. Raises OSError, PeerfetchError."""

    async def send(self, pieces: tuple[Octets, ...]) -> None:
        """Send octets, waiting while the other side is slow. Raises OSError."""


class WireWebSocket:
    """One end of a WebSocket on a connection; control frames are left to the caller.

    :param pipe: the connection, behind the handshake.
    :param client: whether this end is the client, which masks what it sends.
    """

    def __init__(
        self, pipe: Pipe, *, client: bool, max_message_size: int = MAX_WIRE_MESSAGE
    ) -> None:
        self._pipe = pipe
        self._client = client
        self._frames = WireFrameReader(masked=not client, max_message_size=max_message_size)
        self.close_sent = False
        """Whether this side has sent CLOSE, and can send nothing more."""

    async def receive_event(self) -> Event:
        """The next message or control frame.

        Raises WebSocketClosed when the connection ends, WebSocketError for a frame that is not
        allowed, and what the pipe raises.
        """
        while (event := self._frames.next_event()) is None:
            data = await self._pipe.read()
            if not data:
                raise WebSocketClosed(ABNORMAL, "the connection ended without a word")
            self._frames.feed(data)
        return event

    async def send(self, message: str | bytes) -> None:
        """Send a text or binary message. Raises WebSocketClosed, and what the pipe raises."""
        if isinstance(message, str):
            await self._send(_TEXT, message.encode())
        else:
            await self._send(_BINARY, message)

    async def send_ping(self, data: bytes) -> None:
        """Send a PING. Raises as :meth:`send` does."""
        await self._send(_PING, data)

    async def send_pong(self, data: bytes) -> None:
        """Send a PONG. Raises as :meth:`send` does."""
        await self._send(_PONG, data)

    async def send_close(self, code: int, reason: str = "") -> None:
        """Send a CLOSE, after which nothing can be sent.

        Raises as :meth:`send` does, and ValueError for a code or reason that cannot be sent.
        """
        payload = close_payload(code, reason)
        await self._send(_CLOSE, payload)
        self.close_sent = True

    async def _send(self, kind: int, payload: Octets) -> None:
        if self.close_sent:
            raise WebSocketClosed(ABNORMAL, "this side is closing it")
        await self._pipe.send(_frame(kind, payload, self._client))
