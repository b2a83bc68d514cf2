"""ChannelLink over a channel that does as it is told; over real ones, see test_negotiation.py."""

from __future__ import annotations

from typing import Any

import pytest
from pyee.base import EventEmitter

from peerfetch_fast.errors import LinkClosed
from peerfetch_fast.webrtc.channel_link import (
    LABEL,
    MAX_EARLY,
    PROTOCOL,
    link_over,
    open_channel,
)


class Channel(EventEmitter):
    def __init__(self) -> None:
        super().__init__()
        self.readyState = "open"
        self.bufferedAmount = 0
        self.bufferedAmountLowThreshold = 0
        self.sent: list[bytes] = []
        self.closes = 0

    def send(self, message: bytes) -> None:
        assert self.readyState == "open"
        self.sent.append(message)

    def close(self) -> None:
        self.closes += 1
        self.readyState = "closing"


class Connection(EventEmitter):
    def __init__(self) -> None:
        super().__init__()
        self.max_message_size = 65_535
        self.connectionState = "connected"
        self.transport = "aiortc"
        self.channels: list[Any] = []

    def createDataChannel(self, label: str, **options: Any) -> Any:
        self.channels.append((label, options))
        return Channel()


class Receiver:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def message_received(self, message: bytes | str) -> None:
        self.told.append(message)

    def parts_received(self, *parts: Any) -> None:
        self.told.append(parts)

    def buffered_low(self) -> None:
        self.told.append("low")

    def link_closed(self, error: Exception | None) -> None:
        self.told.append(("closed", error))


def make() -> tuple[Any, Any, Any]:
    connection, channel = Connection(), Channel()
    return connection, channel, link_over(connection, channel)  # type: ignore[arg-type]


def test_the_channel_is_the_one_of_the_protocol() -> None:
    connection = Connection()
    open_channel(connection)  # type: ignore[arg-type]
    assert connection.channels == [(LABEL, {"ordered": False, "protocol": PROTOCOL})]
    assert (LABEL, PROTOCOL) == ("peerfetch", "peerfetch.2")


@pytest.mark.parametrize(("said", "size"), [(262_144, 262_144), (0, 1 << 30), (1 << 40, 1 << 30)])
def test_the_largest_message_is_what_the_other_side_says(said: int, size: int) -> None:
    connection, _, link = make()
    connection.max_message_size = said
    assert link.max_message_size == size


def test_messages_before_attach_come_first() -> None:
    _, channel, link = make()
    channel.emit("message", b"1")
    channel.emit("message", "2")
    receiver = Receiver()
    link.attach(receiver)
    channel.emit("message", b"3")
    assert receiver.told == [b"1", "2", b"3"]


def test_what_comes_before_attach_is_bounded() -> None:
    _, channel, link = make()
    for _ in range(3):
        channel.emit("message", b"x" * (MAX_EARLY // 2))
    channel.emit("message", b"after")
    assert channel.closes == 1
    receiver = Receiver()
    link.attach(receiver)
    [closed] = [told for told in receiver.told if isinstance(told, tuple)]
    assert isinstance(closed[1], LinkClosed)
    assert sum(len(told) for told in receiver.told if isinstance(told, bytes)) <= MAX_EARLY


def test_many_empty_messages_are_bounded_too() -> None:
    _, channel, _ = make()
    for _ in range(MAX_EARLY // 50):
        channel.emit("message", b"")
    assert channel.closes == 1


def test_the_buffer_is_the_channels() -> None:
    _, channel, link = make()
    channel.bufferedAmount = 7
    assert link.buffered_amount == 7
    link.low_water = 5
    assert channel.bufferedAmountLowThreshold == link.low_water == 5
    receiver = Receiver()
    link.attach(receiver)
    channel.emit("bufferedamountlow")
    assert receiver.told == ["low"]


@pytest.mark.parametrize("state", ["connecting", "closing", "closed"])
def test_sending_where_there_is_no_open_channel(state: str) -> None:
    _, channel, link = make()
    channel.readyState = state
    link.send(b"x")
    assert channel.sent == []


def test_closing_tells_once() -> None:
    _, channel, link = make()
    receiver = Receiver()
    link.attach(receiver)
    link.close()
    link.close()
    channel.emit("close")
    channel.emit("bufferedamountlow")
    assert channel.closes == 1
    assert receiver.told == [("closed", None)]


def test_a_channel_that_closes_closes_its_link_once() -> None:
    _, channel, link = make()
    receiver = Receiver()
    link.attach(receiver)
    channel.readyState = "closed"
    channel.emit("close")
    link.close()
    assert channel.closes == 0
    assert receiver.told == [("closed", None)]


@pytest.mark.parametrize("state", ["failed", "closed"])
def test_the_connection_goes(state: str) -> None:
    connection, _, link = make()
    receiver = Receiver()
    link.attach(receiver)
    connection.emit("connectionstatechange")
    assert receiver.told == []
    connection.connectionState = state
    connection.emit("connectionstatechange")
    connection.emit("connectionstatechange")
    [(what, error)] = receiver.told
    assert what == "closed"
    assert isinstance(error, LinkClosed)
    assert state in str(error)


def test_an_end_before_attach_is_told_then() -> None:
    connection, _, link = make()
    connection.connectionState = "failed"
    connection.emit("connectionstatechange")
    receiver = Receiver()
    link.attach(receiver)
    [(_, error)] = receiver.told
    assert isinstance(error, LinkClosed)


def test_messages_that_hold_no_frames_are_not_cut() -> None:
    class Native(Channel):
        on_message: Any = None

        def put(self, message: str) -> None:
            self.sent.append(message)  # type: ignore[arg-type]

        def take_parts(self, *parts: Any) -> None:
            raise AssertionError

    channel, connection = Native(), Connection()
    connection.transport = "native"
    link = link_over(connection, channel, frames=False)  # type: ignore[arg-type]
    receiver = Receiver()
    link.attach(receiver)
    channel.on_message("text")
    assert receiver.told == ["text"]
    assert not link.in_parts
    link.send("answer")
    assert channel.sent == ["answer"]
