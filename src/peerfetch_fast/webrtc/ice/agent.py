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
from peerfetch_fast.webrtc.ice.checklist import CheckList, family_of
from peerfetch_fast.webrtc.ice.checks import Extension
from peerfetch_fast.webrtc.ice.connectivity import Base, Connectivity
from peerfetch_fast.webrtc.ice.credentials import Credentials
from peerfetch_fast.webrtc.ice.events import (
    Address,
    Admitted,
    Event,
    ServerSilent,
)
from peerfetch_fast.webrtc.ice.nomination import Nomination
from peerfetch_fast.webrtc.ice.pairs import Pair, PairState
from peerfetch_fast.webrtc.ice.settings import AgentSettings

__all__ = ["Agent", "Extension"]

MAX_ADDRESSES = 16
"""Addresses at which one of our sockets is known."""

_REQUEST = stun.REQUEST.to_bytes(2, "big")
_ANSWERS = (stun.RESPONSE.to_bytes(2, "big"), stun.ERROR.to_bytes(2, "big"))


class Agent(Connectivity):
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
        super().__init__(controlling, Credentials(ufrag, password), random, settings)
        self.ufrag = ufrag
        self.password = password
        self.refused = 0
        self._budget = Budget(settings.max_checks)
        self._sources: dict[Address, None] = {}
        self._excluded: dict[Address, None] = {}

    @property
    def controlling(self) -> bool:
        """Whether we nominate."""
        return self._role.controlling

    @property
    def extension(self) -> Extension | None:
        """The extension that adds attributes to checks (SPED)."""
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
        self._bases[base] = Base(candidate, family)
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

    def exclude(self, address: Address, now: float) -> None:
        """Take no way to an address of the peer, and answer nothing that comes from there."""
        if len(self._excluded) >= self._settings.max_remote_candidates:
            del self._excluded[next(iter(self._excluded))]
        self._excluded[address] = None
        for checklist in self._checklists():
            self._forget(checklist.exclude(address))
        selected = self._consent.pair
        if selected is not None and selected.address == address:
            self._lose_selected(now)
        self._go_on(now)

    @property
    def remote_types(self) -> set[str]:
        """Of which types the peer's candidates are."""
        return {candidate.type for candidate in self._checklist.remotes.values()}

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
        """Take up checks that came before the peer's credentials (RFC 8445 section 7.3)."""
        checklist = self._checklist
        early, checklist.early = checklist.early, {}
        for (base, address), (rank, wanted, ufrag) in early.items():
            if ufrag == checklist.credentials.remote_ufrag and base in self._bases:
                self._checked(base, address, rank, wanted, now)

    # -- restart -----------------------------------------------------------------------------

    def restart(self, ufrag: str, password: str, now: float) -> None:
        """Begin anew with other credentials of ours (RFC 8445 section 9).

        The selected pair stays so until the new run has found one. Our sockets take part in it.
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
        """Take a datagram that may be STUN. Nothing is raised, for any bytes."""
        kind, taken = data[:2], False
        if address in self._excluded:
            pass
        elif base in self._bases and len(data) <= stun.MAX_MESSAGE and self.state != "closed":
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
        """Act on the attributes of a request, once it is answered."""
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
        event = self._queries.receive(data, base, address, now)
        if event is not None:
            self._events.append(event)
        return event is not None

    # -- results -----------------------------------------------------------------------------

    def take_datagrams(self) -> list[tuple[int, Address, bytes]]:
        """The datagrams to be sent: from which socket, and where to."""
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Stop. Nothing more is sent, and nothing answered."""
        self._stop()
        self._queries.clear()
        self._datagrams.clear()
        self._set_state("closed")

    def _admit(self, base: int, address: Address) -> None:
        if address in self._sources:
            return
        if len(self._sources) >= self._settings.max_sources:
            del self._sources[next(iter(self._sources))]
        self._sources[address] = None
        self._events.append(Admitted(base, address))
