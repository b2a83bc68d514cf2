"""A TURN server without sockets, as strict as RFC 8656, and a client at it in virtual time."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice import turn_messages as turn
from peerfetch_fast.webrtc.ice.events import Address
from peerfetch_fast.webrtc.ice.turn import TurnClient
from peerfetch_fast.webrtc.ice.turn_messages import Credentials

__all__ = ["CLIENT", "RELAYED", "Meeting", "TurnServer"]

CLIENT = "198.51.100.7", 40_000
RELAYED = "203.0.113.5", 50_000
REALM = b"example.org"
KEY = hashlib.md5(b"someone:example.org:secret").digest()

PERMISSION_LIFE = 300.0
CHANNEL_LIFE = 600.0


@dataclass
class TurnServer:
    """One allocation, for who knows the secret.

    :ivar nonce_life: seconds after which another nonce is wanted.
    :ivar refusing: what it answers to a request, by its type.
    :ivar silent: it takes everything and answers nothing.
    :ivar sent: what peers were sent.
    :ivar requests: the types of the requests, in order.
    """

    lifetime: int = 600
    nonce_life: float = 3600.0
    refusing: dict[int, tuple[int, str]] = field(default_factory=dict)
    silent: bool = False
    open: bool = False
    relayed: Address = RELAYED
    sent: list[tuple[bytes, Address]] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    ends: float = 0.0
    permissions: dict[str, float] = field(default_factory=dict)
    channels: dict[int, tuple[Address, float]] = field(default_factory=dict)

    def allocated(self, now: float) -> bool:
        return now < self.ends

    def receive(self, data: bytes, now: float) -> bytes | None:
        """Its answer to a datagram of the client's."""
        if data[0] >> 6 == 1:
            channel, length = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
            peer, until = self.channels[channel]
            assert len(data) == 4 + length
            assert now < until
            self._relay(data[4:], peer, now)
            return None
        message = stun.parse(data)
        if message.kind == turn.SEND_INDICATION:
            peer = _peer(message)
            self._relay(message.attributes[turn.DATA], peer, now)
            return None
        self.requests.append(message.kind)
        return None if self.silent else self._answer(message, now)

    def _relay(self, data: bytes, peer: Address, now: float) -> None:
        if self.allocated(now) and now < self.permissions.get(peer[0], 0.0):
            self.sent.append((data, peer))

    def _answer(self, message: stun.Message, now: float) -> bytes:
        nonce = b"%d" % (now // self.nonce_life)
        challenge = stun.attribute(stun.REALM, REALM) + stun.attribute(stun.NONCE, nonce)
        if not self.open:
            if stun.USERNAME not in message.attributes:
                return self._error(message, 401, "Unauthorized", challenge, None)
            if message.attributes[stun.NONCE] != nonce:
                return self._error(message, 438, "Stale Nonce", challenge, None)
            if not message.verify(KEY):
                return self._error(message, 401, "Unauthorized", challenge, None)
        key = None if self.open else KEY
        refused = self.refusing.get(message.kind)
        if refused is None and message.kind != turn.ALLOCATE and not self.allocated(now):
            refused = 437, "Allocation Mismatch"
        if refused is not None:
            return self._error(message, *refused, b"", key)
        body = self._do(message, now)
        return stun.seal(message.kind | turn.SUCCESS, message.transaction, body, key)

    def _do(self, message: stun.Message, now: float) -> bytes:
        if message.kind == turn.ALLOCATE:
            assert message.attributes[turn.REQUESTED_TRANSPORT] == turn.UDP
            self.ends = now + self.lifetime
            return (
                _address(turn.XOR_RELAYED_ADDRESS, self.relayed, message)
                + _address(stun.XOR_MAPPED_ADDRESS, CLIENT, message)
                + _lifetime(self.lifetime)
            )
        if message.kind == turn.REFRESH:
            lifetime = min(turn.lifetime_of(message) or 0, self.lifetime)
            self.ends = now + lifetime
            return _lifetime(lifetime)
        peer = _peer(message)
        self.permissions[peer[0]] = now + PERMISSION_LIFE
        if message.kind == turn.CHANNEL_BIND:
            channel = int.from_bytes(message.attributes[turn.CHANNEL_NUMBER][:2], "big")
            assert 0x4000 <= channel <= 0x4FFF
            for number, (other, until) in self.channels.items():
                assert now >= until or (number == channel) == (other == peer)
            self.channels[channel] = peer, now + CHANNEL_LIFE
        return b""

    @staticmethod
    def _error(
        message: stun.Message, code: int, reason: str, more: bytes, key: bytes | None
    ) -> bytes:
        body = stun.pack_error(code, reason) + more
        return stun.seal(message.kind | turn.ERROR, message.transaction, body, key)

    def forward(self, data: bytes, peer: Address, now: float) -> bytes | None:
        """What the client gets of a peer's datagram."""
        if not self.allocated(now) or now >= self.permissions.get(peer[0], 0.0):
            return None
        for channel, (other, until) in self.channels.items():
            if other == peer and now < until:
                return turn.channel_data(channel, data, padded=False)
        return indication(data, peer)


def indication(data: bytes, peer: Address) -> bytes:
    """A Data indication."""
    id = bytes(12)
    body = turn.peer_address(peer, id) + stun.attribute(turn.DATA, data)
    return stun.seal(turn.DATA_INDICATION, id, body, None)


class Meeting:
    """A client at a server, and a clock."""

    def __init__(
        self,
        server: TurnServer,
        username: str | None = "someone",
        password: str | None = "secret",
        *,
        reliable: bool = False,
    ) -> None:
        self.server = server
        self.now = 1000.0
        self.lost = 0.0
        self.rng = random.Random(5)
        credentials = Credentials(username, password)
        self.client = TurnClient(credentials, random.Random(6), reliable=reliable)
        self.received: list[tuple[bytes, Address]] = []

    def settle(self) -> None:
        """Let both speak until neither has more to say."""
        while sent := self.client.take_datagrams():
            for datagram in sent:
                if self.rng.random() < self.lost:
                    continue
                answer = self.server.receive(datagram, self.now)
                if answer is not None and self.rng.random() >= self.lost:
                    self.take(answer)

    def take(self, data: bytes | None) -> None:
        """The client gets a datagram."""
        found = None if data is None else self.client.receive(data, self.now)
        if found is not None:
            self.received.append(found)

    def allocate(self) -> None:
        self.client.allocate(self.now)
        self.settle()

    def send(self, data: bytes, peer: Address) -> None:
        self.client.send(data, peer, self.now)
        self.settle()

    def run(self, seconds: float) -> None:
        """Time passes, from one deadline to the next."""
        end = self.now + seconds
        while (due := self.client.deadline()) <= end:
            assert due > self.now - 1e-9
            self.now = max(due, self.now)
            self.client.handle_timeout(self.now)
            self.settle()
            assert self.client.deadline() > self.now
        self.now = end


def _peer(message: stun.Message) -> Address:
    return stun.unpack_address(message.attributes[turn.XOR_PEER_ADDRESS], message.transaction)


def _address(name: int, address: Address, message: stun.Message) -> bytes:
    return stun.attribute(name, stun.pack_address(address, message.transaction))


def _lifetime(seconds: int) -> bytes:
    return stun.attribute(turn.LIFETIME, seconds.to_bytes(4, "big"))
