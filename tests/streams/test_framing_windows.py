"""How the receive windows follow the path: two engines in virtual time, and a link between them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

import pytest

from peerfetch_fast._framing import Engine, EngineStream
from peerfetch_fast.settings import Settings
from wire import decode, encode, stream

MIB = 1 << 20
TICK = 0.001
"""Seconds between two looks at the link."""

DEFAULTS = Settings()
SETTINGS_FRAME = {"type": "SETTINGS", "settings": [[1, 1 << 30], [2, 1 << 30]]}

Alter = Callable[[bytes], bytes]


class Path:
    """A sender that always has data on each of some streams, a link, and a receiver whose reader
    reads what :attr:`most` allows it in a tick.
    """

    def __init__(self, rate: float, round_trip: float, *, streams: int = 1) -> None:
        self.now = 0.0
        self.rate, self.delay = rate, round_trip / 2
        self.sender = Engine(DEFAULTS, opener=True, now=0.0)
        self.receiver = Engine(DEFAULTS, opener=False, now=0.0)
        self.there: deque[tuple[float, bytes]] = deque()
        self.back: deque[tuple[float, bytes]] = deque()
        self.alter: Alter | None = None  # what the sender makes of a message before it takes it in
        self.outgoing: list[EngineStream] = []
        self.incoming: dict[int, EngineStream] = {}
        self.read = 0
        self.limit = DEFAULTS.initial_max_data
        self.limits: dict[int, int] = {}
        self.read_of: dict[int, int] = {}
        self.pings = 0
        self.budget = 0.0
        self.most: Callable[[int], int] = lambda stream_id: 1 << 30
        self.streams = streams
        self.filler = bytes(4 * MIB)

    def run(self, seconds: float) -> int:
        """Bytes that the reader read in so many seconds."""
        before = self.read
        for _ in range(round(seconds / TICK)):
            self.tick()
        return self.read - before

    def tick(self) -> None:
        self.now += TICK
        while self.back and self.back[0][0] <= self.now:
            message = self.back.popleft()[1]
            if self.alter is not None:
                message = self.alter(message)
            if message:
                self.sender.receive(message, self.now)
        while len(self.outgoing) < self.streams and (core := self.sender.open()) is not None:
            self.outgoing.append(core)
        for core in self.outgoing:
            if core.unsent < MIB:
                core.write(self.filler)
        self.budget = min(self.budget, 0.0) + self.rate * TICK
        while self.budget > 0 and (sent := self.sender.next_message(self.now)) is not None:
            self.budget -= len(sent)
            self.there.append((self.now + self.delay, sent))
        while self.there and self.there[0][0] <= self.now:
            self.receiver.receive(self.there.popleft()[1], self.now)
        for core in self.receiver.take_dirty():
            core.take_flags()
            self.incoming[core.id] = core
        for core in self.incoming.values():
            left = self.most(core.id)
            while left > 0 and (data := core.read(left)):
                left -= len(data)
                self.read += len(data)
                self.read_of[core.id] = self.read_of.get(core.id, 0) + len(data)
        while (message := self.receiver.next_message(self.now)) is not None:
            self.note(message)
            self.back.append((self.now + self.delay, message))

    def note(self, message: bytes) -> None:
        for frame in decode(message):
            if frame["type"] == "MAX_DATA":
                self.limit = frame["maximum"]
            elif frame["type"] == "MAX_STREAM_DATA":
                self.limits[frame["stream"]] = frame["maximum"]
            elif frame["type"] == "PING":
                self.pings += 1

    @property
    def window(self) -> int:
        """What the other side could make the receiver hold now."""
        return self.limit - self.read

    def stream_window(self, stream_id: int = 0) -> int:
        """The same for one stream."""
        limit = self.limits.get(stream_id, DEFAULTS.initial_max_stream_data)
        return limit - self.read_of.get(stream_id, 0)


def test_the_windows_of_settings_are_those_that_the_session_begins_with() -> None:
    one = Engine(Settings(), opener=True, now=0.0)
    (first,) = decode(one.next_message(0.0) or b"")
    assert first["settings"][:2] == [[1, 8 * MIB], [2, 2 * MIB]]
    bounded = Settings(max_data=3 * MIB, max_stream_data=MIB // 2)
    (first,) = decode(Engine(bounded, opener=True, now=0.0).next_message(0.0) or b"")
    assert first["settings"][:2] == [[1, 3 * MIB], [2, MIB // 2]]


@pytest.mark.parametrize("streams", [1, 8])
def test_a_fast_long_path_is_filled(streams: int) -> None:
    """300 Mbit/s at 100 ms hold 3.75 MB: more than the windows at first allow."""
    rate = 300e6 / 8
    path = Path(rate, 0.1, streams=streams)
    path.run(1.5)
    assert path.run(1.0) >= 0.97 * rate
    assert path.pings <= 3


def test_many_streams_together_fill_what_each_alone_does_not() -> None:
    """1 Gbit/s at 60 ms: the windows of 32 streams are enough, the session's at first is not."""
    rate = 1e9 / 8
    path = Path(rate, 0.06, streams=32)
    path.run(1.5)
    assert path.run(1.0) >= 0.97 * rate
    assert max(map(path.stream_window, range(0, 64, 2))) <= DEFAULTS.initial_max_stream_data


