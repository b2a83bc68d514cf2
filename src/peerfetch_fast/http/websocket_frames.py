"""WebSocket messages in the body of an upgraded stream (docs/protocol.md, section 7). Sans-I/O.

The messages and opcodes are RFC 6455's; frames have no masks, and lengths are varints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from peerfetch_fast.errors import WebSocketError
from peerfetch_fast.streams._wire import read_varint, varint

__all__ = [
    "Close",
    "Event",
    "FrameReader",
    "Ping",
    "Pong",
    "close_frame",
    "close_payload",
    "may_be_sent",
    "message_frames",
    "ping_frame",
    "pong_frame",
]

MAX_MESSAGE_SIZE = 4 * 1024 * 1024
"""Bytes of the largest message that is accepted, its fragments joined (else 1009)."""

FRAGMENT_SIZE = 64 * 1024
"""Bytes of a message that one frame carries: a control frame waits for no more than that."""

MAX_CONTROL_SIZE = 125
"""Bytes of the payload of a PING, PONG or CLOSE (RFC 6455 §5.5)."""

# RFC 6455 §11.8
_CONTINUATION = 0x00
_TEXT = 0x01
_BINARY = 0x02
_CLOSE = 0x08
_PING = 0x09
_PONG = 0x0A

_MORE = 0x10
"""Set in the type of a fragment that is not the last of its message."""

_DATA = frozenset((_CONTINUATION, _TEXT, _BINARY))
_CONTROL = frozenset((_CLOSE, _PING, _PONG))

# RFC 6455 §7.4 and the registry that it began. 1005 says that no code was given.
NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_CODE = 1005
ABNORMAL = 1006
INVALID_PAYLOAD = 1007
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
BAD_GATEWAY = 1014
_NEVER_SENT = frozenset((1004, NO_CODE, ABNORMAL, 1015))


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with a PONG of the same bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a PING."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The other side closes; nothing follows. ``code`` is 1005 if it gave none."""

    code: int
    reason: str


Event = str | bytes | Ping | Pong | Close
"""A text message, a binary message, or a control frame."""


def _frame(kind: int, payload: bytes | memoryview) -> bytes:
    return b"".join((varint(kind), varint(len(payload)), payload))


def message_frames(message: str | bytes | bytearray | memoryview) -> Iterator[bytes]:
    """The frames of a text or binary message. Raises ValueError for text that is no Unicode."""
    if isinstance(message, str):
        kind, payload = _TEXT, memoryview(message.encode())
    else:
        kind, payload = _BINARY, memoryview(message).cast("B")
    at, size = 0, len(payload)
    while size - at > FRAGMENT_SIZE:
        yield _frame(kind | _MORE, payload[at : at + FRAGMENT_SIZE])
        kind = _CONTINUATION
        at += FRAGMENT_SIZE
    yield _frame(kind, payload[at:])


def ping_frame(data: bytes) -> bytes:
    """A PING. Raises ValueError for more than 125 bytes."""
    return _control(_PING, data)


def pong_frame(data: bytes) -> bytes:
    """A PONG. Raises ValueError for more than 125 bytes."""
    return _control(_PONG, data)


