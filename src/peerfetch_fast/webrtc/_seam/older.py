"""What the rest of the seam stands on and aiortc 1.15 and aioice 0.10 lack.

They are the last for Python 3.10; this is to be removed with it. It is imported, and its types are
checked, only below 3.11. Where a class has the name of its base, it is so that what is private to
the base (``self.__name``) is within its reach.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import hmac
import ipaddress
import logging
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast

import aioice
import aioice.ice
import aiortc
import aiortc.rtcconfiguration
import aiortc.rtcicetransport
from aioice import Candidate, TransportPolicy, mdns, stun, turn
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.utils import random_string
from aiortc.rtcsctptransport import RTCSctpCapabilities

from peerfetch_fast.webrtc._sctp.settings import UNANNOUNCED_MESSAGE_SIZE

assert sys.version_info < (3, 11)

__all__ = [
    "ICE_TRANSPORT_POLICIES",
    "Connection",
    "RTCConfiguration",
    "RTCIceGatherer",
    "RTCIceTransportPolicy",
    "RTCPeerConnection",
    "RTCSctpTransport",
    "StunProtocol",
    "get_or_create_mdns_protocol",
    "relayed_candidate",
]

logger = logging.getLogger(__name__)

Address = tuple[str, int]

MAX_EARLY_CHECKS = 100
"""Checks of the peer that are kept until we know whom we connect to; the oldest give way."""

MAX_MESSAGE_SIZE = 262_144
"""Bytes of a message that we take over aiortc's SCTP, which sets itself no bound."""

MESSAGE_INTEGRITY = 0x0008
XOR_PEER_ADDRESS = 0x0012
DATA = 0x0013

DATA_INDICATION = stun.Method.DATA | stun.Class.INDICATION


# -- STUN ------------------------------------------------------------------------------------------


def attributes(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Of each attribute of a STUN message its type, where it begins, and its value."""
    at = stun.HEADER_LENGTH
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        yield kind, at, data[at + 4 : at + 4 + length]
        at += 4 + length + stun.padding_length(length)


def authentic(data: bytes, key: bytes) -> bytes | None:
    """The part of a STUN message that its MESSAGE-INTEGRITY covers, as a message of its own; None
    if there is none, or if it was not made with ``key`` (RFC 8489 section 9).

    aioice 0.10 takes a message without one for authentic, and what stands behind it for covered.
    """
    for kind, at, code in attributes(data):
        if kind == MESSAGE_INTEGRITY:
            if not hmac.compare_digest(code, stun.message_integrity(data[:at], key)):
                return None
            return stun.set_body_length(data[:at], at - stun.HEADER_LENGTH)
    return None


def end_timer(transaction: stun.Transaction | None) -> None:
    """Where a transaction has its answer, see that its timer, which may be due in the same turn of
    the loop, does not end it once more.
    """
    if transaction is not None and getattr(transaction, "_Transaction__future").done():  # noqa: B009
        getattr(transaction, "_Transaction__timeout_handle").cancel()  # noqa: B009


class StunProtocol(aioice.ice.StunProtocol):
    """Takes only answers that the peer has signed, and tells when its socket goes."""

    receiver: Connection
    local_candidate: Candidate
    transport: asyncio.DatagramTransport

    def __init__(self, receiver: Connection) -> None:
        super().__init__(receiver)
        self._keys: dict[bytes, bytes] = {}

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.__closed.done():
            self.receiver.protocol_lost(self)
            self.__closed.set_result(True)

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        data = cast(bytes, data)
        key = self._keys.get(data[8:20])
        covered = data if key is None else authentic(data, key)
        if covered is not None:
            super().datagram_received(covered, addr)
            end_timer(self.transactions.get(data[8:20]))

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, Address]:
        if integrity_key is not None:
            self._keys[request.transaction_id] = integrity_key
        try:
            return await super().request(request, addr, integrity_key, retransmissions)
        finally:
            self._keys.pop(request.transaction_id, None)


# -- names of mDNS ---------------------------------------------------------------------------------


class MulticastDns(mdns.MDnsProtocol):
    """One socket that sends and receives, and does not mind queries that were given up."""

    def __init__(self) -> None:
        super().__init__(cast(Any, None))  # the other socket, of two that aioice would have

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.tx_transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(cast(Exception, exc))

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        self._forget()
        super().datagram_received(data, addr)

    def _forget(self) -> None:
        for name, waiting in self.queries.items():
            self.queries[name] = {future for future in waiting if not future.done()}


def multicast_socket() -> socket.socket:
    """One that gets what is said in mDNS, beside others on this machine.

    :raises OSError: there is no multicast here.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("", mdns.MDNS_PORT))
        group = socket.inet_aton(mdns.MDNS_ADDRESS) + bytes(4)  # on whatever interface
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:
        sock.close()
        raise
    return sock


