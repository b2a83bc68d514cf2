"""Two ICE agents, of which either may be hostile, and a stranger between and beside them."""

from __future__ import annotations

import math
import random

from tests.fuzz.program import Program

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.agent import Agent
from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority
from peerfetch_fast.webrtc.ice.events import Address, Admitted, Selected, StateChanged
from peerfetch_fast.webrtc.ice.settings import AgentSettings
from peerfetch_fast.webrtc.sped import ACK, DATA, MAX_ACKS, Sped

SETTINGS = AgentSettings(
    max_remote_candidates=6,
    max_pairs=12,
    max_bases=4,
    max_transactions=24,
    max_sources=3,
    max_early=2,
    max_checks=20,
)
MAX_SENT = 64
"""Datagrams that one step may lead to: repetitions of all that waits, probes, and an answer."""

STRANGERS: list[Address] = [(f"203.0.113.{number}", 1) for number in range(9)]
STRANGERS.append(("2001:db8::66", 1))
SERVER: Address = ("192.0.2.99", 3478)
HOSTS = ("192.0.2.1", "10.0.0.2", "2001:db8::1", "fe80::1", "192.0.2.50")
LEAPS = (0.0, 0.01, 0.02, 0.25, 1.0, 5.0, 31.0, 100.0)
ODD = (
    Candidate("9", 1, "tcp", 1, "192.0.2.77", 9, "host"),
    Candidate("9", 2, "udp", 1, "192.0.2.77", 9, "host"),
    Candidate("9", 1, "udp", 0xFFFFFFFF, "192.0.2.77", 9, "relay"),
    Candidate("9", 1, "udp", 0, "0.0.0.0", 9, "host"),
    Candidate("9", 1, "udp", 1, "somebody.local", 9, "host"),
)
KINDS = (stun.REQUEST, stun.INDICATION, stun.RESPONSE, stun.ERROR, 0x0003, 0x0113)
NAMES = (
    stun.USE_CANDIDATE,
    stun.PRIORITY,
    stun.ICE_CONTROLLED,
    stun.ICE_CONTROLLING,
    stun.XOR_MAPPED_ADDRESS,
    stun.ERROR_CODE,
    0x7FFF,
    DATA,
    ACK,
)

Datagram = tuple[bytes, Address, Address]
"""What is sent, where from, and where to."""


