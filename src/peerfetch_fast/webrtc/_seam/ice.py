"""An ICE agent that trickles its own candidates too (RFC 8838), on top of aioice's.

aioice 0.13 accepts a peer's candidates one by one but gathers its own in one go, so that an
unreachable STUN or TURN server holds up the offer for five seconds. Here the host candidates are
there at once, and the server-reflexive and relayed ones are gathered in the background, paired,
checked and reported as they come.
"""

from __future__ import annotations

import asyncio
import copy
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, cast

from aioice import Candidate, Connection, ConnectionClosed, TransportPolicy, mdns, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import (
    CandidatePair,
    ConnectionEvent,
    StunProtocol,
    get_host_addresses,
    get_or_create_mdns_protocol,
    relayed_candidate,
    server_reflexive_candidate,
)

from peerfetch_fast.webrtc.gate import MAX_DATAGRAM, Address, Gate, is_stun
from peerfetch_fast.webrtc.ice.opening import OPENING_TIMEOUT, unbroken

__all__ = ["TricklingConnection"]

logger = logging.getLogger(__name__)

GATHERING_TIMEOUT = 10.0
"""Seconds that a STUN or TURN server has to answer before gathering goes on without it."""

RELAY_CLOSE_TIMEOUT = 1.0
"""Seconds that a TURN server has to confirm that an allocation is given back."""

RELAY_PATIENCE = 1.0
"""Seconds for which direct ways are tried alone. Whichever check succeeds first decides; a relay's
does at once, where one through two routers takes a retransmission (0.5 s)."""

MAX_REMOTE_CANDIDATES = 64
"""Candidates of the peer that are kept, signaled or learned from its checks; more are ignored.
RFC 8445 section 6.1.2.5 wants a limit on pairs and suggests 100."""

MAX_QUEUED_DATAGRAMS = 1024
"""Datagrams that wait for whoever reads the connection; more are dropped, as a socket would."""

MAX_CHECKS = 200
"""Requests of the peer that are answered in a second; ICE sends one each 20 ms (RFC 8445 section
14.2), and each again."""

LOOPBACK = "127.0.0.1"

Gatherer = Callable[[], Coroutine[Any, Any, tuple[Candidate, StunProtocol | None]]]


class HostProtocol(StunProtocol):
    """A local candidate's socket. It drops datagrams that are not for it, or make no sense."""

    receiver: TricklingConnection

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        data = cast(bytes, data)
        try:
            if not is_stun(data):
                # An IPv6 address has four parts, of which ICE knows two.
                self.receiver.gate.receive(data, (addr[0], addr[1]))
            elif self._is_expected(data):
                super().datagram_received(data, addr)
            else:
                self.receiver.gate.refused += 1
        except Exception as exc:
            # Any sender that reaches the port chooses these bytes, and aioice raises whatever its
            # parsing or an attribute that is missing happens to raise.
            logger.debug("%s dropped a datagram from %s: %r", self, addr, exc)

    def _is_expected(self, data: bytes) -> bool:
        """Whether a STUN message may be worth parsing, which takes a hundred times as long."""
        if not stun.HEADER_LENGTH <= len(data) <= MAX_DATAGRAM:
            return False
        if int.from_bytes(data[:2], "big") & stun.Class.ERROR:
            return data[8:20] in self.transactions
        # The USERNAME of a request to us begins with our fragment (RFC 8445 section 7.2.2).
        return f"{self.receiver.local_username}:".encode() in data

    def send_stun(self, message: stun.Message, addr: Address) -> None:
        super().send_stun(message, addr)
        if message.message_class == stun.Class.RESPONSE:
            # aioice answers so where the request had our password, and nowhere else.
            self.receiver.admit(addr)


async def give_back(relay: StunProtocol) -> None:
    """Close a relayed candidate's transport; the server forgets of itself what it did not hear."""
    closing = asyncio.create_task(relay.close())
    done, _ = await asyncio.wait([closing], timeout=RELAY_CLOSE_TIMEOUT)
    if not done:
        getattr(relay.transport, "_TurnTransport__close_task").cancel()  # noqa: B009
    await closing


