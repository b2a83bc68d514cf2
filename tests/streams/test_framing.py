"""The stream engine, in virtual time, against the frames as docs/protocol.md has them."""

from __future__ import annotations

import ctypes
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerfetch_fast import _framing
from peerfetch_fast._framing import SILENCE, Engine, EngineStream
from peerfetch_fast.errors import (
    PeerfetchError,
    PeerUnresponsive,
    ProtocolError,
    SessionClosed,
    StreamReset,
    StreamStopped,
)
from peerfetch_fast.settings import Settings
from peerfetch_fast.streams import _wire
from peerfetch_fast.streams._wire import read_varint, varint
from wire import decode, encode, stream

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "peerfetch2.json").read_text())
SMALL = Settings(max_data=1 << 20, max_stream_data=1 << 18, max_streams=16)
SETTINGS_FRAME = {"type": "SETTINGS", "settings": []}


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def engine(limits: Settings = SMALL, *, opener: bool = False, **more: Any) -> Engine:
    return Engine(limits, opener=opener, now=0.0, **more)


def drain(one: Engine) -> list[dict[str, Any]]:
    """All frames that ``one`` has to send."""
    frames = []
    while (message := one.next_message(0.0)) is not None:
        frames += decode(message)
    return frames


def of_type(frames: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [frame for frame in frames if frame["type"] == kind]


def exchange(one: Engine, other: Engine, now: float = 0.0) -> None:
    """Carry messages both ways, in order, until there are none."""
    moved = True
    while moved:
        moved = False
        for source, target in ((one, other), (other, one)):
            while (message := source.next_message(now)) is not None:
                target.receive(message, now)
                moved = True


def pair(limits: Settings = SMALL) -> tuple[Engine, Engine]:
    one, other = engine(limits, opener=True), engine(limits)
    exchange(one, other)
    return one, other


def accept(one: Engine) -> EngineStream:
    """The one stream that the other side has opened."""
    (core,) = [core for core in one.take_dirty() if core.take_flags() and core.owner is None]
    core.owner = "accepted"
    return core


def read_now(core: EngineStream) -> bytes:
    return b"".join(iter(core.read, None))


def read_all(core: EngineStream) -> bytes:
    pieces = []
    while piece := core.read():
        pieces.append(piece)
    return b"".join(pieces)


# -- the wire ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["varints"], ids=lambda v: v["value"])
def test_vectors_of_varints_are_read_and_written_alike(vector: dict[str, str]) -> None:
    value, data = int(vector["value"]), bytes.fromhex(vector["bytes"])
    assert varint(value) == data
    assert read_varint(data) == (value, len(data))
    assert read_varint(data[:-1]) is None


def test_varint_takes_longer_forms_and_refuses_larger_values() -> None:
    assert read_varint(bytes.fromhex("4025")) == (37, 2)
    with pytest.raises(ValueError, match="2\\^62"):
        varint(1 << 62)
    with pytest.raises(ValueError, match="range"):
        read_varint(b"", 1)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=names(VECTORS["frames"]))
def test_vectors_of_frames_are_read_and_written_alike(vector: dict[str, Any]) -> None:
    message = bytes.fromhex(vector["message"])
    assert decode(message) == vector["frames"]
    assert encode(*vector["frames"]) == message


@pytest.mark.parametrize("vector", VECTORS["errors"], ids=names(VECTORS["errors"]))
def test_vectors_of_errors_end_with_their_code(vector: dict[str, Any]) -> None:
    one = engine()
    *before, last = map(bytes.fromhex, vector["receive"])
    if vector["name"] == "65 PINGs at once":
        before, last = [], b"".join([*before, last])
    for message in before:
        one.receive(message, 0.0)
    with pytest.raises(ProtocolError) as raised:
        one.receive(last, 0.0)
    assert raised.value.code == vector["code"]
    assert one.error is raised.value
    (goaway,) = of_type(drain(one), "GOAWAY")
    assert goaway["code"] == vector["code"]
    assert goaway["reason"]
    one.receive(b"", 0.0)  # what still comes is ignored
    assert one.next_message(0.0) is None


def test_settings_come_first_and_once() -> None:
    one = engine()
    first, *rest = drain(one)
    assert first == {"type": "SETTINGS", "settings": [[1, 1 << 20], [2, 1 << 18], [3, 16]]}
    assert rest == []


