from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerfetch_fast.errors import WebSocketError
from peerfetch_fast.http import websocket_frames
from peerfetch_fast.http.websocket_frames import (
    FRAGMENT_SIZE,
    MAX_MESSAGE_SIZE,
    Close,
    Event,
    FrameReader,
    Ping,
    Pong,
    close_frame,
    message_frames,
    ping_frame,
    pong_frame,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "peerfetch2.json").read_text())

codes = st.sampled_from([1000, 1001, 1003, 1005, 1011, 1014, 3000, 4999])
controls = st.one_of(
    st.binary(max_size=125).map(Ping),
    st.binary(max_size=125).map(Pong),
)
messages = st.one_of(st.text(max_size=200), st.binary(max_size=400))


def read(data: bytes, cuts: list[int] | None = None, most: int = MAX_MESSAGE_SIZE) -> list[Event]:
    """The events in ``data``, fed in pieces of the sizes ``cuts``, over and over."""
    reader = FrameReader(most)
    found = []
    at = 0
    sizes = cuts or [len(data) or 1]
    while at < len(data):
        for size in sizes:
            reader.feed(data[at : at + size])
            at += size
            while (event := reader.next_event()) is not None:
                found.append(event)
    return found


def encoded(event: Event) -> bytes:
    match event:
        case Ping(data):
            return ping_frame(data)
        case Pong(data):
            return pong_frame(data)
        case Close(code, reason):
            return close_frame(code, reason)
        case _:
            return b"".join(message_frames(event))


def expected(event: dict[str, Any]) -> Event:
    match event["type"]:
        case "text":
            return str(event["text"])
        case "binary":
            return bytes.fromhex(event["data"])
        case "ping":
            return Ping(bytes.fromhex(event["data"]))
        case "pong":
            return Pong(bytes.fromhex(event["data"]))
        case _:
            return Close(event["code"], event["reason"])


@pytest.mark.parametrize("vector", VECTORS["websocket"], ids=lambda vector: vector["name"])
def test_vectors_are_read_and_written_alike(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["bytes"])
    events = [expected(event) for event in vector["events"]]
    assert read(data) == read(data, [1]) == events
    if not any(word in vector["name"] for word in ("fragment", "unknown")):
        assert b"".join(map(encoded, events)) == data


@pytest.mark.parametrize("vector", VECTORS["websocket_errors"], ids=lambda vector: vector["name"])
@pytest.mark.parametrize("cuts", [None, [1]])
def test_vectors_that_are_not_allowed_are_refused_with_their_code(
    vector: dict[str, Any], cuts: list[int] | None
) -> None:
    with pytest.raises(WebSocketError) as raised:
        read(bytes.fromhex(vector["bytes"]), cuts)
    assert raised.value.code == vector["code"]


@given(
    st.lists(st.one_of(messages, controls), max_size=12),
    codes,
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.integers(1, 20),
)
def test_what_is_sent_arrives(sent: list[Event], code: int, cuts: list[int], fragment: int) -> None:
    close = Close(code, "" if code == 1005 else "reason ☃")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(websocket_frames, "FRAGMENT_SIZE", fragment)
        data = b"".join(map(encoded, [*sent, close]))
    assert read(data, cuts) == [*sent, close]


@given(messages, controls)
def test_a_control_frame_between_any_two_fragments(message: str | bytes, control: Ping) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(websocket_frames, "FRAGMENT_SIZE", 7)
        frames = list(message_frames(message))
    data = encoded(control).join(frames)
    assert read(data) == [control] * (len(frames) - 1) + [message]


def test_large_messages_are_sent_in_fragments() -> None:
    message = bytes(range(256)) * (3 * FRAGMENT_SIZE // 256) + b"rest"
    frames = list(message_frames(message))
    assert len(frames) == 4
    assert max(map(len, frames)) <= FRAGMENT_SIZE + 9
    assert read(b"".join(frames)) == [message]
    assert len(list(message_frames(bytes(FRAGMENT_SIZE)))) == 1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_every_kind_are_sent_as_binary(kind: Any) -> None:
    assert b"".join(message_frames(kind(b"\1\2"))) == b"\x02\x02\1\2"


def test_a_message_of_just_the_size_that_is_accepted() -> None:
    data = b"".join(message_frames(b"x" * 100))
    assert read(data, most=100) == [b"x" * 100]
    with pytest.raises(WebSocketError) as raised:
        read(data, most=99)
    assert raised.value.code == 1009


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1006, 1015, 2000, 5000, 70_000])
def test_codes_that_are_not_sent(code: int) -> None:
    with pytest.raises(ValueError, match="no code to close"):
        close_frame(code, "")


def test_control_frames_have_a_limit() -> None:
    assert read(ping_frame(bytes(125))) == [Ping(bytes(125))]
    for frame in (ping_frame, pong_frame):
        with pytest.raises(ValueError, match="126 bytes"):
            frame(bytes(126))
    assert read(close_frame(1000, "x" * 123)) == [Close(1000, "x" * 123)]
    with pytest.raises(ValueError, match="123 bytes"):
        close_frame(1000, "x" * 124)


def test_text_that_is_no_unicode() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        list(message_frames("\ud800"))


# Frames that are nearly right are found far more often by chance than the right first bytes.
frames = st.tuples(
    st.sampled_from([0x00, 0x01, 0x02, 0x08, 0x09, 0x0A, 0x10, 0x11, 0x12, 0x18, 0x21, 0x7FFF]),
    st.binary(max_size=130),
).map(lambda frame: websocket_frames._frame(*frame))


@settings(max_examples=500)
@given(st.lists(st.one_of(frames, st.binary(max_size=12)), max_size=12).map(b"".join))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    def outcome(cuts: list[int] | None) -> tuple[list[Event], int | None]:
        reader = FrameReader(200)
        found: list[Event] = []
        at = 0
        size = (cuts or [len(data) or 1])[0]
        try:
            while at < len(data):
                reader.feed(data[at : at + size])
                at += size
                while (event := reader.next_event()) is not None:
                    if isinstance(event, (str, bytes)):
                        assert len(event) <= 200
                    found.append(event)
        except WebSocketError as error:
            return found, error.code
        return found, None

    whole = outcome(None)
    assert whole == outcome([1]) == outcome([3])
    assert whole[1] in (None, 1002, 1007, 1009)