class End:
    """An agent, its sockets, and what holds of it at any time."""

    def __init__(self, name: str, controlling: bool) -> None:
        self.name = name
        self.agent = Agent(
            controlling=controlling,
            ufrag=f"{name}0",
            password=f"{name}0" * 12,
            random=random.Random(name),
            settings=SETTINGS,
        )
        self.flight = [b"\x16flight" + name.encode()]
        self.sped = Sped(lambda: self.flight, self._deliver)
        self.agent.extension = self.sped
        self.runs = 1
        self.local_keys = [self.agent.password.encode()]
        self.remote_keys: list[bytes] = []
        self.bases: dict[int, Address] = {}
        self.next_base = 0
        self.sent: list[Datagram] = []
        self.answerable = 0
        self.admitted: set[Address] = set()
        self.state = "new"
        self.heard_of: Datagram | None = None

    def candidates(self) -> list[Candidate]:
        kinds = ("host", "relay")
        return [
            Candidate(
                foundation("host", "udp", host),
                1,
                "udp",
                priority(kinds[host[-2:] == "50"], base),
                host,
                port,
                kinds[host[-2:] == "50"],
            )
            for base, (host, port) in self.bases.items()
        ]

    def open(self, host: str, now: float) -> None:
        self.next_base += 1
        self.bases[self.next_base] = host, 5_000 + self.next_base
        self.agent.add_local(self.candidates()[-1], self.next_base, now)

    def learn(self, other: End, now: float, *, lite: bool = False) -> None:
        self.remote_keys.append(other.agent.password.encode())
        self.sped.agreed = True
        self.agent.set_remote(other.agent.ufrag, other.agent.password, now, lite=lite)

    def restart(self, now: float) -> None:
        ufrag = f"{self.name}{self.runs}"
        self.runs += 1
        self.local_keys.append((ufrag * 12).encode())
        self.agent.restart(ufrag, ufrag * 12, now)

    def receive(self, datagram: Datagram, now: float) -> None:
        data, source, target = datagram
        base = next((base for base, address in self.bases.items() if address == target), 0)
        self.heard_of = datagram
        if self._signed_request(data):
            self.answerable += 1
        self.agent.receive(data, base, source, now)
        self.settle(now)
        self.heard_of = None

    def _deliver(self, data: bytes) -> None:
        """What DTLS would get: only what the peer has signed, and begins as a handshake does."""
        assert self.heard_of is not None
        assert self._signed(self.heard_of[0])
        assert data in self.heard_of[0]
        assert data[0] in (20, 22)
        assert len(self.sped.pending()) <= len(self.flight)
        self.flight = [b"\x16" + bytes([number]) + data[:500] for number in range(data[-1] % 4)]

    def _signed_request(self, data: bytes) -> bool:
        try:
            message = stun.parse(data)
        except stun.StunError:
            return False
        return message.kind == stun.REQUEST and any(map(message.verify, self.local_keys))

    def _signed(self, data: bytes) -> bool:
        keys = self.local_keys + self.remote_keys
        return any(map(stun.parse(data).verify, keys))

    def settle(self, now: float) -> None:
        """Take what the agent has to say, and look at it and at what it holds."""
        datagrams = self.agent.take_datagrams()
        assert len(datagrams) <= MAX_SENT
        for base, address, data in datagrams:
            self._sent(base, address, data)
        for event in self.agent.take_events():
            if isinstance(event, Admitted):
                assert self.heard_of is not None
                assert self.heard_of[1] == event.address
                assert self._signed(self.heard_of[0])
                self.admitted.add(event.address)
            elif isinstance(event, Selected):
                assert event.base in self.bases
                assert event.address in self.admitted
                assert (event.remote.host, event.remote.port) == event.address
            elif isinstance(event, StateChanged):
                assert self.state not in (event.state, "closed")
                self.state = event.state
        assert self.state == self.agent.state
        self._bounds()

    def _sent(self, base: int, address: Address, data: bytes) -> None:
        assert base in self.agent._bases
        message = stun.parse(data)
        assert message.unknown == []
        if message.kind == stun.INDICATION:
            assert address == SERVER
        elif message.kind == stun.REQUEST:
            if address != SERVER or message.attributes:
                assert any(map(message.verify, self.remote_keys))
                assert self.state != "failed" or self.agent.state != "failed"
        else:
            assert message.kind in (stun.RESPONSE, stun.ERROR)
            assert any(map(message.verify, self.local_keys))
            self.answerable -= 1
            assert self.answerable >= 0, "a stranger was answered"
        self.sent.append((data, self.bases[base], address))

    def _bounds(self) -> None:
        agent = self.agent
        assert self.sped.received <= MAX_ACKS
        checklist = agent._checklist
        assert len(checklist.remotes) <= SETTINGS.max_remote_candidates
        assert len(checklist.pairs) == len(checklist._by_way) <= SETTINGS.max_pairs
        assert set(checklist.triggered) <= set(checklist.pairs)
        assert len(checklist.early) <= SETTINGS.max_early
        assert len(agent._bases) <= SETTINGS.max_bases
        assert len(agent._sources) <= SETTINGS.max_sources
        waiting = agent._checks._transactions._waiting.values()
        assert len(waiting) <= SETTINGS.max_transactions
        known = set(checklist.pairs) | set(agent._previous.pairs if agent._previous else ())
        assert {one.pair for one in waiting} <= known
        for pair in checklist.pairs:
            assert pair.base in agent._bases
            assert pair.check is None or pair.check in waiting
            if agent.state not in ("failed", "closed") and pair not in checklist.triggered:
                assert (pair.state.value == "in progress") <= (pair.check is not None)
        selected = agent._consent.pair
        assert selected is None or selected in known
        assert (selected is not None) <= (agent.state in ("connected", "disconnected"))
        assert agent._consent.challenger is None or agent._consent.challenger in known

    def expire(self, now: float) -> None:
        for _ in range(4):
            if self.agent.deadline() > now:
                return
            self.agent.handle_timeout(now)
            self.settle(now)
        assert self.agent.deadline() > now, "the agent asks again for the same moment"


