"""Where this side can be reached: host candidates at once, those of servers when they come."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from peerfetch_fast.errors import MappingError, RelayError
from peerfetch_fast.interfaces import host_addresses, is_ours
from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority
from peerfetch_fast.webrtc.ice.gathering import (
    IceServer,
    Server,
    resolve,
    servers_of,
)
from peerfetch_fast.webrtc.sockets import Sockets

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.mapping.mapper import Mapping

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
    :param direct_only: whether no server is asked to relay.
    :param map_ports: whether the router is asked for ports.
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
        direct_only: bool,
        map_ports: bool,
        hosts: Sequence[str] | None,
        *,
        query: Callable[[Address, int], object],
        found: Callable[[Candidate, int], object],
        finished: Callable[[], object],
    ) -> None:
        self._sockets = sockets
        self._direct_only = direct_only
        self._map_ports = map_ports and not relay_only
        self._mappings: dict[int, Mapping] = {}
        self._servers = self._wanted(servers)
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
        """The candidates of the sockets that are still open."""
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
        if self._task is None and (self._servers or self._map_ports):
            self._task = asyncio.get_running_loop().create_task(self._gather_late())

    def gather_anew(self) -> None:
        """Go by the addresses that there are now. Servers are asked once more: those that are being
        asked may answer to an address that is gone.
        """
        self._sockets.drop_relays()
        self.gather_hosts()
        self._stop_asking()
        self.gather_late()

    def use_servers(self, servers: Sequence[IceServer]) -> None:
        """Ask these from the next run on, as when their logins were renewed; a run that asks others
        is ended. None changes nothing. Raises InvalidIceServer.
        """
        wanted = self._wanted(servers)
        if wanted and wanted != self._servers:
            self._servers = wanted
            self._stop_asking()

    def _wanted(self, servers: Sequence[IceServer]) -> list[Server]:
        read = servers_of(servers)
        return [one for one in read if not one.relays] if self._direct_only else read

    def relay_of(self, base: int) -> Server | None:
        """The TURN server that a socket is at; None for a port of this machine."""
        return next((server for server, its in self._relays.items() if its == base), None)

    @property
    def asks(self) -> bool:
        """Whether there are servers that tell public addresses."""
        return bool(self._servers) and not self._relay_only

    def _stop_asking(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None

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
        mapping = self._mappings.pop(base, None)
        if mapping is not None:
            self._end(mapping.close())

    def _end(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Stop asking, and let what was being opened come to its end."""
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
        if self._ending:
            await asyncio.wait(self._ending)
        # After the run: it may just have opened one.
        mappings, self._mappings = self._mappings, {}
        await asyncio.gather(*(mapping.close() for mapping in mappings.values()))

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
        if self._map_ports:
            ports = self._sockets.ports.items()
            jobs += [asyncio.create_task(self._map(*port)) for port in ports if ":" not in port[1]]
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

    async def _map(self, base: int, local: str) -> None:
        """Have the router open a port for one of ours."""
        if base in self._mappings or ipaddress.ip_address(local).is_loopback:
            return
        from peerfetch_fast.webrtc.mapping.mapper import open_port

        known = next(one for one, its in self._candidates if its == base and one.type == "host")
        try:
            mapping = await open_port(local, known.port)
        except MappingError as error:
            logger.info("no port was opened for %s: %s", local, error)
            return
        if base not in self._sockets.ports:
            await mapping.close()
            return
        self._mappings[base] = mapping
        self._take_reflexive(base, known, mapping.host, mapping.port, "router")

    async def _ask_for_mapping(self, base: int, local: str, server: Address) -> None:
        future: asyncio.Future[Address | None] = asyncio.get_running_loop().create_future()
        self._asked[base, server] = future
        self._query(server, base)
        mapped = await future
        if mapped is None or base not in self._sockets.ports:
            return
        known = next(one for one, its in self._candidates if its == base and one.type == "host")
        self._take_reflexive(base, known, *mapped, server[0])

    def _take_reflexive(self, base: int, known: Candidate, host: str, port: int, by: str) -> None:
        """How a socket is seen from outside, as ``by`` says."""
        self._take(
            Candidate(
                foundation=foundation("srflx", "udp", known.host, by),
                component=1,
                transport="udp",
                priority=priority("srflx", 65535 - list(self._sockets.ports).index(base)),
                host=host,
                port=port,
                type="srflx",
                related_address=known.host,
                related_port=known.port,
            ),
            base,
        )

    async def _ask_for_relay(self, server: Server) -> None:
        known = self._relays.get(server.place)
        if known is not None and await self._sockets.relay_holds(known):
            return  # it takes part in a restart as the ports do
        base, relay = await self._sockets.open_relay(server)
        self._relays[server.place] = base
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
