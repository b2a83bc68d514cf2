"""Whom the ICE agent listens to: requests and answers are signed, whatever aioice it stands on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import Candidate, mdns, stun
from tests.webrtc.peers import Peer, close, describe, exchange
from tests.webrtc.servers import stun_server

from peerfetch_fast.webrtc._seam import ice
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from support import until


class Prober(asyncio.DatagramProtocol):
    """Somebody with a socket, who sends what it likes."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait(data)

    async def ask(self, request: bytes) -> tuple[stun.Class, int | None, bool]:
        """The class of the answer, its error code, and whether it is signed."""
        self.transport.sendto(request)
        answer = stun.parse_message(await self.received.get())
        code, _ = answer.attributes.get("ERROR-CODE", (None, None))
        return answer.message_class, code, "MESSAGE-INTEGRITY" in answer.attributes


@contextlib.asynccontextmanager
async def probed(pc: Any = RTCPeerConnection) -> AsyncIterator[tuple[Any, Prober]]:
    """An ICE agent that has an address and has not heard of its peer, and a socket towards it."""
    peer = Peer(pc(host_addresses=["127.0.0.1"]))
    peer.create_channel()
    await peer.connection.setLocalDescription()
    transport = peer.connection.sctp.transport.transport
    (candidate,) = transport.iceGatherer.getLocalCandidates()
    socket, prober = await asyncio.get_running_loop().create_datagram_endpoint(
        Prober, remote_addr=(candidate.ip, candidate.port)
    )
    try:
        yield transport._connection, prober
    finally:
        socket.close()
        await close(peer)


def check(agent: Any, username: str | None = None) -> stun.Message:
    role = "ICE-CONTROLLED" if agent.ice_controlling else "ICE-CONTROLLING"
    username = f"{agent.local_username}:them" if username is None else username
    return stun.Message(
        stun.Method.BINDING,
        stun.Class.REQUEST,
        attributes={"USERNAME": username, "PRIORITY": 1, role: 1},
    )


def signed(request: stun.Message, key: str) -> bytes:
    request.add_message_integrity(key.encode())
    return bytes(request)


async def test_a_signed_request_is_answered_and_kept() -> None:
    async with probed() as (agent, prober):
        request = signed(check(agent), agent.local_password)
        assert await prober.ask(request) == (stun.Class.RESPONSE, None, True)
        assert len(agent._early_checks) == 1


def forged(agent: Any) -> list[bytes]:
    """Requests of those who do not know the password, or do not say whom they speak to."""
    password = agent.local_password
    unnamed, shared = check(agent), check(agent)
    del unnamed.attributes["USERNAME"]
    shared.message_method = stun.Method.SHARED_SECRET
    return [
        bytes(check(agent)),
        bytes(shared),
        signed(unnamed, password),
        signed(check(agent), "x" * 22),
        signed(check(agent, "nobody:them"), password),
        signed(check(agent, agent.local_username), password),
        signed(check(agent), password) + bytes(1500),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.INDICATION)),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)),
        bytes.fromhex("000100042112a442") + bytes(12) + bytes.fromhex("00240000"),
    ]


async def test_requests_that_are_not_signed_by_the_peer_are_not_answered(pc: Any) -> None:
    """Their senders may be others than they say, and who gets an answer is hit by it."""

    async with probed(pc) as (agent, prober):
        for request in forged(agent):
            prober.transport.sendto(request)
        request = signed(check(agent), agent.local_password)
        assert await prober.ask(request) == (stun.Class.RESPONSE, None, True)
        assert prober.received.empty()
        assert len(agent._early_checks) == 1


async def test_a_role_that_both_want_is_answered() -> None:
    async with probed() as (agent, prober):
        agent.ice_controlling = True
        request = check(agent)
        del request.attributes["ICE-CONTROLLED"]
        request.attributes["ICE-CONTROLLING"] = 0
        answer = await prober.ask(signed(request, agent.local_password))
        assert answer == (stun.Class.ERROR, 487, True)


async def test_requests_that_are_answered_in_a_second_are_bounded(pc: Any) -> None:
    async with probed(pc) as (agent, prober):
        agent._checks_until = asyncio.get_running_loop().time() + 3600
        for number in range(ice.MAX_CHECKS + 50):
            prober.transport.sendto(signed(check(agent), agent.local_password))
            if number % 50 == 49:  # fewer than a socket's buffer holds
                await until(lambda number=number: agent._checks > number)
        agent._checks_until = 0.0  # the next second
        request = signed(check(agent), agent.local_password)
        prober.transport.sendto(request)
        answers = 0
        while (await prober.received.get())[8:20] != request[8:20]:
            answers += 1
        assert answers == ice.MAX_CHECKS


