"""DTLS, and the path under it, with datagrams of the peer and of anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from functools import cached_property
from typing import Any

from tests.fuzz.program import Program, run_offline

from peerfetch_fast.webrtc._dtls import DATAGRAM_SIZE, Dtls, ListSink
from peerfetch_fast.webrtc._path import DataPath, Port
from peerfetch_fast.webrtc._sctp.association import Association
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings
from peerfetch_fast.webrtc.certificate import Certificate, generate_certificate

CLIENT, SERVER, STRANGER = (generate_certificate() for _ in range(3))
MAX_ANSWERS = 40
"""Datagrams that one datagram may lead to: a flight, and what was queued behind it."""
FLIGHTS = 8
ALERT = bytes((21, 254, 253)) + bytes(8) + bytes((0, 2, 2, 40))
HELLO_REQUEST = bytes((22, 254, 253)) + bytes(9) + bytes((12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
LOOPBACK = "127.0.0.1"
SOURCES = 4  # the peer's two, and two strangers'


def _connection(server: bool, own: Certificate, peer: Certificate, sink: Any) -> Dtls:
    return Dtls(
        server=server,
        certificate=own.der,
        private_key=own.private_key,
        fingerprints=[("sha-256", peer.fingerprint)],
        srtp_profiles="SRTP_AES128_CM_SHA1_80",
        sink=sink,
    )


class End:
    """One end of a DTLS connection, and what it must keep."""

    def __init__(self, server: bool, own: Certificate, peer: Certificate) -> None:
        self.sink = ListSink()
        self.dtls = _connection(server, own, peer, self.sink)
        self.peer = peer
        self.sent: list[bytes] = []  # payloads
        self.delivered = 0  # datagrams of ours that the other was given
        self.received: list[bytes] = []

    def next(self) -> bytes | None:
        """The next datagram that the other side has not been given."""
        if self.delivered == len(self.sink.datagrams):
            return None
        self.delivered += 1
        return self.sink.datagrams[self.delivered - 1]

    def take(self, datagram: bytes, other: End | None) -> None:
        before = len(self.sink.datagrams)
        self.received += self.dtls.receive(datagram)
        assert len(self.sink.datagrams) - before <= MAX_ANSWERS
        assert all(len(sent) <= DATAGRAM_SIZE for sent in self.sink.datagrams[before:])
        if other is not None:
            # Nothing comes out that the peer has not said, and nothing twice.
            assert len(self.received) == len(set(self.received))
            assert set(self.received) <= set(other.sent)
        if self.dtls.state == "connected":
            assert self.dtls.peer_fingerprint == self.peer.fingerprint
            assert 0 < self.dtls.max_plaintext < DATAGRAM_SIZE

    def say(self, payload: bytes) -> None:
        if self.dtls.send(payload):
            self.sent.append(payload)


class Stranger:
    """Somebody else's end, made when it is first asked for: that takes longer than a handshake."""

    def __init__(self, server: bool, peer: Certificate) -> None:
        self._arguments = server, STRANGER, peer

    @cached_property
    def end(self) -> End:
        end = End(*self._arguments)
        end.dtls.start()
        return end


def dtls(data: bytes) -> int:
    """A handshake and what follows, of which datagrams are lost, repeated, changed, cut, joined and
    forged, with a stranger's own handshake in between.
    """
    program, steps = Program(data), 0
    ends = End(False, CLIENT, SERVER), End(True, SERVER, CLIENT)
    # Those who know nothing but the ports: a server to the client, and a client to the server.
    strangers = Stranger(True, CLIENT), Stranger(False, SERVER)
    for end in ends:
        end.dtls.start()
    while program and steps < 300:
        steps += 1
        kind = program.byte()
        one, other = ends if kind & 128 else ends[::-1]
        datagram = _datagram(kind & 127, one, other, strangers[0 if one is ends[0] else 1], program)
        if datagram:
            one.take(datagram, other)
    for one, other in (ends, ends[::-1]):
        one.dtls.close()
        assert one.dtls.state in ("closed", "failed")
        one.take(other.next() or ALERT, other)
        assert not one.dtls.send(b"late")
    return steps


