"""Session and Stream over the in-memory link, in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from peerfetch_fast import _framing
from peerfetch_fast.errors import (
    LinkClosed,
    MemoryExceeded,
    PeerfetchError,
    PeerUnresponsive,
    ProtocolError,
    SessionClosed,
    StreamReset,
    StreamStopped,
)
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams.link import MemoryLink, memory_pair
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream
from virtual_time import run_virtual
from wire import decode

pytestmark = pytest.mark.virtual_time


def pair(
    limits: Settings | None = None,
    *,
    seed: int | None = None,
    delay: float = 0.0,
    accepting: bool = True,
) -> tuple[Session, Session]:
    """The opener, which asks, and the responder, which accepts."""
    one, other = memory_pair(seed=seed, delay=delay)
    return (
        Session(one, opener=True, settings=limits),
        Session(other, opener=False, settings=limits, accepting=accepting),
    )


def link_of(session: Session) -> MemoryLink:
    link = session._link
    assert isinstance(link, MemoryLink)
    return link


async def finish(*sessions: Session) -> None:
    for session in sessions:
        session.abort()
    for session in sessions:
        await session.wait_closed()


async def read_all(stream: Stream) -> bytes:
    pieces = []
    while piece := await stream.read():
        pieces.append(piece)
    return b"".join(pieces)


async def send_all(stream: Stream, data: bytes, piece: int = 50_000) -> None:
    for at in range(0, len(data), piece):
        await stream.write(data[at : at + piece])
    stream.end()


async def echo(session: Session) -> None:
    """Send back what each stream brings, until the session ends."""
    tasks = set()

    async def one(stream: Stream) -> None:
        while piece := await stream.read():
            await stream.write(piece)
        stream.end()

    try:
        while True:
            task = asyncio.ensure_future(one(await session.accept()))
            tasks.add(task)
    except PeerfetchError:
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
async def test_bytes_both_ways_on_many_streams(seed: int | None) -> None:
    one, other = pair(seed=seed, delay=0.01)
    noise = random.Random(seed)
    bodies = [noise.randbytes(noise.randrange(300_000)) for _ in range(60)]

    async def ask(body: bytes) -> None:
        stream = await one.open_stream()
        _, got = await asyncio.gather(send_all(stream, body), read_all(stream))
        assert got == body
        assert stream.at_end

    echoing = asyncio.ensure_future(echo(other))
    await asyncio.gather(*map(ask, bodies))
    assert one.open_streams == 0
    await one.close()
    await echoing


async def test_both_ends_open_streams() -> None:
    one, other = pair()
    mine, theirs = await one.open_stream(), await other.open_stream()
    mine.write_nowait(b"from the opener")
    theirs.write_nowait(b"from the responder")
    mine.end()
    theirs.end()
    assert await read_all(await other.accept()) == b"from the opener"
    assert await read_all(await one.accept()) == b"from the responder"
    await finish(one, other)


async def test_what_is_written_together_leaves_in_one_message() -> None:
    link, _ = memory_pair()
    session = Session(link, opener=True)
    sent: list[bytes] = []
    link.send = sent.append  # type: ignore[method-assign, assignment]
    stream = await session.open_stream()
    stream.write_nowait(b"head")
    stream.write_nowait(b"body")
    stream.end()
    await asyncio.sleep(0)
    (message,) = sent
    frames = decode(message)
    assert [f["type"] for f in frames] == ["SETTINGS", "STREAM"]
    assert bytes.fromhex(frames[1]["data"]) == b"headbody"
    assert frames[1]["fin"]
    await finish(session)


async def test_a_slow_reader_stops_the_writer() -> None:
    limits = Settings(max_data=1 << 20, max_stream_data=1 << 18, send_buffer=1 << 16)
    one, other = pair(limits)
    stream = await one.open_stream()
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(1000):
            await stream.write(bytes(10_000))
            written += 10_000
        stream.end()

    writing = asyncio.ensure_future(write())
    reader = await other.accept()
    await asyncio.sleep(60)
    held = (1 << 18) + (1 << 16)
    assert held - 10_000 <= written <= held + 10_000
    assert len(await read_all(reader)) == 10_000_000
    await writing
    await finish(one, other)


async def test_a_slow_link_is_not_given_more_than_its_buffer() -> None:
    one, other = pair(Settings(link_buffer=100_000), delay=1.0)
    stream = await one.open_stream()
    writing = asyncio.ensure_future(send_all(stream, bytes(1 << 20)))
    reading = asyncio.ensure_future(read_all(await other.accept()))
    highest = 0
    while not reading.done():
        highest = max(highest, link_of(one).buffered_amount)
        await asyncio.sleep(0.1)
    assert 100_000 <= highest <= 100_000 + 20_000
    await writing
    assert len(await reading) == 1 << 20
    await finish(one, other)


async def test_opening_waits_for_the_other_side_to_allow_more() -> None:
    one, other = pair(Settings(max_streams=16))
    first = [await one.open_stream() for _ in range(16)]
    waiting = [asyncio.ensure_future(one.open_stream()) for _ in range(20)]
    cancelled = waiting.pop(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    cancelled.cancel()
    echoing = asyncio.ensure_future(echo(other))
    for stream in first:
        stream.end()
        assert await read_all(stream) == b""
    for task in waiting:
        stream = await task
        stream.end()
        assert await read_all(stream) == b""
    await one.close()
    await echoing


async def test_a_side_that_does_not_accept_refuses_streams() -> None:
    one, other = pair(accepting=False)
    stream = await one.open_stream()
    stream.write_nowait(b"hello")
    with pytest.raises(StreamReset) as raised:
        await stream.read()
    assert raised.value.code == _framing.REQUEST_REJECTED
    await finish(one, other)


async def test_reset_wakes_the_reader_and_stop_the_writer() -> None:
    one, other = pair(Settings(send_buffer=1000))
    stream = await one.open_stream()
    stream.write_nowait(b"x")
    taken = await other.accept()
    assert await taken.read() == b"x"
    aborted: list[str] = []
    taken.on_aborted = lambda: aborted.append("taken")
    reading = asyncio.ensure_future(taken.read())
    writing = asyncio.ensure_future(taken.write(bytes(1 << 24)))
    await asyncio.sleep(1)
    assert not reading.done()
    assert not writing.done()
    stream.cancel(0x10C)
    with pytest.raises(StreamReset):
        await reading
    with pytest.raises(StreamStopped) as raised:
        await writing
    assert raised.value.code == 0x10C
    assert aborted == ["taken"]
    await asyncio.sleep(0)
    assert one.open_streams == other.open_streams == 0
    await finish(one, other)


async def test_giving_up_wakes_those_who_wait_on_this_side() -> None:
    one, other = pair(Settings(send_buffer=1000))
    stream = await one.open_stream()
    reading = asyncio.ensure_future(stream.read())
    writing = asyncio.ensure_future(stream.write(bytes(1 << 24)))
    await asyncio.sleep(1)
    stream.cancel(0x10C)
    assert await reading == b""
    with pytest.raises(RuntimeError, match="reset"):
        await writing
    await finish(one, other)


async def test_a_cancelled_read_loses_nothing() -> None:
    one, other = pair()
    stream = await one.open_stream()
    stream.write_nowait(b"1")
    taken = await other.accept()
    assert await taken.read() == b"1"
    reading = asyncio.ensure_future(taken.read())
    await asyncio.sleep(0)
    stream.write_nowait(b"2")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await taken.read() == b"2"
    await finish(one, other)


async def test_credit_that_comes_sends_what_waited_for_it() -> None:
    loop = asyncio.get_running_loop()
    # No keep-alive, which would have a stalled session send after all.
    one, other = pair(Settings(keep_alive=3600.0, dead_after=7200.0))
    started = loop.time()
    stream = await one.open_stream()
    writing = asyncio.ensure_future(send_all(stream, bytes(1 << 25)))  # above every window
    assert len(await read_all(await other.accept())) == 1 << 25
    await writing
    assert loop.time() - started < 1
    await finish(one, other)


async def test_a_reader_that_never_waits_gives_others_a_turn() -> None:
    one, other = pair()
    stream = await one.open_stream()
    stream.write_nowait(bytes(1 << 20))
    stream.end()
    taken = await other.accept()
    await asyncio.sleep(1)  # all of it has arrived
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    assert len(await read_all(taken)) == 1 << 20
    assert turns >= 8
    counting.cancel()
    await finish(one, other)


# -- the end -------------------------------------------------------------------------------------


async def test_an_orderly_end_waits_for_open_streams() -> None:
    one, other = pair(delay=0.05)
    stream = await one.open_stream()
    stream.write_nowait(b"question")
    taken = await other.accept()
    closing = asyncio.ensure_future(other.close())
    await asyncio.sleep(30)  # longer than a dead peer would be borne with
    assert not closing.done()
    with pytest.raises(SessionClosed):
        await one.open_stream()
    stream.end()
    assert await read_all(taken) == b"question"
    await send_all(taken, b"answer")
    assert await read_all(stream) == b"answer"
    await closing
    await one.wait_closed()
    assert isinstance(one.error, SessionClosed)
    assert isinstance(other.error, SessionClosed)
    assert link_of(one).closed


async def test_an_answer_that_has_arrived_can_be_read_after_the_end() -> None:
    one, other = pair()
    stream = await one.open_stream()
    stream.end()
    taken = await other.accept()
    assert await taken.read() == b""
    await send_all(taken, b"answer" * 10_000)
    await asyncio.sleep(1)
    link_of(other).cut(None)
    await one.wait_closed()
    assert await read_all(stream) == b"answer" * 10_000
    assert stream.at_end


@pytest.mark.parametrize("error", [None, LinkClosed("cut for the test"), OSError("no route")])
async def test_every_waiter_wakes_when_the_link_goes(error: Exception | None) -> None:
    one, other = pair(Settings(max_streams=16, send_buffer=1000))
    streams = [await one.open_stream() for _ in range(16)]
    waiting = [
        asyncio.ensure_future(streams[0].read()),
        asyncio.ensure_future(streams[1].write(bytes(1 << 24))),
        asyncio.ensure_future(one.open_stream()),
        asyncio.ensure_future(one.accept()),
    ]
    aborted: list[str] = []
    streams[2].on_aborted = lambda: aborted.append("2")
    await asyncio.sleep(1)
    assert not any(task.done() for task in waiting)
    link_of(one).cut(error)
    for task in waiting:
        with pytest.raises(LinkClosed):
            await task
    assert aborted == ["2"]
    assert isinstance(one.error, LinkClosed)
    with pytest.raises(LinkClosed):
        await streams[3].read()
    with pytest.raises(LinkClosed):
        streams[3].write_nowait(b"x")
    with pytest.raises(LinkClosed):
        await one.open_stream()
    streams[3].cancel(1)
    await one.wait_closed()
    await one.close()
    await finish(other)


async def test_a_peer_that_falls_silent_is_noticed_within_a_few_seconds() -> None:
    loop = asyncio.get_running_loop()
    one, other = pair()
    await asyncio.sleep(60)  # keep-alives go both ways
    assert one.error is None
    assert one.round_trip is not None
    link_of(other).send = lambda message: None  # type: ignore[method-assign]
    started = loop.time()
    with pytest.raises(PeerUnresponsive):
        await one.accept()
    assert 3 < loop.time() - started <= 5.5
    await finish(one, other)


def movable_pair(limits: Settings | None = None) -> tuple[Session, Session]:
    """Two sessions whose link looks after its path, as those of WebRTC do."""
    one, other = memory_pair()
    one.resumes = other.resumes = True
    return (
        Session(one, opener=True, settings=limits),
        Session(other, opener=False, settings=limits),
    )


class Gap:
    """Holds back what two links carry, as a network does that is gone for a while."""

    def __init__(self, *sessions: Session) -> None:
        self._held: list[tuple[MemoryLink, bytes | str]] = []
        self._links = [link_of(session) for session in sessions]
        self._deliver = [link._deliver for link in self._links]
        for link in self._links:
            link._deliver = lambda message, link=link: self._held.append((link, message))  # type: ignore

    def end(self) -> None:
        for link, deliver in zip(self._links, self._deliver, strict=True):
            link._deliver = deliver  # type: ignore[method-assign]
        for link, message in self._held:
            link._deliver(message)


async def test_streams_go_on_after_a_silence_at_the_byte_where_they_were() -> None:
    one, other = movable_pair()
    told: list[bool] = []
    one.on_silence = lambda: told.append(one.silent)
    echoing = asyncio.ensure_future(echo(other))
    stream = await one.open_stream()
    await stream.write(b"before")
    assert await stream.read() == b"before"
    gap = Gap(one, other)
    await stream.write(b"meanwhile")
    await asyncio.sleep(50)
    assert one.silent
    assert other.silent
    gap.end()
    assert await stream.read() == b"meanwhile"
    assert not one.silent
    assert told == [True, False]
    stream.end()
    assert await read_all(stream) == b""
    await one.close()
    await echoing


async def test_a_silence_that_lasts_ends_the_session() -> None:
    loop = asyncio.get_running_loop()
    one, other = movable_pair(Settings(resume_timeout=30.0))
    stream = await one.open_stream()
    await asyncio.sleep(1)
    Gap(one, other)
    began = loop.time()
    with pytest.raises(PeerUnresponsive):
        await stream.read()
    assert 28 < loop.time() - began < 31
    assert not one.silent
    await finish(one, other)


@pytest.mark.parametrize("who", [0, 1], ids=["opener", "other side"])
async def test_a_stream_that_is_opened_after_a_long_rest_has_the_other_side_asked_soon(
    who: int,
) -> None:
    loop = asyncio.get_running_loop()
    one, other = movable_pair()
    await asyncio.sleep(10)
    stream = await one.open_stream()
    stream.write_nowait(b"x")
    await other.accept()
    Gap(one, other)
    began = loop.time()
    waiting = loop.create_future()
    (one, other)[who].on_silence = lambda: waiting.set_result(None)
    await waiting
    assert loop.time() - began < 6
    await finish(one, other)


async def test_a_slow_upload_is_no_silence() -> None:
    """While what we send is being taken, the other side lives, though it says nothing."""

    one, other = pair(Settings(link_buffer=50_000, keep_alive=1000, dead_after=5000))
    impatient = Session(memory_pair()[0], opener=True)
    link = link_of(impatient)
    await asyncio.sleep(0)
    # The settings of the other side, so that their absence is no error here.
    impatient.message_received(b"\x03\x00")
    for _ in range(20):
        await asyncio.sleep(2)
        link.buffered_amount = 0
        impatient.buffered_low()
    assert impatient.error is None
    await finish(one, other, impatient)


async def test_a_broken_frame_ends_the_session_and_the_other_side_learns_why() -> None:
    one, other = pair()
    await asyncio.sleep(0)
    link_of(one).send(b"\x01\x07too short")
    with pytest.raises(ProtocolError) as raised:
        await other.accept()
    assert raised.value.code == _framing.FRAME_ENCODING_ERROR
    with pytest.raises(SessionClosed, match="8 bytes") as told:
        await one.accept()
    assert told.value.code == _framing.FRAME_ENCODING_ERROR
    await one.wait_closed()
    await other.wait_closed()


async def test_a_text_message_is_a_violation() -> None:
    one, other = pair()
    link_of(one).send("text")
    with pytest.raises(ProtocolError) as raised:
        await other.accept()
    assert raised.value.code == _framing.PROTOCOL_VIOLATION
    await finish(one, other)


async def test_abort_tells_the_other_side() -> None:
    one, other = pair()
    stream = await one.open_stream()
    stream.write_nowait(b"x")
    taken = await other.accept()
    one.abort(_framing.INTERNAL_ERROR, "enough")
    one.abort(_framing.NO_ERROR, "again")
    with pytest.raises(SessionClosed, match="enough"):
        await stream.read()
    await taken.read()
    with pytest.raises(SessionClosed, match="enough"):
        await taken.read()
    await one.wait_closed()
    await other.wait_closed()


async def test_a_link_that_does_not_drain_is_closed_all_the_same() -> None:
    loop = asyncio.get_running_loop()
    one, other = pair(Settings(close_timeout=2.0), delay=3600.0)
    started = loop.time()
    one.abort()
    await one.wait_closed()
    assert loop.time() - started == pytest.approx(2.0)
    await other.wait_closed()


async def test_async_with_ends_in_order_or_aborts() -> None:
    one, other = pair()
    async with one:
        stream = await one.open_stream()
        stream.end()
        (await other.accept()).end()
        assert await stream.read() == b""
    assert isinstance(one.error, SessionClosed)
    await other.wait_closed()

    one, other = pair()
    with pytest.raises(KeyError):
        async with one:
            await one.open_stream()
            raise KeyError
    await other.wait_closed()


async def test_messages_that_came_before_the_session_are_not_lost() -> None:
    one, other = memory_pair()
    early = Session(one, opener=True)
    stream = await early.open_stream()
    stream.write_nowait(b"early")
    await asyncio.sleep(1)
    late = Session(other, opener=False)
    assert await (await late.accept()).read() == b"early"
    await finish(early, late)


async def test_settings_that_never_come() -> None:
    async def _pinging(link: MemoryLink) -> None:
        while not link.closed:
            link.send(b"\x01\x0812345678")
            await asyncio.sleep(1)

    link, other = memory_pair()
    session = Session(link, opener=True)
    alive = asyncio.ensure_future(_pinging(other))
    with pytest.raises(ProtocolError) as raised:
        await session.accept()
    assert raised.value.code == _framing.SETTINGS_ERROR
    await alive
    await session.wait_closed()


def test_settings_refuse_what_the_protocol_does_not_allow() -> None:
    with pytest.raises(ValueError, match="max_data must be at least 262144"):
        Settings(max_data=1000)
    for name in ("max_data", "initial_max_stream_data", "max_streams", "chunk_size"):
        with pytest.raises(ValueError, match=f"{name} must be .* at most 2\\^60"):
            Settings(**{name: (1 << 60) + 1})


@pytest.mark.parametrize("name", ["settings_timeout", "keep_alive", "dead_after", "close_timeout"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_settings_refuse_times_that_are_none(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        Settings(**{name: seconds})


def test_settings_leave_time_for_the_answer_to_a_ping() -> None:
    with pytest.raises(ValueError, match="dead_after must be longer than keep_alive"):
        Settings(keep_alive=5.0)


async def test_messages_grow_on_a_fast_link_and_shrink_on_a_slow_one() -> None:
    limits = Settings(chunk_size=16_384, fast_chunk_size=65_536, link_buffer=1 << 18)
    one, other = memory_pair(delay=0.001, max_message_size=1 << 18)
    sizes: list[int] = []
    deliver = one.send

    def send(message: bytes | str) -> None:
        sizes.append(len(message))
        deliver(message)

    one.send = send  # type: ignore[method-assign]
    sender = Session(one, opener=True, settings=limits)
    receiver = Session(other, opener=False, settings=limits)
    stream = await sender.open_stream()
    writing = asyncio.ensure_future(send_all(stream, bytes(1 << 26), piece=1 << 20))
    taken = await receiver.accept()
    while len(sizes) < 400:
        await taken.read()
    assert sizes[1] < 17_000
    assert max(sizes) > 60_000
    one._delay = 0.1
    for _ in range(4):
        sizes.clear()
        while len(sizes) < 40:
            await taken.read()
    assert max(sizes) < 17_000
    writing.cancel()
    await finish(sender, receiver)


async def test_a_link_that_turns_fast_is_not_left_waiting() -> None:
    """Its buffer grows while it holds less than the new low water, which it then never crosses."""

    began = asyncio.get_running_loop().time()
    one, other = memory_pair(delay=0.1)
    limits = Settings(keep_alive=1000, dead_after=5000)  # no PING comes to wake the sender
    sender, receiver = (Session(end, opener=end is one, settings=limits) for end in (one, other))
    stream = await sender.open_stream()
    writing = asyncio.ensure_future(send_all(stream, bytes(1 << 22), piece=1 << 16))
    taken = await receiver.accept()
    received = 0
    while received < 1 << 22:
        received += len(await taken.read())
        if received > 1 << 17:
            one._delay = 0.001
    await writing
    assert asyncio.get_running_loop().time() - began < 5
    await finish(sender, receiver)


class TestAccount:
    def test_answers_that_nobody_reads_end_the_session_at_the_bound(self) -> None:
        limits = Settings(memory=1024 * 1024, send_buffer=1024 * 1024)

        async def main() -> None:
            asker, answerer = pair(limits)
            for _ in range(8):
                (await asker.open_stream()).write_nowait(b"?")
            streams = [await answerer.accept() for _ in range(8)]
            with pytest.raises(MemoryExceeded, match=r"Settings\.memory"):
                for stream in streams:
                    stream.write_nowait(bytes(700_000))
                    await asyncio.sleep(0)
            await answerer.wait_closed()
            await asker.wait_closed()
            assert isinstance(asker.error, SessionClosed)
            assert asker.error.code == _framing.EXCESSIVE_LOAD

        run_virtual(main())

    def test_what_was_read_and_sent_is_held_no_more(self) -> None:
        async def main() -> None:
            asker, answerer = pair()
            stream = await asker.open_stream()
            sending = asyncio.create_task(stream.write(bytes(5_000_000)))
            got = await answerer.accept()
            left = 5_000_000
            while left:
                left -= len(await got.read())
            await sending
            await asyncio.sleep(1)
            assert asker.account.held <= 64 * 1024
            assert answerer.account.held <= 64 * 1024
            await finish(asker, answerer)
            assert asker.account.held == answerer.account.held == 0

        run_virtual(main())


async def test_who_takes_streams_at_once_does_not_accept_them() -> None:
    one, other = pair()
    first = await one.open_stream()
    first.write_nowait(b"waits to be accepted")
    await asyncio.sleep(0.1)
    taken: list[Stream] = []
    other.on_stream = taken.append
    second = await one.open_stream()
    second.write_nowait(b"is taken")
    await asyncio.sleep(0.1)
    assert [stream.id for stream in taken] == [second.id]
    assert taken[0].read_nowait() == b"is taken"
    assert (await other.accept()).id == first.id
    accepting = asyncio.ensure_future(other.accept())
    await finish(one, other)
    with pytest.raises(SessionClosed):
        await accepting