class World:
    def __init__(self) -> None:
        self.now = 50.0
        self.ends = End("a", True), End("b", False)
        self.log: list[Datagram] = []

    def deliver(self, to: End, datagram: Datagram) -> None:
        self.log.append(datagram)
        to.receive(datagram, self.now)

    def step(self, kind: int, program: Program) -> None:
        one, other = self.ends if kind & 128 else self.ends[::-1]
        match kind & 31:
            case 0 | 1 | 2 | 3:
                if other.sent:
                    self.deliver(one, other.sent.pop(0))
            case 4:
                del other.sent[:1]  # lost
            case 5 | 6 | 7:
                self._meddle(kind & 31, one, program)
            case 8:
                self.deliver(one, self._signed(one, other, program))
            case 9:
                data = stun.seal(program.pick(KINDS), bytes(12), program.piece(), None)
                self.deliver(one, (data, program.pick(STRANGERS), self._target(one, program)))
            case 10:
                self.now += program.pick(LEAPS)
            case 11:
                self.now = max(self.now, min(one.agent.deadline(), self.now + 60.0))
            case 27:
                self._answer_query(one, program)
            case _:
                self._own(kind & 31, one, other, program)
        for end in self.ends:
            end.settle(self.now)
            end.expire(self.now)

    def _target(self, end: End, program: Program) -> Address:
        return program.pick([*end.bases.values(), ("192.0.2.200", 1)])

    def _meddle(self, kind: int, one: End, program: Program) -> None:
        """Somebody in the middle: repeats, redirects, changes."""
        data, source, target = program.pick(self.log or [(b"\0\1", STRANGERS[0], STRANGERS[1])])
        if kind == 6:
            source = program.pick(STRANGERS)
        elif kind == 7 and data:
            changed = bytearray(data)
            changed[program.byte() % len(changed)] = program.byte()
            data = bytes(changed)
        if target not in one.bases.values():
            target = self._target(one, program)
        self.deliver(one, (data, source, target))

    def _signed(self, one: End, other: End, program: Program) -> Datagram:
        """The peer itself says what it likes."""
        kind = program.pick(KINDS)
        attributes = {program.pick(NAMES): program.piece() for _ in range(program.byte() % 4)}
        name = f"{one.agent.ufrag}:{other.agent.ufrag}".encode()
        id, key = program.byte().to_bytes(12, "big"), one.agent.password.encode()
        waiting = list(one.agent._checks._transactions._waiting.values())
        source, target = program.pick(STRANGERS), self._target(one, program)
        if kind == stun.REQUEST:
            attributes[stun.USERNAME] = name
        elif waiting:
            asked = program.pick(waiting)
            id, key, source = asked.id, asked.key, asked.address
            target = one.bases.get(asked.base, target)
        data = stun.Message(kind, id, attributes).encode(key)
        return data, source, target

    def _answer_query(self, one: End, program: Program) -> None:
        """The STUN server has its say."""
        for asked in list(one.agent._queries._transactions._waiting.values())[:1]:
            body = stun.attribute(program.pick(NAMES), program.piece())
            if program.byte() & 1:
                packed = stun.pack_address(program.pick(STRANGERS), asked.id)
                body = stun.attribute(stun.XOR_MAPPED_ADDRESS, packed)
            data = stun.seal(program.pick(KINDS), asked.id, body, None)
            self.deliver(one, (data, SERVER, one.bases[asked.base]))

    def _own(self, kind: int, one: End, other: End, program: Program) -> None:
        """What an owner may do."""
        agent, now = one.agent, self.now
        match kind:
            case 12 | 13:
                one.open(program.pick(HOSTS), now)
            case 14:
                base = program.byte() % (one.next_base + 1)
                one.agent.remove_base(base, now)
                one.bases.pop(base, None)
            case 15 | 16:
                one.learn(other, now, lite=program.byte() == 255)
            case 17 | 18:
                known = [*other.candidates(), *ODD]
                agent.add_remote(program.pick(known), now, hidden=program.byte() == 255)
            case 19:
                one.restart(now)
            case 20:
                agent.probe(now)
            case 21:
                agent.heard(now)
            case 22:
                agent.query_server(SERVER, program.byte() % 4, now)
            case 23:
                agent.end_of_local(now)
            case 24:
                agent.end_of_remote(now)
            case 25:
                for end, peer in (self.ends, self.ends[::-1]):
                    end.learn(peer, now)
                    for candidate in peer.candidates():
                        end.agent.add_remote(candidate, now)
            case 26 if program.byte() == 255:
                agent.close()


