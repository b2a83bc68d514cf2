"""Where this side can be reached: host candidates at once, those of servers when they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from peerfetch_fast.errors import RelayError
from peerfetch_fast.interfaces import host_addresses, is_ours
from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority
from peerfetch_fast.webrtc.ice.gathering import (
    IceServer,
    Server,
    resolve,
    servers_of,
)
from peerfetch_fast.webrtc.sockets import Sockets

__all__ = ["GATHERING_TIMEOUT", "Gatherer"]

logger = logging.getLogger(__name__)

GATHERING_TIMEOUT = 10.0
"""Seconds that a STUN or TURN server has to answer before gathering goes on without it."""

MAX_HOSTS = 16
"""Local addresses that are used; of more, the first."""

Address = tuple[str, int]


class Gatherer:
    """Finds the candidates of one connection.

    :param servers: STUN and TURN servers.
    :param relay_only: whether relayed candidates are the only ones.
    :param hosts: the local addresses to use; None for all of this machine's.
    :param query: called with a STUN server's address and the number of the socket to ask it from;
        :meth:`answered` or :meth:`silent` follows.
    :param found: called with each candidate and the number of its socket.
    :param finished: called after the last.
    """

    def __init__(
        self,
        sockets: Sockets,
        servers: Sequence[IceServer],
        relay_only: bool,
        hosts: Sequence[str] | None,
        *,
        query: Callable[[Address, int], object],
        found: Callable[[Candidate, int], object],
        finished: Callable[[], object],
    ) -> None:
        self._sockets = sockets
        self._servers = servers_of(servers)
        self._relay_only = relay_only
        self._hosts = hosts
        self._query = query
        self._found = found
        self._finished = finished
        self._asked: dict[tuple[int, Address], asyncio.Future[Address | None]] = {}
        self._candidates: list[tuple[Candidate, int]] = []
        self._relays: dict[Server, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._begun = False

    @property
    def candidates(self) -> list[Candidate]:
        """Those of sockets that there still are."""
        return [candidate for candidate, _ in self._candidates]

    @property
    def begun(self) -> bool:
        """Whether host candidates were gathered."""
        return self._begun

    @property
    def complete(self) -> bool:
        """Whether no candidate follows."""
        return self._begun and self._task is None

    def gather_hosts(self) -> None:
        """Open a socket on each local address that has none; those of addresses that are gone are
        closed. The candidates are found at once.
        """
        self._begun = True
        if self._relay_only:
            return
        found = self._hosts if self._hosts is not None else host_addresses()
        # An address of the link alone is reached with a scope, which candidates cannot name.
        wanted = [address for address in found if "%" not in address][:MAX_HOSTS]
        known = self._sockets.ports
        for base, address in known.items():
            # One whose network is down only may have it back soon.
            if address not in wanted and not (self._hosts is None and is_ours(address)):
                self._sockets.lost(base, OSError(f"{address} is no address of ours any more"))
        for index, address in enumerate(wanted):
            if address in known.values():
                continue
            opened = self._sockets.open_port(address)
            if opened is None:
                continue
            base, port = opened
            self._take(
                Candidate(
                    foundation=foundation("host", "udp", address),
                    component=1,
                    transport="udp",
                    priority=priority("host", 65535 - index),
                    host=address,
                    port=port,
                    type="host",
                ),
                base,
            )

    def gather_late(self) -> None:
        """Ask the servers, in the background; one run at a time."""
        if self._task is None and self._servers:
            self._task = asyncio.get_running_loop().create_task(self._gather_late())

    def gather_anew(self) -> None:
        """Go by the addresses that there are now. Servers are asked once more: those that are being
        asked may answer to an address that is gone.
        """
        self._sockets.drop_relays()
        self.gather_hosts()
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None
        self.gather_late()

    def answered(self, base: int, server: Address, mapped: Address) -> None:
        """A STUN server has said how it sees a socket."""
        self._settle(base, server, mapped)

    def silent(self, base: int, server: Address) -> None:
        """A STUN server does not answer."""
        self._settle(base, server, None)

    def drop(self, base: int) -> None:
        """A socket is gone, and with it its candidates."""
        self._candidates = [found for found in self._candidates if found[1] != base]
        self._relays = {server: its for server, its in self._relays.items() if its != base}

    async def close(self) -> None:
        """Stop asking, and let what was being opened come to its end."""
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
        if self._ending:
            await asyncio.wait(self._ending)

    def _settle(self, base: int, server: Address, mapped: Address | None) -> None:
        future = self._asked.pop((base, server), None)
        if future is not None and not future.done():
            future.set_result(mapped)

    def _take(self, candidate: Candidate, base: int) -> None:
        if any(
            (known.host, known.port) == (candidate.host, candidate.port)
            for known in self.candidates
        ):
            return  # no address translation on the way (RFC 8445 section 5.1.3)
        self._candidates.append((candidate, base))
        self._found(candidate, base)

    async def _gather_late(self) -> None:
        jobs = [asyncio.create_task(self._ask(server)) for server in self._servers]
        try:
            await asyncio.wait(jobs, timeout=GATHERING_TIMEOUT)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        self._task = None
        self._finished()

    async def _ask(self, server: Server) -> None:
        try:
            if server.relays:
                await self._ask_for_relay(server)
            elif not self._relay_only:
                addresses = await resolve(server)
                await asyncio.gather(
                    *(
                        self._ask_for_mapping(base, local, address)
                        for base, local in self._sockets.ports.items()
                        for address in addresses[:2]
                        if (":" in local) == (":" in address[0])
                    )
                )
        except (OSError, RelayError) as exc:
            # A server that is not there, or that answers nonsense, costs its candidates.
            logger.info("nothing was gathered from %s: %s", server, exc)

    async def _ask_for_mapping(self, base: int, local: str, server: Address) -> None:
        future: asyncio.Future[Address | None] = asyncio.get_running_loop().create_future()
        self._asked[base, server] = future
        self._query(server, base)
        mapped = await future
        if mapped is None or base not in self._sockets.ports:
            return
        host, port = next(
            (known.host, known.port)
            for known, its in self._candidates
            if its == base and known.type == "host"
        )
        self._take(
            Candidate(
                foundation=foundation("srflx", "udp", local, server[0]),
                component=1,
                transport="udp",
                priority=priority("srflx", 65535 - list(self._sockets.ports).index(base)),
                host=mapped[0],
                port=mapped[1],
                type="srflx",
                related_address=host,
                related_port=port,
            ),
            base,
        )

    async def _ask_for_relay(self, server: Server) -> None:
        known = self._relays.get(server)
        if known is not None and await self._sockets.relay_holds(known):
            return  # it takes part in a restart as the ports do
        base, relay = await self._sockets.open_relay(server)
        self._relays[server] = base
        hidden = self._relay_only
        self._take(
            Candidate(
                foundation=foundation("relay", "udp", relay.address[0], server.host),
                component=1,
                transport="udp",
                priority=priority("relay", 65535 - base % 1000),
                host=relay.address[0],
                port=relay.address[1],
                type="relay",
                related_address="0.0.0.0" if hidden else relay.related_address[0],  # noqa: S104
                related_port=0 if hidden else relay.related_address[1],
            ),
            base,
        )