def _datagram(
    kind: int, one: End, other: End, stranger: Stranger, program: Program
) -> bytes | None:
    """What ``one`` gets next."""
    match kind % 16:
        case 0 | 1 | 2 | 3:
            return other.next()
        case 4:
            other.next()  # lost
        case 5:
            return program.pick(other.sink.datagrams or [ALERT])
        case 6:
            return _changed(program.pick(other.sink.datagrams or [ALERT]), program)
        case 7:
            return (other.next() or b"") + program.pick((other.next() or ALERT, program.piece()))
        case 8:
            return program.piece()
        case 9:
            return program.pick((ALERT, HELLO_REQUEST, bytes(1), bytes(20_000), b"\x14" * 3_000))
        case 10:
            return stranger.end.next()
        case 11:
            # The stranger's handshake goes on with what was said to it.
            for answer in one.sink.datagrams[-2:]:
                stranger.end.take(answer, None)
            return stranger.end.next()
        case 12:
            one.say(bytes((_number(one),)) + program.piece())
        case 13:
            one.say(bytes((_number(one), 0)) * program.pick((1, 500, 585, 8_000, 8_192)))
        case 14:
            one.dtls.handle_timeout()
            with contextlib.suppress(RuntimeError):
                assert len(one.dtls.export_keying_material("label", 32)) == 32
        case _:
            if program.byte() == 255:
                one.dtls.close()
    return None


def _number(end: End) -> int:
    """What makes each payload another."""
    return len(end.sent) % 256