@pytest.mark.parametrize(
    ("rate", "round_trip"), [(125e3, 0.05), (2.5e6, 0.05), (30e6, 0.002)], ids=["slow", "20", "LAN"]
)
def test_a_path_that_holds_little_keeps_a_small_window(rate: float, round_trip: float) -> None:
    path = Path(rate, round_trip)
    seconds = max(2.0, 4 * MIB / rate)
    assert path.run(seconds) >= 0.95 * rate * seconds
    assert path.limits, "no credit was granted at all"
    assert path.stream_window() <= DEFAULTS.initial_max_stream_data
    assert path.window <= DEFAULTS.initial_max_data


def test_a_slow_reader_on_a_fast_path_keeps_a_small_window() -> None:
    path = Path(37.5e6, 0.1)
    path.most = lambda stream_id: 1000  # a megabyte a second
    path.run(10.0)
    assert path.limits
    assert path.stream_window() <= DEFAULTS.initial_max_stream_data


def test_a_reader_that_takes_all_in_gulps_keeps_a_small_window() -> None:
    """A player, say, that fills its buffer every other second."""
    path = Path(37.5e6, 0.1)
    path.most = lambda stream_id: MIB // 2 if path.now % 2.0 < 0.005 else 0
    path.run(20.0)
    assert path.read_of[0] > 15 * MIB
    assert path.stream_window() <= DEFAULTS.initial_max_stream_data


@pytest.mark.parametrize("streams", [1, 4])
def test_readers_that_stop_make_nobody_hold_more_than_the_bound(streams: int) -> None:
    path = Path(125e6, 0.1, streams=streams)
    path.run(3.0)
    path.most = lambda stream_id: 0
    path.run(1.0)
    assert path.run(1.0) == 0
    arrived = path.sender.sent - path.read
    assert not path.there
    bound = DEFAULTS.max_stream_data if streams == 1 else DEFAULTS.max_data
    assert bound // 2 < arrived <= bound


def test_a_stream_that_is_read_no_more_leaves_the_others_credit() -> None:
    """Its window has grown while it was read, and it may now hold that much for good."""
    path = Path(37.5e6, 0.04)  # the session's window does not grow by itself
    path.run(2.0)
    assert path.stream_window() > 2 * DEFAULTS.initial_max_stream_data
    path.most = lambda stream_id: 0 if stream_id == 0 else sys.maxsize
    path.streams = 2
    path.run(1.0)
    assert path.run(1.0) > 10e6


def without(kind: str) -> Alter:
    """Messages as they are, but for frames of that type."""

    def alter(message: bytes) -> bytes:
        frames = [frame for frame in decode(message) if frame["type"] != kind]
        return encode(*frames) if frames else b""

    return alter


def test_who_never_answers_a_ping_gets_no_larger_window() -> None:
    path = Path(37.5e6, 0.1)
    path.alter = without("PING")
    path.run(4.0)
    assert path.pings == 1, "one that waits for its answer is enough"
    assert path.stream_window() <= DEFAULTS.initial_max_stream_data
    assert path.window <= DEFAULTS.initial_max_data


def test_who_answers_pings_late_gets_no_more_than_the_bound() -> None:
    path = Path(5e6, 0.02)
    waiting: list[tuple[float, bytes]] = []

    def late(message: bytes) -> bytes:
        waiting.extend(
            (path.now + 3.0, encode(frame)) for frame in decode(message) if frame["type"] == "PING"
        )
        return without("PING")(message)

    path.alter = late
    for _ in range(round(15.0 / TICK)):
        path.tick()
        while waiting and waiting[0][0] <= path.now:
            path.sender.receive(waiting.pop(0)[1], path.now)
        assert path.stream_window() <= DEFAULTS.max_stream_data
        assert path.window <= DEFAULTS.max_data
    assert path.receiver.rtt > 3.0
    assert path.stream_window() > DEFAULTS.initial_max_stream_data


def test_an_answer_before_the_question_is_none() -> None:
    one = Engine(Settings(), opener=False, now=0.0)
    one.receive(encode(SETTINGS_FRAME), 0.0)
    for number in range(4):
        one.receive(encode({"type": "PONG", "data": number.to_bytes(8, "big").hex()}), 5.0)
    assert one.rtt < 0


def test_a_ping_that_measures_does_not_hasten_the_end() -> None:
    one = Engine(Settings(keep_alive=1.5, dead_after=5.0), opener=False, now=0.0)
    one.receive(encode(SETTINGS_FRAME), 0.0)
    for offset in range(0, MIB, 1 << 16):
        one.receive(encode(stream(0, offset, bytes(1 << 16))), 1.0)
    (core,) = one.take_dirty()
    while core.read():
        pass
    frames = decode(one.next_message(1.0) or b"")
    assert {"SETTINGS", "MAX_STREAM_DATA", "PING"} == {frame["type"] for frame in frames}
    assert one.deadline() == 6.0
