"""A peer, or somebody else, who says what a test wants."""

from __future__ import annotations

import itertools
import struct
from typing import Any, ClassVar

from tests.webrtc.ice.network import PUBLIC, End, Network, Socket

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority


class Peer:
    """Sits at one public address, and answers the checks of an end.

    :ivar silent: sockets of the end whose checks are not answered.
    :ivar requests: what the end has asked.
    :ivar answers: what it has answered.
    """

    _ids = itertools.count(1)
    _asked: ClassVar[dict[bytes, bytes]] = {}  # the key that an answer has to be signed with

    def __init__(self, network: Network, end: End, host: str = "192.0.2.200") -> None:
        self.network = network
        self.end = end
        self.ufrag, self.password = "peer", "p" * 22
        self.address = host, 7_000
        self.sockets = {1: Socket(self.address, PUBLIC, None)}
        rank = priority("host", 65_535)
        self.candidates = [
            Candidate(foundation("host", "udp", host), 1, "udp", rank, *self.address, "host")
        ]
        self.silent: set[int] = set()
        self.refuses = 0
        self.requests: list[stun.Message] = []
        self.answers: list[stun.Message] = []
        self.raw: list[bytes] = []
        self.agent = _Idle()
        network.ends.append(self)  # type: ignore[arg-type]

    def flush(self) -> None:
        """It has nothing of its own to send."""

    def receive(self, data: bytes, base: int, source: Any) -> None:
        self.raw.append(data)
        message = stun.parse(data)
        if message.kind != stun.REQUEST:
            assert message.verify(self._asked[message.transaction])
            self.answers.append(message)
            return
        assert message.verify(self.password.encode())
        self.requests.append(message)
        from_base = next(b for b, s in self.end.sockets.items() if s.address == source)
        if from_base in self.silent:
            return
        self.send(self.answer(message, source), from_base)

    def answer(self, request: stun.Message, source: Any, key: bytes | None = None) -> bytes:
        key = self.password.encode() if key is None else key
        if self.refuses:
            body = stun.pack_error(self.refuses, "No")
            return stun.seal(stun.ERROR, request.transaction, body, key)
        mapped = stun.pack_address(source, request.transaction)
        body = stun.attribute(stun.XOR_MAPPED_ADDRESS, mapped)
        return stun.seal(stun.RESPONSE, request.transaction, body, key)

    def send(self, data: bytes, base: int, *, source: Any = None) -> None:
        """Send to one of the end's sockets, from where one likes."""
        target = self.end.sockets[base].address
        self.network.carry(data, Socket(source or self.address, PUBLIC, None), target)

    def request(
        self,
        *,
        nominate: bool = False,
        role: int | None = None,
        tie_breaker: int = 1,
        username: str | None = None,
        key: str | None = None,
        extra: dict[int, bytes] | None = None,
    ) -> bytes:
        """A check."""
        id = next(self._ids).to_bytes(12, "big")
        if role is None:
            role = stun.ICE_CONTROLLED if self.end.agent.controlling else stun.ICE_CONTROLLING
        attributes = {
            stun.USERNAME: (username or f"{self.end.ufrag}:{self.ufrag}").encode(),
            stun.PRIORITY: struct.pack(">I", priority("prflx", 65_535)),
            role: struct.pack(">Q", tie_breaker),
            **(extra or {}),
        }
        if nominate:
            attributes[stun.USE_CANDIDATE] = b""
        self._asked[id] = self.end.password.encode()
        message = stun.Message(stun.REQUEST, id, attributes)
        return message.encode((self.end.password if key is None else key).encode())

    def check(self, base: int, *, source: Any = None, **options: Any) -> None:
        """Send a check."""
        self.send(self.request(**options), base, source=source)


class _Idle:
    """What the network asks for its deadline."""

    state = "connected"

    def deadline(self) -> float:
        return float("inf")


def met(network: Network, *, controlling: bool) -> tuple[End, Peer]:
    """An end with one socket, and the peer that it has been told of."""
    end = End(network, "a" if controlling else "b", controlling=controlling)
    end.open(1, "192.0.2.1")
    peer = Peer(network, end)
    end.meet(peer)
    return end, peer
