"""Lines over links in this process, in virtual time: what breaks, and what becomes of requests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from peerfetch_fast.errors import (
    AccessDenied,
    Awaited,
    ConnectError,
    FetchTimeout,
    IdentityChanged,
    LinkClosed,
    PeerLost,
    PeerUnavailable,
    ProtocolError,
    RequestLost,
    SessionClosed,
    StreamReset,
)
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.server import Exchange, serve_session
from peerfetch_fast.reconnecting import BACKOFF_MAXIMUM, Established, PeerState, ReconnectingSession
from peerfetch_fast.streams.link import MemoryLink, memory_pair
from peerfetch_fast.streams.session import Session

pytestmark = pytest.mark.virtual_time


class Wire:
    """A connection in this process."""

    transport = "memory"

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.closed = False

    async def close(self) -> None:
        self.closed = True
        self.link.close()


class Device:
    """A device that can be switched off and on; keeps what it was asked."""

    def __init__(self, *, movable: bool = False) -> None:
        self.on = True
        self.movable = movable
        self.dialled: list[float] = []
        self.wires: list[Wire] = []
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.sessions: list[Session] = []
        self._serving: list[asyncio.Task[None]] = []

    async def dial(self) -> Established:
        loop = asyncio.get_running_loop()
        self.dialled.append(loop.time())
        await asyncio.sleep(0.1)
        if not self.on:
            raise PeerUnavailable("the device is not there")
        one, other = memory_pair(delay=0.01)
        one.resumes = other.resumes = self.movable
        self.sessions.append(Session(other, opener=False))
        self._serving.append(loop.create_task(serve_session(self.sessions[-1], self._answer)))
        self.wires.append(Wire(one))
        return Established(Session(one, opener=True, accepting=False), self.wires[-1], b"")

    async def _answer(self, exchange: Exchange) -> None:
        body = b""
        while piece := await exchange.read():
            body += piece
        self.asked.append(f"{exchange.method} {exchange.target} {body.decode()}".strip())
        if exchange.target == "/slow":
            await self.go.wait()
        if exchange.target == "/half":
            exchange.start(200, [], None)
            await exchange.write(b"half")
            await self.go.wait()
            exchange.end()
            return
        exchange.respond(200, [], body or b"answer")

    def crash(self) -> None:
        """Power off, without a word."""
        self.on = False
        self.cut()

    def cut(self) -> None:
        self.wires[-1].link.cut(ConnectionResetError("cut"))

    def vanish(self) -> Callable[[], None]:
        """As a cable that was pulled: nobody is told. Returns what plugs it in again, after which
        nothing is lost.
        """
        self.on = False
        link = self.wires[-1].link
        assert link._other is not None
        ends = (link, link._other)
        held: list[tuple[MemoryLink, bytes | str]] = []
        before = [end._deliver for end in ends]
        for end in ends:
            end._deliver = lambda message, end=end: held.append((end, message))  # type: ignore

        def restore() -> None:
            self.on = True
            for end, deliver in zip(ends, before, strict=True):
                end._deliver = deliver  # type: ignore[method-assign]
            for end, message in held:
                end._deliver(message)

        return restore

    async def close(self) -> None:
        for session in self.sessions:
            session.abort()
        await asyncio.gather(*self._serving)


@contextlib.asynccontextmanager
async def line(
    *, movable: bool = False, **options: Any
) -> AsyncIterator[tuple[ReconnectingSession, Device]]:
    device = Device(movable=movable)
    line = ReconnectingSession(await device.dial(), device.dial, rng=random.Random(1), **options)
    try:
        yield line, device
    finally:
        await line.abort()
        await device.close()
        assert all(wire.closed for wire in device.wires)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_requests_go_on_after_the_link_was_cut() -> None:
    async with line(origin="peer://device") as (to, device):
        assert to.state is PeerState.CONNECTED
        response = await fetch(to, "/a")
        assert response.url == "peer://device/a"
        device.cut()
        assert await (await fetch(to, "/b")).text() == "answer"
        assert len(device.sessions) == 2
        assert to.state is PeerState.CONNECTED
        await until(lambda: device.wires[0].closed)  # nothing of the old one is left


async def test_silence_is_noticed_within_five_seconds() -> None:
    async with line() as (to, device):
        device.vanish()
        began = now()
        await to.wait_for(PeerState.RECONNECTING)
        assert now() - began <= 5.1
        device.on = True
        await to.wait_for(PeerState.CONNECTED)
        assert now() - began <= 6.5


async def test_requests_wait_for_a_silent_session_that_may_come_back_and_go_on_with_it() -> None:
    async with line(movable=True) as (to, device):
        slow = asyncio.ensure_future(fetch(to, "/slow"))
        await until(lambda: device.asked)
        restore = device.vanish()
        await to.wait_for(PeerState.RECONNECTING)
        waiting = asyncio.ensure_future(fetch(to, "/later"))
        await asyncio.sleep(30)
        assert not waiting.done()
        assert device.asked == ["GET /slow"]
        restore()
        device.go.set()
        assert await to.wait_for(PeerState.CONNECTED)
        assert (await slow).ok
        assert (await waiting).ok
        assert device.asked == ["GET /slow", "GET /later"]
        assert len(device.sessions) == 1


async def test_a_session_that_stays_silent_is_followed_by_another() -> None:
    async with line(movable=True) as (to, device):
        slow = asyncio.ensure_future(fetch(to, "/slow", method="POST"))
        await until(lambda: device.asked)
        device.vanish()
        began = now()
        await to.wait_for(PeerState.RECONNECTING)
        waiting = asyncio.ensure_future(fetch(to, "/later"))
        device.on = True
        assert (await waiting).ok
        assert 55 < now() - began < 65
        with pytest.raises(RequestLost):
            await slow
        assert len(device.sessions) == 2


async def test_attempts_back_off_and_come_to_an_end() -> None:
    async with line(give_up_after=300.0) as (to, device):
        device.crash()
        began = now()
        waiting = asyncio.ensure_future(fetch(to, "/"))
        assert await to.wait_for(PeerState.CLOSED)
        assert 300 <= now() - began <= 301
        with pytest.raises(PeerLost, match="300 s: the device is not there"):
            await waiting
        with pytest.raises(PeerLost):
            await fetch(to, "/")
        assert isinstance(to.error, PeerLost)
        attempts = device.dialled[1:]
        gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        assert attempts[0] - began <= 0.6  # the first at once
        assert max(gaps) <= BACKOFF_MAXIMUM + 0.2
        assert 20 < len(attempts) < 80
        assert len(set(gaps)) > 10  # jitter
        assert not device.asked


async def test_another_network_ends_the_wait_for_the_next_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching: list[Callable[[object], object]] = []

    class Watch:
        def __init__(self, changed: Callable[[object], object]) -> None:
            self.changed = changed
            watching.append(changed)

        def stop(self) -> None:
            watching.remove(self.changed)

    monkeypatch.setattr("peerfetch_fast.reconnecting.watch_networks", Watch)

    async with line(give_up_after=600.0) as (to, device):
        device.crash()
        await until(lambda: len(device.dialled) > 9)  # by then it waits for long
        await asyncio.sleep(0.2)
        device.on = True
        began = now()
        (changed,) = watching
        changed(None)
        await to.wait_for(PeerState.CONNECTED)
        assert now() - began < 0.3
    assert not watching


@pytest.mark.parametrize("error", [IdentityChanged("another"), AccessDenied("another token")])
async def test_an_error_that_time_cannot_heal_ends_the_line_at_once(error: Exception) -> None:
    async with line() as (to, device):

        async def refuse() -> Established:
            raise error

        to._dial = refuse
        device.cut()
        with pytest.raises(type(error)):
            await fetch(to, "/")
        assert to.state is PeerState.CLOSED
        assert to.error is error


async def test_a_device_that_breaks_the_protocol_is_looked_for_again() -> None:
    async with line() as (to, device):
        dial, attempts = to._dial, 0

        async def broken_at_first() -> Established:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise ProtocolError(5, "stream 0 was never opened")
            assert dial is not None
            return await dial()

        to._dial = broken_at_first
        device.cut()
        assert (await fetch(to, "/")).ok
        assert attempts == 3


async def test_nothing_escapes_whatever_dialling_raises(caplog: pytest.LogCaptureFixture) -> None:
    async with line() as (to, device):

        async def fail() -> Established:
            raise KeyError("unheard of")

        to._dial = fail
        device.cut()
        with pytest.raises(ConnectError, match="unheard of"):
            await fetch(to, "/")
        assert "connecting again failed" in caplog.text


async def test_fetch_waits_for_the_connection_no_longer_than_it_may() -> None:
    async with line() as (to, device):
        device.crash()
        await to.wait_for(PeerState.RECONNECTING)
        began = now()
        with pytest.raises(FetchTimeout, match="connection did not come within 3 s") as caught:
            await fetch(to, "/", timeout=3)
        assert caught.value.waited_for is Awaited.CONNECTION
        assert now() - began == pytest.approx(3)
        waiting = asyncio.ensure_future(fetch(to, "/later"))
        await asyncio.sleep(30)
        device.on = True
        assert (await waiting).ok
        assert device.asked == ["GET /later"]


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("PUT", b"data"), ("DELETE", None), ("HEAD", None)]
)
async def test_what_is_safe_to_repeat_is_repeated(method: str, body: bytes | None) -> None:
    async with line() as (to, device):
        asking = asyncio.ensure_future(fetch(to, "/slow", method=method, body=body))
        await until(lambda: device.asked)
        device.cut()
        await until(lambda: len(device.asked) == 2)
        device.go.set()
        assert (await asking).ok
        assert len(set(device.asked)) == 1


async def test_it_is_repeated_once() -> None:
    async with line() as (to, device):
        asking = asyncio.ensure_future(fetch(to, "/slow"))
        for times in (1, 2):
            await until(lambda times=times: len(device.asked) == times)
            device.cut()
        with pytest.raises(RequestLost, match="repeated once"):
            await asking
        await to.wait_for(PeerState.CONNECTED)
        assert len(device.asked) == 2


async def some() -> AsyncIterator[bytes]:
    yield b"some"


@pytest.mark.parametrize(
    ("method", "body", "says"),
    [
        ("POST", b"data", "POST is not safe"),
        ("PATCH", b"data", "PATCH is not safe"),
        ("PUT", "iterator", "only once"),
    ],
)
async def test_what_is_not_safe_to_repeat_fails_at_once(method: str, body: Any, says: str) -> None:
    async with line() as (to, device):
        what = some() if body == "iterator" else body
        asking = asyncio.ensure_future(fetch(to, "/slow", method=method, body=what))
        await until(lambda: device.asked)
        device.crash()
        began = now()
        with pytest.raises(RequestLost, match=says):
            await asking
        assert now() - began < 0.1
        assert len(device.asked) == 1


async def test_an_answer_that_has_begun_is_not_repeated() -> None:
    async with line() as (to, device):
        response = await fetch(to, "/half")
        assert await response.read() == b"half"
        device.cut()
        with pytest.raises(LinkClosed):
            await response.read()
        await to.wait_for(PeerState.CONNECTED)
        assert device.asked == ["GET /half"]


async def test_a_device_that_leaves_in_order_lets_what_runs_end_and_is_found_again() -> None:
    async with line() as (to, device):
        running = asyncio.ensure_future(fetch(to, "/slow"))
        await until(lambda: device.asked)
        leaving = asyncio.ensure_future(device.sessions[0].close())
        await to.wait_for(PeerState.RECONNECTING)
        assert (await fetch(to, "/new", method="POST", body=b"x")).ok  # on a new session
        device.go.set()
        assert await (await running).text() == "answer"  # on the old one
        await leaving
        assert len(device.sessions) == 2


async def test_what_was_not_processed_is_asked_again_whatever_its_method() -> None:
    async with line() as (to, device):
        # GOAWAY and the request pass each other on the way.
        leaving = asyncio.ensure_future(device.sessions[0].close())
        await asyncio.sleep(0)
        assert (await fetch(to, "/", method="POST", body=b"x")).ok
        assert device.asked == ["POST / x"]
        await leaving


async def test_a_device_that_always_leaves_is_not_asked_for_ever() -> None:
    async with line() as (to, device):
        dial = device.dial

        async def leaving() -> Established:
            call = await dial()
            leaves.append(asyncio.ensure_future(device.sessions[-1].close()))
            return call

        leaves: list[asyncio.Task[None]] = []
        to._dial = leaving
        device.cut()
        await to.wait_for(PeerState.RECONNECTING)
        with pytest.raises((StreamReset, SessionClosed)):
            await fetch(to, "/", method="POST", body=b"x")
        assert len(device.dialled) == 10
        assert not device.asked
        await to.abort()
        await asyncio.gather(*leaves)


async def test_a_body_that_is_gone_cannot_be_asked_again() -> None:
    async with line() as (to, device):
        leaving = asyncio.ensure_future(device.sessions[0].close())
        await asyncio.sleep(0)
        with pytest.raises(StreamReset):
            await fetch(to, "/", body=some())
        assert not device.asked
        await leaving


def test_a_file_is_sent_again_from_its_beginning(tmp_path: Any) -> None:
    async def main() -> None:
        async with line() as (to, device):
            sent: list[tuple[int, int | None]] = []
            asking = asyncio.ensure_future(
                fetch(
                    to,
                    "/slow",
                    method="PUT",
                    body=path,
                    on_progress=lambda *progress: sent.append(progress),
                )
            )
            while not device.asked:
                await asyncio.sleep(0.01)
            device.cut()
            while len(device.asked) < 2:
                await asyncio.sleep(0.01)
            device.go.set()
            assert (await asking).ok
            assert device.asked == ["PUT /slow of a file"] * 2
            assert sent == [(9, 9), (9, 9)]

    path = tmp_path / "file"
    path.write_text("of a file")
    asyncio.run(main())  # in real time: threads do not know the virtual one


async def test_closing_ends_reconnecting_and_what_waits_for_it() -> None:
    async with line() as (to, device):
        device.crash()
        await to.wait_for(PeerState.RECONNECTING)
        waiting = asyncio.ensure_future(fetch(to, "/"))
        await asyncio.sleep(0)
        await to.close()
        with pytest.raises(SessionClosed, match="this side"):
            await waiting
        assert to.state is PeerState.CLOSED
        with pytest.raises(SessionClosed):
            await to.session()
        await asyncio.sleep(100)
        assert len(device.dialled) <= 2  # nobody goes on trying


async def test_closing_waits_for_what_runs() -> None:
    async with line() as (to, device):
        running = asyncio.ensure_future(fetch(to, "/slow"))
        await until(lambda: device.asked)
        closing = asyncio.ensure_future(to.close())
        await asyncio.sleep(1)
        assert not closing.done()
        with pytest.raises(SessionClosed):
            await fetch(to, "/")
        device.go.set()
        assert (await running).ok
        await closing
        assert device.wires[0].closed


async def test_aborting_fails_what_runs_and_repeats_nothing() -> None:
    async with line() as (to, device):
        running = asyncio.ensure_future(fetch(to, "/slow"))
        await until(lambda: device.asked)
        await to.abort()
        with pytest.raises(SessionClosed):
            await running
        assert len(device.dialled) == 1


async def test_a_line_that_cannot_dial_ends_with_its_session() -> None:
    device = Device()
    to = ReconnectingSession(await device.dial())
    assert not to.reconnects
    asking = asyncio.ensure_future(fetch(to, "/slow"))
    await until(lambda: device.asked)
    device.cut()
    with pytest.raises(LinkClosed) as caught:
        await asking
    assert not isinstance(caught.value, RequestLost)
    await to.wait_for(PeerState.CLOSED)
    assert isinstance(to.error, LinkClosed)
    with pytest.raises(LinkClosed):
        await fetch(to, "/")
    await to.close()
    await device.close()
