"""What the parsers of the peer's bytes must stand, whatever these are.

A target takes an input, and raises for what it must not do: any error that is not one of ours, more
memory than was granted, or an answer that is no frame. Those of one parser are here; those whose
input is a program of steps stand in the files beside this one, and SCTP's, in Cython, in native/.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h11
from tests.fuzz import agents, descriptions, old_peers, packs, realms

from peerfetch_fast import _framing
from peerfetch_fast._framing import Engine, EngineStream
from peerfetch_fast.access import Access
from peerfetch_fast.errors import MessageError, PeerfetchError, WebSocketError
from peerfetch_fast.http.blocks import DATA, MAX_HEAD, BlockReader, block
from peerfetch_fast.http.h1 import MAX_HEAD as MAX_WIRE_HEAD
from peerfetch_fast.http.h1 import (
    PROGRAM,
    UPSTREAM,
    ClientConnection,
    End,
    Leniency,
    Request,
    Response,
    ServerConnection,
)
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
from peerfetch_fast.webrtc import HAVE_NATIVE

VECTORS = Path(__file__).parents[1] / "vectors" / "peerfetch2.json"
CORPUS = Path(__file__).with_name("corpus")
"""Inputs that were found to reach something new, in a directory for each target."""

SETTINGS = Settings(
    max_data=1 << 18, max_stream_data=1 << 16, max_streams=16, chunk_size=1024, fragments=64
)
ACCESS = Access("token", opener=False, local=bytes(32), remote=bytes(32))


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
        access=ACCESS if flags & 2 and not flags & 1 else None,
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
            kind = _framing.read_varint(message, at)
            assert kind is not None
            length = _framing.read_varint(message, kind[1])
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


# What h11 takes and we refuse, by our own words for it: each is a rule of RFC 9112 or 9110 that h11
# leaves to its user, or a bound of ours.
STRICTER = (
    "another version",  # it leaves the version to its user
    "LF without CR",  # it has no such rule for heads
    "empty line",
    "more than",
    "too many digits",
    "both Content-Length and Transfer-Encoding",
    "Content-Length is said twice",
    "in HTTP/1.0",
    "a chunk without a size",
    "ends behind the status",
    "Host, or with two",
    "Expect for anything",
    "NUL before a chunk",
    "CR without LF",
    "nobody asked for",
    "with the status",
    "does not allow",
)


# h11 joins a line that begins with white space to the one before.
FOLDED = re.compile(rb"\n[ \t]")
# And what it refuses and we take: targets beyond ASCII, values with the characters that Python
# calls white space, white space before an extension, and framing in trailers and informational
# answers, where it means nothing.
H11_STRICTER = re.compile(
    rb"[^\x20-\x7e\t\r\n]|[ \t];"
    rb"|(0+[ \t]*(;[^\r\n]*)?\r\n|/1\.\d 1\d\d[^\n]*\n)([^\r\n]+\r\n)*"
    rb"(transfer-encoding|content-length):",
    re.IGNORECASE,
)
# We drop these from trailers, and h11 does not.
IN_HEADS = frozenset(("content-length", "host", "transfer-encoding"))


def h1_requests(data: bytes) -> None:
    """A server's connection, with h11 as the oracle. The first byte says how the rest is cut."""
    _h1(data, lambda leniency: ServerConnection(leniency=leniency), h11.SERVER, PROGRAM)


def h1_responses(data: bytes) -> None:
    """A client's connection that has asked with GET, or HEAD where the second bit is set."""
    method = "HEAD" if data and data[0] & 2 else "GET"

    def asking(leniency: Leniency) -> ClientConnection:
        client = ClientConnection(leniency=leniency)
        client.write_request(method, "/", [("host", "x")])
        return client

    _h1(data, asking, h11.CLIENT, UPSTREAM, method)


