"""What a connection to an upstream reads ahead."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

from peerfetch_fast.http._receive import ReceiveBuffer
from peerfetch_fast.http.upstream_connection import READ_AHEAD, UpstreamConnection
from peerfetch_fast.streams.account import Account
from support import run

PIECE = bytes(64 * 1024)


def come(connection: UpstreamConnection, data: bytes) -> None:
    """As a transport does with what its socket gave."""
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


def test_what_comes_before_the_reader_has_its_turn_is_counted_and_bounded() -> None:
    async def scenario() -> None:
        account = Account(1 << 30, setting="of this test")
        loop = asyncio.get_running_loop()
        buffer = ReceiveBuffer(len(PIECE), 1)
        connection = UpstreamConnection(loop, lambda _: None, account.share(), buffer)
        transport: Any = mock.create_autospec(asyncio.Transport, instance=True)
        transport.get_extra_info.return_value = None
        transport.is_closing.return_value = False
        connection.connection_made(transport)
        connection.take()
        connection.write(connection.http.write_request("GET", "/", [("host", "a")]))
        answer = asyncio.ensure_future(connection.next_event())
        await asyncio.sleep(0)  # it waits, and is woken by the first of these
        come(connection, b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        received = 0
        while not transport.pause_reading.called:
            come(connection, PIECE)
            received += len(PIECE)
            assert received <= READ_AHEAD + len(PIECE)
        assert account.held > READ_AHEAD
        await answer
        connection.abort()

    run(scenario())
