"""The connectivity of an ICE agent: checks, selection, consent (RFC 8445 sections 6 to 8, 7675)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from peerfetch_fast.webrtc.ice import stun
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.checklist import CheckList, Family, reflexive
from peerfetch_fast.webrtc.ice.checks import Answer, Checks
from peerfetch_fast.webrtc.ice.consent import Consent
from peerfetch_fast.webrtc.ice.credentials import Credentials
from peerfetch_fast.webrtc.ice.events import Address, Event, Selected, State, StateChanged
from peerfetch_fast.webrtc.ice.nomination import Nomination
from peerfetch_fast.webrtc.ice.pairs import Pair, PairState
from peerfetch_fast.webrtc.ice.queries import Queries
from peerfetch_fast.webrtc.ice.roles import Role
from peerfetch_fast.webrtc.ice.settings import AgentSettings

__all__ = ["Base", "Connectivity"]

MAX_PROBED = 8
"""Pairs that are checked at a time when the selected one is silent."""


class Base:
    """One of our sockets, and the addresses at which it is known."""

    __slots__ = ("addresses", "candidate", "family")

    def __init__(self, candidate: Candidate, family: Family) -> None:
        self.candidate = candidate
        self.family = family
        self.addresses = {(candidate.host, candidate.port)}


class Connectivity:
    """The part of :class:`~peerfetch_fast.webrtc.ice.agent.Agent` that its owner does not see.

    :ivar state: where it stands.
    """

    def __init__(
        self,
        controlling: bool,
        credentials: Credentials,
        rng: random.Random,
        settings: AgentSettings,
    ) -> None:
        self.state: State = "new"
        self._settings = settings
        self._role = Role(controlling, rng)
        self._bases: dict[int, Base] = {}
        self._checklist = CheckList(credentials, settings)
        self._previous: CheckList | None = None
        self._nomination = Nomination(settings)
        self._consent = Consent(settings, rng)
        self._checks = Checks(settings, self._role, rng, self._send)
        self._queries = Queries(settings, rng, self._send)
        self._datagrams: list[tuple[int, Address, bytes]] = []
        self._events: list[Event] = []
        self._local_ended = False
        self._remote_ended = False
        self._renewed = True  # whether our credentials are those of this run alone
        self._began = math.inf  # checking
        self._next_check = -math.inf

    # -- checks ------------------------------------------------------------------------------

    def _take_answer(self, answer: Answer, now: float) -> None:
        transaction, message, mapped = answer
        pair = transaction.pair
        assert pair is not None
        decisive = pair.check is transaction
        if mapped is None:
            current = pair.credentials is self._checklist.credentials
            if stun.error_code(message) == 487 and current:
                self._lose_role(transaction.controlling)
                self._checklist.trigger(pair)
            elif decisive:
                # The selected pair too: to nominate it once more would have the same answer.
                pair.state = PairState.FAILED
            if decisive:
                pair.check = None
            self._decide(now)
            return
        if decisive:
            pair.check = None
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

    def _came_by(self, pair: Pair, wanted: bool, now: float) -> None:
        """The peer has used a way that works, and is not the selected one."""
        if wanted:
            self._move(pair, now)
        else:
            self._consent.challenge(pair, now)

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
        self._queries.release()
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
        self._queries.release()
        self._previous = None
        self._checks.keep(None)
        self._checklist.triggered.clear()

    def _send(self, base: int, address: Address, data: bytes) -> None:
        self._datagrams.append((base, address, data))

    def _checklists(self) -> list[CheckList]:
        return [self._checklist] if self._previous is None else [self._checklist, self._previous]

    def _forget(self, gone: Sequence[Pair]) -> None:
        """Pairs are no more, nor is what they waited for."""
        self._checks.forget(gone)
        if self._consent.challenger in gone:
            self._consent.challenger = None

    def _set_state(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._events.append(StateChanged(state))
