"""A TURN client, its server and a stranger: datagrams lost, repeated, changed and forged."""

from __future__ import annotations

import math

from tests.fuzz.program import Program
from tests.webrtc.ice.turn_server import Meeting, TurnServer, indication

from peerfetch_fast.webrtc.ice import stun, turn_peers
from peerfetch_fast.webrtc.ice import turn_messages as turn
from peerfetch_fast.webrtc.ice.turn import MAX_REQUESTS, State
from peerfetch_fast.webrtc.ice.turn_messages import FrameError, StreamFrames

__all__ = ["turn_client", "turn_client_seeds"]

HOSTS = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "0.0.0.0", "no address")
KINDS = (turn.ALLOCATE, turn.REFRESH, turn.CREATE_PERMISSION, turn.CHANNEL_BIND)
CODES = (300, 400, 401, 403, 437, 438, 441, 486, 508)
LEAPS = (0.1, 0.5, 10.0, 250.0, 600.0)
CALLED = State.NEW, State.CLOSED


class _Run:
    """One program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        flags = program.byte()
        server = TurnServer(
            lifetime=(600, 0, 30, 1 << 31)[flags & 3],
            nonce_life=3600.0 if flags & 4 else 20.0,
            open=bool(flags & 8),
        )
        login = (None, None) if flags & 16 else ("someone", "secret")
        self.met = Meeting(server, *login, reliable=bool(flags & 32))
        self.seen: list[bytes] = []
        self.permitted: set[str] = set()
        self.flights: list[bytes] = []

    def step(self) -> None:
        met, program = self.met, self.program
        match program.byte() % 9:
            case 0:
                if met.client.state is State.NEW:
                    met.client.allocate(met.now)
            case 1:
                host = program.pick(HOSTS)
                self.permitted.add(host)
                for _ in range(program.byte() % 12):
                    met.client.send(b"out", (host, 1 + program.byte()), met.now)
            case 2:
                self.deliver()
            case 3:
                self.take(self.forged())
            case 4:
                met.now += program.pick(LEAPS)
                if met.client.deadline() <= met.now:
                    met.client.handle_timeout(met.now)
                    assert met.client.deadline() > met.now
            case 5:
                self.take(program.piece())
            case 6:
                met.server.refusing[program.pick(KINDS)] = program.pick(CODES), program.text()
            case 7:
                met.server.refusing.clear()
                met.server.silent = bool(program.byte() & 1)
            case _:
                if program.byte() & 1:
                    met.client.close(met.now)
                else:
                    met.client.lost()
        self.check()

    def deliver(self) -> None:
        """What the client has said reaches the server, and its answers come back, or not."""
        self.flights += self.met.client.take_datagrams()
        for datagram in self.flights:
            fate = self.program.byte()
            if fate & 3 == 1:
                continue
            if datagram[0] >> 6:
                continue  # the model does not read padding, nor what was bound elsewhere
            answer = self.met.server.receive(datagram, self.met.now)
            if answer is None:
                continue
            self.seen = [*self.seen[-7:], answer]
            if fate & 3 == 2:
                answer = self.changed(answer)
            for _ in range(1 + (fate & 4 == 4)):
                self.take(answer)
        self.flights.clear()

    def changed(self, data: bytes) -> bytes:
        at = self.program.byte() % len(data)
        piece = self.program.piece()
        return data[:at] + piece + data[at + len(piece) :]

    def forged(self) -> bytes:
        """What a stranger on the way says: what was said before, or something of its own."""
        program = self.program
        match program.byte() % 4:
            case 0 if self.seen:
                return program.pick(self.seen)
            case 1:
                return turn.channel_data(0x4000 + program.byte() % 4, program.piece(), padded=False)
            case 2:
                return indication(program.piece(), (program.pick(HOSTS[:4]), program.byte()))
            case _:
                kind = program.pick(KINDS) | program.pick((turn.SUCCESS, turn.ERROR))
                id = self.seen[-1][8:20] if self.seen else bytes(12)
                return stun.seal(kind, id, stun.attribute(program.byte(), program.piece()), None)

    def take(self, data: bytes) -> None:
        found = self.met.client.receive(data, self.met.now)
        if found is not None:
            payload, peer = found
            assert payload
            assert peer[0] in self.permitted
            assert self.met.client.state is State.READY

    def check(self) -> None:
        client = self.met.client
        peers = client._peers
        assert len(client._asked) == len(client._transactions) <= MAX_REQUESTS
        assert len(peers._peers) <= turn_peers.MAX_PEERS
        assert len(peers._permissions) <= turn_peers.MAX_PEERS
        assert all(peers._peers[one.address] is one for one in peers._channels.values())
        waiting = sum(len(one.waiting) for one in peers._permissions.values())
        assert waiting <= turn_peers.MAX_WAITING
        assert (client.relayed is not None) or client.state is not State.READY
        if client.state in CALLED:
            assert client.deadline() == math.inf
            assert client.frame(b"x", ("192.0.2.1", 1)) is None


def turn_client(data: bytes) -> int:
    """A program of steps; and the input as what a stream brings."""
    program = Program(data)
    run = _Run(program)
    steps = 0
    while program:
        run.step()
        steps += 1
    _stream(data)
    return steps


def _stream(data: bytes) -> None:
    """However a stream is cut, the same frames come of it."""
    found = []
    for size in (len(data) or 1, 1, 7):
        frames = StreamFrames()
        got: list[bytes] = []
        try:
            for at in range(0, len(data), size):
                got += frames.feed(data[at : at + size])
        except FrameError:
            got.append(b"error")
        assert len(frames._held) <= len(data)
        found.append(got)
    assert found[0] == found[1] == found[2]


def turn_client_seeds() -> list[bytes]:
    """Allocations that are made, used, refused, lost, and closed while they are made."""
    made = b"\x00\x02\x00\x00\x02\x00\x00"
    used = b"\x01\x00\x0b" + bytes(range(11)) + b"\x02" + bytes(16)
    return [
        flags + made + part
        for flags in (b"\x00", b"\x04", b"\x0c", b"\x18", b"\x21")
        for part in (
            used + used + b"\x03\x02\x03abc\x00\x01" + b"\x03\x01\x00\x02xy",
            used + b"\x04\x03" * 3 + b"\x02" + bytes(8) + b"\x04\x04" * 3,
            b"\x06\x02\x03\x03no!" + used + b"\x07\x00" + used,
            b"\x08\x01\x02\x00\x00" + b"\x03\x00\x00",
            b"\x03\x03\x00\x00\x0d\x04\x00\x00\x00\x05" + b"\x02\x02\x05\x01\xff",
        )
    ]