class TricklingConnection(Connection):
    """An ICE connection that gathers its late candidates in the background.

    :param host_addresses: addresses to gather host candidates on; None for all of this machine's.
    """

    def __init__(self, *, host_addresses: Sequence[str] | None, **kwargs: Any) -> None:
        super().__init__(ice_controlling=False, **kwargs)
        self._host_addresses = host_addresses
        self._gathering = False
        self._checking_since = 0.0
        self._late_task: asyncio.Task[None] | None = None
        self._late_jobs: list[asyncio.Task[None]] = []
        self._resolving: set[asyncio.Task[None]] = set()
        self.gate = Gate(lambda data: self.data_received(data, 1))
        self._checks = 0
        self._checks_until = 0.0

    # -- whom we listen to -------------------------------------------------------------------

    def admit(self, address: Address) -> None:
        """Take DTLS and RTP from an address, which is the peer's."""
        self.gate.admit(address)

    def expect_rtp(self) -> None:
        """Media was agreed: RTP is taken too."""
        self.gate.rtp = True

    @property
    def refused(self) -> int:
        """Datagrams that were not taken."""
        return self.gate.refused

    def request_received(
        self, message: stun.Message, addr: Address, protocol: StunProtocol, *raw_data: bytes
    ) -> None:
        # aioice 0.10 also passes on the datagram.
        now = asyncio.get_running_loop().time()
        if now >= self._checks_until:
            self._checks, self._checks_until = 0, now + 1.0
        self._checks += 1
        if self._checks <= MAX_CHECKS:
            super().request_received(message, addr, protocol, *raw_data)

    def respond_error(
        self,
        request: stun.Message,
        addr: Address,
        protocol: StunProtocol,
        error_code: tuple[int, str],
    ) -> None:
        # A request without a signature gets no answer: the address need not be the sender's.
        if error_code[0] not in (400, 401):
            super().respond_error(request, addr, protocol, error_code)

    # -- gathering ---------------------------------------------------------------------------

    @property
    def gathering(self) -> bool:
        """Whether local candidates may still be added."""
        return self._gathering

    async def gather_candidates(self) -> None:
        """Gather host candidates; :meth:`gather_late` is for the others."""
        if self._local_candidates_start:
            return
        self._local_candidates_start = True
        for component in self._components:
            for address in self._addresses():
                await self._gather_host(component, address)
        self._gathering = bool(self._late_gatherers())
        # For aioice this says that connect() may begin, and no more than that.
        self._local_candidates_end = True

    def gather_late(self, found: Callable[[Candidate], None], finished: Callable[[], None]) -> None:
        """Gather the server-reflexive and relayed candidates in the background.

        :param found: called with each candidate, from the event loop.
        :param finished: called once after the last of them, unless :meth:`close` comes first.
        """
        if self._gathering and self._late_task is None:
            self._late_task = asyncio.create_task(self._gather_late(found, finished))

    def _addresses(self) -> Sequence[str]:
        # Host candidates are not used with the relay policy (RFC 9429 section 3.5.3).
        if self._transport_policy == TransportPolicy.RELAY:
            return []
        if self._host_addresses is not None:
            return self._host_addresses
        # aioice leaves the loopback address out, and a machine without a network has no other.
        return get_host_addresses(self._use_ipv4, self._use_ipv6) or [LOOPBACK]

    async def _open_host(self, address: str) -> HostProtocol:
        loop = asyncio.get_running_loop()
        protocol = HostProtocol(self)
        try:
            await unbroken(loop.create_datagram_endpoint(lambda: protocol, local_addr=(address, 0)))
        except asyncio.CancelledError:
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                transport.close()
            raise
        return protocol

    async def _gather_host(self, component: int, address: str) -> None:
        try:
            protocol = await self._open_host(address)
        except OSError as exc:
            logger.info("%s cannot bind to %s: %s", self, address, exc)
            return
        host, port = protocol.transport.get_extra_info("sockname")[:2]
        protocol.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=host,
            port=port,
            type="host",
        )
        self._protocols.append(protocol)
        self._local_candidates.append(protocol.local_candidate)

    def _late_gatherers(self) -> list[Gatherer]:
        """The candidates to gather from servers, each as a function that starts it."""
        gatherers: list[Gatherer] = []
        if self.stun_server is not None:
            gatherers += [
                partial(server_reflexive_candidate, protocol, self.stun_server)
                for protocol in self._protocols
                # aioice looks up IPv4 addresses of STUN servers only.
                if ipaddress.ip_address(protocol.local_candidate.host).version == 4
            ]
        if self.turn_server is not None:
            gatherers += [
                partial(self._gather_relayed, component, self.turn_server)
                for component in self._components
            ]
        return gatherers

    async def _gather_relayed(
        self, component: int, server: tuple[str, int]
    ) -> tuple[Candidate, StunProtocol]:
        opened = asyncio.Event()

        def open_relay() -> HostProtocol:
            opened.set()
            return HostProtocol(self)

        task = asyncio.create_task(
            relayed_candidate(
                component=component,
                hide_related_address=self._transport_policy == TransportPolicy.RELAY,
                protocol_factory=open_relay,
                turn_server=server,
                turn_username=self.turn_username,
                turn_password=self.turn_password,
                turn_ssl=self.turn_ssl,
                turn_transport=self.turn_transport,
            )
        )
        task.add_done_callback(lambda _: opened.set())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # From here on aioice closes its socket; see unbroken().
            opening = asyncio.create_task(opened.wait())
            try:
                await asyncio.wait([opening], timeout=OPENING_TIMEOUT)
            finally:
                opening.cancel()
                task.cancel()
            (found,) = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(found, BaseException):
                await give_back(found[1])
            raise

    async def _gather_late(
        self, found: Callable[[Candidate], None], finished: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()

        async def gather(gatherer: Gatherer) -> None:
            try:
                candidate, relay = await gatherer()
            except Exception as exc:
                # A server that is not there, or that answers nonsense, costs its candidates.
                logger.info("%s gathered nothing from a server: %r", self, exc)
                return
            if self._add_local_candidate(candidate, relay):
                loop.call_soon(found, candidate)

        tasks = [asyncio.create_task(gather(gatherer)) for gatherer in self._late_gatherers()]
        self._late_jobs = tasks
        try:
            await asyncio.wait(tasks, timeout=GATHERING_TIMEOUT)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._end_gathering()
        loop.call_soon(finished)

    def _add_local_candidate(self, candidate: Candidate, relay: StunProtocol | None) -> bool:
        """Take up a candidate; False if it adds nothing to those that there are."""
        if relay is not None:
            # Data leaves through another socket here, so it needs pairs of its own. A reflexive
            # candidate does not: its base's pairs are its pairs (RFC 8445 section 6.1.2.4).
            self._protocols.append(relay)
            for remote_candidate in self._remote_candidates:
                self._pair_remote_candidate(remote_candidate)
            self.sort_check_list()
        elif any(
            (known.host, known.port) == (candidate.host, candidate.port)
            for known in self._local_candidates
        ):
            return False  # no address translation on the way (RFC 8445 section 5.1.3)
        self._local_candidates.append(candidate)
        return True

    def _end_gathering(self) -> None:
        self._gathering = False
        # The last reason to go on waiting may have gone, as in aioice's own handling of the
        # peer's end-of-candidates.
        if self._early_checks_done and not self._check_list_maybe_complete():
            self._check_list_maybe_fail()

    # -- the peer's candidates ---------------------------------------------------------------

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        if (
            remote_candidate is None
            or not mdns.is_mdns_hostname(remote_candidate.host)
            or self._transport_policy == TransportPolicy.RELAY
            or self._remote_candidates_end
            or self._closing
        ):
            await super().add_remote_candidate(remote_candidate)
            return
        # aioice would hold its caller, and with it the answer, for the second that a name
        # nobody answers for takes. The rest is as there: an end of candidates that comes
        # meanwhile waits for the name.
        if self._remote_candidates_resolving >= MAX_REMOTE_CANDIDATES:
            return
        self._remote_candidates_resolving += 1
        task = asyncio.create_task(self._resolve(copy.copy(remote_candidate)))
        self._resolving.add(task)
        task.add_done_callback(self._resolving.discard)

    async def _resolve(self, remote_candidate: Candidate) -> None:
        try:
            protocol = await unbroken(get_or_create_mdns_protocol(self))
            address = await protocol.resolve(remote_candidate.host)
            if address is not None and not self._closing:
                self._add_remote_candidate(remote_candidate, address)
        except Exception as exc:
            # No multicast here, or a name that cannot be one.
            logger.info("%s cannot resolve %s: %r", self, remote_candidate.host, exc)
        finally:
            self._remote_candidates_resolving -= 1
            if (
                self._remote_candidates_end
                and not self._remote_candidates_resolving
                and not self._closing
            ):
                self._end_remote_candidates()

    def _add_remote_candidate(self, remote_candidate: Candidate, network_host: str) -> None:
        # A port that no datagram can be sent to would raise in the middle of a check.
        if not 0 < remote_candidate.port < 65536:
            logger.info("%s ignores %s: no such port", self, remote_candidate)
        elif len(self._remote_candidates) >= MAX_REMOTE_CANDIDATES:
            logger.info("%s ignores %s: too many candidates", self, remote_candidate)
        else:
            known = len(self._remote_candidates)
            super()._add_remote_candidate(remote_candidate, network_host)
            for candidate in self._remote_candidates[known:]:
                self.gate.expect((candidate._network_host, candidate.port))

    def _remote_candidates_expected(self) -> bool:
        # This decides in aioice whether new pairs may still come: whether the checks go
        # on, and whether it is too early to fail. Our own late candidates bring pairs as well.
        return self._gathering or super()._remote_candidates_expected()

    def check_incoming(
        self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        if len(self._remote_candidates) >= MAX_REMOTE_CANDIDATES and not any(
            (known._network_host, known.port) == addr for known in self._remote_candidates
        ):
            return
        super().check_incoming(message, addr, protocol)

    async def check_start(self, pair: CandidatePair) -> None:
        # Only the controlling side nominates; what the other one tries brings no decision.
        if (
            self.ice_controlling
            and self._transport_policy != TransportPolicy.RELAY
            and "relay" in (pair.local_candidate.type, pair.remote_candidate.type)
        ):
            self.check_state(pair, CandidatePair.State.IN_PROGRESS)
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._checking_since + RELAY_PATIENCE - loop.time())
        await super().check_start(pair)

    def check_complete(self, pair: CandidatePair) -> None:
        if pair.state == CandidatePair.State.SUCCEEDED:
            # It has signed an answer; with ICE lite it sends no checks of its own.
            self.admit(pair.remote_addr)
        super().check_complete(pair)

    # -- life --------------------------------------------------------------------------------

    async def connect(self) -> None:
        self._checking_since = asyncio.get_running_loop().time()
        await super().connect()
        if self._closing:
            # close() came while it returned, and did not find what has only now begun.
            await self._end_consent()
            raise ConnectionError("closed while a way was found")
        for pair in self._nominated.values():
            logger.info(
                "connected from our %s candidate to their %s candidate, %s",
                pair.local_candidate.type,
                pair.remote_candidate.type,
                pair.remote_addr[0],
            )
        # A pair is chosen, and aioice keeps to it: what servers may still have is of no use.
        for task in self._late_jobs:
            task.cancel()

    async def get_event(self) -> ConnectionEvent:
        # aiortc asks until it is told of the end, which aioice tells only those who wait for it.
        return await super().get_event() or ConnectionClosed()

    async def _end_consent(self) -> None:
        task = self._query_consent_task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def data_received(self, data: bytes, component: int) -> None:
        if self._queue.qsize() < MAX_QUEUED_DATAGRAMS:
            super().data_received(data, component)

    async def close(self) -> None:
        self._closing = True
        tasks = [*self._resolving]
        if self._late_task is not None:
            tasks.append(self._late_task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._gathering = False
        relays = [p for p in self._protocols if p.local_candidate.type == "relay"]
        self._protocols = [p for p in self._protocols if p not in relays]
        await super().close()
        # Giving an allocation back takes a minute if its server has gone.
        await asyncio.gather(*(give_back(relay) for relay in relays))
