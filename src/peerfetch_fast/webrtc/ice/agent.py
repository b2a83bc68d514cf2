"""An ICE agent for one component (RFC 8445), which trickles (RFC 8838).

Datagrams, candidates and the time go in; datagrams, events and the next deadline come out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.answers import Budget, authenticate, refusal, success
from peerfetch_fast.webrtc.ice.candidate import Candidate, priority
from peerfetch_fast.webrtc.ice.checklist import CheckList, Family, family_of, reflexive
from peerfetch_fast.webrtc.ice.checks import Answer, Checks, Extension
from peerfetch_fast.webrtc.ice.consent import Consent
from peerfetch_fast.webrtc.ice.credentials import Credentials
from peerfetch_fast.webrtc.ice.events import (
    Address,
    Admitted,
    Event,
    Selected,
    ServerSilent,
    State,
    StateChanged,
)
from peerfetch_fast.webrtc.ice.nomination import Nomination
from peerfetch_fast.webrtc.ice.pairs import Pair, PairState
from peerfetch_fast.webrtc.ice.queries import Queries
from peerfetch_fast.webrtc.ice.roles import Role
from peerfetch_fast.webrtc.ice.settings import AgentSettings

__all__ = ["Agent", "Extension"]

MAX_PROBED = 8
"""Pairs that are checked at a time when the selected one is silent."""

MAX_ADDRESSES = 16
"""Addresses at which one of our sockets is known."""

_REQUEST = stun.REQUEST.to_bytes(2, "big")
_ANSWERS = (stun.RESPONSE.to_bytes(2, "big"), stun.ERROR.to_bytes(2, "big"))


class _Base:
    """One of our sockets, and the addresses at which it is known."""

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
    :ivar ufrag: our user fragment now, as ``password``; a restart changes them.
    :ivar state: where it stands.
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
        self.ufrag = ufrag
        self.password = password
        self.state: State = "new"
        self.refused = 0
        self._settings = settings
        self._role = Role(controlling, random)
        self._bases: dict[int, _Base] = {}
        self._checklist = CheckList(Credentials(ufrag, password), settings)
        self._previous: CheckList | None = None
        self._nomination = Nomination(settings)
        self._consent = Consent(settings, random)
        self._checks = Checks(settings, self._role, random, self._send)
        self._queries = Queries(settings, random, self._send)
        self._budget = Budget(settings.max_checks)
        self._sources: dict[Address, None] = {}
        self._datagrams: list[tuple[int, Address, bytes]] = []
        self._events: list[Event] = []
        self._local_ended = False
        self._remote_ended = False
        self._renewed = True  # whether our credentials are those of this run alone
        self._began = math.inf  # checking
        self._next_check = -math.inf

    @property
    def controlling(self) -> bool:
        """Whether we nominate."""
        return self._role.controlling

    @property
    def extension(self) -> Extension | None:
        """What takes part in checks (SPED)."""
        return self._checks.extension

    @extension.setter
    def extension(self, value: Extension | None) -> None:
        self._checks.extension = value

    # -- our candidates ----------------------------------------------------------------------

    def add_local(self, candidate: Candidate, base: int, now: float) -> None:
        """A candidate of ours; one that is reached through a socket that is known makes no pairs.

        :param base: the owner's number of the socket that it is sent from.
        """
        known = self._bases.get(base)
        if known is not None:
            if len(known.addresses) < MAX_ADDRESSES:
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
        self._events += self._queries.drop(base)
        selected = self._consent.pair
        if selected is not None and selected.base == base:
            self._lose_selected(now)
        self._go_on(now)

    def _lose_selected(self, now: float) -> None:
        """Fall back to another pair of which it is known that it works, if there is one."""
        self._consent.lost()
        for pair in self._checklist.valid:
            if now >= pair.answered + self._settings.consent_timeout:
                # RFC 7675: nothing may be sent there any more. A check tells whether it works yet.
                pair.state = PairState.WAITING
                pair.nominated = False
                self._checklist.trigger(pair)
        self._decide(now)
        if self._consent.pair is None:
            self._set_state("disconnected")
        else:
            self._consent.probe(now)

    def end_of_local(self, now: float) -> None:
        """There are no more candidates of ours."""
        self._local_ended = True
        self._go_on(now)

    # -- the peer ----------------------------------------------------------------------------

    def set_remote(self, ufrag: str, password: str, now: float, *, lite: bool = False) -> None:
        """The peer's credentials. Others than those that are known: it has restarted, and nothing
        is checked before :meth:`restart` has new ones of ours.

        :param lite: the peer makes no checks of its own (RFC 8445 section 2.5).
        """
        credentials = self._checklist.credentials
        if self.state == "closed" or credentials.has_remote(ufrag, password):
            return
        if credentials.remote_key:
            self._begin_anew(Credentials(self.ufrag, self.password), now)
            self._renewed = False
        self._checklist.credentials.set_remote(ufrag, password)
        if lite:
            self._role.lite_peer = True
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
            self._forget(
                self._checklist.add_pair(base, ours.candidate, remote, self._role.controlling)
            )

    def _take_early(self, now: float) -> None:
        """What the peer has checked before its credentials were known (RFC 8445 section 7.3)."""
        checklist = self._checklist
        early, checklist.early = checklist.early, {}
        for (base, address), (rank, wanted, ufrag) in early.items():
            if ufrag == checklist.credentials.remote_ufrag and base in self._bases:
                self._checked(base, address, rank, wanted, now)

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
            self._began = now
        self._go_on(now)

    def _begin_anew(self, credentials: Credentials, now: float) -> None:
        selected = self._consent.pair
        if selected is not None and selected.credentials is self._checklist.credentials:
            self._previous = self._checklist
        # Of the run that ends, only the selected pair is checked on.
        self._checks.keep(selected)
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
        if base in self._bases and self.state != "closed":
            self._events += self._queries.ask(server, base, now)
        else:
            self._events.append(ServerSilent(base, server))

    # -- datagrams ---------------------------------------------------------------------------

    def receive(self, data: bytes, base: int, address: Address, now: float) -> None:
        """Take a datagram that may be STUN. Whatever it is, nothing is raised."""
        kind, taken = data[:2], False
        if base in self._bases and len(data) <= stun.MAX_MESSAGE and self.state != "closed":
            if kind == _REQUEST:
                taken = self.state != "failed" and self._receive_request(data, base, address, now)
            elif kind in _ANSWERS:
                taken = self._receive_answer(data, base, address, now)
        if taken:
            self._go_on(now)
        else:
            self.refused += 1

    def _receive_request(self, data: bytes, base: int, address: Address, now: float) -> bool:
        found = authenticate(data, self._checklists())
        if found is None or not self._budget.take(now):
            return False
        request, checklist = found
        key = checklist.credentials.local_key
        conflict = self._role.conflict(request) if checklist is self._checklist else None
        self._admit(base, address)
        if request.unknown:
            answer = refusal(request, key, 420, "Unknown Attribute")
        elif conflict == "theirs":
            answer = refusal(request, key, 487, "Role Conflict")
        else:
            if conflict == "ours":
                self._switch_role(controlling=not self._role.controlling)
            self._take_request(request, checklist, base, address, now)
            extra: Sequence[tuple[int, bytes]] = ()
            extension = self._checks.extension
            if extension is not None:
                extension.incoming(request.attributes, base, address, now)
                extra = extension.outgoing(False, base, address, now)
            answer = success(request, address, key, extra)
        self._send(base, address, answer)
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
        value = attributes.get(stun.PRIORITY, b"")
        rank = int.from_bytes(value, "big") if len(value) == 4 else priority("prflx", 0)
        wanted = stun.USE_CANDIDATE in attributes
        if checklist.credentials.remote_key:
            self._checked(base, address, rank, wanted, now)
        elif len(checklist.early) < self._settings.max_early:
            ufrag = attributes[stun.USERNAME].partition(b":")[2]
            checklist.early[base, address] = rank, wanted, ufrag

    def _checked(self, base: int, address: Address, rank: int, wanted: bool, now: float) -> None:
        """The peer has checked this pair (RFC 8445 section 7.3.1.4).

        :param rank: the priority of the peer's candidate, if there is none of this address.
        :param wanted: whether the check had USE-CANDIDATE.
        """
        checklist = self._checklist
        pair = checklist.find(base, address) or self._learn(base, address, rank)
        if pair is None:
            return
        pair.heard = now
        wanted = wanted and not self._role.controlling
        if not pair.valid:
            pair.wanted |= wanted
            checklist.trigger(pair)
        elif pair is self._consent.pair or not self._nomination.settled(now):
            if wanted:
                pair.nominated = True
                self._decide(now)
        elif now - pair.answered < self._settings.silence:
            # It works. To check it again would have the peer check it again, and so on.
            self._came_by(pair, wanted, now)
        else:
            # The peer may have moved here. Whether this way still works, a check tells.
            pair.wanted |= wanted
            checklist.trigger(pair)

    def _came_by(self, pair: Pair, wanted: bool, now: float) -> None:
        """The peer has used a way that works, and is not the selected one."""
        if wanted:
            self._move(pair, now)
        else:
            self._consent.challenge(pair, now)

    def _learn(self, base: int, address: Address, rank: int) -> Pair | None:
        """The pair of an address that the peer has not signaled (RFC 8445 section 7.3.1.3)."""
        remote = self._checklist.learn(address, rank)
        gone = self._checklist.add_remote(remote, self._consent.pair)
        self._forget(gone or [])
        self._pair(base, remote)
        return self._checklist.find(base, address)

    def _receive_answer(self, data: bytes, base: int, address: Address, now: float) -> bool:
        answer = self._checks.receive(data, base, address)
        if answer is not None:
            self._admit(base, address)
            self._take_answer(answer, now)
            return True
        event = self._queries.receive(data, base, address)
        if event is not None:
            self._events.append(event)
        return event is not None

    # -- checks ------------------------------------------------------------------------------

    def _take_answer(self, answer: Answer, now: float) -> None:
        transaction, message, mapped = answer
        pair = transaction.pair
        assert pair is not None
        if pair.check is transaction:
            pair.check = None
        if mapped is None:
            current = pair.credentials is self._checklist.credentials
            if stun.error_code(message) == 487 and current:
                self._lose_role(transaction.controlling)
                self._checklist.trigger(pair)
            else:
                self._failed([pair], now)
            return
        if self._checks.extension is not None:
            self._checks.extension.incoming(message.attributes, pair.base, pair.address, now)
        pair.rtt = now - transaction.sent_at
        base = self._bases[pair.base]
        if mapped not in base.addresses and base.candidate.type == "host":
            pair.local = reflexive(base.candidate, mapped)
        nominated = transaction.nominates and transaction.controlling == self._role.controlling
        self._answered(pair, nominated, now)

    def _answered(self, pair: Pair, nominated: bool, now: float) -> None:
        """A pair works (RFC 8445 section 7.2.5.3).

        :param nominated: the check had USE-CANDIDATE.
        """
        pair.heard = pair.answered = now
        if not pair.valid:
            pair.state = PairState.SUCCEEDED
            self._checklist.unfreeze(pair.foundation)
            self._checklist.triggered.pop(pair, None)
        if pair.check is not None and not pair.check.nominates:
            pair.check.rest(now)
            pair.check = None
        wanted = pair.wanted and not self._role.controlling
        pair.wanted = False
        pair.nominated |= nominated or wanted
        if pair is self._consent.pair:
            self._consent.answered(now)
            self._set_state("connected")
        elif self._nomination.settled(now):
            self._came_by(pair, wanted, now)
        elif self._consent.probing:
            self._consent.challenge(pair, now)
        self._decide(now)

    def _lose_role(self, controlling: bool) -> None:
        """The peer insists on the role that a check of ours has named (7.2.5.1)."""
        if controlling == self._role.controlling and not self._role.lite_peer:
            self._switch_role(controlling=not controlling)
            self._role.refused()

    def _switch_role(self, *, controlling: bool) -> None:
        if controlling != self._role.controlling:
            self._role.controlling = controlling
            self._checklist.switch(controlling)

    def _failed(self, pairs: Sequence[Pair], now: float) -> None:
        """Checks of these have failed, or were given up."""
        for pair in pairs:
            nominating = pair.check is not None and pair.check.nominates
            pair.check = None
            if pair.state is PairState.IN_PROGRESS or (
                nominating and pair is not self._consent.pair
            ):
                pair.state = PairState.FAILED
        if pairs:
            self._decide(now)

    def _check(self, pair: Pair, now: float, *, nominate: bool = False) -> None:
        busy = self._checklist.active
        self._failed(self._checks.send(pair, now, nominate=nominate, busy=busy), now)

    def _check_once(self, pair: Pair, now: float, *, nominate: bool = False) -> None:
        self._failed(self._checks.send_once(pair, now, nominate=nominate), now)

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
                self._checklist.triggered.pop(pair, None)
                if pair.valid:
                    self._check_once(pair, now)
                else:
                    self._check(pair, now)
        if now >= self._next_check:
            ordinary = self._checklist.next_ordinary()
            if ordinary is not None:
                self._check(ordinary, now)
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
        selected = nomination.to_select(valid, self._consent.pair, now)
        if selected is not None:
            self._select(selected, now)
        if self._role.controlling:
            chosen = nomination.to_nominate(valid, self._direct_left(), now)
            if chosen is not None:
                self._check(chosen, now, nominate=True)

    def _direct_left(self) -> bool:
        """Whether a way without a relay may still be found."""
        if not (self._local_ended and self._remote_ended):
            return True
        pairs = self._checklist.pairs
        return any(not pair.relayed and pair.state is not PairState.FAILED for pair in pairs)

    def _nomination_at(self) -> float:
        """When a relay is nominated, for want of something better."""
        selected = self._consent.pair
        if not self._role.controlling or (selected is not None and selected.nominated):
            return math.inf
        valid = self._checklist.valid
        if not valid:
            return math.inf
        if any(pair.nominated or (pair.check and pair.check.nominates) for pair in valid):
            return math.inf
        return self._nomination.patient_until()

    def _move(self, pair: Pair, now: float) -> None:
        """The selected pair does not work any more, or the peer has left it."""
        for other in self._checklist.pairs:
            other.nominated = False
        pair.nominated = True
        self._select(pair, now)
        if self._role.controlling:
            self._check_once(pair, now, nominate=True)

    def _select(self, pair: Pair, now: float) -> None:
        if pair is self._consent.pair:
            return
        self._consent.start(pair, now)
        previous = self._previous
        if previous is not None and pair.credentials is self._checklist.credentials:
            self._previous = None
            self._forget(previous.pairs)
        self._events.append(Selected(pair.base, pair.address, pair.remote, pair.local))
        self._set_state("connected")

    # -- consent -----------------------------------------------------------------------------

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
            self._check_once(pair, now, nominate=self._role.controlling and pair.nominated)
            consent.asked(now)
            if consent.searching:
                self._probe_others(now)
        challenger = consent.challenger
        if challenger is not None and now >= consent.move_at():
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
            self._check_once(pair, now)

    # -- time --------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When :meth:`handle_timeout` is to be called; infinite: nothing waits."""
        if self.state == "closed":
            return math.inf
        deadline = self._queries.deadline()
        if self.state == "failed":
            return deadline
        consent = self._consent
        if self.state == "connected":
            deadline = min(deadline, consent.disconnected_at())
        return min(
            deadline,
            self._checks.deadline(),
            self._checks_deadline(),
            consent.deadline(),
            self._nomination_at(),
            self._failing_at(),
        )

    def handle_timeout(self, now: float) -> None:
        """The deadline has come."""
        if self.state == "closed":
            return
        self._events += self._queries.expire(now)
        self._failed(self._checks.expire(now), now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Do what is due."""
        if self.state in ("failed", "closed"):
            return
        self._check_consent(now)
        if self.state == "failed":
            return
        if now >= self._nomination_at():
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

    def _fail(self) -> None:
        self._stop()
        self._set_state("failed")

    def _stop(self) -> None:
        self._consent.end()
        self._previous = None
        self._checks.keep(None)
        self._checklist.triggered.clear()

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
        self._queries.clear()
        self._datagrams.clear()
        self._set_state("closed")

    def _send(self, base: int, address: Address, data: bytes) -> None:
        self._datagrams.append((base, address, data))

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
        self._checks.forget(gone)
        if self._consent.challenger in gone:
            self._consent.challenger = None

    def _set_state(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._events.append(StateChanged(state))