def _h1(
    data: bytes,
    connect: Callable[[Leniency], ClientConnection | ServerConnection],
    role: type[h11.CLIENT] | type[h11.SERVER],
    leniency: Leniency,
    method: str = "GET",
) -> None:
    if not data:
        return
    count, data = (data[0] >> 2) % 16 + 1, data[1:]
    size = max(1, len(data) // count)
    pieces = [data[at : at + size] for at in range(0, len(data), size)] + [b""]
    whole, _ = _read_h1(connect(leniency), [data, b""] if data else [b""])
    again, _ = _read_h1(connect(leniency), pieces)
    assert whole == again
    strict, why = _read_h1(connect(Leniency(0)), pieces)
    theirs = _read_h11(role, pieces, method)
    if strict == theirs:
        return
    if why is None:
        assert theirs[-1] == "error", (strict, theirs)
        # To us an answer that never began is an end, after which the request may be repeated.
        assert not data or H11_STRICTER.search(data), (strict, theirs)
    else:
        explained = theirs[-1] == "error" or FOLDED.search(data)
        assert explained or any(words in why for words in STRICTER), (why, theirs)


def _read_h1(
    connection: ClientConnection | ServerConnection, pieces: list[bytes]
) -> tuple[list[Any], str | None]:
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
                    events[-1:] = _with(events[-1], event)
                else:
                    trailers = event.trailers if isinstance(event, End) else "closed"
                    events.append(("end", trailers))
                    return events, None
        assert connection.waiting <= MAX_WIRE_HEAD or connection.read_all
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


def _with(last: Any, piece: bytes) -> Iterator[Any]:
    if isinstance(last, bytes):
        yield last + piece
    else:
        yield from (last, piece)


def _read_h11(
    role: type[h11.CLIENT] | type[h11.SERVER], pieces: list[bytes], method: str
) -> list[Any]:
    """The same of h11."""
    connection = h11.Connection(role, max_incomplete_event_size=1 << 20)
    if role is h11.CLIENT:
        connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
    events: list[Any] = []
    try:
        for piece in pieces:
            connection.receive_data(piece)
            while True:
                event = connection.next_event()
                if event in (h11.NEED_DATA, h11.PAUSED):
                    break
                if isinstance(event, h11.Data):
                    if event.data:
                        events[-1:] = _with(events[-1], bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    trailers = _decoded(event.headers)
                    events.append(("end", [t for t in trailers if t[0] not in IN_HEADS]))
                    return events
                elif isinstance(event, h11.ConnectionClosed):
                    events.append(("end", "closed"))
                    return events
                elif isinstance(event, h11.Request):
                    target = event.target.decode("latin-1")
                    events.append((event.method.decode(), target, _decoded(event.headers)))
                else:
                    events.append((event.status_code, _decoded(event.headers)))
    except h11.RemoteProtocolError:
        return [*events, "error"]
    return events


def _decoded(fields: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


TARGETS: dict[str, Callable[[bytes], int | None]] = {
    "frames": frames,
    "blocks": blocks,
    "heads": heads,
    "websocket": websocket,
    "h1_requests": h1_requests,
    "h1_responses": h1_responses,
    "binarypack": packs.binarypack,
    "ice": agents.ice,
    "negotiation": descriptions.negotiation,
    "peerfetch1_client": old_peers.peerfetch1_client,
    "peerfetch1_messages": old_peers.peerfetch1_messages,
    "peerfetch1_proxy": old_peers.peerfetch1_proxy,
    "realm": realms.realm,
    "sdp": descriptions.sdp,
}
"""By name; a target that runs an input as a program returns how many steps it had."""

SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "binarypack": packs.seeds,
    "ice": agents.seeds,
    "negotiation": descriptions.negotiation_seeds,
    "peerfetch1_client": old_peers.client_seeds,
    "peerfetch1_messages": old_peers.message_seeds,
    "peerfetch1_proxy": old_peers.proxy_seeds,
    "realm": realms.seeds,
    "sdp": descriptions.sdp_seeds,
}

if HAVE_NATIVE:
    from tests.fuzz import datagrams

    TARGETS |= {"dtls": datagrams.dtls, "path": datagrams.path}
    SEEDS |= {"dtls": datagrams.dtls_seeds, "path": datagrams.path_seeds}

H1_REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw",
)
H1_RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\nall of it",
    b"http/1.1 999 x\nContent-Length: 2, 2\n\nok",
)


def seeds(target: str) -> list[bytes]:
    """Inputs to begin with: the protocol's test vectors in the form that the target takes."""
    if target in SEEDS:
        return SEEDS[target]()
    vectors = json.loads(VECTORS.read_text())
    if target == "frames":
        sessions = [[vector["message"]] for vector in vectors["frames"]]
        sessions += [vector["receive"] for vector in vectors["errors"]]
        return [
            bytes([flags]) + b"".join(len(m).to_bytes(2, "big") + m for m in map(bytes.fromhex, s))
            for s in sessions
            for flags in (0, 7, 18, 28)
        ]
    if target == "websocket":
        sent = [*message_frames("text €"), *message_frames(b"x" * 70_000), close_frame(1000, "bye")]
        sent += [ping_frame(b"p"), pong_frame(b"p")]
        return [bytes([count]) + frame for frame in [*sent, b"".join(sent)] for count in (0, 7)]
    if target in ("h1_requests", "h1_responses"):
        messages = H1_REQUESTS if target == "h1_requests" else H1_RESPONSES
        return [bytes([flags]) + message for message in messages for flags in (0, 2, 60)]
    streams = [bytes.fromhex(vector["stream"]) for vector in vectors["blocks"]]
    if target == "blocks":
        return [bytes([count]) + stream for stream in streams for count in (0, 3, 31)]
    found = [found for stream in streams for found in BlockReader().feed(stream)]
    return [payload for kind, payload in found if kind != DATA] + [block(DATA, b"")]


if __name__ == "__main__":
    print(*TARGETS, sep="\n")
