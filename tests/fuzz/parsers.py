"""The parsers of a session's bytes: frames, blocks, heads, messages of WebSockets."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from peerfetch_fast import _framing
from peerfetch_fast._framing import Engine, EngineStream
from peerfetch_fast.errors import MessageError, PeerfetchError, WebSocketError
from peerfetch_fast.http.blocks import DATA, MAX_HEAD, BlockReader, block
from peerfetch_fast.http.heads import (
    content_length,
    decode_request,
    decode_response,
    decode_trailers,
    encode_request,
    encode_response,
    parse_priority,
)
from peerfetch_fast.http.websocket_frames import (
    Event,
    FrameReader,
    close_frame,
    message_frames,
    ping_frame,
    pong_frame,
)
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams._wire import read_varint
from peerfetch_fast.streams.access import Access, Code, CodeAccess

VECTORS = Path(__file__).parents[1] / "vectors" / "peerfetch2.json"
SETTINGS = Settings(
    max_data=1 << 18, max_stream_data=1 << 16, max_streams=16, chunk_size=1024, fragments=64
)
ACCESS = Access("token", opener=False, local=bytes(32), remote=bytes(32))


def _access(flags: int) -> Access | None:
    """A token for a responder, or a code for either side."""
    if not flags & 2:
        return None
    if flags & 5:
        ends = {"local": bytes(32), "remote": bytes(32), "scalar": bytes(31) + b"\x09"}
        return CodeAccess(Code("123-able-boat"), opener=bool(flags & 1), **ends)
    return ACCESS


def frames(data: bytes) -> None:
    """A session's engine. The first byte says which side it is, and what it does in between; then
    messages, each behind its length in two bytes.
    """
    if not data:
        return
    flags, at, now = data[0], 1, 0.0
    one = Engine(
        SETTINGS,
        opener=bool(flags & 1),
        now=now,
        access=_access(flags),
    )
    streams: list[EngineStream] = []
    if flags & 4 and (core := one.open()) is not None:
        core.owner = core
        core.write(b"x" * 5_000)
        core.end()
        streams.append(core)
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        message = data[at + 2 : at + 2 + length]
        at += 2 + length
        now += 0.25
        try:
            cut = flags >> 4
            if flags & 8 and cut < len(message):
                # As SCTP hands on what it has cut where the engine said.
                one.receive_parts(message[:cut], message[cut:], now)
            else:
                one.receive(message, now)
        except PeerfetchError:
            if one.error is None:
                raise
        for core in one.take_dirty():
            if core.owner is None:
                core.owner = core
                streams.append(core)
            core.take_flags()
        one.take_flags()
        if flags & 16:
            for core in streams:
                _use(core)
        _drain(one, now)
        assert one.open_streams <= 2 * SETTINGS.max_streams + 1
        if one.error is None:
            try:
                one.handle_timeout(now)
            except PeerfetchError:
                assert one.error is not None
    one.detach(one.error or PeerfetchError("over"))


def _use(core: EngineStream) -> None:
    """Read what is there, and answer."""
    try:
        held = 0
        while piece := core.read():
            held += len(piece)
        assert held <= SETTINGS.max_stream_data
        if core.can_write:
            core.write(b"answer")
            core.end()
    except PeerfetchError:
        pass


def _drain(one: Engine, now: float) -> None:
    """Take all that the engine has to send; each must be whole frames."""
    for _ in range(200):
        message = one.next_message(now)
        if message is None:
            return
        at = 0
        while at < len(message):
            kind = read_varint(message, at)
            assert kind is not None
            length = read_varint(message, kind[1])
            assert length is not None
            at = length[0] + length[1]
        assert at == len(message) <= SETTINGS.chunk_size + _framing.MESSAGE_OVERHEAD
    raise AssertionError("the engine does not stop sending")


def blocks(data: bytes) -> None:
    """A reader of blocks, fed in pieces. The first byte says how many there are; however the bytes
    are cut, the same must come out of them.
    """
    if not data:
        return
    count, data = data[0] % 32 + 1, data[1:]
    size = max(1, len(data) // count)
    whole, pieces = (
        _read_blocks([data]),
        _read_blocks([data[at : at + size] for at in range(0, len(data), size)]),
    )
    assert whole == pieces


def _read_blocks(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], bool, bool]:
    reader = BlockReader()
    found: list[tuple[int, bytes]] = []
    try:
        for piece in pieces:
            for kind, payload in reader.feed(piece):
                assert kind == DATA or len(payload) <= MAX_HEAD
                if kind == DATA and found and found[-1][0] == DATA:
                    found[-1] = DATA, found[-1][1] + payload
                elif kind != DATA or payload:
                    found.append((kind, payload))
    except MessageError:
        return [], False, True  # what came with the error is lost with it
    return found, reader.inside, False


def heads(data: bytes) -> None:
    """A head or trailers, as all that it can be; what is accepted can be sent on and read again."""
    try:
        method, target, headers, _ = decode_request(data)
        assert not set(target) & set(" \r\n\0")
        again = _payload(encode_request(method, target, list(headers.items())))
        assert decode_request(again)[:3] == (method, target, headers)
    except MessageError:
        pass
    try:
        status, headers = decode_response(data)
        for name, value in headers.items():
            assert not set(name + value) & set("\r\n\0")
        again = _payload(encode_response(status, list(headers.items())))
        assert decode_response(again) == (status, headers)
        parse_priority(headers.get("priority", ""))
        content_length(headers)
    except MessageError:
        pass
    with contextlib.suppress(MessageError):
        decode_trailers(data)


def _payload(head: bytes) -> bytes:
    (found,) = BlockReader(1 << 30).feed(head)
    return found[1]


def websocket(data: bytes) -> None:
    """A reader of WebSocket messages, fed as :func:`blocks` is."""
    if not data:
        return
    count, data = data[0] % 32 + 1, data[1:]
    size = max(1, len(data) // count)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert _read_websocket([data]) == _read_websocket(pieces)


def _read_websocket(pieces: list[bytes]) -> tuple[list[Event], bool]:
    reader = FrameReader(max_message_size=1000)
    found: list[Event] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                assert not isinstance(event, str | bytes) or len(event) <= 1000
                found.append(event)
    except WebSocketError:
        return found, True
    return found, False


def _vectors(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())[kind]
    return found


def frames_seeds() -> list[bytes]:
    sessions = [[vector["message"]] for vector in _vectors("frames")]
    sessions += [vector["receive"] for vector in _vectors("errors")]
    return [
        bytes([flags]) + b"".join(len(m).to_bytes(2, "big") + m for m in map(bytes.fromhex, s))
        for s in sessions
        for flags in (0, 7, 18, 28)
    ]


def websocket_seeds() -> list[bytes]:
    sent = [*message_frames("text €"), *message_frames(b"x" * 70_000), close_frame(1000, "bye")]
    sent += [ping_frame(b"p"), pong_frame(b"p")]
    return [bytes([count]) + frame for frame in [*sent, b"".join(sent)] for count in (0, 7)]


def _streams() -> list[bytes]:
    return [bytes.fromhex(vector["stream"]) for vector in _vectors("blocks")]


def blocks_seeds() -> list[bytes]:
    return [bytes([count]) + stream for stream in _streams() for count in (0, 3, 31)]


def heads_seeds() -> list[bytes]:
    found = [found for stream in _streams() for found in BlockReader().feed(stream)]
    return [payload for kind, payload in found if kind != DATA] + [block(DATA, b"")]
