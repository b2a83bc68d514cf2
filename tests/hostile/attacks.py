"""What a peer can do to whoever it is connected to, below and in ``peerfetch.2``.

Each attack has one association and goes on until that is ended for it, or until it is told to stop;
then it begins anew on the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, cycle

from tests.hostile.model import Model
from tests.hostile.sctp import Ended, RawAssociation
from tests.webrtc._sctp.rawpeer import (
    ABORT,
    BINARY,
    COOKIE_ECHO,
    DCEP,
    ERROR,
    FORWARD_TSN,
    HEARTBEAT,
    INIT,
    INIT_ACK,
    RE_CONFIG,
    SACK,
    encode,
    parameter,
)
from tests.wire import Frame, put_varint
from tests.wire import decode as decode_frames
from tests.wire import encode as encode_frames
from tests.wire import stream as stream_frame

__all__ = ["ATTACKS", "Attack"]

Attack = Callable[[RawAssociation], Awaitable[None]]

ATTACKS: dict[str, Attack] = {}
"""By name."""

RECORD = 16_000
"""Bytes of chunks in one packet: as much as a DTLS record holds."""
PACKET = 1_100
"""Bytes of chunks in a packet as a peer without bad intentions sends it."""
PAUSE = 0.05
"""Seconds that an attack waits where it has to hear what came of a step."""
CHANNELS = 1_024
VERDICT = 0.5
"""Seconds that the other side has to end a session that it should, before more is sent."""
SEEDS = count(1)
"""Each session's own, so that a run repeats itself."""
UNORDERED_CHANNEL = 0x80


def attack(work: Attack) -> Attack:
    """Register an attack under its name."""
    ATTACKS[work.__name__] = work
    return work


