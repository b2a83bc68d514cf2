"""The state of a signaling server without its sockets: the clients and the waiting messages.

Connections are opaque here. The reactions to a message are returned as a list of :class:`Send` and
:class:`Close`; times are passed in, in seconds of a monotonic clock.
"""

from __future__ import annotations

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from peerfetch_fast.signaling.peerjs.messages import (
    CLOSE_NORMAL,
    CLOSE_POLICY,
    CLOSE_SILENT,
    CLOSE_TAKEN_OVER,
    ENVELOPE,
    FORWARDED,
    QUEUED,
    BadMessage,
    Message,
    MessageType,
    encode,
    is_remote_id,
    is_remote_token,
    parse,
)
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.rooms import Rooms
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings

__all__ = [
    "Action",
    "Close",
    "Realm",
    "Send",
    "cost",
]

#: What a waiting message costs beside its bytes: the objects that hold it. Without it, a bound in
#: bytes would let in tiny messages without end.
_OVERHEAD = 256

#: What a pair of sender and absent destination costs beside that: their places in the tables.
_PAIR_OVERHEAD = 512

# The texts of PeerJS's server, word for word: programs compare them.
_NO_PARAMETERS = "No id, token, or key supplied to websocket server"
_WRONG_KEY = "Invalid key provided"
_TOO_MANY_CLIENTS = "Server has reached its concurrent user limit"

C = TypeVar("C", bound=Hashable)


def _octets(token: str) -> bytes:
    return token.encode(errors="surrogatepass")


def _nothing(_peer_id: str) -> object:
    return None  # as PeerJS's server has it


def cost(data: bytes) -> int:
    """The bytes that count for one waiting message."""
    return len(data) + _OVERHEAD


@dataclass(frozen=True)
class Send(Generic[C]):
    """Send ``data``, an encoded message, to a connection."""

    to: C
    data: bytes


@dataclass(frozen=True)
class Close(Generic[C]):
    """Close a connection once everything queued before has been sent."""

    to: C
    code: int
    reason: str


Action = Send[C] | Close[C]


@dataclass(slots=True)
class _Client(Generic[C]):
    id: str
    token: str
    connection: C
    alive_until: float


@dataclass(slots=True)
class _Waiting:
    """The messages from one sender to one absent destination; they expire together."""

    deadline: float
    messages: list[bytes] = field(default_factory=list)


