"""WebSocket frames as RFC 6455 has them, between our two ends, and against the rules."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import WebSocketClosed, WebSocketError
from peerfetch_fast.http.h1 import Octets
from peerfetch_fast.http.websocket_frames import Close, Event, Ping, Pong
from peerfetch_fast.http.websocket_wire import WireFrameReader, WireWebSocket, accept_key


class Line:
    """What one end sends, for the other to read."""

    def __init__(self) -> None:
        self.octets = b""

    async def read(self) -> bytes:
        octets, self.octets = self.octets, b""
        return octets

    async def send(self, pieces: tuple[Octets, ...]) -> None:
        self.octets += b"".join(pieces)


def sent(events: list[Event], *, client: bool) -> bytes:
    async def main() -> bytes:
        line = Line()
        end = WireWebSocket(line, client=client)
        for event in events:
            match event:
                case Ping(data):
                    await end.send_ping(data)
                case Pong(data):
                    await end.send_pong(data)
                case Close(code, reason):
                    await end.send_close(code, reason)
                case _:
                    await end.send(event)
        return line.octets

    return asyncio.run(main())


def read(octets: bytes, sizes: list[int], *, masked: bool) -> list[Event]:
    reader, found, at = WireFrameReader(masked=masked, max_message_size=200_000), [], 0
    for size in [*sizes, len(octets)]:
        reader.feed(octets[at : at + size])
        at += size
        while (event := reader.next_event()) is not None:
            found.append(event)
    return found


controls = st.binary(max_size=125)
messages = st.lists(
    st.text(max_size=200)
    | st.binary(max_size=200)
    | st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 65_535, b"x" * 65_536])
    | controls.map(Ping)
    | controls.map(Pong),
    max_size=5,
)


@given(messages, st.lists(st.integers(1, 40), max_size=40), st.booleans())
def test_what_one_end_sends_the_other_reads_however_it_is_cut(
    events: list[Event], sizes: list[int], client: bool
) -> None:
    events = [*events, Close(1000, "bye ☃")]
    octets = sent(events, client=client)
    assert read(octets, sizes, masked=client) == events


def test_fragments_with_control_frames_between_them() -> None:
    octets = b"\x01\x02he\x89\x01p\x00\x00\x80\x03llo\x82\x00"
    for sizes in ([], [1] * len(octets)):
        assert read(octets, sizes, masked=False) == [
            Ping(b"p"),
            "hello",
            b"",
        ]


def test_the_handshake_of_the_specification() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # §1.3


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"\x83\x00", 1002),  # an opcode that nobody knows
        (b"\xc1\x00", 1002),  # a bit of an extension
        (b"\x81\x80abcd", 1002),  # a mask where there is none
        (b"\x80\x00", 1002),  # a continuation of nothing
        (b"\x01\x00\x81\x00", 1002),  # a message inside another
        (b"\x09\x00", 1002),  # a control frame in parts
        (b"\x89\x7e\x00\x7e", 1002),  # one that is too long
        (b"\x88\x01\x03", 1002),  # half a code
        (b"\x88\x02\x03\xed", 1002),  # 1005
        (b"\x81\x01\xff", 1007),
        (b"\x88\x03\x03\xe8\xff", 1007),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x03\x0d\x41", 1009),
        (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
        (b"\x02\x7f\x00\x00\x00\x00\x00\x03\x0d\x40" + bytes(200_000) + b"\x80\x01x", 1009),
    ],
)
def test_frames_that_break_rfc_6455_are_refused_with_its_code(octets: bytes, code: int) -> None:
    for sizes in ([], [1] * 20):
        with pytest.raises(WebSocketError) as raised:
            read(octets, sizes, masked=False)
        assert raised.value.code == code
    with pytest.raises(WebSocketError):
        read(b"\x81\x00", [], masked=True)  # a client that does not mask


def test_after_a_close_nothing_is_sent_and_a_cut_is_1006() -> None:
    async def main() -> None:
        line = Line()
        end = WireWebSocket(line, client=True)
        await end.send_close(1000)
        with pytest.raises(WebSocketClosed):
            await end.send("more")
        line.octets = b""
        with pytest.raises(WebSocketClosed) as raised:
            await end.receive_event()
        assert raised.value.code == 1006

    asyncio.run(main())