def close_frame(code: int, reason: str) -> bytes:
    """A CLOSE; raises as :func:`close_payload` does."""
    return _control(_CLOSE, close_payload(code, reason))


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a CLOSE; empty with the code 1005.

    Raises ValueError for a code that is not to be sent, or a reason of more than 123 bytes.
    """
    if code == NO_CODE:
        return b""
    if not may_be_sent(code):
        raise ValueError(f"{code} is no code to close a WebSocket with (RFC 6455 §7.4)")
    payload = code.to_bytes(2, "big") + reason.encode()
    if len(payload) > MAX_CONTROL_SIZE:
        raise ValueError("a reason of more than 123 bytes, which no CLOSE can hold")
    return payload


def _control(kind: int, payload: bytes) -> bytes:
    if len(payload) > MAX_CONTROL_SIZE:
        raise ValueError(f"a control frame of {len(payload)} bytes; at most 125 may be sent")
    return _frame(kind, payload)


def may_be_sent(code: int) -> bool:
    """Whether a CLOSE may have this code (RFC 6455 §7.4)."""
    return (1000 <= code <= 1014 and code not in _NEVER_SENT) or 3000 <= code <= 4999


class FrameReader:
    """Turn the bytes of one direction into messages and control frames, one at a time.

    :param max_message_size: bytes of the largest message that is accepted.
    """

    __slots__ = ("_at", "_data", "_frame", "_kind", "_left", "_max", "_message", "_message_kind")

    def __init__(self, max_message_size: int = MAX_MESSAGE_SIZE) -> None:
        self._max = max_message_size
        self._data = b""  # what was fed and not parsed yet, from _at on
        self._at = 0
        self._kind = _CONTINUATION
        self._left = 0  # bytes of the current frame's payload that have not been parsed yet
        self._frame = bytearray()  # of a control frame, what came of it
        self._message_kind: int | None = None  # of the message whose fragments are coming in
        self._message = bytearray()  # and what came of it

    @property
    def held(self) -> int:
        """Bytes that were fed and are not in an event yet."""
        return len(self._message) + len(self._frame) + len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Take in the next bytes; :meth:`next_event` gives what is in them."""
        self._data = self._data[self._at :] + data
        self._at = 0

    def next_event(self) -> Event | None:
        """The next message or control frame, or None if more bytes are needed for it.

        Raises WebSocketError for a frame that is not allowed; the reader is of no use after that.
        """
        while True:
            if not self._left:
                header = self._header()
                if header is None:
                    return None
                self._begin(*header)
            piece = self._data[self._at : self._at + self._left]
            self._at += len(piece)
            self._left -= len(piece)
            if self._kind in _CONTROL:
                self._frame += piece
                if not self._left:
                    return self._control_event()
            elif self._kind & ~_MORE in _DATA:
                if not self._left and not self._kind & _MORE:
                    return self._message_event(piece)
                self._message += piece
            if self._left:
                return None

    def _header(self) -> tuple[int, int] | None:
        """The type and length of the next frame."""
        kind = read_varint(self._data, self._at)
        length = None if kind is None else read_varint(self._data, kind[1])
        if kind is None or length is None:
            return None
        self._at = length[1]
        return kind[0], length[0]

    def _begin(self, kind: int, length: int) -> None:
        """Refuse a frame that may not come now, or is too long, before any of it is kept."""
        self._kind, self._left = kind, length
        if kind in _CONTROL:
            if length > MAX_CONTROL_SIZE:
                raise WebSocketError("a control frame of more than 125 bytes", PROTOCOL_ERROR)
            self._frame.clear()
        elif (begins := kind & ~_MORE) in _DATA:
            if begins != _CONTINUATION:
                if self._message_kind is not None:
                    raise WebSocketError("a message inside another", PROTOCOL_ERROR)
                self._message_kind = begins
            elif self._message_kind is None:
                raise WebSocketError("a continuation of nothing", PROTOCOL_ERROR)
            if len(self._message) + length > self._max:
                raise WebSocketError(f"a message of more than {self._max} bytes", MESSAGE_TOO_BIG)

    def _message_event(self, last: bytes) -> str | bytes:
        payload = last
        if self._message:
            self._message += last
            payload = bytes(self._message)
            self._message = bytearray()
        kind, self._message_kind = self._message_kind, None
        return _text(payload) if kind == _TEXT else payload

    def _control_event(self) -> Ping | Pong | Close:
        payload = bytes(self._frame)
        if self._kind == _PING:
            return Ping(payload)
        if self._kind == _PONG:
            return Pong(payload)
        if not payload:
            return Close(NO_CODE, "")
        code = int.from_bytes(payload[:2], "big")
        if not may_be_sent(code):  # so is a single byte, which is no code
            raise WebSocketError(f"a CLOSE with the code {code}", PROTOCOL_ERROR)
        return Close(code, _text(payload[2:]))


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise WebSocketError("text that is not UTF-8", INVALID_PAYLOAD) from None