def test_what_one_side_writes_arrives_in_chunks_with_offsets() -> None:
    one = engine(Settings(chunk_size=10_000), opener=True)
    one.receive(encode({"type": "SETTINGS", "settings": [[1, 1 << 20], [2, 1 << 20]]}), 0.0)
    drain(one)
    core = one.open()
    assert core is not None
    core.write(bytes(25_000))
    core.end()
    frames = drain(one)
    assert [(f["offset"], len(f["data"]) // 2, f["fin"]) for f in frames] == [
        (0, 10_000, False),
        (10_000, 10_000, False),
        (20_000, 5_000, True),
    ]


def test_small_streams_share_a_message() -> None:
    one, _ = pair()
    for number in range(8):
        core = one.open()
        assert core is not None
        core.write(b"%d" % number)
        core.end()
    message = one.next_message(0.0)
    assert message is not None
    assert [bytes.fromhex(f["data"]) for f in decode(message)] == [b"%d" % n for n in range(8)]
    assert one.next_message(0.0) is None


def test_messages_stay_below_what_the_channel_takes() -> None:
    one = engine(opener=True, max_message_size=5000)
    core = one.open()
    assert core is not None
    core.write(bytes(50_000))
    while (message := one.next_message(0.0)) is not None:
        assert len(message) <= 5000
    with pytest.raises(ValueError, match="max_message_size"):
        engine(max_message_size=1000)


def test_unknown_frames_are_skipped() -> None:
    one = engine()
    one.receive(encode({"type": 0x22, "data": "00" * 100}, stream(0, 0, b"hi", True)), 0.0)
    assert read_all(accept(one)) == b"hi"


# -- reassembly and credit -----------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=20_000),
    cuts=st.lists(st.integers(0, 20_000), max_size=40),
    seed=st.integers(0, 2**32),
    reads=st.lists(st.sampled_from([-1, 1, 7, 1000]), min_size=1, max_size=5),
)
def test_reassembly_in_any_order(data: bytes, cuts: list[int], seed: int, reads: list[int]) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    frames = [
        stream(0, start, data[start:end], end == len(data))
        for start, end in itertools.pairwise(edges)
    ] or [stream(0, 0, b"", True)]
    frames.append({"type": "SETTINGS", "settings": []})
    order = random.Random(seed)
    order.shuffle(frames)
    one = engine()
    got = b""
    core: EngineStream | None = None
    for number, frame in enumerate(frames):
        one.receive(encode(frame), 0.0)
        for dirty in one.take_dirty():
            dirty.take_flags()
            core = dirty
        if core is not None and order.random() < 0.5:
            got += core.read(reads[number % len(reads)]) or b""
    assert core is not None
    got += read_all(core)
    assert got == data
    assert core.at_end
    core.end()
    drain(one)
    assert one.open_streams == 0


class Network:
    """Two engines and their messages under way, which a seeded generator reorders and delays."""

    def __init__(self, seed: int, limits: Settings) -> None:
        self.random = random.Random(seed)
        self.ends = (engine(limits, opener=True), engine(limits))
        self.flying: tuple[list[bytes], list[bytes]] = ([], [])

    def deliver(self, target: Engine, message: bytes) -> None:
        """Whole, or in two parts as a channel that saves a copy does it."""
        last = encode(decode(message)[-1])
        data = bytes.fromhex(decode(message)[-1].get("data", ""))
        if last[0] not in (0x08, 0x09) or not data or self.random.random() < 0.5:
            target.receive(message, 0.0)
        else:
            cut = len(message) - len(data)
            target.receive_parts(message[:cut], message[cut:], 0.0)

    def send(self, source: int) -> bytes | None:
        """The next message of an end, which may give it in parts."""
        message = self.ends[source].next_message(0.0, self.random.random() < 0.5)
        if isinstance(message, tuple):
            head, body, start, length = message
            return head + body[start : start + length]
        return message

    def step(self) -> bool:
        """Send something, or deliver something; False when there is nothing left to do."""
        side = self.random.randrange(2)
        for source in (side, 1 - side):
            if self.random.random() < 0.6:
                message = self.send(source)
                if message is not None:
                    self.flying[1 - source].append(message)
                    return True
        for target in (side, 1 - side):
            if self.flying[target]:
                at = self.random.randrange(len(self.flying[target]))
                self.deliver(self.ends[target], self.flying[target].pop(at))
                return True
        for source in (0, 1):
            message = self.send(source)
            if message is not None:
                self.flying[1 - source].append(message)
                return True
        return False


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 150_000), min_size=1, max_size=24),
)
def test_many_streams_both_ways_over_any_order(seed: int, sizes: list[int]) -> None:
    """Every byte arrives, whatever the order, early arrival before SETTINGS included; credit is
    enough to go on and is never overrun (an overrun would be an error)."""
    limits = Settings(max_data=262_144, max_stream_data=65_536, max_streams=16, chunk_size=4000)
    net = Network(seed, limits)
    pattern = random.Random(seed).randbytes(150_000)
    waiting = list(enumerate(sizes))
    expected: dict[tuple[int, int], bytes] = {}
    got: dict[tuple[int, int], bytearray] = {}
    cores: dict[tuple[int, int], EngineStream] = {}

    def start_some() -> None:
        while waiting:
            number, size = waiting[0]
            side = number % 2
            core = net.ends[side].open()
            if core is None:
                return
            waiting.pop(0)
            body = pattern[: max(0, size - number)] + bytes([number]) * min(number, size)
            core.owner = "opened"
            core.set_priority(net.random.randrange(8), net.random.random() < 0.5)
            for at in range(0, len(body), 30_000):
                core.write(body[at : at + 30_000])
            core.end()
            expected[1 - side, core.id] = body
            cores[side, core.id] = core

    for _ in range(200_000):
        start_some()
        moved = net.step()
        for side in (0, 1):
            for core in net.ends[side].take_dirty():
                core.take_flags()
                if core.owner is None:
                    core.owner = "accepted"
                    core.end()
                cores[side, core.id] = core
        for (side, number), core in cores.items():
            if net.random.random() < 0.3 or not moved:
                while piece := core.read(net.random.choice((-1, 10_000))):
                    got.setdefault((side, number), bytearray()).extend(piece)
                    moved = True
                    if net.random.random() < 0.2:
                        break
        if not moved and not waiting:
            break
    assert not waiting
    for key, body in expected.items():
        assert bytes(got.get(key, b"")) == body
    assert net.ends[0].open_streams == net.ends[1].open_streams == 0


