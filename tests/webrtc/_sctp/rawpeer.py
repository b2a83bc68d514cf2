"""A peer made by hand, which says what the test wants, right or wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from peerfetch_fast.webrtc._sctp.association import Association, init_chunk
from peerfetch_fast.webrtc._sctp.packet import crc32c
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, HEARTBEAT_ACK, ABORT, SHUTDOWN = range(8)
SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK = range(8, 12)
SHUTDOWN_COMPLETE, RE_CONFIG, FORWARD_TSN = 14, 130, 192
END, BEGIN, UNORDERED, IMMEDIATE = 1, 2, 4, 8
DCEP, STRING, BINARY, STRING_EMPTY, BINARY_EMPTY = 50, 51, 53, 56, 57


@dataclass(frozen=True)
class Chunk:
    """A chunk without its header."""

    type: int
    flags: int
    body: bytes

    @property
    def tsn(self) -> int:
        return int.from_bytes(self.body[:4], "big")

    @property
    def gaps(self) -> list[tuple[int, int]]:
        count = int.from_bytes(self.body[8:10], "big")
        return [struct.unpack_from(">HH", self.body, 12 + 4 * index) for index in range(count)]

    @property
    def duplicates(self) -> list[int]:
        gaps, count = struct.unpack_from(">HH", self.body, 8)
        return [
            struct.unpack_from(">I", self.body, 12 + 4 * (gaps + index))[0]
            for index in range(count)
        ]

    @property
    def window(self) -> int:
        return int.from_bytes(self.body[4:8], "big")


def encode(type: int, flags: int = 0, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", type, flags, len(body) + 4) + body + bytes(-len(body) % 4)


def parameter(type: int, body: bytes = b"") -> bytes:
    return struct.pack(">HH", type, len(body) + 4) + body + bytes(-len(body) % 4)


def packet(
    tag: int, chunks: bytes, *, checksum: bool = True, ports: tuple[int, int] = (5000, 5000)
) -> bytes:
    head = struct.pack(">HHI", *ports, tag)
    crc = crc32c(head + bytes(4) + chunks) if checksum else 0
    return head + struct.pack("<I", crc) + chunks


def decode(data: bytes) -> tuple[int, list[Chunk]]:
    """The verification tag and the chunks of a packet, whose form is checked."""
    source, destination, tag, checksum = struct.unpack(">HHI", data[:8])[:3] + struct.unpack(
        "<I", data[8:12]
    )
    assert (source, destination) == (5000, 5000)
    assert len(data) % 4 == 0
    if checksum:
        assert checksum == crc32c(data[:8] + bytes(4) + data[12:])
    chunks = []
    at = 12
    while at < len(data):
        type, flags, length = struct.unpack_from(">BBH", data, at)
        assert length >= 4
        assert at + length <= len(data)
        chunks.append(Chunk(type, flags, data[at + 4 : at + length]))
        at += length + -length % 4
    return tag, chunks


class RawPeer:
    """The other end of an association of ours."""

    tag = 0x12345678
    tsn = 1_000

    def __init__(
        self,
        settings: AssociationSettings | None = None,
        *,
        extensions: bytes = bytes((RE_CONFIG, FORWARD_TSN)),
        parameters: bytes = b"",
        window: int = 1 << 20,
        tsn: int = 1_000,
        client: bool = True,
        described: bool = False,
    ) -> None:
        self.now = 100.0
        self.tsn = tsn
        self.window = window
        self.parameters = (
            parameter(0x8008, extensions)
            + parameter(0xC000) * (FORWARD_TSN in extensions)
            + parameters
        )
        self.association = Association(
            settings or AssociationSettings(),
            bytes(range(32)),
            client=client,
            peer_init=encode(INIT, 0, self.init_body()) if described else None,
        )
        self.their_tag = 0
        self.their_tsn = 0
        if described:
            ours = init_chunk(settings or AssociationSettings(), bytes(range(32)))
            self.learn(Chunk(INIT, 0, ours[4:]))

    def init_body(self) -> bytes:
        return (
            struct.pack(">IIHHI", self.tag, self.window, 65535, 65535, self.tsn) + self.parameters
        )

    def connect(self) -> RawPeer:
        """Shake hands: we are the one that begins."""
        ack = self.exchange(encode(INIT, 0, self.init_body()), tag=0)[0]
        assert ack.type == INIT_ACK
        self.learn(ack)
        replies = self.exchange(encode(COOKIE_ECHO, 0, self.cookie(ack)))
        assert [chunk.type for chunk in replies] == [COOKIE_ACK]
        return self

    def learn(self, init: Chunk) -> None:
        self.their_tag, _, _, _, self.their_tsn = struct.unpack_from(">IIHHI", init.body)

    @staticmethod
    def cookie(init_ack: Chunk) -> bytes:
        at = 16
        while True:
            type, length = struct.unpack_from(">HH", init_ack.body, at)
            if type == 7:
                return init_ack.body[at + 4 : at + length]
            at += length + -length % 4

    def send(self, *chunks: bytes, tag: int | None = None) -> None:
        self.association.receive_packet(
            packet(self.their_tag if tag is None else tag, b"".join(chunks)), self.now
        )

    def packets(self) -> list[list[Chunk]]:
        """What the association has to send now, packet by packet."""
        packets = []
        while (data := self.association.next_packet(self.now)) is not None:
            packets.append(decode(data)[1])
        return packets

    def chunks(self) -> list[Chunk]:
        return [chunk for chunks in self.packets() for chunk in chunks]

    def exchange(self, *chunks: bytes, tag: int | None = None) -> list[Chunk]:
        self.send(*chunks, tag=tag)
        return self.chunks()

    def wait(self, seconds: float) -> list[Chunk]:
        """Let time pass, with every timer; all that was sent meanwhile."""
        end = self.now + seconds
        sent = self.chunks()
        while (deadline := self.association.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.association.handle_timeout(self.now)
            sent += self.chunks()
        self.now = end
        return sent + self.chunks()

    def data(
        self,
        offset: int,
        payload: bytes = b"x",
        *,
        flags: int = BEGIN | END,
        stream: int = 1,
        sequence: int = 0,
        protocol: int = BINARY,
    ) -> bytes:
        """A DATA chunk, *offset* TSNs after the first."""
        return encode(
            DATA,
            flags,
            struct.pack(
                ">IHHI", (self.tsn + offset) & 0xFFFFFFFF, stream, sequence & 0xFFFF, protocol
            )
            + payload,
        )

    def sack(
        self,
        cumulative: int,
        gaps: list[tuple[int, int]] | None = None,
        duplicates: list[int] | None = None,
        *,
        window: int | None = None,
    ) -> bytes:
        """A SACK up to *cumulative* chunks of theirs."""
        gaps = gaps or []
        duplicates = duplicates or []
        return encode(
            SACK,
            0,
            struct.pack(
                ">IIHH",
                (self.their_tsn + cumulative - 1) & 0xFFFFFFFF,
                self.window if window is None else window,
                len(gaps),
                len(duplicates),
            )
            + b"".join(struct.pack(">HH", *gap) for gap in gaps)
            + b"".join(struct.pack(">I", tsn) for tsn in duplicates),
        )

    def open_channel(
        self, offset: int = 0, *, stream: int = 1, kind: int = 0, reliability: int = 0
    ) -> bytes:
        """DCEP's OPEN."""
        return self.data(
            offset,
            struct.pack(">BBHIHH", 3, kind, 0, reliability, 1, 0) + b"c",
            stream=stream,
            protocol=DCEP,
        )
