"""Messages and streams of `smoke-node`, on a channel that a test plays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerfetch_fast.budget import Budget
from peerfetch_fast.errors import PeerfetchError, WebSocketClosed, WebSocketError
from peerfetch_fast.smoke.old.channels import MAX_ASKED, MAX_MESSAGE, NetworkStream, Segments
from support import until


class Channel:
    """As much of a data channel as is used."""

    bufferedAmount = 0
    bufferedAmountLowThreshold = 0

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.other: Any = None
        self.closed = False
        self._handlers: dict[str, Any] = {}

    def on(self, event: str, handler: Any) -> None:
        self._handlers[event] = handler

    def emit(self, event: str, *given: Any) -> None:
        self._handlers[event](*given)

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if self.other is not None:
            asyncio.get_running_loop().call_soon(self.other.emit, "message", data)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.emit("close")
            if self.other is not None:
                asyncio.get_running_loop().call_soon(self.other.close)


def segments(limit: int = 1 << 24) -> tuple[Channel, Segments, Budget, list[str]]:
    channel, budget, exceeded = Channel(), Budget(limit), []
    made = Segments(channel, budget, lambda: exceeded.append("exceeded"))  # type: ignore[arg-type]
    return channel, made, budget, exceeded


async def test_messages_go_in_segments_and_are_put_together() -> None:
    channel, socket, budget, _ = segments()
    message = bytes(range(256)) * 400
    await socket.send(message)
    assert [(one[0], len(one)) for one in channel.sent] == [(1, 32_769)] * 3 + [(0, 4_097)]
    for one in channel.sent:
        channel.emit("message", one)
    assert await socket.receive() == message
    await socket.send(b"")
    assert channel.sent[-1] == b"\0"
    assert budget._left == 1 << 24


@pytest.mark.parametrize("wrong", [b"", b"\7x", "text"])
async def test_what_is_no_segment_ends_it(wrong: Any) -> None:
    channel, socket, _, _ = segments()
    channel.emit("message", wrong)
    with pytest.raises(WebSocketError, match="invalid"):
        await socket.receive()
    assert channel.closed


async def test_segments_without_end_and_long_messages_are_refused() -> None:
    channel, socket, budget, exceeded = segments()
    for _ in range(40):
        if not channel.closed:
            channel.emit("message", b"\1" + bytes(32_768))
    with pytest.raises(WebSocketError, match="exceeded"):
        await socket.receive()
    assert (budget._left, exceeded) == (1 << 24, [])
    _, socket, _, _ = segments()
    with pytest.raises(WebSocketError, match="exceeds"):
        await socket.send(bytes(MAX_MESSAGE + 1))


async def test_what_nobody_reads_is_bounded_and_given_back() -> None:
    channel, socket, budget, exceeded = segments(limit=100)
    channel.emit("message", b"\0" + bytes(60))
    assert not exceeded
    channel.emit("message", b"\0" + bytes(60))
    assert exceeded
    await socket.close()
    assert budget._left == 100
    with pytest.raises(WebSocketClosed):
        await socket.send(b"late")


async def test_empty_messages_and_segments_that_nobody_reads_are_bounded() -> None:
    for segment in (b"\0", b"\1"):
        channel, socket, budget, exceeded = segments(limit=10_000)
        for _ in range(1_000):
            channel.emit("message", segment)
        assert exceeded
        await socket.close()
        assert budget._left == 10_000


def streams(timeout: float = 5.0) -> tuple[NetworkStream, NetworkStream, Channel]:
    near, far = segments(), segments()
    near[0].other, far[0].other = far[0], near[0]
    return NetworkStream(near[1], timeout), NetworkStream(far[1], timeout), far[0]


async def test_pieces_are_sent_when_they_are_asked_for() -> None:
    near, far, channel = streams()
    writing = asyncio.create_task(near.write(b"a"))
    assert await far.read() == b"a"
    await writing
    ending = asyncio.create_task(near.end())
    assert await far.read() is None
    await ending
    await near.close()
    with pytest.raises(PeerfetchError, match="closed"):
        await far.write(b"late")
    await far.close()
    assert channel.closed


async def test_what_a_stream_takes_is_bounded() -> None:
    near, far, channel = streams()
    for _ in range(MAX_ASKED + 1):
        channel.emit("message", b"\0\0")
    await until(lambda: far._error is not None)
    with pytest.raises(PeerfetchError, match="nobody has asked for"):
        await far.read()
    await near.close()
    await far.close()
    near, far, channel = streams()
    channel.emit("message", b"\0\2unasked")
    with pytest.raises(PeerfetchError, match="nobody has asked for"):
        await far.wanted()
    await near.close()
    await far.close()


async def test_for_one_request_there_is_one_piece() -> None:
    near, far, channel = streams()
    reading = asyncio.create_task(far.read())
    await until(lambda: near._asked == 1)
    for _ in range(3):
        channel.emit("message", b"\0\2piece")
    assert await reading == b"piece"
    with pytest.raises(PeerfetchError, match="nobody has asked for"):
        await far.read()
    await near.close()
    await far.close()


async def test_who_asks_again_for_a_piece_gets_the_one_that_comes() -> None:
    near, far, _ = streams()
    reading = asyncio.create_task(far.read())
    await until(lambda: near._asked == 1)
    reading.cancel()
    await asyncio.wait((reading,))
    again = asyncio.create_task(far.read())
    await near.write(b"a")
    assert await again == b"a"
    assert near._asked == 0
    await near.close()
    await far.close()


async def test_a_side_that_is_silent_is_given_up() -> None:
    near, far, _ = streams(timeout=0.01)
    with pytest.raises(PeerfetchError, match="silent"):
        await near.write(b"a")
    await near.close()
    await far.close()