def test_defaults_hold_until_settings_arrive() -> None:
    one = engine(Settings(), opener=True)
    drain(one)
    opened = []
    while (core := one.open()) is not None:
        core.write(bytes(100_000))
        opened.append(core)
    assert len(opened) == 16
    sent = of_type(drain(one), "STREAM")
    by_stream: dict[int, int] = {}
    for frame in sent:
        by_stream[frame["stream"]] = by_stream.get(frame["stream"], 0) + len(frame["data"]) // 2
    assert max(by_stream.values()) <= 65_536
    assert sum(by_stream.values()) == 262_144
    one.receive(
        encode({"type": "SETTINGS", "settings": [[1, 1 << 24], [2, 1 << 20], [3, 20]]}), 0.0
    )
    assert one.take_flags() & _framing.MORE_STREAMS
    total = sum(len(f["data"]) // 2 for f in of_type(drain(one), "STREAM"))
    assert 262_144 + total == 1_600_000
    assert sum(one.open() is not None for _ in range(10)) == 4


def test_credit_is_granted_as_the_reader_reads() -> None:
    one = engine()
    drain(one)
    for offset in range(0, 1 << 18, 1 << 14):
        one.receive(encode(stream(0, offset, bytes(1 << 14))), 0.0)
    assert drain(one) == []
    core = accept(one)
    while core.read():
        pass
    assert of_type(drain(one), "MAX_STREAM_DATA") == [
        {"type": "MAX_STREAM_DATA", "stream": 0, "maximum": 2 << 18}
    ]
    for stream_id in (2, 4):
        for offset in range(0, 1 << 18, 1 << 14):
            one.receive(encode(stream(stream_id, offset, bytes(1 << 14))), 0.0)
        core = accept(one)
        while core.read():
            pass
    # Granted when half of the window was read, and no later than when all of it was.
    granted = of_type(drain(one), "MAX_DATA")
    assert granted
    assert granted[-1]["maximum"] > 1 << 20


def test_larger_maxima_count_and_smaller_ones_are_ignored() -> None:
    one = engine(opener=True)
    drain(one)
    core = one.open()
    assert core is not None
    core.write(bytes(80_000))
    one.receive(encode({"type": "MAX_STREAM_DATA", "stream": 0, "maximum": 70_000}), 0.0)
    one.receive(encode({"type": "MAX_STREAM_DATA", "stream": 0, "maximum": 10}), 0.0)
    one.receive(encode(SETTINGS_FRAME), 0.0)
    assert sum(len(f["data"]) // 2 for f in drain(one)) == 70_000


@pytest.mark.parametrize(
    ("limits", "granted"),
    [
        ([[2, 65_536]], {"type": "MAX_DATA", "maximum": 1 << 20}),
        ([[1, 1 << 20]], {"type": "MAX_STREAM_DATA", "stream": 0, "maximum": 1 << 20}),
    ],
    ids=["session", "stream"],
)
def test_credit_is_told_of_when_data_waited_for_it(
    limits: list[list[int]], granted: dict[str, Any]
) -> None:
    one = engine(opener=True)
    cores = [core for _ in range(5) if (core := one.open()) is not None]
    for core in cores:
        core.write(bytes(65_536))
    if granted["type"] == "MAX_STREAM_DATA":
        cores[0].write(bytes(1000))
    one.receive(encode({"type": "SETTINGS", "settings": limits}), 0.0)
    drain(one)
    one.take_flags()
    one.receive(encode(granted), 0.0)
    assert one.take_flags() == _framing.MORE_CREDIT
    assert of_type(drain(one), "STREAM")
    one.receive(encode({**granted, "maximum": granted["maximum"] + 1}), 0.0)
    assert one.take_flags() == 0, "nothing waits any more"


def test_small_pieces_behind_a_slow_reader_do_not_pile_up_objects() -> None:
    one = engine()
    for offset in range(20_000):
        one.receive(encode(stream(0, offset, b"x")), 0.0)
    core = accept(one)
    first = core.read()
    assert first is not None
    assert len(first) >= 2000
    assert len(first + read_all(core)) == 20_000


def test_too_many_pieces_that_wait_for_earlier_ones() -> None:
    one = engine(Settings(fragments=100))
    for offset in range(1, 201, 2):
        one.receive(encode(stream(0, offset, b"x")), 0.0)
    with pytest.raises(ProtocolError) as raised:
        one.receive(encode(stream(0, 201, b"x")), 0.0)
    assert raised.value.code == _framing.EXCESSIVE_LOAD


def test_large_pieces_reach_the_reader_as_one_object() -> None:
    one, other = pair()
    core = one.open()
    assert core is not None
    piece = random.Random(1).randbytes(16_384)
    core.write(b"hdr")
    core.write(piece)
    exchange(one, other)
    got = accept(other)
    assert got.read() == b"hdr"
    assert got.read() == piece


@given(st.lists(st.binary(max_size=3000), max_size=12), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_writes_of_any_size_are_joined_as_bytes(writes: list[bytes], seed: int) -> None:
    order = random.Random(seed)
    one, other = pair()
    core = one.open()
    assert core is not None
    for data in writes:
        core.write(order.choice((bytes, bytearray, memoryview))(data))
        if order.random() < 0.3:
            exchange(one, other)
    core.end()
    core.end()
    exchange(one, other)
    assert read_all(accept(other)) == b"".join(writes)


def splitter(message: bytes) -> int:
    """What the C function in SPLITTER says of a message that begins with ``message``."""
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    kind = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    return int(kind(address(_wire.SPLITTER, b"peerfetch.splitter"))(message, len(message)))


def test_a_message_is_split_where_the_data_begins_that_does_not_end() -> None:
    ping = encode({"type": "PING", "data": "0011223344556677"})
    message = ping + encode(stream(4, 1000, bytes(2000)))
    cut = len(message) - 2000
    assert splitter(message[:1500]) == cut
    assert splitter(message[: cut + 1]) == cut
    assert splitter(message[: cut - 1]) == 0  # the fields are not all there
    assert splitter(message) == 0  # nothing runs on
    assert splitter(encode({"type": 0x22, "data": "00" * 500})[:100]) == 0
    assert splitter(b"") == 0


def test_the_writer_s_bytes_go_out_and_reach_the_reader_uncopied() -> None:
    one, other = pair()
    piece = bytes(40_000)
    core = one.open()
    assert core is not None
    core.write(piece)
    taken = None
    for start in (0, 16_384, 32_768):
        message = one.next_message(0.0, True)
        assert isinstance(message, tuple)
        head, body, at, length = message
        assert body is piece
        assert (at, length) == (start, min(16_384, 40_000 - start))
        arrived = body[at : at + length]
        other.receive_parts(head, arrived, 0.0)
        taken = taken or accept(other)
        assert taken.read() is arrived
    assert one.copied_out == other.copied_in == 0


def test_frames_behind_the_data_of_a_split_message_count() -> None:
    one = engine()
    message = encode(stream(0, 0, b"hello"), {"type": "PING", "data": "0011223344556677"})
    cut = message.index(b"hello")
    drain(one)
    one.receive_parts(message[:cut], message[cut:], 0.0)
    assert read_now(accept(one)) == b"hello"
    assert of_type(drain(one), "PONG")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_parts_of_any_bytes_do_no_worse_than_a_typed_error(head: bytes, body: bytes) -> None:
    one = engine()
    try:
        one.receive_parts(head, body, 0.0)
    except PeerfetchError:
        assert one.error is not None
    drain(one)


@given(st.integers(0, 60))
def test_a_message_cut_elsewhere_is_refused(cut: int) -> None:
    message = encode({"type": "MAX_DATA", "maximum": 1 << 20}, stream(0, 0, b"x" * 40))
    one = engine()
    inside = message.index(b"x")
    head, body = message[:cut], message[cut:]
    if cut in (0, 6, inside) or cut >= len(message):
        one.receive_parts(head, body, 0.0)
    else:
        with pytest.raises(ProtocolError):
            one.receive_parts(head, body, 0.0)


# -- the life of a stream ------------------------------------------------------------------------


def test_half_close_and_answer() -> None:
    one, other = pair()
    asked = one.open()
    assert asked is not None
    asked.write(b"question")
    asked.end()
    exchange(one, other)
    taken = accept(other)
    assert taken.read() == b"question"
    assert taken.read() == b""
    assert taken.at_end
    taken.write(b"answer")
    taken.end()
    exchange(one, other)
    assert read_all(asked) == b"answer"
    assert one.open_streams == other.open_streams == 0
    with pytest.raises(RuntimeError, match="after end"):
        asked.write(b"more")


def test_reset_tells_the_reader_and_gives_credit_back() -> None:
    one, other = pair()
    for _ in range(40):  # more than the session's credit, were it not given back
        core = one.open()
        assert core is not None
        core.write(bytes(60_000))
        exchange(one, other)
        core.reset(0x10C)
        core.stop(0x10C)
        exchange(one, other)
        (taken,) = [c for c in other.take_dirty() if c.take_flags() & _framing.RESET]
        with pytest.raises(StreamReset) as raised:
            taken.read()
        assert raised.value.code == 0x10C
        with pytest.raises(StreamStopped):
            taken.write(b"x")
        one.take_dirty()
        assert one.open_streams == other.open_streams == 0


def test_data_that_was_sent_before_a_reset_may_come_after_it() -> None:
    one = engine()
    one.receive(encode(stream(0, 2, b"c")), 0.0)
    one.receive(encode({"type": "RESET_STREAM", "stream": 0, "code": 7, "final_size": 4}), 0.0)
    one.receive(encode(stream(0, 0, b"ab")), 0.0)
    one.receive(encode(stream(0, 3, b"d", True)), 0.0)
    with pytest.raises(StreamReset):
        accept(one).read()


def test_a_reset_after_everything_arrived_changes_nothing() -> None:
    one = engine()
    one.receive(encode(stream(0, 0, b"all", True)), 0.0)
    one.receive(encode({"type": "RESET_STREAM", "stream": 0, "code": 7, "final_size": 3}), 0.0)
    core = accept(one)
    assert read_all(core) == b"all"
    assert core.at_end


def test_stop_sending_is_answered_with_a_reset() -> None:
    one = engine(opener=True)
    drain(one)
    core = one.open()
    assert core is not None
    core.write(bytes(1000))
    drain(one)
    core.write(bytes(100_000))
    one.receive(encode({"type": "STOP_SENDING", "stream": 0, "code": 0x100}), 0.0)
    assert drain(one) == [{"type": "RESET_STREAM", "stream": 0, "code": 0x100, "final_size": 1000}]
    (dirty,) = one.take_dirty()
    assert dirty.take_flags() & _framing.STOPPED
    assert core.unsent == 0
    with pytest.raises(StreamStopped):
        core.write(b"x")
    with pytest.raises(StreamStopped):
        core.end()


def test_what_comes_after_giving_up_reading_is_thrown_away_and_credited() -> None:
    one, other = pair()
    core = one.open()
    assert core is not None
    core.write(b"head")
    exchange(one, other)
    taken = accept(other)
    taken.stop(0x100)
    assert taken.read() == b""
    assert not taken.at_end
    for _ in range(40):
        core.write(bytes(60_000)) if core.can_write else None
        exchange(one, other)
    assert not core.can_write  # the other side asked to stop
    taken.write(b"enough")
    taken.end()
    exchange(one, other)
    assert one.open_streams == 1  # the opener has yet to read the answer
    assert read_all(core) == b"enough"
    assert one.open_streams == other.open_streams == 0
    again = one.open()
    assert again is not None
    again.write(bytes(200_000))
    exchange(one, other)
    assert sum(len(c) for c in iter(accept(other).read, None)) == 200_000


def test_streams_below_a_new_one_exist_and_frames_for_closed_ones_are_ignored() -> None:
    one = engine()
    one.receive(encode(stream(4, 0, b"third", True)), 0.0)
    assert one.accepted == 3
    third = accept(one)
    assert third.id == 4
    assert read_all(third) == b"third"
    third.end()
    drain(one)
    one.receive(encode(stream(4, 0, b"late", True)), 0.0)
    one.receive(encode({"type": "STOP_SENDING", "stream": 4, "code": 1}), 0.0)
    one.receive(encode(stream(0, 0, b"first", True)), 0.0)
    assert read_all(accept(one)) == b"first"


def test_the_other_side_may_open_more_as_streams_close() -> None:
    one, other = pair()
    for number in range(100):
        core = one.open()
        assert core is not None
        core.write(b"%d" % number)
        core.end()
        exchange(one, other)
        taken = accept(other)
        assert read_all(taken) == b"%d" % number
        taken.end()
        exchange(one, other)
        core.read()
        one.take_dirty()
        other.take_dirty()
    assert other.accepted == 100
    opened = [one.open() for _ in range(17)]
    assert opened[-1] is None


# -- scheduling ----------------------------------------------------------------------------------


def sent_order(one: Engine) -> list[int]:
    order: list[int] = []
    for frame in of_type(drain(one), "STREAM"):
        if not order or order[-1] != frame["stream"]:
            order.append(frame["stream"])
    return order


def opened(one: Engine, *priorities: tuple[int, bool], size: int = 50_000) -> None:
    for urgency, incremental in priorities:
        core = one.open()
        assert core is not None
        core.write(bytes(size))
        core.set_priority(urgency, incremental)


def test_urgent_streams_go_first() -> None:
    one, _ = pair()
    opened(one, (5, True), (0, True), (3, False), (0, False))
    order = sent_order(one)
    assert set(order[:4]) == {2, 6}
    assert order[-1] == 0
    assert order.index(4) > max(i for i, s in enumerate(order) if s in (2, 6))


def test_incremental_equals_take_turns() -> None:
    one, _ = pair()
    opened(one, (3, True), (3, True), (3, True))
    assert sent_order(one)[:6] == [0, 2, 4, 0, 2, 4]


def test_sequential_equals_go_one_by_one_and_share_with_incremental_ones() -> None:
    one, _ = pair()
    opened(one, (3, False), (3, False), (3, False))
    assert sent_order(one) == [0, 2, 4]
    one, _ = pair()
    opened(one, (3, False), (3, False), (3, True))
    order = sent_order(one)
    assert order[:4] == [0, 4, 0, 4]
    assert order.index(2) > max(i for i, s in enumerate(order) if s == 0)


def test_a_small_answer_does_not_wait_for_a_large_one() -> None:
    one, _ = pair()
    opened(one, (3, True), size=250_000)
    assert one.next_message(0.0) is not None
    opened(one, (3, True), size=100)
    assert [f["stream"] for f in decode(one.next_message(0.0) or b"")] == [0]
    assert 2 in [f["stream"] for f in decode(one.next_message(0.0) or b"")]


def test_a_stream_without_credit_does_not_hold_up_others() -> None:
    one = engine(opener=True)
    drain(one)
    opened(one, (0, False), size=100_000)
    opened(one, (7, True), size=100)
    frames = drain(one)
    assert sum(len(f["data"]) // 2 for f in frames if f["stream"] == 0) == 65_536
    assert sum(len(f["data"]) // 2 for f in frames if f["stream"] == 2) == 100


# -- life and end of a session -------------------------------------------------------------------


def test_silence_is_asked_about_and_then_ends_the_session() -> None:
    one = engine(Settings(keep_alive=1.5, dead_after=5.0))
    one.receive(encode(SETTINGS_FRAME), 10.0)
    drain(one)
    assert one.deadline() == 11.5
    one.handle_timeout(11.5)
    (ping,) = drain(one)
    assert ping["type"] == "PING"
    assert one.deadline() == 15.0
    one.handle_timeout(14.9)
    assert one.error is None
    with pytest.raises(PeerUnresponsive):
        one.handle_timeout(15.0)
    assert one.deadline() is None


def resuming(theirs: int = 60_000, **more: Any) -> Engine:
    """An engine over a link that can move, which has opened a stream and heard SETTINGS at 0."""
    one = engine(Settings(**more), opener=True, resumes=True)
    said = [[4, theirs]] if theirs else []
    one.receive(encode({"type": "SETTINGS", "settings": said}), 0.0)
    assert one.open() is not None
    drain(one)
    return one


def test_a_link_that_can_move_is_announced_with_the_time_for_which_sessions_are_kept() -> None:
    (said,) = drain(engine(Settings(resume_timeout=1.5), resumes=True))
    assert said["settings"][3:] == [[4, 1500]]
    for one in (engine(Settings(resume_timeout=0), resumes=True), engine(Settings())):
        (said,) = drain(one)
        assert [name for name, _ in said["settings"]] == [1, 2, 3]


def test_silence_on_a_link_that_can_move_is_told_and_ended_by_any_sign_of_life() -> None:
    one = resuming()
    one.handle_timeout(1.5)
    assert one.deadline() == 5.0
    assert not one.silent
    one.handle_timeout(5.0)
    assert one.silent
    assert one.take_flags() & SILENCE
    assert one.deadline() == 60.0
    one.handle_timeout(59.9)
    assert one.error is None
    assert one.can_open  # what waits and what does not is for others to say
    one.heard(59.9)
    assert not one.silent
    assert one.take_flags() & SILENCE
    assert one.deadline() == pytest.approx(61.4)


def test_a_silent_session_is_given_up_in_the_end() -> None:
    one = resuming()
    one.handle_timeout(1.5)
    one.handle_timeout(5.0)
    with pytest.raises(PeerUnresponsive, match=r"60\.0 s"):
        one.handle_timeout(60.0)


@pytest.mark.parametrize(
    ("theirs", "more", "end"),
    [
        (20_000, {}, 20.0),
        (60_000, {"resume_timeout": 30.0}, 30.0),
        (1 << 60, {"resume_timeout": 300.0}, 300.0),
        (0, {}, 5.0),
        (1_000, {}, 5.0),
        (60_000, {"resume_timeout": 0}, 5.0),
    ],
)
def test_a_silent_session_is_kept_for_as_long_as_both_sides_keep_it(
    theirs: int, more: dict[str, float], end: float
) -> None:
    one = resuming(theirs, **more)
    one.handle_timeout(1.5)
    for now in (5.0, end - 0.1):
        if now < end:
            one.handle_timeout(now)
    assert one.error is None
    with pytest.raises(PeerUnresponsive):
        one.handle_timeout(end)


def test_an_offer_to_keep_sessions_is_nothing_to_a_link_that_cannot_move() -> None:
    one = engine()
    one.receive(encode({"type": "SETTINGS", "settings": [[4, 60_000]]}), 0.0)
    one.handle_timeout(1.5)
    with pytest.raises(PeerUnresponsive):
        one.handle_timeout(5.0)


def test_a_silent_session_that_ends_and_has_no_stream_left_is_not_kept() -> None:
    one = engine(resumes=True)
    one.receive(encode({"type": "SETTINGS", "settings": [[4, 60_000]]}), 0.0)
    one.goaway()
    one.handle_timeout(15.0)
    with pytest.raises(PeerUnresponsive):
        one.handle_timeout(18.5)


def test_a_session_without_streams_asks_seldom_where_the_link_asks_itself() -> None:
    one = engine(Settings(idle_keep_alive=15.0), opener=True, resumes=True)
    one.receive(encode(SETTINGS_FRAME), 0.0)
    drain(one)
    assert one.deadline() == 15.0
    assert one.open() is not None
    assert one.deadline() == 1.5


def test_an_answered_ping_gives_the_round_trip() -> None:
    one = engine()
    one.receive(encode(SETTINGS_FRAME), 0.0)
    drain(one)
    one.handle_timeout(1.5)
    (ping,) = drain(one)
    one.receive(encode({"type": "PONG", "data": "ffffffffffffffff"}), 1.55)  # not ours
    assert one.rtt < 0
    one.receive(encode({"type": "PONG", "data": ping["data"]}), 1.6)
    assert one.rtt == pytest.approx(0.1)
    assert one.deadline() == pytest.approx(3.1)


def test_signs_of_life_below_the_frames_count() -> None:
    one = engine()
    one.receive(encode(SETTINGS_FRAME), 0.0)
    one.handle_timeout(1.5)
    one.heard(4.0)
    one.handle_timeout(5.0)
    assert one.error is None
    assert one.deadline() == 5.5


def test_a_program_that_stood_still_asks_before_it_gives_up() -> None:
    one = engine()
    one.receive(encode(SETTINGS_FRAME), 0.0)
    one.handle_timeout(3600.0)
    assert one.error is None
    assert one.deadline() == 3603.5


def test_pings_are_answered() -> None:
    one = engine()
    drain(one)
    one.receive(encode({"type": "PING", "data": "0102030405060708"}), 0.0)
    assert drain(one) == [{"type": "PONG", "data": "0102030405060708"}]


def test_missing_settings_are_an_error_only_after_a_while() -> None:
    one = engine(Settings(settings_timeout=10.0))
    for now in (2.0, 4.0, 6.0, 8.0, 9.0, 9.9):
        one.receive(encode(stream(0, int(now * 10), b"x")), now)
    one.handle_timeout(9.9)
    assert one.error is None
    assert one.deadline() == 10.0
    with pytest.raises(ProtocolError) as raised:
        one.handle_timeout(10.0)
    assert raised.value.code == _framing.SETTINGS_ERROR


def test_an_orderly_end_lets_open_streams_finish() -> None:
    one, other = pair()
    core = one.open()
    assert core is not None
    core.write(b"question")
    exchange(one, other)
    other.goaway()
    exchange(one, other)
    assert one.take_flags() & _framing.GOAWAY_RECEIVED
    assert not one.can_open
    with pytest.raises(SessionClosed):
        one.open()
    core.end()
    exchange(one, other)
    taken = accept(other)
    assert read_all(taken) == b"question"
    taken.write(b"answer")
    taken.end()
    exchange(one, other)
    assert read_all(core) == b"answer"
    assert not other.finished
    one.goaway()
    exchange(one, other)
    assert one.finished
    assert other.finished


def test_streams_that_the_other_side_will_not_process_are_rejected() -> None:
    one, other = pair()
    other.goaway()
    late = one.open()
    assert late is not None
    late.write(b"under way")
    exchange(one, other)
    with pytest.raises(StreamReset) as raised:
        late.read()
    assert raised.value.code == _framing.REQUEST_REJECTED
    assert [c for c in other.take_dirty() if c.owner is None and c.read()] == []
    exchange(one, other)
    assert one.open_streams == other.open_streams == 0


@pytest.mark.parametrize("orderly_before", [False, True])
def test_an_abort_does_not_say_that_what_was_accepted_was_not_processed(
    orderly_before: bool,
) -> None:
    # Or it would be asked for again, whatever it is.
    one, other = pair()
    core = one.open()
    assert core is not None
    core.write(b"deed")
    exchange(one, other)
    if orderly_before:
        other.goaway()
        exchange(one, other)
    other.abort(_framing.NO_ERROR, "closed")
    message = other.next_message(0.0)
    assert message is not None
    one.receive(message, 0.0)
    assert core.read() is None
    with pytest.raises(SessionClosed):
        one.open()


def test_goaway_with_an_error_ends_everything() -> None:
    one, other = pair()
    core = one.open()
    assert core is not None
    core.write(b"x")
    exchange(one, other)
    other.abort(0x01, "out of order")
    message = other.next_message(0.0)
    assert message is not None
    with pytest.raises(SessionClosed, match="out of order") as raised:
        one.receive(message, 0.0)
    assert raised.value.code == 0x01
    assert one.next_message(0.0) is None


def test_what_arrived_in_order_can_be_read_after_the_end() -> None:
    one = engine()
    one.receive(
        encode(stream(0, 0, b"whole", True), stream(2, 0, b"half"), stream(2, 9, b"x")), 0.0
    )
    whole, half = one.take_dirty()
    lost = SessionClosed("gone")
    assert set(one.detach(lost)) == {whole, half}
    assert read_all(whole) == b"whole"
    assert whole.at_end
    assert half.read() == b"half"
    with pytest.raises(SessionClosed, match="gone"):
        half.read()
    with pytest.raises(SessionClosed, match="gone"):
        half.write(b"x")
    half.reset(0)
    half.stop(0)


# -- hostile input -------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_bytes_do_worse_than_a_typed_error(messages: list[bytes]) -> None:
    one = engine()
    try:
        for message in messages:
            one.receive(message, 0.0)
            for core in one.take_dirty():
                core.take_flags()
                core.read()
    except PeerfetchError:
        assert one.error is not None
    drain(one)


FRAMES = st.one_of(
    st.builds(
        stream,
        st.integers(0, 40),
        st.integers(0, 300_000),
        st.binary(max_size=30),
        st.booleans(),
    ),
    st.builds(
        lambda s, c, f: {"type": "RESET_STREAM", "stream": s, "code": c, "final_size": f},
        st.integers(0, 40),
        st.integers(0, 300),
        st.integers(0, 300_000),
    ),
    st.builds(
        lambda s, c: {"type": "STOP_SENDING", "stream": s, "code": c},
        st.integers(0, 40),
        st.integers(0, 300),
    ),
    st.builds(
        lambda s, m: {"type": "MAX_STREAM_DATA", "stream": s, "maximum": m},
        st.integers(0, 40),
        st.integers(0, 1 << 61),
    ),
    st.builds(
        lambda s, c: {"type": "GOAWAY", "stream": s, "code": c, "reason": "?"},
        st.integers(0, 40),
        st.integers(0, 1),
    ),
    st.builds(
        lambda k, m: {"type": k, "maximum": m},
        st.sampled_from(["MAX_DATA", "MAX_STREAMS"]),
        st.integers(0, 1 << 61),
    ),
    st.builds(
        lambda k, d: {"type": k, "data": d.hex()},
        st.sampled_from(["PING", "PONG"]),
        st.binary(min_size=8, max_size=8),
    ),
    st.just(SETTINGS_FRAME),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES, max_size=60), st.integers(0, 2**32))
def test_valid_frames_in_any_order_do_no_worse_than_a_typed_error(
    frames: list[dict[str, Any]], seed: int
) -> None:
    choose = random.Random(seed)
    one = engine(opener=choose.random() < 0.5)
    cores: list[EngineStream] = []
    try:
        for frame in frames:
            one.receive(encode(frame), 0.0)
            cores += one.take_dirty()
            for core in cores:
                core.take_flags()
            if choose.random() < 0.3 and one.can_open and (core := one.open()) is not None:
                cores.append(core)
            if cores:
                core = choose.choice(cores)
                action = choose.randrange(6)
                try:
                    if action == 0:
                        if core.can_write:
                            core.write(bytes(choose.randrange(3000)))
                    elif action == 1:
                        if core.can_write:
                            core.end()
                    elif action == 2:
                        core.reset(1)
                    elif action == 3:
                        core.stop(2)
                    elif action == 4:
                        core.set_priority(choose.randrange(8), choose.random() < 0.5)
                    else:
                        core.read(choose.choice((-1, 0, 5)))
                except (StreamReset, StreamStopped, SessionClosed):
                    pass
            drain(one)
    except PeerfetchError:
        assert one.error is not None
    drain(one)
    one.detach(SessionClosed("over"))
    for core in cores:
        core.reset(0)
        core.stop(0)


@pytest.mark.parametrize("held", [0, 8, 12, 15])
def test_streams_that_stay_open_keep_no_others_from_being_opened(held: int) -> None:
    one, other = pair()
    for _ in range(held):
        core = one.open()
        assert core is not None
        core.write(b"stays")
    frames = 0
    for _ in range(100):
        brief = one.open()
        assert brief is not None, "the streams that were closed are not given back"
        brief.end()
        while (message := one.next_message(0.0)) is not None:
            other.receive(message, 0.0)
        for core in other.take_dirty():
            core.take_flags()
            if core.id == brief.id:
                assert core.read() == b""
                core.end()
        while (message := other.next_message(0.0)) is not None:
            frames += len(of_type(decode(message), "MAX_STREAMS"))
            one.receive(message, 0.0)
        assert brief.read() == b""
    # Together, where that is possible: no frame for each.
    assert frames <= 100 * 2 / (SMALL.max_streams - held) + 1
    opened = 0
    while new := list(iter(one.open, None)):
        opened += len(new)
        for core in new:
            core.write(b"stays")
        exchange(one, other)
    assert opened == SMALL.max_streams - held