async def get_or_create_mdns_protocol(subscriber: Connection) -> MulticastDns:
    """The connection's own, until it is closed."""
    async with subscriber._names_lock:
        if subscriber._names is None:
            loop = asyncio.get_running_loop()
            sock = multicast_socket()
            _, subscriber._names = await loop.create_datagram_endpoint(MulticastDns, sock=sock)
    return subscriber._names


# -- ICE -------------------------------------------------------------------------------------------


class RemoteCandidate(Candidate):
    """A candidate of the peer, which has an address by now: it may have been signaled by a name.

    :ivar named: whether it was, so that no relay may learn the address.
    """

    named = False

    @property
    def _network_host(self) -> str:
        return self.host

    @property
    def end(self) -> tuple[int, str, str, int]:
        return self.component, self.transport.lower(), self.host, self.port


class RelayedCandidate(Candidate):
    """Ours, which the server would have to be told the peer's address for."""

    def can_pair_with(self, other: Candidate) -> bool:
        return not getattr(other, "named", False) and super().can_pair_with(other)


# What the subclasses do with it is what later versions declare.
_Connection: Any = aioice.Connection


class Connection(_Connection):  # type: ignore[misc]
    """Candidates may come until their end is told, while checks run; after close() nothing does."""

    _check_list_done: bool
    _local_candidates_start: bool
    _protocols: list[StunProtocol]
    _remote_candidates_end: bool

    def __init__(
        self, *, transport_policy: TransportPolicy = TransportPolicy.ALL, **options: Any
    ) -> None:
        # aioice 0.10 does not take the relay policy without a server.
        super().__init__(**options)
        self._transport_policy = transport_policy
        self._closing = False
        self._early_checks: deque[Any] = deque(maxlen=MAX_EARLY_CHECKS)
        self._remote_candidates_resolving = 0
        self._names: MulticastDns | None = None
        self._names_lock = asyncio.Lock()

    # -- the peer's candidates ---------------------------------------------------------------

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        """As in later versions, but for names, which are the subclass's to resolve."""
        if self._remote_candidates_end:
            raise ValueError("a candidate came after the end of candidates")
        if self._closing:
            return
        if remote_candidate is None:
            self._remote_candidates_end = True
            if not self._remote_candidates_resolving:
                self._end_remote_candidates()
        elif not mdns.is_mdns_hostname(remote_candidate.host):
            self._add_remote_candidate(remote_candidate, remote_candidate.host)

    def _add_remote_candidate(self, remote_candidate: Candidate, network_host: str) -> None:
        candidate = RemoteCandidate(**vars(remote_candidate))
        candidate.named = mdns.is_mdns_hostname(remote_candidate.host)
        try:
            candidate.host = str(ipaddress.ip_address(network_host))
            aioice.ice.validate_remote_candidate(candidate)
        except ValueError as exc:
            logger.info("%s ignores %s: %s", self, remote_candidate, exc)
            return
        known = self._known(candidate)
        if known is None:
            self._remote_candidates.append(candidate)
        elif known.type == "prflx":
            # Its checks were here before it was signaled; the pairs refer to what we have.
            vars(known).update(vars(candidate))
            candidate = known
        else:
            return
        self._pair_remote_candidate(candidate)
        self.sort_check_list()

    def _known(self, candidate: RemoteCandidate) -> RemoteCandidate | None:
        """The one that we have with the same transport address."""
        for known in self._remote_candidates:
            if known.end == candidate.end:
                return cast(RemoteCandidate, known)
        return None

    def _pair_remote_candidate(self, remote_candidate: Candidate) -> None:
        if not self._early_checks_done:
            return  # connect() pairs all that there are
        for protocol in self._protocols:
            if protocol.local_candidate.can_pair_with(remote_candidate) and not self._find_pair(
                protocol, remote_candidate
            ):
                self._check_list.append(aioice.ice.CandidatePair(protocol, remote_candidate))

    def _remote_candidates_expected(self) -> bool:
        return not self._remote_candidates_end or self._remote_candidates_resolving > 0

    def _end_remote_candidates(self) -> None:
        self._prune_components()
        if self._early_checks_done and not self._check_list_maybe_complete():
            self._check_list_maybe_fail()

    # -- checks ------------------------------------------------------------------------------

    def check_periodic(self) -> bool:
        if self._check_list_done:
            return False
        return super().check_periodic() or self._remote_candidates_expected()

    def check_incoming(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        learned = RemoteCandidate(
            foundation=random_string(10),
            component=protocol.local_candidate.component,
            transport="udp",
            priority=message.attributes["PRIORITY"],
            host=addr[0],
            port=addr[1],
            type="prflx",
        )
        if self._known(learned) is None:
            self._remote_candidates.append(learned)
        # What the peer has got through to us is worth a try, whatever came of it before.
        states = aioice.ice.CandidatePair.State
        for pair in self._check_list:
            if (
                pair.protocol is protocol
                and pair.remote_addr == addr
                and pair.state in (states.FROZEN, states.FAILED)
            ):
                self.check_state(pair, states.WAITING)
        super().check_incoming(message, addr, protocol)

    def check_complete(self, pair: aioice.ice.CandidatePair) -> None:
        states = aioice.ice.CandidatePair.State
        pair.task = None
        if pair.state == states.SUCCEEDED:
            if pair.nominated:
                self._nominated[pair.component] = pair
                for other in self._check_list[:]:
                    if other.component == pair.component and other.state in (
                        states.WAITING,
                        states.FROZEN,
                    ):
                        if other.task is not None:
                            other.task.cancel()
                        self._check_list.remove(other)
            if self._check_list_maybe_complete():
                return
            for other in self._check_list:
                if (
                    other.state == states.FROZEN
                    and other.local_candidate.foundation == pair.local_candidate.foundation
                ):
                    self.check_state(other, states.WAITING)
        self._check_list_maybe_fail()

    def _check_list_maybe_complete(self) -> bool:
        if not self._nominated or len(self._nominated) != len(self._components):
            return False
        self._decide(aioice.ice.ICE_COMPLETED)
        return True

    def _check_list_maybe_fail(self) -> None:
        states = aioice.ice.CandidatePair.State
        # A pair that works is nominated by the controlling side; the other one waits for that.
        hopeless = {states.FAILED, states.SUCCEEDED} if self.ice_controlling else {states.FAILED}
        if not self._remote_candidates_expected() and all(
            pair.state in hopeless for pair in self._check_list
        ):
            self._decide(aioice.ice.ICE_FAILED)

    def _decide(self, result: int) -> None:
        if not self._check_list_done:
            self._check_list_done = True
            self._check_list_state.put_nowait(result)

    # -- requests of the peer ----------------------------------------------------------------

    def request_received(
        self,
        message: stun.Message,
        addr: Address,
        protocol: StunProtocol,
        raw_data: bytes,
    ) -> None:
        if self._closing:
            return
        if message.message_method != stun.Method.BINDING or not (
            {"MESSAGE-INTEGRITY", "USERNAME"} <= message.attributes.keys()
        ):
            self.respond_error(message, addr, protocol, (400, "Bad Request"))
            return
        covered = authentic(raw_data, self.local_password.encode())
        request = None if covered is None else stun.parse_message(covered)
        if request is None or not self._is_for_us(request.attributes.get("USERNAME", "")):
            self.respond_error(message, addr, protocol, (401, "Unauthenticated"))
            return
        assert covered is not None
        super().request_received(request, addr, protocol, covered)

    def _is_for_us(self, username: str) -> bool:
        ours, colon, theirs = username.partition(":")
        return (
            ours == self.local_username
            and colon == ":"
            and self.remote_username in (None, theirs)  # not known before the description
        )

    def respond_error(
        self,
        request: stun.Message,
        addr: Address,
        protocol: StunProtocol,
        error_code: tuple[int, str],
    ) -> None:
        if error_code[0] not in (400, 401):
            super().respond_error(request, addr, protocol, error_code)
            return
        # Signed answers are for those who signed (RFC 8489 section 9.1.3).
        response = stun.Message(
            request.message_method,
            stun.Class.ERROR,
            request.transaction_id,
            {"ERROR-CODE": error_code},
        )
        response.attributes["FINGERPRINT"] = stun.message_fingerprint(bytes(response))
        protocol.send_stun(response, addr)

    # -- data --------------------------------------------------------------------------------

    async def recvfrom(self) -> tuple[bytes, int]:
        if not self._nominated:
            raise ConnectionError("not connected")
        received: tuple[bytes, int] | None = await self._queue.get()
        if received is None:
            raise ConnectionError("the connection was lost")
        return received

    def protocol_lost(self, protocol: StunProtocol) -> None:
        """A socket has gone, which matters if it is the one that is used."""
        if any(pair.protocol is protocol for pair in self._nominated.values()):
            self._queue.put_nowait(None)

    async def close(self) -> None:
        self._closing = True
        self._decide(aioice.ice.ICE_FAILED)
        # Their sockets are about to go.
        checks = [pair.task for pair in self._check_list if pair.task is not None]
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        names, self._names = self._names, None
        if names is not None:
            await names.close()
        await super().close()
        self._queue.put_nowait(None)


# -- relays ----------------------------------------------------------------------------------------


class Allocation(turn.TurnClientMixin):
    """A relayed address at a TURN server."""

    mapped_address: Address | None = None

    def __init__(self, server: Address, username: str | None, password: str | None) -> None:
        super().__init__(
            server,
            username,
            password,
            turn.DEFAULT_ALLOCATION_LIFETIME,
            turn.DEFAULT_CHANNEL_REFRESH_TIME,
        )
        self._keys: dict[bytes, bytes] = {}

    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        data = cast(bytes, data)
        if data[:2] == struct.pack("!H", DATA_INDICATION):
            self._indicated(data)
            return
        key = self._keys.get(data[8:20])
        if key is None or authentic(data, key) is not None or self._asks_again(data):
            super().datagram_received(data, addr)
            end_timer(self.transactions.get(data[8:20]))

    @staticmethod
    def _asks_again(data: bytes) -> bool:
        """Whether the server wants credentials anew, which it need not sign."""
        try:
            message = stun.parse_message(data)
        except ValueError:
            return False
        code, _ = message.attributes.get("ERROR-CODE", (None, None))
        return message.message_class == stun.Class.ERROR and code in (401, 438)

    def _indicated(self, data: bytes) -> None:
        """Data of a peer's port to which no channel is bound (RFC 8656 section 11.4)."""
        found = {kind: value for kind, _, value in attributes(data)}
        if self.receiver is None or not {XOR_PEER_ADDRESS, DATA} <= found.keys():
            return
        try:
            peer = stun.unpack_xor_address(found[XOR_PEER_ADDRESS], data[8:20])
        except (ValueError, IndexError, struct.error):
            return
        if any(peer[0] == known[0] for known in self.peer_to_channel):
            self.receiver.datagram_received(found[DATA], peer)

    async def request(self, request: stun.Message) -> tuple[stun.Message, Address]:
        if self.integrity_key is not None:
            self._keys[request.transaction_id] = self.integrity_key
        try:
            response, addr = await super().request(request)
        finally:
            self._keys.pop(request.transaction_id, None)
        if request.message_method == stun.Method.ALLOCATE:
            self.mapped_address = response.attributes["XOR-MAPPED-ADDRESS"]
        return response, addr

    async def refresh(self, time_to_expiry: int) -> None:
        try:
            await super().refresh(time_to_expiry)
        except (KeyError, stun.TransactionError) as exc:
            logger.info("%s has lost %s: %r", self, self.relayed_address, exc)
            self.transport.close()

    async def send_data(self, data: bytes, addr: Address) -> None:
        binding = addr not in self.peer_to_channel and addr not in self.peer_connect_waiters
        try:
            await super().send_data(data, addr)
        except BaseException as exc:
            # What waits for the same channel would wait for ever.
            for waiter in self.peer_connect_waiters.pop(addr, []) if binding else []:
                if not waiter.done():
                    waiter.set_exception(ConnectionError(f"no channel to {addr}: {exc!r}"))
            raise

    async def delete(self) -> None:
        if self.transport.is_closing():
            return
        try:
            await super().delete()
        finally:
            self.transport.close()


class UdpAllocation(Allocation, turn.TurnClientUdpProtocol):  # type: ignore[misc]
    """A relayed address at a server that is reached over UDP."""


class TcpAllocation(Allocation, turn.TurnClientTcpProtocol):  # type: ignore[misc]
    """A relayed address at a server that is reached over TCP or TLS."""


class TurnTransport(turn.TurnTransport):
    """Keeps its tasks at hand, and asks for the end once."""

    def __init__(self, allocation: UdpAllocation | TcpAllocation) -> None:
        super().__init__(allocation)
        self.__allocation = allocation
        self.__close_task: asyncio.Task[None] | None = None
        self.__sending: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        if self.__close_task is None:
            self.__close_task = asyncio.create_task(self.__close())

    async def __close(self) -> None:
        await self.__allocation.delete()
        for task in self.__sending:
            task.cancel()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "related_address":
            return self.__allocation.mapped_address
        return super().get_extra_info(name, default)

    def sendto(self, data: bytes, addr: Address) -> None:
        if self.__close_task is None and not self.__allocation.transport.is_closing():
            task = asyncio.create_task(self.__allocation.send_data(data, addr))
            self.__sending.add(task)
            task.add_done_callback(self.__sent)

    def __sent(self, task: asyncio.Task[None]) -> None:
        self.__sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            assert self.__allocation.receiver is not None
            self.__allocation.receiver.error_received(cast(Exception, error))


async def relayed_candidate(
    *,
    component: int,
    hide_related_address: bool,
    protocol_factory: Callable[[], StunProtocol],
    turn_server: Address,
    turn_username: str | None,
    turn_password: str | None,
    turn_ssl: bool,
    turn_transport: str,
) -> tuple[Candidate, StunProtocol]:
    loop = asyncio.get_running_loop()
    transport: asyncio.BaseTransport
    allocation: UdpAllocation | TcpAllocation
    if turn_transport == "tcp":
        transport, allocation = await loop.create_connection(
            lambda: TcpAllocation(turn_server, turn_username, turn_password),
            *turn_server,
            ssl=turn_ssl,
        )
    else:
        transport, allocation = await loop.create_datagram_endpoint(
            lambda: UdpAllocation(turn_server, turn_username, turn_password),
            remote_addr=turn_server,
        )
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, turn.UDP_SOCKET_BUFFER_SIZE
        )
    try:
        protocol = protocol_factory()
        relay = TurnTransport(allocation)
        await relay._connect(protocol)
    except BaseException:
        transport.close()
        raise
    host, port = relay.get_extra_info("sockname")
    related = relay.get_extra_info("related_address")
    if hide_related_address:
        # The policy is there so that the peer does not learn it (RFC 8839 section 5.1).
        related = ("0.0.0.0" if ipaddress.ip_address(host).version == 4 else "::", 9)  # noqa: S104
    protocol.local_candidate = RelayedCandidate(
        foundation=candidate_foundation("relay", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "relay"),
        host=host,
        port=port,
        type="relay",
        related_address=related[0],
        related_port=related[1],
    )
    return protocol.local_candidate, protocol