async def test_what_stands_behind_the_signature_does_not_count() -> None:
    async with probed() as (agent, prober):
        request = bytearray(signed(check(agent), agent.local_password)[:-8])  # no FINGERPRINT
        request += bytes.fromhex("00250000")  # USE-CANDIDATE
        request[2:4] = (len(request) - 20).to_bytes(2, "big")
        assert (await prober.ask(bytes(request)))[0] == stun.Class.RESPONSE
        ((message, *_),) = agent._early_checks
        assert "PRIORITY" in message.attributes
        assert "USE-CANDIDATE" not in message.attributes


async def test_checks_before_the_description_are_bounded() -> None:
    async with probed() as (agent, prober):
        for _ in range(200):
            await prober.ask(signed(check(agent), agent.local_password))
        assert len(agent._early_checks) == 100


@pytest.mark.parametrize("key", [None, "x" * 22])
async def test_forged_answers_are_ignored(key: str | None) -> None:
    async with probed() as (agent, prober):
        (protocol,) = agent._protocols
        address = prober.transport.get_extra_info("sockname")
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        asking = asyncio.ensure_future(protocol.request(request, address, b"y" * 22))
        asked = stun.parse_message(await prober.received.get())
        answer = stun.Message(asked.message_method, stun.Class.RESPONSE, asked.transaction_id)
        prober.transport.sendto(bytes(answer) if key is None else signed(answer, key))
        # It asks again, as if there had been no answer.
        assert stun.parse_message(await prober.received.get()).transaction_id == (
            asked.transaction_id
        )
        assert not asking.done()
        prober.transport.sendto(signed(answer, "y" * 22))
        received, _ = await asking
        assert received.transaction_id == asked.transaction_id


async def test_an_answer_in_the_turn_of_the_loop_that_would_be_too_late() -> None:
    """Whichever comes first decides, and the other one is of no consequence."""

    async with probed() as (agent, prober):
        (protocol,) = agent._protocols
        address = prober.transport.get_extra_info("sockname")
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        asking = asyncio.ensure_future(
            protocol.request(request, address, b"y" * 22, retransmissions=0)
        )
        asked = stun.parse_message(await prober.received.get())
        answer = stun.Message(asked.message_method, stun.Class.RESPONSE, asked.transaction_id)
        prober.transport.sendto(signed(answer, "y" * 22))
        time.sleep(stun.RETRY_RTO + 0.1)
        with contextlib.suppress(stun.TransactionTimeout):
            await asking


def candidate(host: str, port: int = 5000, **fields: Any) -> Candidate:
    fields = {"foundation": "1", "component": 1, "transport": "udp", "priority": 1, **fields}
    return Candidate(host=host, port=port, type="host", **fields)


async def test_a_candidate_is_known_by_its_address() -> None:
    async with probed() as (agent, _):
        given = candidate("::1")
        for same in (given, candidate("0:0::1"), candidate("::1", foundation="2")):
            await agent.add_remote_candidate(same)
        given.host = "::2"  # theirs to change
        assert [c.host for c in agent.remote_candidates if c.host.startswith("::")] == ["::1"]
        await agent.add_remote_candidate(candidate("::1", transport="tcp"))
        assert len(agent.remote_candidates) == 2
        await agent.add_remote_candidate(None)
        with pytest.raises(ValueError, match=r"end.of.candidates"):
            await agent.add_remote_candidate(candidate("::3"))


async def test_a_name_is_resolved_and_hidden_from_relays() -> None:
    async with probed() as (agent, _), stun_server() as address:
        name = mdns.create_mdns_hostname()
        here = RTCPeerConnection(host_addresses=["127.0.0.1"])
        here.createDataChannel("test")
        await here.setLocalDescription()
        responder = here.sctp.transport.transport._connection
        try:
            names = await ice.get_or_create_mdns_protocol(responder)
            await names.publish(name, "127.0.0.1")
            await agent.add_remote_candidate(candidate(name))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(until(lambda: agent.remote_candidates), 2)
            if not agent.remote_candidates:
                pytest.skip("no multicast here")
            (known,) = agent.remote_candidates
            assert known._network_host == "127.0.0.1"

            _, relay = await ice.relayed_candidate(
                component=1,
                hide_related_address=False,
                protocol_factory=lambda: ice.HostProtocol(agent),
                turn_server=address,
                turn_username=None,
                turn_password=None,
                turn_ssl=False,
                turn_transport="udp",
            )
            agent._protocols.append(relay)
            agent.remote_username, agent.remote_password = "them", "x" * 22
            connecting = asyncio.ensure_future(agent.connect())
            await until(lambda: agent._check_list)
            assert {pair.local_candidate.type for pair in agent._check_list} == {"host"}
        finally:
            await here.close()
        await agent.close()
        with pytest.raises(ConnectionError):
            await connecting


