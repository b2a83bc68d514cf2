"""What a connection does when this machine comes into other networks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.webrtc.peers import Peer, bare_connection, close, join
from tests.webrtc.servers import dead_server, stun_server

from peerfetch_fast.networks import Networks
from peerfetch_fast.webrtc import gatherer
from peerfetch_fast.webrtc.ice.gathering import IceServer
from support import until

pytest.importorskip("peerfetch_fast.webrtc._path", reason="built without the native data path")

from peerfetch_fast.webrtc import ice_transport, sockets

HOME = Networks(frozenset(("127.0.0.1",)), frozenset(("127.0.0.1",)), frozenset(("127.0.0.1",)))


def of(*hosts: str, source: str = "127.0.0.1") -> Networks:
    return Networks(frozenset(hosts), frozenset((source,)), frozenset(hosts))


class Gone(Networks):
    def has(self, address: str) -> bool:
        return False


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch) -> Callable[[Networks], None]:
    """Tells the connections that watch of other networks, whose addresses it has them find."""
    watching: list[Callable[[Networks], object]] = []

    class Watch:
        networks = HOME

        def __init__(self, changed: Callable[[Networks], object]) -> None:
            self._changed = changed
            watching.append(changed)

        def stop(self) -> None:
            watching.remove(self._changed)

    def tell(networks: Networks) -> None:
        monkeypatch.setattr(gatherer, "host_addresses", lambda: sorted(networks.hosts))
        for changed in list(watching):
            changed(networks)

    monkeypatch.setattr(ice_transport, "watch_networks", Watch)
    monkeypatch.setattr(gatherer, "host_addresses", lambda: ["127.0.0.1"])
    tell.watching = watching  # type: ignore[attr-defined]
    return tell


def peer(**options: Any) -> Peer:
    return Peer(bare_connection("native", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("networks", "reason"),
    [
        (of("127.0.0.1", "127.0.0.2"), False),
        (of("127.0.0.1", "127.0.0.2", source="127.0.0.2"), True),
        (Gone(frozenset(("127.0.0.2",)), HOME.sources, frozenset(("127.0.0.2",))), True),
    ],
    ids=["a bridge of a container", "another way to the internet", "the address is gone"],
)
async def test_another_path_is_looked_for_when_the_network_gives_a_reason(
    move: Any, networks: Networks, reason: bool
) -> None:
    one, other = peer(), peer(host_addresses=["127.0.0.1"])
    channel, _ = await join(one, other)
    assert len(move.watching) == 1  # whose addresses were given has no others
    lost: list[None] = []
    one.connection.on("networkschanged", lambda: lost.append(None))
    move(networks)
    assert bool(lost) is reason
    assert set(one.connection._ice.sockets.ports.values()) >= {"127.0.0.2"}
    assert one.connection.connectionState == "connected"
    channel.send(b"still there")
    await close(one, other)
    assert not move.watching


async def test_a_socket_is_kept_whose_network_is_only_down(
    move: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = peer(), peer()
    await join(one, other)
    ports = one.connection._ice.sockets.ports
    move(of("127.0.0.2"))
    assert one.connection._ice.sockets.ports.items() > ports.items()
    monkeypatch.setattr(gatherer, "is_ours", lambda address: address != "127.0.0.1")
    move(of("127.0.0.2", "127.0.0.3"))
    assert "127.0.0.1" not in one.connection._ice.sockets.ports.values()
    await close(one, other)


async def test_without_any_word_of_signaling_the_peer_follows(
    move: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = peer(), peer(host_addresses=["127.0.0.1"])
    channel, far = await join(one, other)
    monkeypatch.setattr(gatherer, "is_ours", lambda address: address != "127.0.0.1")
    move(of("127.0.0.2"))
    assert one.connection.connectionState == "disconnected"
    await until(lambda: other.connection.remote_address == "127.0.0.2")
    await until(lambda: one.connection.connectionState == "connected")
    channel.send(b"from elsewhere")
    assert await far.messages.get() == b"from elsewhere"
    await close(one, other)


@pytest.mark.parametrize("turns", range(0, 20, 3))
async def test_servers_that_are_being_asked_are_asked_anew(move: Any, turns: int) -> None:
    async with stun_server(mapped=("192.0.2.1", 4000)) as (host, port):
        with dead_server() as (dead, dead_port):
            urls = [f"turn:{dead}:{dead_port}", f"stun:{host}:{port}"]
            one = peer(ice_servers=[IceServer(urls, "u", "p")])
            one.create_channel()
            await one.connection.setLocalDescription()
            for _ in range(turns):
                await asyncio.sleep(0)
            move(of("127.0.0.1", "127.0.0.2"))
            await until(lambda: " 127.0.0.2 " in one.connection.localDescription.sdp)
            # From the new address, though the dead server still keeps the first run.
            await until(lambda: "raddr 127.0.0.1" in one.connection.localDescription.sdp)
            await close(one)


async def test_a_relay_that_knows_us_by_an_address_that_is_gone_is_replaced(
    move: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relays(one: Peer) -> list[str]:
        sdp = one.connection.localDescription.sdp
        return [line for line in sdp.splitlines() if " typ relay " in line]

    async with stun_server() as (host, port):
        one = peer(ice_servers=[IceServer(f"turn:{host}:{port}", "u", "p")], relay_only=True)
        one.create_channel()
        await one.connection.setLocalDescription()
        await one.all_candidates()
        (first,) = relays(one)
        move(of("127.0.0.1"))
        await one.all_candidates()
        assert relays(one) == [first]
        monkeypatch.setattr(sockets, "is_ours", lambda _: False)
        move(of("127.0.0.1"))
        assert relays(one) == []
        await one.all_candidates()
        (second,) = relays(one)
        assert second != first
        await close(one)