def batches(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks joined, as many as fit a packet and a record in turn."""
    for size in cycle((PACKET, RECORD)):
        batch = next(chunks)
        while len(batch) < size - 100:
            batch += next(chunks)
        yield batch


# -- chunks ------------------------------------------------------------------------------------


@attack
async def oversized_heartbeats(raw: RawAssociation) -> None:
    """HEARTBEATs of all sizes, up to more than any packet holds."""
    for size in (100 + step * 97 % 15_800 for step in count()):
        await raw.send(encode(HEARTBEAT, 0, parameter(1, bytes(size))))


@attack
async def unknown_parameters(raw: RawAssociation) -> None:
    """Chunks and parameters that are to be reported, longer than the report may be."""
    init = struct.pack(">IIHHI", 7, 1 << 20, 65535, 65535, 1)
    for size in cycle((PACKET, RECORD)):
        body = bytes(size - 100)
        await raw.send(encode(0x7F, 0, body))
        await raw.send(encode(0xFF, 0, body))
        await raw.send(encode(INIT, 0, init + parameter(0x7FFF, body)), tag=0)
        await raw.send(encode(INIT, 0, init + parameter(0xC0FF, body)), tag=0)
        await raw.send(encode(INIT, 0, init + parameter(0xC0FF) * (size // 4 - 50)), tag=0)
        await raw.send(encode(ERROR, 0, parameter(6, body)))


@attack
async def forward_tsns(raw: RawAssociation) -> None:
    """FORWARD TSN chunks, each as far ahead as the last may be."""
    at = raw.tsn - 1

    def chunks() -> Iterator[bytes]:
        nonlocal at
        while True:
            at = at + 65_535 & 0xFFFFFFFF
            yield encode(FORWARD_TSN, 0, struct.pack(">I", at))

    for batch in batches(chunks()):
        await raw.send(batch)


@attack
async def skipped_streams(raw: RawAssociation) -> None:
    """FORWARD TSN chunks that name as many streams as a record holds."""
    streams = b"".join(struct.pack(">HH", stream, 1) for stream in range(RECORD // 4 - 4))
    for step, size in enumerate(cycle((PACKET, RECORD))):
        at = raw.tsn + step & 0xFFFFFFFF
        await raw.send(encode(FORWARD_TSN, 0, struct.pack(">I", at) + streams[:size]))


@attack
async def resets_of_everything(raw: RawAssociation) -> None:
    """RE-CONFIGs that reset all streams, many to a record, while many channels are open."""
    for channel in range(CHANNELS):
        await raw.open(raw.first_stream + 2 * channel, b"c")
    await raw.flush()
    for number in count(raw.tsn, 101):
        requests = b"".join(
            parameter(13, struct.pack(">III", number + step & 0xFFFFFFFF, 0, raw.tsn - 1))
            for step in range(60 + 40 * (number % 2))
        )
        await raw.send(encode(RE_CONFIG, 0, requests))
        for step in range(100):
            again = parameter(13, struct.pack(">III", number + step & 0xFFFFFFFF, 0, raw.tsn - 1))
            await raw.send(encode(RE_CONFIG, 0, again))


@attack
async def refused_opened_reset(raw: RawAssociation) -> None:
    """A stream that is refused, opened after all, used, and reset from both ends."""
    for stream in count(raw.first_stream, 2):
        await raw.data(b"\x03", stream=stream, protocol=DCEP)
        open_ = struct.pack(">BBHIHH", 3, UNORDERED_CHANNEL, 0, 0, 9, 11)
        await raw.data(open_ + b"peerfetchpeerfetch.2", stream=stream, sequence=1, protocol=DCEP)
        asking = [stream_frame(2 * number, 0, head("/large"), fin=True) for number in range(16)]
        frames = encode_frames({"type": "SETTINGS", "settings": []}, *asking)
        await raw.message(frames, stream=stream, ordered=False)
        await raw.flush()
        await asyncio.sleep(PAUSE)
        asked = [chunk for chunk in raw.taken() if chunk.type == RE_CONFIG]
        numbers = {struct.unpack_from(">I", chunk.body, 4)[0] for chunk in asked}
        reset = parameter(13, struct.pack(">IIIH", raw.tsn, 0, raw.tsn - 1, stream))
        await raw.send(encode(RE_CONFIG, 0, reset))
        for number in numbers | {number + 1 for number in numbers}:
            performed = parameter(16, struct.pack(">II", number, 1))
            await raw.send(encode(RE_CONFIG, 0, performed))
        await raw.data(b"late", stream=stream, sequence=2, protocol=BINARY)


@attack
async def acknowledgements_of_nothing(raw: RawAssociation) -> None:
    """SACKs full of gaps, duplicates and chunks that were never sent."""
    for step in count():
        ahead = step % 3 and 1 << 20
        blocks = (3_900, 270)[step % 2]
        gaps = b"".join(struct.pack(">HH", 2 * gap + 2, 2 * gap + 2) for gap in range(blocks))
        head = struct.pack(">IIHH", raw.acknowledged + ahead & 0xFFFFFFFF, 1 << 20, blocks, 0)
        await raw.send(encode(SACK, 0, head + gaps))
        await raw.send(encode(COOKIE_ECHO, 0, bytes(step % RECORD)))


@attack
async def descending_messages(raw: RawAssociation) -> None:
    """Ordered messages of one byte, each before all that came: none has its turn."""
    for start in count():
        stream = raw.first_stream + 2 * (start % 500)
        for sequence in range(32_767, 1, -1):
            await raw.data(b"x", stream=stream, sequence=sequence)


@attack
async def held_messages(raw: RawAssociation) -> None:
    """Whole ordered messages whose turn never comes."""
    for start in count():
        stream = raw.first_stream + 2 * (start % 500)
        for sequence in range(1, 32_767):
            await raw.data(bytes(PACKET), stream=stream, sequence=sequence)


@attack
async def unfinished_messages(raw: RawAssociation) -> None:
    """First fragments of messages that never end, one on each stream, and then more of each."""
    for stream in range(65_535):
        await raw.data(bytes(PACKET), stream=stream, flags=2)


@attack
async def long_labels(raw: RawAssociation) -> None:
    """Channels with labels and protocols of 64 KiB, four bytes a character in memory."""
    label = "\U0001f600".encode() + b"a" * 65_531
    for channel in range(CHANNELS):
        await raw.open(raw.first_stream + 2 * channel, label, label)
    await raw.flush()
    await asyncio.Event().wait()


@attack
async def opened_and_closed(raw: RawAssociation) -> None:
    """Channels opened and reset at once, again and again."""
    for number in count(raw.tsn):
        stream = raw.first_stream + 2 * (number % 30_000)
        await raw.open(stream, b"c")
        reset = parameter(13, struct.pack(">IIIH", number & 0xFFFFFFFF, 0, raw.tsn - 1, stream))
        await raw.send(encode(RE_CONFIG, 0, reset))


@attack
async def lying_lengths(raw: RawAssociation) -> None:
    """Chunks whose parameters and causes say that they are shorter or longer than they are."""
    number = next(SEEDS)
    for size in range(6):
        for kind in range(20):
            lie = struct.pack(">HH", kind, size) + bytes(number % 9)
            for chunk in (INIT_ACK, HEARTBEAT, ERROR, RE_CONFIG):
                await raw.send(encode(chunk, 0, lie))
    # The last that this association hears: a user's reason (RFC 9260, section 3.3.10.12).
    await raw.send(encode(ABORT, 0, struct.pack(">HH", 12, number % 6) + b"why"))


@attack
async def datagrams_of_junk(raw: RawAssociation) -> None:
    """Packets of good form and bad sense: every chunk type, cut and stretched."""
    for step in count():
        body = bytes(step * 7 % 251 for _ in range(step % 64))
        lie = struct.pack(">BBH", step % 256, step // 256 % 256, step * 31 % 65_536) + body
        await raw.send(encode(step % 256, step % 7, body), lie)


# -- frames --------------------------------------------------------------------------------------


def head(target: str, *, headers: str = "[]", protocol: str | None = None) -> bytes:
    """A request's HEAD block."""
    more = "" if protocol is None else f',"protocol":"{protocol}"'
    text = f'{{"method":"GET","target":"{target}","headers":{headers}{more}}}'.encode()
    return b"\x01" + put_varint(len(text)) + text


class Frames:
    """A channel of ``peerfetch.2`` on an association, which keeps to its credit unless told."""

    def __init__(self, raw: RawAssociation) -> None:
        self._raw = raw
        self._stream = raw.first_stream
        self._streams = 16
        self._credit = 262_144
        self._granted = asyncio.Event()
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        """Streams that the other side has opened."""
        self._known: set[int] = set()
        self.on_frame: Callable[[Frame], object] = len
        """Told of all that the other side says."""
        raw.on_message = self._hear

    async def open(self) -> None:
        """Open the channel if it is ours to open, and say SETTINGS."""
        if self._raw.offered:
            await self._raw.open(self._stream, b"peerfetch", b"peerfetch.2", UNORDERED_CHANNEL)
            await self._raw.flush()  # the channel is unordered
        else:
            self._stream = await self._raw.opened()
        await self.send({"type": "SETTINGS", "settings": []})

    def _hear(self, message: bytes) -> None:
        for frame in decode_frames(message):
            self.on_frame(frame)
            if frame["type"] == "SETTINGS":
                settings = dict(frame["settings"])
                self._credit += settings.get(1, 262_144) - 262_144
                self._streams = max(self._streams, settings.get(3, 0))
            elif frame["type"] == "MAX_STREAMS":
                self._streams = max(self._streams, frame["maximum"])
            elif frame["type"] == "MAX_DATA":
                self._credit += 131_072
            elif frame["type"] == "STREAM" and frame["stream"] not in self._known:
                self._known.add(frame["stream"])
                if frame["stream"] % 2 != self.first:
                    self.asked.put_nowait(frame["stream"])
        self._granted.set()

    @property
    def first(self) -> int:
        """The lowest id of a stream of ours."""
        return 0 if self._raw.offered else 1

    async def stream(self, number: int) -> int:
        """The id of our stream of that number, once there may be one."""
        while number >= self._streams:
            await self._news()
        return self.first + 2 * number

    async def write(self, stream: int, offset: int, data: bytes, *, fin: bool = False) -> None:
        """Send data on a stream, once there is credit for it."""
        self._credit -= len(data)
        while self._credit < 0:
            await self._news()
        await self.send(stream_frame(stream, offset, data, fin=fin))

    async def _news(self) -> None:
        self._granted.clear()
        gone = asyncio.ensure_future(self._raw.ended.wait())
        news = asyncio.ensure_future(self._granted.wait())
        await asyncio.wait((gone, news), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        news.cancel()
        if self._raw.ended.is_set():
            raise Ended

    async def idle(self) -> None:
        """Do no more than be there. Raises Ended."""
        while True:
            await self._raw.acknowledge()
            await asyncio.sleep(PAUSE)

    async def send(self, *frames: Frame) -> None:
        await self._raw.message(encode_frames(*frames), stream=self._stream, ordered=False)


@attack
async def quiet(raw: RawAssociation) -> None:
    """A session on which nothing more is said."""
    frames = Frames(raw)
    await frames.open()
    await frames.idle()


@attack
async def unread_answers(raw: RawAssociation) -> None:
    """As many large answers as may be asked for; credit for all of them, and no window to send."""
    frames = Frames(raw)
    await frames.open()
    await frames.send({"type": "MAX_DATA", "maximum": 1 << 40})
    raw.window = 0
    await raw.acknowledge()
    for number in range(256):
        stream = await frames.stream(number)
        credit: Frame = {"type": "MAX_STREAM_DATA", "stream": stream, "maximum": 1 << 40}
        await frames.send(stream_frame(stream, 0, head("/large"), fin=True), credit)
        await raw.acknowledge()  # as one that is there and slow
    await frames.idle()


@attack
async def endless_heads(raw: RawAssociation) -> None:
    """Heads of the largest size, nested, repeated, and without an end."""
    frames = Frames(raw)
    await frames.open()
    nested = "[" * 15_000 + "]" * 15_000
    many = "[" + ",".join(['["a","b"]'] * 3_000) + "]"
    for number in count():
        data = head("/small", headers=nested if number % 2 else many)
        if number % 3 == 0:
            data = data[:-1]
        stream = await frames.stream(number)
        for at in range(0, len(data), PACKET):
            await frames.write(stream, at, data[at : at + PACKET])
        gone: Frame = {"type": "RESET_STREAM", "stream": stream, "code": 0x10C}
        await frames.send({**gone, "final_size": len(data)})


@attack
async def pieces_of_one_byte(raw: RawAssociation) -> None:
    """Streams in pieces of one byte, every second of them, the last first."""
    frames = Frames(raw)
    await frames.open()
    for at in range(60_000, 0, -2):
        await frames.write(await frames.stream(at // 2 % 4), at, b"x")
    await frames.idle()


@attack
async def websocket_frames(raw: RawAssociation) -> None:
    """WebSockets with messages that come a byte at a time, or have no end."""
    frames = Frames(raw)
    await frames.open()
    at = {}
    for number in range(16):
        stream = await frames.stream(number)
        data = head("/socket", protocol="websocket")
        await frames.write(stream, 0, data)
        at[stream] = len(data)
    endless = b"\x00" + put_varint(3) + b"\x12\x01x"  # a fragment of a message of fragments
    while True:
        for stream, offset in at.items():
            piece = endless if stream % 4 == frames.first else b"\x00\x01\x01"
            await frames.write(stream, offset, piece)
            at[stream] += len(piece)


@attack
async def pings(raw: RawAssociation) -> None:
    """PINGs without end, whose answers are not acknowledged."""
    frames = Frames(raw)
    await frames.open()
    raw.window = 0
    await raw.acknowledge()
    raw.silent = True
    while True:
        await frames.send(*[{"type": "PING", "data": "00" * 8}] * 100)


@attack
async def resets_of_streams(raw: RawAssociation) -> None:
    """Requests that are given up as soon as they are made (in HTTP/2, CVE-2023-44487)."""
    frames = Frames(raw)
    await frames.open()
    asked = head("/small")
    for number in count():
        stream = await frames.stream(number)
        gone: Frame = {"type": "RESET_STREAM", "stream": stream, "code": 0x10C}
        stop: Frame = {"type": "STOP_SENDING", "stream": stream, "code": 0x10C}
        await frames.write(stream, 0, asked)
        await frames.send({**gone, "final_size": len(asked)}, stop)


@attack
async def endless_informational(raw: RawAssociation) -> None:
    """To each request, informational answers without end; where none comes, answers to nothing."""
    frames = Frames(raw)
    await frames.open()
    early = b'{"status":103,"headers":[["link","</a>"]]}'
    block = b"\x01" + put_varint(len(early)) + early
    stream = await frames.asked.get() if not raw.offered else frames.first
    for offset in count(0, len(block) * 20):
        await frames.write(stream, offset, block * 20)


@attack
async def frames_out_of_order(raw: RawAssociation) -> None:
    """Valid frames in orders that are mostly not; now and then one that must end the session."""
    model = Model(random.Random(next(SEEDS)))
    frames = Frames(raw)
    frames.on_frame = model.heard
    await frames.open()
    while True:
        batch: list[Frame] = []
        while len(batch) < model.rng.randrange(1, 20) and not model.fatal:
            batch.append(model.frame())
        await frames.send(*batch)
        if model.fatal:
            model.fatal = False
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(raw.ended.wait(), VERDICT)
