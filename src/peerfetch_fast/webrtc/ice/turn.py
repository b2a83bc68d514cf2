"""A TURN client (RFC 8656): an allocation, permissions and channels. Sans-I/O.

What a server says is believed only where it answers a request of ours, signed where that was; what
it relays is taken only from addresses that a permission was made for. A hostile server can refuse,
fall silent, or invent datagrams of peers, which is what any network can do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice import turn_messages as turn
from peerfetch_fast.webrtc.ice.checklist import family_of
from peerfetch_fast.webrtc.ice.events import Address
from peerfetch_fast.webrtc.ice.transactions import Transaction, Transactions
from peerfetch_fast.webrtc.ice.turn_messages import Credentials, Failure
from peerfetch_fast.webrtc.ice.turn_peers import Peer, Peers, Permission

__all__ = ["State", "TurnClient"]

LIFETIME = 600
"""Seconds that an allocation is asked for; the server decides."""

REFRESH_AT = 5 / 6
"""Part of the lifetime after which it is refreshed: time is left to ask several times."""

MIN_REFRESH = 10.0
"""Seconds between refreshes, whatever lifetime a server gives."""

RTO = 0.5
"""Seconds after which a request is repeated over UDP, doubling (RFC 8489 section 6.2.1)."""

TRIES = 6
LAST_WAIT = 8.0
"""The number of times that a request is sent over UDP, and the seconds of the last: 23.5 in all."""

STREAM_WAIT = 20.0
"""Seconds that an answer may take over TCP, which repeats by itself."""

MAX_CHALLENGES = 3
"""Times that a request is sent anew because the server wants it signed, or signed anew."""

MAX_REQUESTS = 128
"""Requests that wait for an answer."""


class State(Enum):
    """The state of the allocation."""

    NEW = "new"
    ALLOCATING = "allocating"
    READY = "ready"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(slots=True)
class _Asked:
    """A request, beyond its transaction.

    :ivar body: what makes the attributes, for a transaction id.
    :ivar signed: whether the last of it was.
    :ivar done: called with the answer, or with why there is none.
    """

    kind: int
    body: Callable[[bytes], bytes]
    done: Callable[[stun.Message | Failure, float], object]
    signed: bool = False
    challenges: int = 0


class TurnClient:
    """One allocation at a server, to which this is the only client of its 5-tuple.

    :param random: gives transaction ids.
    :param reliable: whether the server is reached over a stream.
    :ivar relayed: the address that the server has given us.
    :ivar mapped: what it sees of us.
    :ivar failure: why there is no allocation, or none any more.
    """

    def __init__(
        self, credentials: Credentials, random: random.Random, *, reliable: bool = False
    ) -> None:
        self.state = State.NEW
        self.relayed: Address | None = None
        self.mapped: Address | None = None
        self.failure: Failure | None = None
        self._credentials = credentials
        self._random = random
        self._reliable = reliable
        self._transactions = Transactions(MAX_REQUESTS)
        self._asked: dict[bytes, _Asked] = {}
        self._peers = Peers()
        self._refresh_due = math.inf
        self._out: list[bytes] = []

    # -- for its owner -----------------------------------------------------------------------------

    def allocate(self, now: float) -> None:
        """Ask for an allocation; :attr:`state` becomes READY, or CLOSED."""
        assert self.state is State.NEW, "allocate() is called once"
        self.state = State.ALLOCATING
        transport = stun.attribute(turn.REQUESTED_TRANSPORT, turn.UDP)
        body = transport + _lifetime(LIFETIME)
        self._ask(turn.ALLOCATE, lambda _: body, self._allocated, now)

    def frame(self, data: bytes, address: Address) -> bytes | None:
        """A datagram as it goes to the server; None: to this peer, only :meth:`send` does it."""
        peer = self._peers.get(address)
        if peer is None or not peer.bound:
            return None
        peer.permission.used = True
        return turn.channel_data(peer.channel, data, padded=self._reliable)

    def send(self, data: bytes, address: Address, now: float) -> None:
        """Have the server send a datagram. One that it cannot send is lost.

        It waits while its peer's permission is asked for, as :class:`Peers` bounds it.
        """
        framed = self.frame(data, address)
        if framed is not None:
            self._out.append(framed)
        elif self.state is State.READY:
            self._send_unbound(data, address, now)

    def receive(self, data: bytes, now: float) -> tuple[bytes, Address] | None:
        """Take a datagram, or a frame of a stream, of the server.

        :returns: what a peer has sent, and which; None if it was no peer's.
        """
        if len(data) >= 4 and data[0] >> 6 == 1:
            return self._from_channel(data)
        try:
            message = stun.parse(data)
        except stun.StunError:
            return None
        if message.kind == turn.DATA_INDICATION:
            return self._from_indication(message)
        self._answered(message, now)
        return None

    def take_datagrams(self) -> list[bytes]:
        """The messages to be sent to the server."""
        out, self._out = self._out, []
        return out

    def deadline(self) -> float:
        """When :meth:`handle_timeout` is to be called; infinite if nothing is due."""
        return min(self._transactions.deadline(), self._refresh_due, self._peers.deadline())

    def handle_timeout(self, now: float) -> None:
        """Repeat, give up or refresh what is due."""
        for transaction in self._transactions.due(now):
            if self._transactions.get(transaction.id) is not transaction:
                continue  # forgotten with the allocation, which one before it was for
            if transaction.repeat(now):
                self._out.append(transaction.data)
            else:
                self._end(transaction).done(Failure(0, "it does not answer"), now)
        if now >= self._refresh_due:
            self._refresh_due = math.inf
            self._ask(turn.REFRESH, lambda _: _lifetime(LIFETIME), self._refreshed, now)
        for permission in self._peers.permissions_due(now):
            self._ask_for_permission(permission, now)
        for peer in self._peers.channels_due(now):
            self._bind(peer, now)

    @property
    def refreshing(self) -> bool:
        """Whether the server is being asked to keep the allocation."""
        return self.state is State.READY and math.isinf(self._refresh_due)

    def refresh(self, now: float) -> None:
        """Ask now. Where the server does not know us any more, as a router on the way has given us
        another port, :attr:`state` becomes CLOSED.
        """
        if self.state is State.READY and not self.refreshing:
            self._refresh_due = now
            self.handle_timeout(now)

    def close(self, now: float) -> None:
        """Give the allocation back; :attr:`state` becomes CLOSED when the server has it. One
        that is still being made is given back when it comes. Idempotent.
        """
        if self.state is State.READY:
            self._give_back(now)
        elif self.state is State.ALLOCATING:
            self.state = State.CLOSING
        elif self.state is State.NEW:
            self._finish(None)

    def lost(self) -> None:
        """The socket is gone, and with it the allocation."""
        if self.state is not State.CLOSED:
            self._finish(Failure(0, "the connection to the server was lost"))

    # -- requests ----------------------------------------------------------------------------------

    def _ask(
        self,
        kind: int,
        body: Callable[[bytes], bytes],
        done: Callable[[stun.Message | Failure, float], object],
        now: float,
    ) -> None:
        self._send_request(_Asked(kind, body, done), now)

    def _send_request(self, asked: _Asked, now: float) -> None:
        if self.state is State.CLOSED:
            return
        id = self._random.randbytes(12)
        asked.signed = self._credentials.key is not None
        data = self._credentials.sign(asked.kind, id, asked.body(id))
        transaction = Transaction(
            id,
            data,
            0,
            ("", 0),
            now,
            tries=1 if self._reliable else TRIES,
            wait=RTO,
            last_wait=STREAM_WAIT if self._reliable else LAST_WAIT,
        )
        self._asked[id] = asked
        for dropped in self._transactions.add(transaction):
            self._asked.pop(dropped.id).done(Failure(0, "too much is asked at once"), now)
        self._out.append(data)

    def _end(self, transaction: Transaction) -> _Asked:
        self._transactions.remove(transaction)
        return self._asked.pop(transaction.id)

    def _answered(self, message: stun.Message, now: float) -> None:
        transaction = self._transactions.get(message.transaction)
        if transaction is None:
            return
        asked = self._asked[transaction.id]
        error = message.kind == asked.kind | turn.ERROR
        if not error and message.kind != asked.kind | turn.SUCCESS:
            return
        code = stun.error_code(message) if error else 0
        challenged = code in (turn.UNAUTHENTICATED, turn.STALE_NONCE)
        # Answers 401 and 400 cannot be signed (RFC 8489 section 9.2.5).
        if asked.signed and not challenged and code != 400:
            key = self._credentials.key
            if key is None or not message.verify(key):
                return
        self._end(transaction)
        if challenged and self._challenged(asked, code, message, now):
            return
        if not error and set(message.unknown) - turn.KNOWN:
            asked.done(Failure(0, "it answers what is not understood here"), now)
        else:
            asked.done(turn.refusal(message) if error else message, now)

    def _challenged(self, asked: _Asked, code: int, message: stun.Message, now: float) -> bool:
        """Ask again, signed as the server wants it; False: that is of no use."""
        if self.state in (State.CLOSING, State.CLOSED) and asked.kind == turn.ALLOCATE:
            return False
        # A server that refuses a request signed with its own nonce refuses the credential.
        if code == turn.UNAUTHENTICATED and asked.signed:
            return False
        if asked.challenges == MAX_CHALLENGES:
            return False
        if not self._credentials.take_challenge(code, message):
            return False
        asked.challenges += 1
        self._send_request(asked, now)
        return True

    # -- the allocation ----------------------------------------------------------------------------

    def _allocated(self, answer: stun.Message | Failure, now: float) -> None:
        if isinstance(answer, Failure):
            self._finish(answer)
            return
        lifetime = turn.lifetime_of(answer)
        self.relayed = _address(answer, turn.XOR_RELAYED_ADDRESS)
        self.mapped = _address(answer, stun.XOR_MAPPED_ADDRESS)
        if lifetime is None or self.relayed is None or self.mapped is None:
            self._finish(Failure(0, "it answers nonsense"))
        elif self.state is State.CLOSING:
            self._give_back(now)
        else:
            self.state = State.READY
            self._refresh_after(lifetime, now)

    def _refresh_after(self, lifetime: int, now: float) -> None:
        self._refresh_due = now + max(MIN_REFRESH, lifetime * REFRESH_AT)

    def _refreshed(self, answer: stun.Message | Failure, now: float) -> None:
        if self.state is not State.READY:
            return
        lifetime = None if isinstance(answer, Failure) else turn.lifetime_of(answer)
        if isinstance(answer, Failure):
            self._finish(answer)
        elif lifetime is None:
            self._finish(Failure(0, "it answers nonsense"))
        else:
            self._refresh_after(lifetime, now)

    def _give_back(self, now: float) -> None:
        self.state = State.CLOSING
        self._refresh_due = math.inf
        self._forget_requests()
        self._peers.clear()
        self._ask(turn.REFRESH, lambda _: _lifetime(0), lambda *_: self._finish(None), now)

    def _forget_requests(self) -> None:
        self._transactions.remove_where(lambda _: True)
        self._asked.clear()

    def _finish(self, failure: Failure | None) -> None:
        if self.state is not State.CLOSING:
            self.failure = failure
        self.state = State.CLOSED
        self._refresh_due = math.inf
        self._forget_requests()
        self._peers.clear()

    # -- peers -------------------------------------------------------------------------------------

    def _send_unbound(self, data: bytes, address: Address, now: float) -> None:
        assert self.relayed is not None
        if not family_of(address[0]) or family_of(address[0]) != family_of(self.relayed[0]):
            return  # the server could not send it (RFC 8656 section 9)
        peer = self._peers.of(address, now)
        permission = peer.permission
        permission.used = True
        peer.sent += 1
        if permission.granted:
            self._indicate(data, address)
            if peer.wants_channel(now):
                self._bind(peer, now)
            return
        self._peers.keep(permission, data, address)
        if not permission.asked and not permission.refused:
            self._ask_for_permission(permission, now)

    def _indicate(self, data: bytes, address: Address) -> None:
        self._out.append(turn.send_indication(self._random.randbytes(12), address, data))

    def _ask_for_permission(self, permission: Permission, now: float) -> None:
        permission.asked = True
        address = permission.host, 0

        def answered(answer: stun.Message | Failure, now: float) -> None:
            if isinstance(answer, Failure):
                self._failed(answer)
                self._peers.refuse(permission, now)
                return
            for data, address in self._peers.grant(permission, now):
                self._indicate(data, address)

        self._ask(turn.CREATE_PERMISSION, lambda id: turn.peer_address(address, id), answered, now)

    def _bind(self, peer: Peer, now: float) -> None:
        channel = self._peers.number(peer)
        if channel is None:
            return
        peer.asked = True

        def body(id: bytes) -> bytes:
            number = stun.attribute(turn.CHANNEL_NUMBER, channel.to_bytes(2, "big") + b"\0\0")
            return number + turn.peer_address(peer.address, id)

        def answered(answer: stun.Message | Failure, now: float) -> None:
            if isinstance(answer, Failure):
                self._failed(answer)
                self._peers.unbind(peer, now)
            else:
                self._peers.bind(peer, now)

        self._ask(turn.CHANNEL_BIND, body, answered, now)

    def _failed(self, failure: Failure) -> None:
        """A permission or a channel was refused, perhaps because there is no allocation now."""
        if failure.code == turn.MISMATCH and self.state is State.READY:
            self._finish(failure)

    def _from_channel(self, data: bytes) -> tuple[bytes, Address] | None:
        channel = int.from_bytes(data[:2], "big")
        length = int.from_bytes(data[2:4], "big")
        peer = self._peers.by_channel(channel)
        if peer is None or not length or length > len(data) - 4:
            return None
        return data[4 : 4 + length], peer.address

    def _from_indication(self, message: stun.Message) -> tuple[bytes, Address] | None:
        address = _address(message, turn.XOR_PEER_ADDRESS)
        data = message.attributes.get(turn.DATA)
        if address is None or not data or not self._peers.permitted(address[0]):
            return None
        return data, address


def _lifetime(seconds: int) -> bytes:
    return stun.attribute(turn.LIFETIME, seconds.to_bytes(4, "big"))


def _address(message: stun.Message, name: int) -> Address | None:
    """An address in an attribute, with a port that can be sent to."""
    try:
        found = stun.unpack_address(message.attributes.get(name, b""), message.transaction)
    except stun.StunError:
        return None
    return found if found[1] and family_of(found[0]) else None