# -- aiortc ----------------------------------------------------------------------------------------


class RTCIceTransportPolicy(enum.Enum):
    """Which candidates may be used: all, or only those of relays."""

    ALL = "all"
    RELAY = "relay"


ICE_TRANSPORT_POLICIES = {
    RTCIceTransportPolicy.ALL: TransportPolicy.ALL,
    RTCIceTransportPolicy.RELAY: TransportPolicy.RELAY,
}


@dataclasses.dataclass
class RTCConfiguration(aiortc.RTCConfiguration):
    """As aiortc's, with the policy."""

    iceTransportPolicy: RTCIceTransportPolicy = RTCIceTransportPolicy.ALL


class RTCIceGatherer(aiortc.RTCIceGatherer):
    """The policy is its connection's, which the subclass makes."""

    def __init__(
        self,
        iceServers: list[aiortc.RTCIceServer] | None = None,
        iceTransportPolicy: RTCIceTransportPolicy = RTCIceTransportPolicy.ALL,
    ) -> None:
        super().__init__(iceServers)


class RTCSctpTransport(aiortc.RTCSctpTransport):
    """The base of the native one. aiortc 1.15 goes by the roles in ICE."""

    @property
    def is_server(self) -> bool:
        return self.transport._role == "server"


class StockSctpTransport(aiortc.RTCSctpTransport):
    """aiortc's own, but it begins from both sides (RFC 8841 section 9.3), takes channels' numbers
    by the role in DTLS (RFC 8832 section 6), and sends no more than the peer takes at once.
    """

    _remote_max_message_size = UNANNOUNCED_MESSAGE_SIZE

    @property
    def is_server(self) -> bool:
        """To aiortc 1.15, whether an INIT is answered, and none sent."""
        return True

    @classmethod
    def getCapabilities(cls) -> RTCSctpCapabilities:
        return RTCSctpCapabilities(maxMessageSize=MAX_MESSAGE_SIZE)

    async def start(self, remoteCaps: RTCSctpCapabilities | None, remotePort: int) -> None:
        if self.state != "new":
            return
        if remoteCaps is not None:
            self._remote_max_message_size = remoteCaps.maxMessageSize
        await super().start(cast(RTCSctpCapabilities, remoteCaps), remotePort)
        self._data_channel_id = 1 if self.transport._role == "server" else 0
        await self._init()

    def _set_state(self, state: aiortc.RTCSctpTransport.State) -> None:
        if state == self.State.ESTABLISHED:
            self._t1_cancel()  # of our own INIT, where the peer's came first
        super()._set_state(state)

    def _data_channel_send(self, channel: aiortc.RTCDataChannel, data: bytes | str) -> None:
        size = len(data.encode() if isinstance(data, str) else data)
        limit = self._remote_max_message_size
        if 0 < limit < size:
            raise ValueError(f"{size} bytes are more than the {limit} that the peer takes")
        super()._data_channel_send(channel, data)


class RTCPeerConnection(aiortc.RTCPeerConnection):
    """With a configuration that has a policy, and the SCTP transport above."""

    def __init__(self, configuration: aiortc.RTCConfiguration) -> None:
        if not isinstance(configuration, RTCConfiguration):
            configuration = RTCConfiguration(**vars(configuration))
        super().__init__(configuration)

    def __createSctpTransport(self) -> None:
        super().__createSctpTransport()
        theirs = self.__sctp
        assert theirs is not None
        self.__sctp = StockSctpTransport(theirs.transport)
        self.__sctp._bundled = theirs._bundled
        self.__sctp.on("datachannel", lambda channel: self.emit("datachannel", channel))

    async def __connect(self) -> None:
        # It may have been closed since the task was made that runs this.
        if not self.__isClosed:
            await super().__connect()
