"""The ICE side of a connection: an agent, its sockets, and what finds their candidates."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from peerfetch_fast.networks import Networks, Watch, watch_networks
from peerfetch_fast.webrtc._path import DataPath
from peerfetch_fast.webrtc.descriptions import MAX_CANDIDATES
from peerfetch_fast.webrtc.gate import Address, Gate
from peerfetch_fast.webrtc.gatherer import Gatherer
from peerfetch_fast.webrtc.ice.agent import Agent
from peerfetch_fast.webrtc.ice.candidate import Candidate
from peerfetch_fast.webrtc.ice.events import (
    Admitted,
    Event,
    Selected,
    ServerAnswered,
    ServerSilent,
    StateChanged,
)
from peerfetch_fast.webrtc.ice.gathering import IceServer, resolve_mdns
from peerfetch_fast.webrtc.ice.reasons import reason
from peerfetch_fast.webrtc.sockets import Sockets

__all__ = ["IceTransport"]

logger = logging.getLogger(__name__)


FINE, COARSE = 0.001, 0.25
"""Seconds to which timers are rounded up, those that are longer than that to the coarse ones: then
the checks of many idle connections leave in one turn of the loop.
"""


class Described(Protocol):
    """What a description says of ICE: as of :class:`~peerfetch_fast.webrtc.sdp.Remote`."""

    @property
    def ufrag(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def lite(self) -> bool: ...
    @property
    def candidates(self) -> tuple[Candidate, ...]: ...
    @property
    def complete(self) -> bool: ...


class IceTransport:
    """Drives an ICE agent on the event loop, and has the path send where it has selected.

    :param ice_servers: and ``relay_only``, ``direct_only``, ``map_ports``, ``host_addresses``:
        as of ``DataConnection``.
    :param on_candidate: called with each candidate of ours that is not in a description yet, and
        with None after the last.
    :param on_selected: called with each way that is selected, once the path sends there.
    :param on_state: called when the agent's state has changed.
    :param on_moved: called when there is a reason to look for another way though this one may
        work still: this machine's networks are others than before.
    :ivar agent: None until :meth:`begin`.
    :ivar selected: the way that data takes.
    """

    def __init__(
        self,
        path: DataPath,
        *,
        ice_servers: Sequence[IceServer],
        relay_only: bool,
        direct_only: bool,
        map_ports: bool,
        host_addresses: Sequence[str] | None,
        on_candidate: Callable[[Candidate | None], object],
        on_selected: Callable[[Selected], object],
        on_state: Callable[[], object],
        on_moved: Callable[[], object],
    ) -> None:
        self._event_loop = asyncio.get_running_loop()
        self._path = path
        self._on_candidate = on_candidate
        self._on_selected = on_selected
        self._on_state = on_state
        self._on_moved = on_moved
        self._direct_only = direct_only
        self._watches_networks = host_addresses is None
        self._watch: Watch | None = None
        self._sources: frozenset[str] = frozenset()
        self.gate = Gate(path.receive)
        path.on_early = self.gate.receive
        self.agent: Agent | None = None
        self.selected: Selected | None = None
        self.sockets = Sockets(path, self.gate, self._on_stun, self._on_socket_lost)
        self.gatherer = Gatherer(
            self.sockets,
            ice_servers,
            relay_only,
            direct_only,
            map_ports,
            host_addresses,
            query=self._on_query,
            found=self._on_found,
            finished=self._on_gathered,
        )
        self._announcing = False
        self._resolving: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._settling = False
        self._closed = False

    # -- beginning, and beginning anew ---------------------------------------------------------

    def begin(self, *, controlling: bool) -> None:
        """Have an agent."""
        ufrag, password = _new_credentials()
        self.agent = Agent(
            controlling=controlling, ufrag=ufrag, password=password, random=random.SystemRandom()
        )

    def restart(self) -> None:
        """Look for another way, with other credentials (RFC 8445 section 9)."""
        assert self.agent is not None
        self.agent.restart(*_new_credentials(), self._path.now())

    def gather(self) -> None:
        """Find candidates: those of hosts are known when it returns."""
        fresh = not self.gatherer.begun
        # Candidates in the description need no message of their own.
        self._announcing = False
        self.gatherer.gather_hosts()
        self._announcing = True
        self.gatherer.gather_late()
        if fresh and self.gatherer.complete:
            self._event_loop.call_soon(self._on_gathered)
        if fresh and self._watches_networks:
            self._watch = watch_networks(self._on_networks)
            self._sources = self._watch.networks.sources

    def networks_changed(self) -> None:
        """This machine has other addresses than before."""
        if self.gatherer.begun and not self._closed:
            self.gatherer.gather_anew()
            self.settle()

    def _on_networks(self, networks: Networks) -> None:
        before, self._sources = self._sources, networks.sources
        self.networks_changed()
        selected = None
        if self.selected is not None:
            selected = self.sockets.local_address(self.selected.base)
        # Other new addresses, of a container's bridge say, are gathered without a restart.
        if networks.sources != before or selected is None or not networks.has(selected):
            self._on_moved()

    # -- the other side ------------------------------------------------------------------------

    def set_remote(self, remote: Described) -> None:
        """Take what its description says of ICE."""
        assert self.agent is not None
        now = self._path.now()
        self.agent.set_remote(remote.ufrag, remote.password, now, lite=remote.lite)
        for candidate in remote.candidates:
            self.add(candidate)
        if remote.complete:
            self.agent.end_of_remote(now)

    def end_of_remote(self) -> None:
        """It has no more candidates."""
        assert self.agent is not None
        self.agent.end_of_remote(self._path.now())

    def add(self, candidate: Candidate) -> None:
        """Try a candidate of its, once its name is resolved if it has one."""
        if not candidate.host.endswith(".local"):
            self._try(candidate, hidden=False)
        elif len(self._resolving) < MAX_CANDIDATES:
            task = self._event_loop.create_task(self._resolve(candidate))
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)

    async def _resolve(self, candidate: Candidate) -> None:
        address = await resolve_mdns(candidate.host)
        if address is None:
            logger.info("nobody here is called %s", candidate.host)
        elif not self._closed:
            self._try(dataclasses.replace(candidate, host=address), hidden=True)
            self.settle()

    def _try(self, candidate: Candidate, *, hidden: bool) -> None:
        assert self.agent is not None
        if self._direct_only and candidate.type == "relay":
            # Not to check it is not enough: it may check us.
            self.agent.exclude((candidate.host, candidate.port), self._path.now())
            return
        self.gate.expect((candidate.host, candidate.port))
        self.agent.add_remote(candidate, self._path.now(), hidden=hidden)

    # -- candidates of ours --------------------------------------------------------------------

    def _on_query(self, server: Address, base: int) -> None:
        assert self.agent is not None
        self.agent.query_server(server, base, self._path.now())
        self.settle()

    def _on_found(self, candidate: Candidate, base: int) -> None:
        assert self.agent is not None
        self.agent.add_local(candidate, base, self._path.now())
        self.settle()
        if self._announcing:
            self._on_candidate(candidate)

    def _on_gathered(self) -> None:
        if self.agent is not None and not self._closed:
            self.agent.end_of_local(self._path.now())
            self.settle()
            self._on_candidate(None)

    # -- the agent -----------------------------------------------------------------------------

    def _on_stun(self, data: bytes, base: int, address: Address) -> None:
        if self.agent is not None and not self._closed:
            self.agent.receive(data, base, address, self._path.now())
            self.settle()

    def _on_socket_lost(self, base: int) -> None:
        self.gatherer.drop(base)
        if self.agent is not None:
            self.agent.remove_base(base, self._path.now())
            self.settle()

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self.agent is not None:
            self.agent.handle_timeout(self._path.now())
            self.settle()

    def settle(self) -> None:
        """Do what the agent asks for. To be called after each call of it."""
        agent = self.agent
        if agent is None or self._settling:
            return
        self._settling = True
        try:
            while True:
                for base, address, data in agent.take_datagrams():
                    self.sockets.send(base, address, data)
                events = agent.take_events()
                if not events:
                    break
                for event in events:
                    self._on_event(event)
        finally:
            self._settling = False
        self._arm(agent.deadline())

    def _arm(self, deadline: float) -> None:
        # A timer that is too early fires for nothing, which costs less than moving it each time.
        if deadline >= self._timer_at or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(deadline - self._path.now(), 0.0)
        at = self._event_loop.time() + delay
        grain = FINE if delay < COARSE else COARSE
        self._timer = self._event_loop.call_at(math.ceil(at / grain) * grain, self._on_timer)

    def _on_event(self, event: Event) -> None:
        match event:
            case Admitted():
                # The datagrams in the order in which they came.
                self.gate.admit(event.address)
                self._path.admit(event.address)
            case Selected():
                self.selected = event
                self.sockets.select(event.base, event.address)
                self._on_selected(event)
            case ServerAnswered():
                self.gatherer.answered(event.base, event.server, event.mapped)
            case ServerSilent():
                self.gatherer.silent(event.base, event.server)
            case StateChanged():
                self._on_state()

    def deselect(self) -> None:
        """Nothing more goes there; a restart may bring another way."""
        self.selected = None
        self._path.deselect()

    @property
    def why(self) -> str | None:
        """Why data takes no better way than it does; None for the best, and while there is none."""
        if self.selected is None or self.agent is None:
            return None
        ours = {candidate.type for candidate in self.gatherer.candidates}
        return reason(self.selected, ours, self.agent.remote_types, asks=self.gatherer.asks)

    @property
    def relay(self) -> str | None:
        """The TURN server of ours that data goes through."""
        server = None if self.selected is None else self.gatherer.relay_of(self.selected.base)
        return None if server is None else str(server)

    # -- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let go of everything."""
        self._closed = True
        if self._watch is not None:
            self._watch.stop()
        resolving = list(self._resolving)
        for task in resolving:
            task.cancel()
        if self.agent is not None:
            self.agent.close()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*resolving, return_exceptions=True)
        await self.gatherer.close()
        await self.sockets.close()


def _new_credentials() -> tuple[str, str]:
    """A user fragment and a password: 32 and 128 bits (RFC 8445 section 5.3)."""
    return secrets.token_hex(4), secrets.token_hex(16)
