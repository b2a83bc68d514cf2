"""Our agent and aioice's, over loopback."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aioice
import pytest

from peerfetch_fast.webrtc.ice.agent import Agent
from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority
from peerfetch_fast.webrtc.ice.events import Selected
from support import until

LOOPBACK = "127.0.0.1"


class Owner(asyncio.DatagramProtocol):
    """Drives an agent over one socket."""

    transport: asyncio.DatagramTransport

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.selected: Selected | None = None
        self.data: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> Candidate:
        transport, _ = await self._loop.create_datagram_endpoint(
            lambda: self, local_addr=(LOOPBACK, 0)
        )
        self.transport = transport
        port = transport.get_extra_info("sockname")[1]
        kind = foundation("host", "udp", LOOPBACK)
        rank = priority("host", 65_535)
        candidate = Candidate(kind, 1, "udp", rank, LOOPBACK, port, "host")
        self.agent.add_local(candidate, 1, self._loop.time())
        return candidate

    def datagram_received(self, data: bytes, address: Any) -> None:
        if data[0] < 4:
            self.agent.receive(data, 1, address, self._loop.time())
            self.flush()
        else:
            self.data.append(data)

    def flush(self) -> None:
        for _, address, data in self.agent.take_datagrams():
            self.transport.sendto(data, address)
        for event in self.agent.take_events():
            if isinstance(event, Selected):
                self.selected = event
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self.agent.deadline() < self._loop.time() + 3600:
            self._timer = self._loop.call_at(self.agent.deadline(), self._expire)

    def _expire(self) -> None:
        self.agent.handle_timeout(self._loop.time())
        self.flush()

    def close(self) -> None:
        self.agent.close()
        self.flush()
        self.transport.close()


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("conflict", [False, True])
async def test_aioice_connects_and_exchanges_data(
    monkeypatch: Any, controlling: bool, conflict: bool
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: [LOOPBACK])
    theirs = aioice.Connection(ice_controlling=controlling == conflict)
    agent = Agent(controlling=controlling, ufrag="ours", password="p" * 22, random=random.Random(1))
    owner = Owner(agent)
    now = asyncio.get_running_loop().time
    candidate = await owner.open()
    await theirs.gather_candidates()
    theirs.remote_username, theirs.remote_password = "ours", "p" * 22
    await theirs.add_remote_candidate(aioice.Candidate.from_sdp(candidate.to_sdp()))
    await theirs.add_remote_candidate(None)
    connecting = asyncio.ensure_future(theirs.connect())
    agent.set_remote(theirs.local_username, theirs.local_password, now())
    for remote in theirs.local_candidates:
        assert agent.add_remote(Candidate.from_sdp(remote.to_sdp()), now())
    owner.flush()
    await connecting
    await until(lambda: agent.state == "connected")
    assert agent.controlling is not theirs.ice_controlling
    assert owner.selected is not None
    owner.transport.sendto(b"\x20to them", owner.selected.address)
    assert await theirs.recv() == b"\x20to them"
    await theirs.send(b"\x20to us")
    await until(lambda: owner.data)
    assert owner.data == [b"\x20to us"]
    owner.close()
    await theirs.close()