def ice(data: bytes) -> int:
    """Two agents, whose datagrams are lost, repeated, changed and forged, whose owners do what they
    may in any order, and whose clock leaps.
    """
    world, program, steps = World(), Program(data), 0
    while program and steps < 400:
        steps += 1
        world.step(program.byte(), program)
    for end in world.ends:
        end.agent.close()
        end.settle(world.now)
        assert end.agent.state == "closed"
        assert end.agent.deadline() == math.inf
        for datagram in world.log[-5:]:
            end.agent.receive(datagram[0], 1, datagram[1], world.now)
        assert end.agent.take_datagrams() == []
        assert end.agent.take_events() == []
    return steps


def ice_seeds() -> list[bytes]:
    meet = bytes((12, 0, 140, 0, 25))
    talk = bytes((0, 128)) * 6
    idle = bytes((11, 139)) + talk
    return [
        meet + talk + idle * 4,
        meet + talk + bytes((10, 5)) + idle * 2 + bytes((19, 147, 25)) + talk + idle,
        meet + talk + bytes((12, 1, 140, 1, 25)) + talk + bytes((14, 1, 20)) + talk + idle,
        bytes((12, 0, 15, 140, 0)) + bytes((8, 0, 0, 1, 1)) * 3 + bytes((143,)) + talk,
        meet + talk + bytes((8, 0, 1, 0, 0, 2, 136, 2, 1, 4, 1, 5, 1)) * 3 + idle,
        meet + bytes((5, 0, 6, 0, 1, 7, 0, 9, 3, 133, 1)) * 4 + talk + idle,
        meet + talk + bytes((10, 6)) + idle + bytes((10, 7)) + idle + bytes((19, 25)) + talk,
        meet + bytes((22, 1, 27, 4, 4, 1, 2, 3, 4, 1, 5, 2, 22, 1, 27, 0, 0, 0, 2)) + talk,
        meet + bytes((8, 3, 1, 5, 4, 0, 0, 4, 87, 7, 0, 0, 0)) * 2 + talk,
        meet + bytes((8, 2, 1, 4, 8, 0, 1, 17, 18, 1, 2, 3, 4, 7, 0, 0, 0)) + talk + idle,
        meet + talk + bytes((8, 0, 0, 0, 1, 8, 0, 0, 0, 2, 8, 0, 0, 0, 3, 8, 0, 0, 0, 4)) * 3,
        meet + bytes((22, 1, 23, 24, 151, 152)) + talk + bytes((10, 4)) * 20 + bytes((26, 255)),
    ]
