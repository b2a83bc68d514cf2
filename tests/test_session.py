"""Sessions over the in-memory link."""

from __future__ import annotations

import asyncio

from peerfetch_fast.link import memory_pair
from peerfetch_fast.session import Session
from peerfetch_fast.settings import Settings

# No keep-alive, which would have a stalled session send after all.
QUIET = Settings(keep_alive=3600.0, dead_after=7200.0)


def test_credit_that_comes_sends_what_waited_for_it() -> None:
    data = bytes(range(256)) * 32_768  # above every window

    async def main() -> bytes:
        ends = memory_pair()
        sender = Session(ends[0], opener=True, settings=QUIET)
        receiver = Session(ends[1], opener=False, settings=QUIET)

        async def read() -> bytes:
            incoming = await receiver.accept()
            pieces = []
            while piece := await incoming.read():
                pieces.append(piece)
            incoming.end()
            return b"".join(pieces)

        reading = asyncio.ensure_future(read())
        outgoing = await sender.open_stream()
        await outgoing.write(data)
        outgoing.end()
        received = await reading
        await outgoing.read()
        await asyncio.gather(sender.close(), receiver.wait_closed())
        return received

    assert asyncio.run(asyncio.wait_for(main(), 10)) == data