async def test_losing_a_socket_that_is_not_used_changes_nothing() -> None:
    peers = [Peer(RTCPeerConnection(transport="aiortc")) for _ in range(2)]
    channel = peers[0].create_channel()
    await describe(*peers)
    await channel.opened.wait()
    agent = peers[0].connection.sctp.transport.transport._connection
    (used,) = agent._nominated.values()
    other = ice.HostProtocol(agent)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: other, local_addr=("127.0.0.1", 0)
    )
    transport.close()
    await exchange(peers[1], channel)
    assert used.protocol is agent._nominated[1].protocol
    await close(*peers)


class Relayed(asyncio.DatagramProtocol):
    """What is behind a relay."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.received.put_nowait(b"lost")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        self.received.put_nowait(b"error")


async def relay_at(server: tuple[str, int], **options: Any) -> Any:
    _, protocol = await ice.relayed_candidate(
        component=1,
        hide_related_address=options.pop("hide_related_address", False),
        protocol_factory=Relayed,  # type: ignore[arg-type]
        turn_server=server,
        turn_username=None,
        turn_password=None,
        turn_ssl=False,
        turn_transport="udp",
    )
    return protocol


@pytest.mark.parametrize("hidden", [True, False])
async def test_the_related_address_of_a_relay(hidden: bool) -> None:
    async with stun_server() as address:
        relay = await relay_at(address, hide_related_address=hidden)
        related = relay.local_candidate.related_address, relay.local_candidate.related_port
        assert (related == ("0.0.0.0", 9)) is hidden
        assert hidden or related[0] == "127.0.0.1"
        relay.transport.close()
        relay.transport.close()
        relay.transport.sendto(b"late", ("127.0.0.1", 9))
        assert await relay.received.get() == b"lost"


async def test_a_relay_takes_data_from_the_peers_other_ports() -> None:
    """As a symmetric router has it, which the peer is behind."""

    loop = asyncio.get_running_loop()
    async with stun_server() as address:
        relay = await relay_at(address)
        sockets = [
            (await loop.create_datagram_endpoint(Prober, local_addr=("127.0.0.1", 0)))[1]
            for _ in range(2)
        ]
        here = relay.transport.get_extra_info("sockname")
        relay.transport.sendto(b"out", sockets[0].transport.get_extra_info("sockname"))
        assert await sockets[0].received.get() == b"out"
        for prober in sockets:
            prober.transport.sendto(b"in", here)
            assert await relay.received.get() == b"in"
            prober.transport.close()
        relay.transport.close()
        assert await relay.received.get() == b"lost"


async def test_a_channel_that_a_relay_does_not_bind_holds_nobody_up() -> None:
    async with stun_server(closed=True) as address:
        relay = await relay_at(address)
        for _ in range(2):  # it is asked for again, and refused again
            for _ in range(3):
                relay.transport.sendto(b"out", ("127.0.0.1", 9))
            for _ in range(3):
                assert await relay.received.get() == b"error"
        relay.transport.close()
        assert await relay.received.get() == b"lost"


@pytest.mark.parametrize("turns", range(4))
async def test_closing_as_a_way_is_found_leaves_no_task(turns: int) -> None:
    """``run`` fails where a consent check goes on."""

    ends = [ice.TricklingConnection(host_addresses=["127.0.0.1"]) for _ in range(2)]
    ends[0].ice_controlling = True
    for end in ends:
        await end.gather_candidates()
    for end, other in (ends, ends[::-1]):
        end.remote_username, end.remote_password = other.local_username, other.local_password
        for candidate in [*other.local_candidates, None]:
            await end.add_remote_candidate(candidate)
    connecting = [asyncio.ensure_future(end.connect()) for end in ends]
    await until(lambda: ends[0]._check_list_done)
    for _ in range(turns):
        await asyncio.sleep(0)
    for end in ends:
        await end.close()
    for result in await asyncio.gather(*connecting, return_exceptions=True):
        assert result is None or isinstance(result, ConnectionError)


async def test_an_event_is_asked_for_of_a_closed_connection() -> None:
    """aiortc asks in a loop until there is one; aioice has none to give."""

    connection = ice.TricklingConnection(host_addresses=[])
    await connection.gather_candidates()
    await connection.close()
    assert isinstance(await connection.get_event(), ice.ConnectionClosed)
