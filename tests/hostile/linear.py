"""How much work inputs of growing size cause, in instructions: ``python -m tests.hostile.linear``.

Each attack is made ready in two sizes, and done between two calls of ``os.getppid``, at which
callgrind (``--dump-before=getppid``) writes down what has been executed since the last one. On
standard output there is a line for each: the attack's name and size, in the order of the dumps.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from itertools import count

from tests.webrtc._sctp.rawpeer import (
    ABORT,
    BEGIN,
    COOKIE_ACK,
    COOKIE_ECHO,
    DCEP,
    END,
    ERROR,
    FORWARD_TSN,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    RE_CONFIG,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    UNORDERED,
    RawPeer,
    encode,
    packet,
    parameter,
)

from peerfetch_fast._framing import Engine
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.settings import Settings
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

SIZES = (250, 1_000)
PACKET = 2_000

Attack = Callable[[int], Callable[[], None]]
"""Makes an attack of a size ready, and returns what does it."""

attacks: dict[str, Attack] = {}


def attack(make: Attack) -> Attack:
    attacks[make.__name__] = make
    return make


def packets(peer: RawPeer, chunks: Iterator[bytes] | list[bytes]) -> list[bytes]:
    """The chunks in packets of at most PACKET bytes."""
    found, body = [], b""
    for chunk in chunks:
        if len(body) + len(chunk) > PACKET:
            found.append(packet(peer.their_tag, body))
            body = b""
        body += chunk
    return [*found, packet(peer.their_tag, body)] if body else found


def feeding(peer: RawPeer, chunks: Iterator[bytes] | list[bytes]) -> Callable[[], None]:
    """Have the association take them, and send what it has to say after each packet."""
    ready = packets(peer, chunks)

    def feed() -> None:
        for data in ready:
            peer.association.receive_packet(data, peer.now)
            while peer.association.next_packet(peer.now) is not None:
                pass
            peer.association.take_events()

    return feed


def open_peer(*, channels: int = 1, settings: AssociationSettings | None = None) -> RawPeer:
    peer = RawPeer(settings or AssociationSettings(), window=1 << 30).connect()
    kept: list[object] = []
    peer.association.on_channel = kept.append
    for index in range(channels):
        peer.exchange(peer.open_channel(index, stream=2 * index + 1))
    return peer


@attack
def data_in_order(size: int) -> Callable[[], None]:
    peer = open_peer()
    return feeding(peer, [peer.data(n, flags=BEGIN | END | UNORDERED) for n in range(1, size)])


@attack
def data_with_descending_sequence_numbers(size: int) -> Callable[[], None]:
    peer = open_peer()
    return feeding(peer, [peer.data(2 + n, sequence=size + 1 - n) for n in range(size)])


@attack
def data_with_a_hole_before_each(size: int) -> Callable[[], None]:
    peer = open_peer()
    return feeding(peer, [peer.data(2 * n, sequence=n + 1) for n in range(1, size)])


@attack
def data_of_fragments_backwards(size: int) -> Callable[[], None]:
    peer = open_peer()
    return feeding(peer, [peer.data(n, flags=0, sequence=1) for n in range(size, 1, -1)])


@attack
def data_of_fragments_with_holes(size: int) -> Callable[[], None]:
    peer = open_peer()
    return feeding(peer, [peer.data(2 * n, flags=0, sequence=1) for n in range(1, size)])


@attack
def data_again(size: int) -> Callable[[], None]:
    peer = open_peer()
    return feeding(peer, [peer.data(3)] * size)


@attack
def data_on_ever_new_streams(size: int) -> Callable[[], None]:
    peer = open_peer(settings=AssociationSettings(max_channels=16))
    return feeding(peer, [peer.data(1 + n, stream=2 * n + 7) for n in range(size)])


@attack
def forward_tsn_by_one_over_runs(size: int) -> Callable[[], None]:
    peer = open_peer()
    feeding(peer, [peer.data(2 * n, flags=0, sequence=1) for n in range(1, size)])()
    return feeding(
        peer,
        [encode(FORWARD_TSN, 0, struct.pack(">I", peer.tsn + n)) for n in range(1, 2 * size)],
    )


@attack
def forward_tsn_by_far(size: int) -> Callable[[], None]:
    peer = open_peer()
    at = count(peer.tsn + 65_535, 65_535)
    return feeding(
        peer,
        [encode(FORWARD_TSN, 0, struct.pack(">I", next(at) & 0xFFFFFFFF)) for _ in range(size)],
    )


@attack
def forward_tsn_of_many_streams(size: int) -> Callable[[], None]:
    peer = open_peer(settings=AssociationSettings(max_channels=4_096))
    return feeding(
        peer,
        [
            encode(FORWARD_TSN, 0, struct.pack(">IHH", peer.tsn + n, 2 * n + 1, 40))
            for n in range(1, size)
        ],
    )


def sending(size: int) -> RawPeer:
    """A peer to which *size* chunks are on the way."""
    peer = open_peer()
    channel = peer.association.open_channel("c", ordered=False)
    peer.wait(0.05)
    for _ in range(size):
        channel.send(bytes(1_000), peer.now)
    sent = 0
    cumulative = 0
    while sent < size:
        chunks = [chunk for chunk in peer.wait(0.05) if chunk.type == 0]
        sent += len(chunks)
        if sent < size and chunks:
            # Grow the window, and leave all but the oldest unacknowledged.
            cumulative += 1
            peer.send(
                peer.sack(cumulative, [(2, sent - cumulative)] if sent > cumulative + 2 else [])
            )
    return peer


@attack
def sack_one_more_each_time(size: int) -> Callable[[], None]:
    peer = sending(size)
    return feeding(peer, [peer.sack(1 + n) for n in range(size)])


@attack
def sack_with_other_blocks_each_time(size: int) -> Callable[[], None]:
    peer = sending(size)
    most = peer.association.sender.next_tsn - peer.their_tsn - 4
    return feeding(
        peer,
        [peer.sack(1, [(2 + n % (most // 2), most - 2 - n % (most // 2))]) for n in range(size)],
    )


@attack
def sack_of_all_duplicates(size: int) -> Callable[[], None]:
    peer = sending(100)
    return feeding(peer, [peer.sack(1, [], list(range(400))) for _ in range(size // 10)])


def resets(peer: RawPeer, size: int, *streams: int) -> list[bytes]:
    return [
        encode(
            RE_CONFIG,
            0,
            parameter(
                13,
                struct.pack(">III", (peer.tsn + n) & 0xFFFFFFFF, 0, peer.tsn)
                + b"".join(struct.pack(">H", stream) for stream in streams),
            ),
        )
        for n in range(size)
    ]


@attack
def re_config_of_all_streams(size: int) -> Callable[[], None]:
    peer = open_peer(channels=1_000)
    return feeding(peer, resets(peer, size))


@attack
def re_config_of_many_streams(size: int) -> Callable[[], None]:
    peer = open_peer(channels=500)
    return feeding(peer, resets(peer, size // 20, *range(400)))


@attack
def re_config_and_open_again(size: int) -> Callable[[], None]:
    peer = open_peer(channels=100)
    pairs = zip(
        resets(peer, size, 1),
        [peer.open_channel(100 + n, stream=2 * n + 401) for n in range(size)],
        strict=True,
    )
    return feeding(peer, [chunk for pair in pairs for chunk in pair])


@attack
def opens_that_are_refused(size: int) -> Callable[[], None]:
    peer = open_peer(settings=AssociationSettings(max_channels=16))
    return feeding(
        peer,
        [
            peer.data(1 + n, b"\3", stream=2 * n + 7, protocol=DCEP, flags=BEGIN | END | UNORDERED)
            for n in range(size)
        ],
    )


@attack
def opens_with_long_labels(size: int) -> Callable[[], None]:
    peer = open_peer()
    label = b"l" * 900
    return feeding(
        peer,
        [
            peer.data(
                1 + n,
                struct.pack(">BBHIHH", 3, 0, 0, 0, len(label), 0) + label,
                stream=2 * n + 7,
                protocol=DCEP,
            )
            for n in range(size)
        ],
    )


def repeated(chunk: Callable[[RawPeer], bytes]) -> Attack:
    def make(size: int) -> Callable[[], None]:
        peer = open_peer()
        return feeding(peer, [chunk(peer)] * size)

    return make


attacks |= {
    "heartbeat": repeated(lambda peer: encode(HEARTBEAT, 0, parameter(1, bytes(36)))),
    "heartbeat_ack": repeated(lambda peer: encode(HEARTBEAT_ACK, 0, parameter(1, bytes(16)))),
    "init_inside": repeated(lambda peer: encode(INIT, 0, peer.init_body())),
    "cookie_echo": repeated(lambda peer: encode(COOKIE_ECHO, 0, bytes(69))),
    "error": repeated(lambda peer: encode(ERROR, 0, parameter(3, bytes(4)))),
    "init_ack_inside": repeated(lambda peer: encode(INIT_ACK, 0, peer.init_body())),
    "cookie_ack": repeated(lambda peer: encode(COOKIE_ACK)),
    "shutdown_ack": repeated(lambda peer: encode(SHUTDOWN_ACK)),
    "shutdown_complete": repeated(lambda peer: encode(SHUTDOWN_COMPLETE)),
    "unknown": repeated(lambda peer: encode(0xFF, 0, bytes(4))),
    "shutdown": repeated(lambda peer: encode(SHUTDOWN, 0, struct.pack(">I", peer.their_tsn - 1))),
    "re_config_of_another_kind": repeated(
        lambda peer: encode(RE_CONFIG, 0, parameter(14, bytes(6)))
    ),
    "abort": repeated(lambda peer: encode(ABORT)),
}


def frame(kind: int, *fields: int, data: bytes = b"") -> bytes:
    """A frame of ``peerfetch.2``, with each number in four bytes."""
    body = b"".join((field | 1 << 31).to_bytes(4, "big") for field in fields) + data
    return bytes((kind,)) + (len(body) | 1 << 14).to_bytes(2, "big") + body


def engine_frames(make: Callable[[int], list[bytes]]) -> Attack:
    """Have an engine take so many frames, each in a message, and read nothing."""

    def ready(size: int) -> Callable[[], None]:
        engine = Engine(Settings(fragments=1 << 20), opener=False, now=0.0)
        engine.receive(b"\3\0", 0.0)
        messages = make(size)

        def feed() -> None:
            for message in messages:
                with contextlib.suppress(PeerfetchError):
                    engine.receive(message, 0.0)
                engine.take_dirty()
                while engine.next_message(0.0) is not None:
                    pass

        return feed

    return ready


attacks |= {
    "stream_frames_in_order": engine_frames(
        lambda size: [frame(8, 0, 10 * n, data=bytes(10)) for n in range(size)]
    ),
    "stream_frames_backwards": engine_frames(
        lambda size: [frame(8, 0, 10 * n, data=bytes(10)) for n in range(size, 0, -1)]
    ),
    "stream_frames_that_close_holes": engine_frames(
        lambda size: [
            *(frame(8, 0, 20 * n + 10, data=bytes(10)) for n in range(size)),
            *(frame(8, 0, 20 * n, data=bytes(10)) for n in range(size)),
        ]
    ),
    "streams_opened_and_reset": engine_frames(
        lambda size: [
            one
            for n in range(size)
            for one in (frame(8, 4 * n), frame(4, 4 * n, 0, 0), frame(5, 4 * n, 0))
        ]
    ),
    "ping": engine_frames(lambda size: [frame(1, data=bytes(8))] * size),
    "pong": engine_frames(lambda size: [frame(2, data=bytes(8))] * size),
    "goaway": engine_frames(
        lambda size: [
            *(frame(8, 4 * n) for n in range(16)),
            *[frame(7, 1 << 20, 0)] * size,
        ]
    ),
    "max_data": engine_frames(lambda size: [frame(0x10, 1 << 20 | n) for n in range(size)]),
    "max_stream_data": engine_frames(
        lambda size: [frame(0x11, 0, 1 << 20 | n) for n in range(size)]
    ),
    "max_streams": engine_frames(lambda size: [frame(0x12, n) for n in range(size)]),
    "stop_sending": engine_frames(lambda size: [frame(5, 0, 0)] * size),
    "settings": engine_frames(lambda size: [frame(3)] * size),
    "access": engine_frames(lambda size: [frame(0x20, data=bytes(32))] * size),
    "unknown_frames": engine_frames(lambda size: [frame(0x3F, data=bytes(100))] * size),
}


def main() -> None:
    for name, make in attacks.items():
        for size in SIZES:
            act = make(size)
            os.getppid()
            act()
            os.getppid()
            print(name, size, flush=True)


if __name__ == "__main__":
    main()