def _changed(datagram: bytes, program: Program) -> bytes:
    changed = bytearray(datagram)
    at = program.byte() * (1 + len(changed) // 256) % len(changed)
    match program.byte() % 4:
        case 0:
            changed[at] ^= program.byte() or 1
        case 1:
            del changed[at:]
        case 2:
            changed[at:at] = program.piece()
        case _:
            changed[at : at + 2] = program.piece()
    return bytes(changed)


class Protocol:
    """What aioice's protocol is to a port: it gets the STUN messages."""

    def connection_made(self, transport: Any) -> None:
        pass

    def connection_lost(self, error: Exception | None) -> None:
        pass

    def datagram_received(self, data: bytes, address: Any) -> None:
        assert data[0] < 4


class World:
    """A path and its port, the peer with two addresses, and two strangers."""

    def __init__(self, server: bool) -> None:
        self.path = DataPath()
        self.kept: list[bytes] = []
        self.messages: list[bytes | str] = []
        self.path.on_early = self._early
        self.sockets = [_socket() for _ in range(SOURCES)]
        ours = _socket()
        self.address = ours.getsockname()
        self.port = Port(self.path, ours, Protocol())
        own, peer = (SERVER, CLIENT) if server else (CLIENT, SERVER)
        self.dtls = _connection(server, own, peer, self.path.output)
        self.peer = End(not server, peer, own)
        self.stranger = Stranger(not server, own)
        self.server = server
        self.admitted = False
        self.forged = False  # from an address of the peer's

    def _early(self, data: bytes, address: Any) -> None:
        assert not self.admitted
        self.kept.append(data)

    async def turn(self) -> None:
        """Let what was sent arrive."""
        for _ in range(3):
            await asyncio.sleep(0)
        for index, source in enumerate(self.sockets):
            while (data := _received(source)) is not None:
                assert index < 2, "a stranger was answered"
                assert self.admitted
                assert len(data) <= DATAGRAM_SIZE
                self.peer.take(data, None)
        if not self.forged:
            assert self.path.dtls is None or self.path.dtls.state != "failed"

    def send(self, source: int, data: bytes, honest: bool = False) -> None:
        self.forged |= source < 2 and not honest
        self.sockets[source].sendto(data, self.address)

    def close(self) -> None:
        self.path.close()
        self.port.close()
        for one in self.sockets:
            one.close()


def _socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((LOOPBACK, 0))
    one.setblocking(False)
    return one


def _received(one: socket.socket) -> bytes | None:
    try:
        return one.recv(65_536)
    except BlockingIOError:
        return None


def path(data: bytes) -> int:
    """A port that the peer, whose addresses a check has admitted, and strangers send to: before,
    within and after the handshake.
    """
    return run_offline(_path(Program(data)))


async def _path(program: Program) -> int:
    world, steps = World(bool(program.byte() & 1)), 0
    world.peer.dtls.start()
    try:
        while program and steps < 300:
            steps += 1
            _step(world, program.byte(), program)
            await world.turn()
        for source in (2, 3):
            world.send(source, ALERT)
            await world.turn()
    finally:
        world.close()
        await asyncio.sleep(0)
    return steps


def _step(world: World, kind: int, program: Program) -> None:
    source = kind >> 6
    match kind & 15:
        case 0 | 1 | 2:
            if source < 2 and (datagram := world.peer.next()) is not None:
                world.send(source, datagram, honest=True)
        case 3:
            world.send(source, program.pick(world.peer.sink.datagrams or [ALERT]))
        case 4:
            world.send(
                source, program.pick((ALERT, HELLO_REQUEST, b"\x80" * 1_501, b"\x80" + bytes(40)))
            )
        case 5:
            world.send(source, program.piece() or b"\x16")
        case 6:
            world.send(
                source, _changed(program.pick(world.peer.sink.datagrams or [ALERT]), program)
            )
        case 7:
            world.send(source, world.stranger.end.next() or ALERT)
        case 8:
            world.send(
                source,
                program.pick((b"\x16\xfe\xfd", b"\x14", b"\0\1\0\0")) * (1 + program.byte() * 18),
            )
        case 9:
            world.path.admit(world.sockets[source & 1].getsockname())
            world.admitted = True
        case 10:
            world.path.select(world.port, world.sockets[source & 1].getsockname())
            world.admitted = True
        case 11:
            if world.path.dtls is None:
                world.path.start_dtls(world.dtls)
        case 12:
            if world.dtls.state == "connected" and world.path.association is None:
                settings = AssociationSettings(max_packet_size=world.dtls.max_plaintext & ~3)
                association = Association(settings, os.urandom(32), client=not world.server)
                world.path.start_sctp(association)
        case 13:
            world.peer.say(program.piece())
        case 14:
            world.peer.say(_sctp_of(world, program))
        case _:
            world.path.on_rtp = world.kept.append if program.byte() & 1 else None


def _sctp_of(world: World, program: Program) -> bytes:
    """An SCTP packet of any chunk, without a checksum."""
    return b"\x13\x88\x13\x88" + program.pick((bytes(8), program.piece()[:8])) + program.piece()


def dtls_seeds() -> list[bytes]:
    both = bytes((128, 0)) * FLIGHTS
    return [
        both + bytes((12, 3)) + b"abc" + bytes((140, 2)) + b"de" + both,
        bytes((9, 0, 137, 0)) + both,
        bytes((10, 138, 11, 139)) * 4 + both,
        both + bytes((6, 0, 10, 0, 1, 134, 1, 20, 0, 128)) * 3,
        bytes((132, 0, 5, 0, 133, 0, 7, 0)) + both + bytes((13, 1, 141, 4, 14, 15, 255)) + both,
    ]


def path_seeds() -> list[bytes]:
    begin, talk = bytes((9, 10, 11)), bytes((0,)) * 12
    return [
        b"\0" + begin + talk + bytes((12,)) + talk,
        b"\1"
        + begin
        + talk
        + bytes((12, 13, 3))
        + b"abc"
        + talk
        + bytes((14, 0, 4, 10, 0, 0, 4))
        + talk,
        b"\1" + bytes((132, 0, 196, 2, 135, 199)) + begin + bytes((132, 0, 196, 3)) + talk,
        b"\0" + bytes((0, 128, 11, 9, 10)) + talk + bytes((134, 0, 3, 0, 1, 73, 74, 64, 64)) + talk,
    ]
