"""Checks of ours: what they say, and who answers them (RFC 8445 section 7.2)."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.events import Address
from peerfetch_fast.webrtc.ice.pairs import Pair, PairState
from peerfetch_fast.webrtc.ice.roles import Role
from peerfetch_fast.webrtc.ice.settings import AgentSettings
from peerfetch_fast.webrtc.ice.transactions import Transaction, Transactions

__all__ = ["Answer", "Checks", "Extension"]

_PRIORITY = struct.Struct(">HHI")
_USE_CANDIDATE = stun.attribute(stun.USE_CANDIDATE, b"")

Answer = tuple[Transaction, stun.Message, Address | None]
"""Which check was answered, how, and the address that the peer has seen; None: it refuses."""


class Extension(Protocol):
    """An extension that adds attributes to checks and their answers."""

    def outgoing(
        self, request: bool, base: int, address: Address, now: float
    ) -> Sequence[tuple[int, bytes]]:
        """Attributes of a check, or of the answer to one, that is about to be sent."""

    def incoming(
        self, attributes: Mapping[int, bytes], base: int, address: Address, now: float
    ) -> None:
        """A check or an answer has come that the peer has signed."""


class Checks:
    """The transactions that are not answered yet.

    :param send: called with a socket's number, an address and a datagram.
    :ivar extension: what goes along.
    """

    def __init__(
        self,
        settings: AgentSettings,
        role: Role,
        rng: random.Random,
        send: Callable[[int, Address, bytes], object],
    ) -> None:
        self.extension: Extension | None = None
        self._settings = settings
        self._role = role
        self._random = rng
        self._send = send
        self._transactions = Transactions(settings.max_transactions)

    def send(self, pair: Pair, now: float, *, nominate: bool = False, busy: int = 0) -> list[Pair]:
        """Check a pair until it answers, or has not answered for long enough.

        :param nominate: with USE-CANDIDATE.
        :param busy: how many pairs are being checked, which are repeated the more slowly
            (RFC 8445 section 14.3).
        :returns: pairs that have failed, as what they waited for had to make room.
        """
        settings = self._settings
        if pair.check is not None:
            pair.check.rest(now)
        if not pair.valid:
            pair.state = PairState.IN_PROGRESS
        transaction = self._transaction(
            pair,
            now,
            nominate,
            tries=settings.tries,
            wait=max(settings.rto, settings.pacing * busy),
            last_wait=settings.max_wait,
        )
        pair.check = transaction
        return self._start(transaction)

    def send_once(self, pair: Pair, now: float, *, nominate: bool = False) -> list[Pair]:
        """Check a pair, where another check will follow; else as :meth:`send`."""
        wait = self._settings.answer_timeout
        return self._start(
            self._transaction(pair, now, nominate, tries=1, wait=wait, last_wait=wait)
        )

    def _transaction(
        self, pair: Pair, now: float, nominate: bool, *, tries: int, wait: float, last_wait: float
    ) -> Transaction:
        id = self._random.randbytes(12)
        # The priority that a candidate has that the peer learns from this check (7.1.1).
        learned = 110 << 24 | pair.local.priority & 0xFFFFFF
        body = (
            pair.credentials.username
            + _PRIORITY.pack(stun.PRIORITY, 4, learned)
            + self._role.attribute()
        )
        if nominate:
            body += _USE_CANDIDATE
        if self.extension is not None:
            for name, value in self.extension.outgoing(True, pair.base, pair.address, now):
                body += stun.attribute(name, value)
        pair.sent_at = now
        return Transaction(
            id,
            stun.seal(stun.REQUEST, id, body, pair.credentials.remote_key),
            pair.base,
            pair.address,
            now,
            tries=tries,
            wait=wait,
            last_wait=last_wait,
            pair=pair,
            nominates=nominate,
            controlling=self._role.controlling,
        )

    def _start(self, transaction: Transaction) -> list[Pair]:
        self._send(transaction.base, transaction.address, transaction.data)
        return self._lost(self._transactions.add(transaction))

    def receive(self, data: bytes, base: int, address: Address) -> Answer | None:
        """Take a datagram, if it is the peer's answer to one of these.

        Anybody who has seen a check can answer it: it has to come from where the check went, to the
        socket that has sent it, and be signed.
        """
        transaction = self._transactions.get(data[8:20])
        if transaction is None or (transaction.base, transaction.address) != (base, address):
            return None
        try:
            message = stun.parse(data)
            if message.unknown or not message.verify(transaction.key):
                return None
            mapped = None
            if message.kind == stun.RESPONSE:
                value = message.attributes.get(stun.XOR_MAPPED_ADDRESS, b"")
                mapped = stun.unpack_address(value, message.transaction)
        except stun.StunError:
            return None
        self._transactions.remove(transaction)
        return transaction, message, mapped

    def expire(self, now: float) -> list[Pair]:
        """Repeat, or give up, what has not been answered; pairs that have failed."""
        over: list[Transaction] = []
        for transaction in self._transactions.due(now):
            if transaction.repeat(now):
                self._send(transaction.base, transaction.address, transaction.data)
            else:
                self._transactions.remove(transaction)
                over.append(transaction)
        return self._lost(over)

    def _lost(self, transactions: list[Transaction]) -> list[Pair]:
        pairs = [(one, one.pair) for one in transactions]
        return [pair for one, pair in pairs if pair is not None and pair.check is one]

    def forget(self, pairs: Sequence[Pair]) -> None:
        """These pairs are no more."""
        if pairs:
            gone = set(pairs)
            self._drop(lambda one: one.pair in gone)

    def keep(self, pair: Pair | None) -> None:
        """Forget all but this pair."""
        self._drop(lambda one: one.pair is not pair)

    def _drop(self, unwanted: Callable[[Transaction], bool]) -> None:
        for pair in self._lost(self._transactions.remove_where(unwanted)):
            pair.check = None

    def deadline(self) -> float:
        """When :meth:`expire` is to be called."""
        return self._transactions.deadline()
