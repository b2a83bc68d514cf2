"""An ICE agent for one component (RFC 8445), which trickles (RFC 8838).

Datagrams, candidates and the time go in; datagrams, events and the next deadline come out.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Mapping, Sequence
from typing import Protocol

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.answers import Budget, authenticate, refusal, success
from peerfetch_fast.webrtc.ice.candidate import Candidate, priority
from peerfetch_fast.webrtc.ice.checklist import CheckList, Family, family_of, reflexive
from peerfetch_fast.webrtc.ice.consent import Consent
from peerfetch_fast.webrtc.ice.credentials import Credentials
from peerfetch_fast.webrtc.ice.events import (
    Address,
    Admitted,
    Event,
    Selected,
    ServerAnswered,
    ServerSilent,
    State,
    StateChanged,
)
from peerfetch_fast.webrtc.ice.nomination import Nomination
from peerfetch_fast.webrtc.ice.pairs import Pair, PairState
from peerfetch_fast.webrtc.ice.settings import AgentSettings
from peerfetch_fast.webrtc.ice.transactions import Transaction, Transactions

__all__ = ["Agent", "Extension"]

MAX_PROBED = 8
"""Pairs that are checked at a time when the selected one is silent."""

MAX_QUERIES = 64
"""STUN servers that are asked at a time, times sockets."""

_REQUEST = stun.REQUEST.to_bytes(2, "big")
_ANSWERS = (stun.RESPONSE.to_bytes(2, "big"), stun.ERROR.to_bytes(2, "big"))
_PRIORITY = struct.Struct(">HHI")
_ROLE = struct.Struct(">HHQ")
_USE_CANDIDATE = stun.attribute(stun.USE_CANDIDATE, b"")


class Extension(Protocol):
    """What goes along with checks and their answers."""

    def outgoing(
        self, request: bool, base: int, address: Address, now: float
    ) -> Sequence[tuple[int, bytes]]:
        """Attributes of a check, or of the answer to one, that is about to be sent."""

    def incoming(
        self, attributes: Mapping[int, bytes], base: int, address: Address, now: float
    ) -> None:
        """A check or an answer has come that the peer has signed."""


class _Base:
    """One of our sockets, and the candidates that are reached through it."""

    __slots__ = ("addresses", "candidate", "family")

    def __init__(self, candidate: Candidate, family: Family) -> None:
        self.candidate = candidate
        self.family = family
        self.addresses = {(candidate.host, candidate.port)}


class Agent:
    """One end of ICE.

    :param controlling: whether we nominate; a conflict of roles may change it.
    :param ufrag: our user fragment.
    :param password: our password.
    :param random: of transaction ids, the tie breaker and jitter.
    :ivar controlling: our role now.
    :ivar ufrag: our user fragment now, as ``password``; a restart changes them.
    :ivar state: where it stands.
    :ivar extension: what takes part in checks (SPED).
    :ivar refused: datagrams that were not for us, or not signed by the peer.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        ufrag: str,
        password: str,
        random: random.Random,
        settings: AgentSettings = AgentSettings(),  # noqa: B008 - frozen
    ) -> None:
        self.controlling = controlling
        self.ufrag = ufrag
        self.password = password
        self.state: State = "new"
        self.extension: Extension | None = None
        self.refused = 0
        self._settings = settings
        self._random = random
        self._tie_breaker = random.getrandbits(64)
        self._lite_peer = False
        self._bases: dict[int, _Base] = {}
        self._checklist = CheckList(Credentials(ufrag, password), settings)
        self._previous: CheckList | None = None
        self._nomination = Nomination(settings)
        self._consent = Consent(settings, random)
        self._transactions = Transactions(settings.max_transactions)
        self._budget = Budget(settings.max_checks)
        self._sources: dict[Address, None] = {}
        self._datagrams: list[tuple[int, Address, bytes]] = []
        self._events: list[Event] = []
        self._local_ended = False
        self._remote_ended = False
        self._renewed = True  # whether our credentials are those of this run alone
        self._began = math.inf  # checking
        self._next_check = -math.inf

    # -- our candidates ----------------------------------------------------------------------

    def add_local(self, candidate: Candidate, base: int, now: float) -> None:
        """A candidate of ours; one that is reached through a socket that is known makes no pairs.

        :param base: the owner's number of the socket that it is sent from.
        """
        known = self._bases.get(base)
        if known is not None:
            known.addresses.add((candidate.host, candidate.port))
            return
        family = family_of(candidate.host)
        if (
            family is None
            or candidate.transport != "udp"
            or candidate.type == "srflx"
            or len(self._bases) >= self._settings.max_bases
            or self.state == "closed"
        ):
            return
        self._bases[base] = _Base(candidate, family)
        for remote in list(self._checklist.remotes.values()):
            self._pair(base, remote)
        self._go_on(now)

    def remove_base(self, base: int, now: float) -> None:
        """A socket is gone, and what went through it."""
        if self._bases.pop(base, None) is None:
            return
        for checklist in self._checklists():
            self._forget(checklist.remove(lambda pair: pair.base == base))
        for transaction in self._transactions.remove_where(lambda one: one.base == base):
            if transaction.pair is None:
                self._events.append(ServerSilent(base, transaction.address))
        selected = self._consent.pair
        if selected is not None and selected.base == base:
            self._lose_selected(now)
        elif self._consent.challenger is not None and self._consent.challenger.base == base:
            self._consent.challenger = None
        self._go_on(now)

    def _lose_selected(self, now: float) -> None:
        self._consent.lost()
        self._decide(now)
        if self._consent.pair is None:
            self._set_state("disconnected")

    def end_of_local(self, now: float) -> None:
        """There are no more candidates of ours."""
        self._local_ended = True
        self._go_on(now)

    # -- the peer ----------------------------------------------------------------------------

    def set_remote(self, ufrag: str, password: str, now: float, *, lite: bool = False) -> None:
        """The peer's credentials. Others than those that are known: it has restarted.

        :param lite: the peer makes no checks of its own (RFC 8445 section 2.5).
        """
        if self.state == "closed":
            return
        credentials = self._checklist.credentials
        if credentials.remote_key:
            if (credentials.remote_ufrag, credentials.remote_key) == (
                ufrag.encode(),
                password.encode(),
            ):
                return
            ours = credentials.prefix[:-1].decode(), credentials.local_key.decode()
            self._begin_anew(Credentials(*ours), now)
            self._renewed = False
        self._checklist.credentials.set_remote(ufrag, password)
        if lite:
            self._lite_peer = True
            self._switch_role(controlling=True)
        self._began = now
        if self.state == "new":
            self._set_state("checking")
        self._take_early(now)
        self._go_on(now)

    def add_remote(self, candidate: Candidate, now: float, *, hidden: bool = False) -> bool:
        """A candidate of the peer; False if it is of no use.

        :param hidden: the peer gave a name instead of this address, which is not told to relays
            (draft-ietf-mmusic-mdns-ice-candidates section 3.3.2).
        """
        if (
            candidate.transport != "udp"
            or candidate.component != 1
            or not candidate.port
            or family_of(candidate.host) is None
            or self.state == "closed"
        ):
            return False
        gone = self._checklist.add_remote(candidate, self._consent.pair)
        if gone is None:
            return False
        self._forget(gone)
        if hidden:
            self._checklist.hidden.add((candidate.host, candidate.port))
        for base in self._bases:
            self._pair(base, candidate)
        self._go_on(now)
        return True

    def end_of_remote(self, now: float) -> None:
        """There are no more candidates of the peer."""
        self._remote_ended = True
        self._go_on(now)

    def _pair(self, base: int, remote: Candidate) -> None:
        ours = self._bases[base]
        hidden = (remote.host, remote.port) in self._checklist.hidden
        if family_of(remote.host) == ours.family and not (
            hidden and ours.candidate.type == "relay"
        ):
            self._checklist.add_pair(base, ours.candidate, remote, self.controlling)

    def _take_early(self, now: float) -> None:
        """What the peer has checked before its credentials were known (RFC 8445 section 7.3)."""
        checklist = self._checklist
        early, checklist.early = checklist.early, {}
        for (base, address), (rank, wanted, ufrag) in early.items():
            if ufrag == checklist.credentials.remote_ufrag:
                self._checked(base, address, rank, wanted and not self.controlling, now)

    # -- restart -----------------------------------------------------------------------------

    def restart(self, ufrag: str, password: str, now: float) -> None:
        """Begin anew with other credentials of ours (RFC 8445 section 9).

        What is selected stays so until the new run has found a pair. Our sockets take part in it.
        """
        if self.state == "closed":
            return
        self.ufrag, self.password = ufrag, password
        if self._renewed:
            self._begin_anew(Credentials(ufrag, password), now)
        else:
            # The peer's restart has begun this run, and ours joins it.
            self._checklist.credentials.renew(ufrag, password)
            self._renewed = True
        self._go_on(now)

    def _begin_anew(self, credentials: Credentials, now: float) -> None:
        selected = self._consent.pair
        if selected is not None and selected.credentials is self._checklist.credentials:
            self._previous = self._checklist
        # Of the run that ends, only the selected pair is checked on.
        self._transactions.remove_where(
            lambda one: one.pair is not None and one.pair is not selected
        )
        self._checklist = CheckList(credentials, self._settings)
        self._nomination = Nomination(self._settings)
        self._consent.challenger = None
        self._remote_ended = False
        self._renewed = True
        self._began = math.inf
        if selected is None and self.state != "new":
            self._consent.end()
            self._set_state("checking")

    # -- what the owner hears of -------------------------------------------------------------

    @property
    def heard_at(self) -> float:
        """When something of the peer last came by the selected pair."""
        return -math.inf if self._consent.pair is None else self._consent.pair.heard

    def heard(self, now: float) -> None:
        """Data of the peer has come by the selected pair."""
        if self._consent.pair is not None:
            self._consent.pair.heard = now

    def probe(self, now: float) -> None:
        """Nothing has come for a while: check quickly until something answers."""
        if self.state in ("connected", "disconnected"):
            self._consent.probe(now)
            self._go_on(now)

    def query_server(self, server: Address, base: int, now: float) -> None:
        """Ask a STUN server for the address that it sees; an event tells what came of it."""
        queries = self._transactions.count(lambda one: one.pair is None)
        if base not in self._bases or queries >= MAX_QUERIES or self.state == "closed":
            self._events.append(ServerSilent(base, server))
            return
        id = self._random.randbytes(12)
        data = stun.seal(stun.REQUEST, id, b"", None)
        rto, tries = self._settings.rto, self._settings.server_tries
        last = rto * 2**tries
        self._start(Transaction(id, data, base, server, now, tries=tries, wait=rto, last_wait=last))

    # -- datagrams ---------------------------------------------------------------------------

    def receive(self, data: bytes, base: int, address: Address, now: float) -> None:
        """Take a datagram that may be STUN. Whatever it is, nothing is raised."""
        kind, taken = data[:2], False
        if base in self._bases and len(data) <= stun.MAX_MESSAGE:
            if kind == _REQUEST:
                taken = self._receive_request(data, base, address, now)
            elif kind in _ANSWERS:
                taken = self._receive_answer(data, base, address, now)
        if taken:
            self._go_on(now)
        else:
            self.refused += 1

    def _receive_request(self, data: bytes, base: int, address: Address, now: float) -> bool:
        if self.state in ("failed", "closed"):
            return False
        found = authenticate(data, self._checklists())
        if found is None or not self._budget.take(now):
            return False
        request, checklist = found
        key = checklist.credentials.local_key
        self._admit(base, address)
        if request.unknown:
            answer = refusal(request, key, 420, "Unknown Attribute")
        elif checklist is self._checklist and not self._settle_roles(request):
            answer = refusal(request, key, 487, "Role Conflict")
        else:
            self._take_request(request, checklist, base, address, now)
            extra: Sequence[tuple[int, bytes]] = ()
            if self.extension is not None:
                self.extension.incoming(request.attributes, base, address, now)
                extra = self.extension.outgoing(False, base, address, now)
            answer = success(request, address, key, extra)
        self._datagrams.append((base, address, answer))
        return True

    def _take_request(
        self, request: stun.Message, checklist: CheckList, base: int, address: Address, now: float
    ) -> None:
        """What a request says besides that it wants an answer."""
        pair = checklist.find(base, address)
        if pair is not None:
            pair.heard = now
        if checklist is not self._checklist:
            return
        attributes = request.attributes
        rank = attributes.get(stun.PRIORITY, b"")
        learned = int.from_bytes(rank, "big") if len(rank) == 4 else priority("prflx", 0)
        wanted = stun.USE_CANDIDATE in attributes
        if checklist.credentials.remote_key:
            self._checked(base, address, learned, wanted and not self.controlling, now)
        elif len(checklist.early) < self._settings.max_early:
            ufrag = attributes[stun.USERNAME].partition(b":")[2]
            checklist.early[base, address] = learned, wanted, ufrag

    def _checked(self, base: int, address: Address, rank: int, wanted: bool, now: float) -> None:
        """The peer has checked this pair (RFC 8445 section 7.3.1.4)."""
        checklist = self._checklist
        pair = checklist.find(base, address)
        if pair is None:
            remote = checklist.learn(address, rank)
            gone = checklist.add_remote(remote, self._consent.pair)
            self._forget(gone or [])
            self._pair(base, remote)
            pair = checklist.find(base, address)
            if pair is None:
                return
            pair.heard = now
        selected = self._consent.pair
        if not pair.valid:
            pair.wanted |= wanted
            checklist.trigger(pair)
        elif wanted and not self._nomination.settled(now):
            pair.nominated = True
            self._decide(now)
        elif pair is not selected and (
            wanted or selected is None or now - selected.heard >= self._settings.silence
        ):
            # The peer may have moved here: whether this way still works, a check tells.
            pair.wanted |= wanted
            checklist.trigger(pair)

    def _settle_roles(self, request: stun.Message) -> bool:
        """Solve a conflict of roles; False if it is the peer that has to change (7.3.1.1)."""
        name = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        theirs = request.attributes.get(name)
        if theirs is None:
            return True
        ours_wins = self._tie_breaker >= int.from_bytes(theirs, "big")
        if ours_wins == self.controlling or self._lite_peer:
            return False
        self._switch_role(controlling=not self.controlling)
        return True

    def _switch_role(self, *, controlling: bool) -> None:
        if controlling != self.controlling:
            self.controlling = controlling
            self._checklist.switch(controlling)

    def _receive_answer(self, data: bytes, base: int, address: Address, now: float) -> bool:
        transaction = self._transactions.get(data[8:20])
        if transaction is None or transaction.base != base or transaction.address != address:
            return False
        try:
            message = stun.parse(data)
            if transaction.pair is None:
                return self._server_answered(transaction, message)
            if message.unknown or not message.verify(transaction.key):
                return False
            mapped = None
            if message.kind == stun.RESPONSE:
                value = message.attributes.get(stun.XOR_MAPPED_ADDRESS, b"")
                mapped = stun.unpack_address(value, message.transaction)
        except stun.StunError:
            return False
        self._transactions.remove(transaction)
        self._admit(base, address)
        if mapped is None:
            self._check_refused(transaction, stun.error_code(message), now)
        else:
            if self.extension is not None:
                self.extension.incoming(message.attributes, base, address, now)
            self._check_answered(transaction, transaction.pair, mapped, now)
        return True

    def _server_answered(self, transaction: Transaction, message: stun.Message) -> bool:
        base, server = transaction.base, transaction.address
        value = message.attributes.get(stun.XOR_MAPPED_ADDRESS)
        try:
            if value is not None:
                mapped = stun.unpack_address(value, message.transaction)
            else:
                mapped = stun.unpack_address(message.attributes.get(stun.MAPPED_ADDRESS, b""), None)
        except stun.StunError:
            mapped = "", 0
        answered = message.kind == stun.RESPONSE and mapped[1] and family_of(mapped[0])
        self._transactions.remove(transaction)
        self._events.append(
            ServerAnswered(base, server, mapped) if answered else ServerSilent(base, server)
        )
        return True

    # -- checks ------------------------------------------------------------------------------

    def _check_answered(
        self, transaction: Transaction, pair: Pair, mapped: Address, now: float
    ) -> None:
        if not pair.valid:
            pair.state = PairState.SUCCEEDED
            self._checklist.unfreeze(pair.foundation)
            self._checklist.triggered.pop(pair, None)
        if pair.check is transaction or not (pair.check and pair.check.nominates):
            pair.check = None
        pair.heard = pair.answered = now
        pair.rtt = now - transaction.sent_at
        if mapped not in self._bases[pair.base].addresses:
            # A relay's mapping is the relay's own address.
            pair.local = reflexive(self._bases[pair.base].candidate, mapped)
        moved = False
        if transaction.nominates and transaction.controlling == self.controlling:
            pair.nominated = True
        elif pair.wanted and not self.controlling:
            pair.wanted, pair.nominated = False, True
            moved = self._nomination.settled(now)
        if pair is self._consent.pair:
            self._consent.answered(now)
            self._set_state("connected")
        elif moved:
            self._move(pair, now)
        else:
            self._consent.challenge(pair, now)
        self._decide(now)

    def _check_refused(self, transaction: Transaction, code: int, now: float) -> None:
        pair = transaction.pair
        assert pair is not None
        if code == 487:
            # RFC 8445 section 7.2.5.1.
            if transaction.controlling == self.controlling and not self._lite_peer:
                self._switch_role(controlling=not self.controlling)
                self._tie_breaker = self._random.getrandbits(64)
            if pair.check is transaction:
                pair.check = None
            self._checklist.trigger(pair)
        elif pair.check is transaction:
            self._check_failed(pair, now)

    def _check_failed(self, pair: Pair, now: float) -> None:
        nominating = pair.check is not None and pair.check.nominates
        pair.check = None
        if pair.state is PairState.IN_PROGRESS or (nominating and pair is not self._consent.pair):
            pair.state = PairState.FAILED
        self._decide(now)

    def _send_check(
        self, pair: Pair, now: float, *, nominate: bool = False, once: bool = False
    ) -> None:
        """Check a pair; ``once`` if a lost check is not repeated, as another follows."""
        settings = self._settings
        id = self._random.randbytes(12)
        # The priority that a candidate has that the peer learns from this check (7.1.1).
        learned = 110 << 24 | pair.local.priority & 0xFFFFFF
        role = stun.ICE_CONTROLLING if self.controlling else stun.ICE_CONTROLLED
        body = (
            pair.credentials.username
            + _PRIORITY.pack(stun.PRIORITY, 4, learned)
            + _ROLE.pack(role, 8, self._tie_breaker)
        )
        if nominate:
            body += _USE_CANDIDATE
        if self.extension is not None:
            for name, value in self.extension.outgoing(True, pair.base, pair.address, now):
                body += stun.attribute(name, value)
        data = stun.seal(stun.REQUEST, id, body, pair.credentials.remote_key)
        wait = max(settings.rto, settings.pacing * self._checklist.active)
        transaction = Transaction(
            id,
            data,
            pair.base,
            pair.address,
            now,
            tries=1 if once else settings.tries,
            wait=wait,
            last_wait=settings.answer_timeout if once else settings.rto * settings.last_wait,
            pair=pair,
            nominates=nominate,
            controlling=self.controlling,
        )
        pair.sent_at = now
        if not once:
            if pair.check is not None:
                pair.check.rest(now)
            pair.check = transaction
            if not pair.valid:
                pair.state = PairState.IN_PROGRESS
        self._start(transaction)

    def _start(self, transaction: Transaction) -> None:
        self._datagrams.append((transaction.base, transaction.address, transaction.data))
        for dropped in self._transactions.add(transaction):
            self._give_up(dropped)

    def _give_up(self, transaction: Transaction) -> bool:
        """A request was not answered; whether a pair has failed with it."""
        pair = transaction.pair
        if pair is None:
            self._events.append(ServerSilent(transaction.base, transaction.address))
            return False
        return pair.check is transaction

    def _expire(self, now: float) -> None:
        """Repeat, or give up, what has not been answered."""
        for transaction in self._transactions.due(now):
            if transaction.repeat(now):
                self._datagrams.append((transaction.base, transaction.address, transaction.data))
                continue
            self._transactions.remove(transaction)
            if self._give_up(transaction):
                assert transaction.pair is not None
                self._check_failed(transaction.pair, now)

    @property
    def _ready(self) -> bool:
        """Whether both ends' credentials are those of this run."""
        return self._renewed and bool(self._checklist.credentials.remote_key)

    def _check_pairs(self, now: float) -> None:
        """Send what is due: triggered checks, and one of the others each Ta."""
        if not self._ready:
            return
        for pair in list(self._checklist.triggered):
            if pair.sent_at + self._settings.pacing <= now:
                del self._checklist.triggered[pair]
                self._send_check(pair, now, once=pair.valid)
        if now >= self._next_check:
            ordinary = self._checklist.next_ordinary()
            if ordinary is not None:
                self._send_check(ordinary, now)
                self._next_check = now + self._settings.pacing

    def _checks_deadline(self) -> float:
        if not self._ready:
            return math.inf
        due = [pair.sent_at + self._settings.pacing for pair in self._checklist.triggered]
        if self._checklist.next_ordinary() is not None:
            due.append(self._next_check)
        return min(due, default=math.inf)

    # -- selection ---------------------------------------------------------------------------

    def _decide(self, now: float) -> None:
        """Nominate and select, if anything has changed."""
        valid = self._checklist.valid
        if not valid:
            return
        nomination = self._nomination
        nomination.began = min(nomination.began, now)
        if self.controlling:
            chosen = nomination.to_nominate(valid, self._direct_left(), now)
            if chosen is not None:
                self._send_check(chosen, now, nominate=True)
        selected = nomination.to_select(valid, self._consent.pair, now)
        if selected is not None:
            self._select(selected, now)

    def _direct_left(self) -> bool:
        """Whether a way without a relay may still be found."""
        if not (self._local_ended and self._remote_ended):
            return True
        pairs = self._checklist.pairs
        return any(not pair.relayed and pair.state is not PairState.FAILED for pair in pairs)

    def _move(self, pair: Pair, now: float) -> None:
        """The selected pair does not work any more, or the peer has left it."""
        for other in self._checklist.pairs:
            other.nominated = False
        pair.nominated = True
        self._select(pair, now)
        if self.controlling:
            self._send_check(pair, now, nominate=True, once=True)

    def _select(self, pair: Pair, now: float) -> None:
        if pair is self._consent.pair:
            return
        self._consent.start(pair, now)
        if self._previous is not None and pair.credentials is self._checklist.credentials:
            previous, self._previous = self._previous, None
            self._forget(previous.pairs)
        self._events.append(Selected(pair.base, pair.address, pair.remote, pair.local))
        self._set_state("connected")

    def _check_consent(self, now: float) -> None:
        consent = self._consent
        if now >= consent.expires:
            self._end_consent()
            return
        pair = consent.pair
        if pair is None:
            return
        if now >= consent.doubt_at():
            consent.probe(now)
        if now >= consent.next_at:
            self._send_check(pair, now, nominate=self.controlling and pair.nominated, once=True)
            consent.asked(now)
            if consent.probing:
                self._probe_others(now)
        if now >= consent.move_at():
            challenger = consent.challenger
            assert challenger is not None
            self._move(challenger, now)
        elif now >= consent.disconnected_at():
            self._set_state("disconnected")

    def _end_consent(self) -> None:
        """Nothing more is sent by the selected pair (RFC 7675 section 5.1)."""
        if self._previous is None:
            self._fail()
            return
        self._forget(self._previous.pairs)
        self._previous = None
        self._consent.end()
        self._set_state("checking")

    def _probe_others(self, now: float) -> None:
        others = [pair for pair in self._checklist.valid if pair is not self._consent.pair]
        for pair in others[: MAX_PROBED - 1]:
            self._send_check(pair, now, once=True)

    # -- time --------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When :meth:`handle_timeout` is to be called; infinite: nothing waits."""
        if self.state == "closed":
            return math.inf
        deadline = min(self._transactions.deadline(), self._checks_deadline())
        if self.state != "failed":
            deadline = min(deadline, self._consent.deadline(), self._failing_at())
            if self._consent.pair is not None and self.state == "connected":
                deadline = min(deadline, self._consent.disconnected_at())
            if self.controlling and self._relay_waits():
                deadline = min(deadline, self._nomination.patient_until())
        return deadline

    def _relay_waits(self) -> bool:
        return not any(pair.nominated or pair.check for pair in self._checklist.valid) and bool(
            self._checklist.valid
        )

    def handle_timeout(self, now: float) -> None:
        """The deadline has come."""
        if self.state != "closed":
            self._expire(now)
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Do what is due."""
        if self.state in ("failed", "closed"):
            return
        self._check_consent(now)
        if self.state == "failed":
            return
        if self.controlling and self._relay_waits() and now >= self._nomination.patient_until():
            self._decide(now)
        self._check_pairs(now)
        if now >= self._failing_at():
            self._fail()

    def _failing_at(self) -> float:
        """When a run that has nothing left to check has failed (RFC 8863 section 4)."""
        if self.state != "checking" or self._checklist.active or self._checklist.triggered:
            return math.inf
        if not self._bases and self._local_ended:
            return self._began  # it cannot be reached at all
        patience = self._settings.patience
        if not (self._local_ended and self._remote_ended):
            patience += self._settings.trickle_patience
        return self._began + patience

    def _stop(self) -> None:
        self._consent.end()
        self._previous = None
        self._transactions.remove_where(lambda one: one.pair is not None)
        self._checklist.triggered.clear()

    def _fail(self) -> None:
        self._stop()
        self._set_state("failed")

    # -- results -----------------------------------------------------------------------------

    def take_datagrams(self) -> list[tuple[int, Address, bytes]]:
        """What is to be sent: from which socket, and where to."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def take_events(self) -> list[Event]:
        """What has happened since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Stop. Nothing more is sent, and nothing answered."""
        self._stop()
        self._transactions.remove_where(lambda one: True)
        self._datagrams.clear()
        self._set_state("closed")

    def _checklists(self) -> list[CheckList]:
        return [self._checklist] if self._previous is None else [self._checklist, self._previous]

    def _admit(self, base: int, address: Address) -> None:
        if address in self._sources:
            return
        if len(self._sources) >= self._settings.max_sources:
            del self._sources[next(iter(self._sources))]
        self._sources[address] = None
        self._events.append(Admitted(base, address))

    def _forget(self, gone: Sequence[Pair]) -> None:
        """Pairs are no more, nor is what they waited for."""
        if gone:
            pairs = set(gone)
            self._transactions.remove_where(lambda one: one.pair in pairs)

    def _set_state(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._events.append(StateChanged(state))
