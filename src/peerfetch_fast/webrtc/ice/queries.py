"""Asking STUN servers how they see our sockets (RFC 8445 section 5.1.1.2)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.checklist import family_of
from peerfetch_fast.webrtc.ice.events import Address, Event, ServerAnswered, ServerSilent
from peerfetch_fast.webrtc.ice.settings import AgentSettings
from peerfetch_fast.webrtc.ice.transactions import Transaction, Transactions

__all__ = ["MAX_QUERIES", "Queries"]

MAX_QUERIES = 64
"""Requests to STUN servers that wait for an answer: servers, times sockets."""


class Queries:
    """The queries that are not answered yet.

    :param send: called with a socket's number, an address and a datagram.
    """

    def __init__(
        self,
        settings: AgentSettings,
        rng: random.Random,
        send: Callable[[int, Address, bytes], object],
    ) -> None:
        self._settings = settings
        self._random = rng
        self._send = send
        self._transactions = Transactions(MAX_QUERIES)
        self._kept: dict[tuple[int, Address], float] = {}  # when they are told next

    def ask(self, server: Address, base: int, now: float) -> list[Event]:
        """Ask; what is returned was given up for it."""
        settings = self._settings
        id = self._random.randbytes(12)
        data = stun.seal(stun.REQUEST, id, b"", None)
        transaction = Transaction(
            id,
            data,
            base,
            server,
            now,
            tries=settings.server_tries,
            wait=settings.rto,
            last_wait=settings.max_wait,
        )
        self._send(base, server, data)
        return [_silent(dropped) for dropped in self._transactions.add(transaction)]

    def receive(self, data: bytes, base: int, address: Address, now: float) -> Event | None:
        """Take a datagram, if it is an answer."""
        transaction = self._transactions.get(data[8:20])
        if transaction is None or (transaction.base, transaction.address) != (base, address):
            return None
        try:
            message = stun.parse(data)
        except stun.StunError:
            return None
        self._transactions.remove(transaction)
        mapped = _mapped(message) if message.kind == stun.RESPONSE else None
        if mapped is None:
            return _silent(transaction)
        if len(self._kept) < MAX_QUERIES:
            self._kept[base, address] = now + self._settings.keepalive
        return ServerAnswered(base, address, mapped)

    def expire(self, now: float) -> list[Event]:
        """Repeat, or give up, what has not been answered; keep alive what was."""
        for (base, server), due in self._kept.items():
            if due <= now:
                # An indication: the router has to see it, and nobody has to answer.
                data = stun.seal(stun.INDICATION, self._random.randbytes(12), b"", None)
                self._send(base, server, data)
                self._kept[base, server] = now + self._settings.keepalive
        given_up: list[Event] = []
        for transaction in self._transactions.due(now):
            if transaction.repeat(now):
                self._send(transaction.base, transaction.address, transaction.data)
            else:
                self._transactions.remove(transaction)
                given_up.append(_silent(transaction))
        return given_up

    def drop(self, base: int) -> list[Event]:
        """A socket is gone."""
        self._kept = {key: due for key, due in self._kept.items() if key[0] != base}
        return [_silent(one) for one in self._transactions.remove_where(lambda t: t.base == base)]

    def release(self) -> None:
        """Stop keeping mappings alive: a way is selected, or none is sought."""
        self._kept.clear()

    def clear(self) -> None:
        """Nobody waits any more."""
        self.release()
        self._transactions.remove_where(lambda _: True)

    def deadline(self) -> float:
        """When :meth:`expire` is to be called."""
        return min(self._transactions.deadline(), min(self._kept.values(), default=math.inf))


def _silent(transaction: Transaction) -> Event:
    return ServerSilent(transaction.base, transaction.address)


def _mapped(message: stun.Message) -> Address | None:
    """The address that a server has seen, if it is one."""
    value = message.attributes.get(stun.XOR_MAPPED_ADDRESS)
    try:
        if value is not None:
            mapped = stun.unpack_address(value, message.transaction)
        else:  # RFC 3489
            mapped = stun.unpack_address(message.attributes.get(stun.MAPPED_ADDRESS, b""), None)
    except stun.StunError:
        return None
    return mapped if mapped[1] and family_of(mapped[0]) else None