class Realm(Generic[C]):
    """The clients, and the messages that wait for absent ones.

    :param welcome: what a client is told as it is let in, the payload of its OPEN, by whom what it
        uses counts for.
    :ivar refused: how often something was refused, by reason.
    :ivar rooms: who of those who are connected is in which room.
    """

    def __init__(
        self, settings: SignalingServerSettings, welcome: Callable[[str], object] = _nothing
    ) -> None:
        self.refused: Counter[Refusal] = Counter()
        self.rooms = Rooms(settings.max_room)
        self._settings = settings
        self._welcome = welcome
        # Both in the order of their deadlines: each entry's is a fixed time after it was put last.
        self._clients: OrderedDict[str, _Client[C]] = OrderedDict()
        self._waiting: OrderedDict[tuple[str, str], _Waiting] = OrderedDict()  # (dst, src)
        self._by_connection: dict[C, _Client[C]] = {}
        # Clients that have sent nothing since they were let in, and until when they may.
        self._unheard: OrderedDict[C, float] = OrderedDict()
        self._senders_by_dst: dict[str, dict[str, None]] = {}
        self._queued_for: Counter[str] = Counter()
        self._queued_from: Counter[str] = Counter()
        self._queued_total = 0

    @property
    def ids(self) -> list[str]:
        """The ids of the connected clients, in alphabetical order."""
        return sorted(self._clients)

    @property
    def queued_bytes(self) -> int:
        """The cost of all messages that wait for absent destinations."""
        return self._queued_total

    def next_deadline(self) -> float | None:
        """The earliest time at which :meth:`expire` has something to do; None for never."""
        deadlines = []
        if self._clients:
            deadlines.append(next(iter(self._clients.values())).alive_until)
        if self._unheard:
            deadlines.append(next(iter(self._unheard.values())))
        if self._waiting:
            deadlines.append(next(iter(self._waiting.values())).deadline)
        return min(deadlines, default=None)

    def attach(
        self,
        connection: C,
        key: str | None,
        peer_id: str | None,
        token: str | None,
        now: float,
        *,
        account: str | None = None,
    ) -> list[Action[C]]:
        """A WebSocket opened with these query parameters: let it in, or refuse it."""
        if not key or not peer_id or not token:
            return self._refuse(connection, Refusal.MISSING_PARAMETERS, _NO_PARAMETERS)
        if key != self._settings.key:
            return self._refuse(connection, Refusal.WRONG_KEY, _WRONG_KEY)
        if not is_remote_id(peer_id) or not is_remote_token(token):
            return self._refuse(connection, Refusal.BAD_ID, "The id or the token is malformed")
        actions: list[Action[C]] = []
        client = self._clients.get(peer_id)
        if client is None:
            if len(self._clients) >= self._settings.max_clients:
                return self._refuse(connection, Refusal.TOO_MANY_CLIENTS, _TOO_MANY_CLIENTS)
            client = _Client(peer_id, token, connection, alive_until=now)
            self._clients[peer_id] = client
        elif self.is_client(peer_id, token):
            actions.append(Close(client.connection, CLOSE_TAKEN_OVER, "connected anew elsewhere"))
            del self._by_connection[client.connection]
            self._unheard.pop(client.connection, None)
            client.connection = connection
        else:
            self.refused[Refusal.ID_TAKEN] += 1
            taken = Message(MessageType.ID_TAKEN, payload={"msg": "ID is taken"})
            return [Send(connection, encode(taken)), Close(connection, CLOSE_POLICY, "ID is taken")]
        self._by_connection[connection] = client
        self._touch(client, now)
        self._unheard[connection] = now + self._settings.first_message_timeout
        welcome = Message(MessageType.OPEN, payload=self._welcome(account or peer_id))
        actions.append(Send(connection, encode(welcome)))
        for src in list(self._senders_by_dst.get(peer_id, ())):
            actions += [Send(connection, data) for data in self._unqueue(peer_id, src)]
        return actions

    def _refuse(self, connection: C, refusal: Refusal, why: str) -> list[Action[C]]:
        self.refused[refusal] += 1
        error = Message(MessageType.ERROR, payload={"msg": why})
        return [Send(connection, encode(error)), Close(connection, CLOSE_POLICY, why)]

    def is_client(self, peer_id: str, token: str) -> bool:
        """Whether a client of that id is connected, with that token."""
        client = self._clients.get(peer_id)
        known = b"" if client is None else _octets(client.token)
        return hmac.compare_digest(known, _octets(token)) and client is not None

    def detach(self, connection: C) -> None:
        """Forget a WebSocket that is gone; no effect if it was refused or replaced."""
        client = self._by_connection.pop(connection, None)
        if client is not None:
            self._unheard.pop(connection, None)
            del self._clients[client.id]
            self.rooms.leave(client.id)

    def heard(self, connection: C, now: float) -> None:
        """Take note of a sign of life: a ping, or any message."""
        client = self._by_connection.get(connection)
        if client is not None:
            self._unheard.pop(connection, None)
            self._touch(client, now)

    def _touch(self, client: _Client[C], now: float) -> None:
        client.alive_until = now + self._settings.alive_timeout
        self._clients.move_to_end(client.id)

    def receive(self, connection: C, text: str, now: float) -> list[Action[C]]:
        """Forward or queue a text message, or count the reason for its refusal."""
        client = self._by_connection.get(connection)
        if client is None:
            return []
        self._unheard.pop(connection, None)
        self._touch(client, now)
        try:
            return self._route(client, parse(text), now)
        except BadMessage as error:
            self.refused[error.refusal] += 1
            return []

    def _route(self, client: _Client[C], message: Message, now: float) -> list[Action[C]]:
        if message.type is MessageType.HEARTBEAT:
            return []
        if message.type not in FORWARDED:
            raise BadMessage(Refusal.NOT_FOR_CLIENTS, "only the server sends this type")
        if message.src not in (None, client.id):
            self.refused[Refusal.FORGED_SRC] += 1
        if message.dst is None:
            if message.type is MessageType.LEAVE:
                # PeerJS: a LEAVE to nobody is a good-bye to the server.
                self.detach(client.connection)
                return [Close(client.connection, CLOSE_NORMAL, "left")]
            raise BadMessage(Refusal.BAD_SHAPE, "the message has no dst")
        data = encode(Message(message.type, client.id, message.dst, message.payload))
        if len(data) > self._settings.max_message_size + ENVELOPE:
            # Numbers can grow ("1e15"), and the receiver's WebSocket would break.
            raise BadMessage(Refusal.BAD_SHAPE, "the message is too large as it is passed on")
        destination = self._clients.get(message.dst)
        if destination is not None:
            return [Send(destination.connection, data)]
        if message.type not in QUEUED:
            return []
        return self._enqueue(client.id, message.dst, data, now)

    def _enqueue(self, src: str, dst: str, data: bytes, now: float) -> list[Action[C]]:
        settings = self._settings
        waiting = self._waiting.get((dst, src))
        size = cost(data) + (_PAIR_OVERHEAD if waiting is None else 0)
        if (
            self._queued_for[dst] + size > settings.max_queue
            or self._queued_from[src] + size > settings.max_queue
            or self._queued_total + size > settings.max_queued_total
        ):
            self.refused[Refusal.QUEUE_FULL] += 1
            # Where something waits already, its own expiry tells the sender.
            return self._expired(src, dst) if waiting is None else []
        if waiting is None:
            waiting = _Waiting(now + settings.message_queue_time)
            self._waiting[dst, src] = waiting
            self._senders_by_dst.setdefault(dst, {})[src] = None
        waiting.messages.append(data)
        self._account(src, dst, size)
        return []

    def _unqueue(self, dst: str, src: str) -> list[bytes]:
        messages = self._waiting.pop((dst, src)).messages
        senders = self._senders_by_dst[dst]
        del senders[src]
        if not senders:
            del self._senders_by_dst[dst]
        self._account(src, dst, -sum(map(cost, messages)) - _PAIR_OVERHEAD)
        return messages

    def _account(self, src: str, dst: str, size: int) -> None:
        self._queued_total += size
        for counter, peer_id in ((self._queued_for, dst), (self._queued_from, src)):
            counter[peer_id] += size
            if not counter[peer_id]:
                del counter[peer_id]

    def _expired(self, src: str, dst: str) -> list[Action[C]]:
        sender = self._clients.get(src)
        if sender is None:
            return []
        return [Send(sender.connection, encode(Message(MessageType.EXPIRE, src=dst, dst=src)))]

    def _drop(self, connection: C) -> Close[C]:
        self.refused[Refusal.SILENT] += 1
        self.detach(connection)
        return Close(connection, CLOSE_SILENT, "no sign of life")

    def expire(self, now: float) -> list[Action[C]]:
        """Drop clients that were silent, and messages that waited, for too long."""
        actions: list[Action[C]] = []
        while self._unheard:
            connection, deadline = next(iter(self._unheard.items()))
            if deadline > now:
                break
            actions.append(self._drop(connection))
        while self._clients:
            client = next(iter(self._clients.values()))
            if client.alive_until > now:
                break
            actions.append(self._drop(client.connection))
        while self._waiting:
            (dst, src), waiting = next(iter(self._waiting.items()))
            if waiting.deadline > now:
                break
            self.refused[Refusal.EXPIRED] += len(self._unqueue(dst, src))
            actions += self._expired(src, dst)
        return actions
