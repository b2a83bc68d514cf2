"""Allocations at coturn: over UDP, TCP and TLS, with a login."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.webrtc.conftest import LOOPS
from tests.webrtc.ice.test_relays import nobody, peer

from certificates import self_signed
from peerfetch_fast.errors import RelayError
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice import relays
from peerfetch_fast.webrtc.ice.relays import open_relay
from peerfetch_fast.webrtc.ice.servers import Server, servers_of
from processes import accepts, free_port, posix_only, running
from support import until

pytestmark = [
    posix_only,
    pytest.mark.usefixtures("each_loop"),
    pytest.mark.parametrize("each_loop", LOOPS, indirect=True),
]

LOOPBACK = "127.0.0.1"
KINDS = {"udp": ("turn", "udp"), "tcp": ("turn", "tcp"), "tls": ("turns", "tcp")}


class Coturn:
    """Where it listens."""

    def __init__(self, port: int, tls_port: int) -> None:
        self._ports = {"turn": port, "turns": tls_port}

    def server(self, kind: str, credential: str = "secret", host: str = LOOPBACK) -> Server:
        scheme, transport = KINDS[kind]
        return Server(scheme, host, self._ports[scheme], transport, "someone", credential)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coturn]:
    """One whose users have one allocation each, and whose nonces live for a second."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed (Debian: apt install coturn)")
    directory: Path = tmp_path_factory.mktemp("coturn")
    certificate, key = self_signed(directory)
    port, tls_port = free_port(), free_port()
    with (
        running(
            *(program, "-n", "--listening-ip", LOOPBACK, "--listening-ip", "::1"),
            *("--relay-ip", LOOPBACK, "--allow-loopback-peers", "--cli-password", "unused"),
            *("--listening-port", port, "--tls-listening-port", tls_port, "--no-dtls", "--no-cli"),
            *("--cert", certificate, "--pkey", key, "--lt-cred-mech", "--user", "someone:secret"),
            *("--realm", "example.org", "--stale-nonce", "1", "--user-quota", "1"),
            *("--denied-peer-ip", "127.0.0.9", "--log-file", "stdout"),
            *("--userdb", directory / "db", "--pidfile", directory / "pid"),
            log=directory / "log",
            ready=lambda: accepts(port) and accepts(tls_port),
        ),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SSL_CERT_FILE", str(certificate))
        yield Coturn(port, tls_port)


@contextlib.asynccontextmanager
async def relay_of(server: Server, receiver: Any = nobody) -> Any:
    """A relay. The user has one, and coturn takes a moment to count the last as given back: one
    that was not would be there for ten minutes.
    """
    relay = None
    while relay is None:
        try:
            relay = await open_relay(server, receiver)
        except RelayError as error:
            if "486" not in str(error):
                raise
            await asyncio.sleep(0.1)
    try:
        yield relay
    finally:
        await relay.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_datagrams_go_both_ways(coturn: Coturn, kind: str) -> None:
    received: list[tuple[bytes, Any]] = []
    async with (
        peer() as other,
        relay_of(coturn.server(kind), lambda *got: received.append(got)) as relay,
    ):
        there = other.transport.get_extra_info("sockname")
        for number in range(30):  # in indications, and then through a channel
            relay.sendto(b"%d" % number + b"x" * number, there)
            await until(lambda number=number: len(other.received) > number)
            other.transport.sendto(b"y" * (number + 1), relay.address)
            await until(lambda number=number: len(received) > number)
        assert other.received == [(b"%d" % n + b"x" * n, relay.address) for n in range(30)]
        assert received == [(b"y" * (n + 1), there) for n in range(30)]
        assert relay._client.frame(b"x", there) is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_an_allocation_is_given_back(coturn: Coturn, kind: str) -> None:
    for _ in range(3):
        async with relay_of(coturn.server(kind)):
            with pytest.raises(RelayError, match="refuses: 486"):
                await open_relay(coturn.server(kind), nobody)


async def test_one_that_nobody_waits_for_any_more_is_given_back(coturn: Coturn) -> None:
    for turns in range(6):
        opening = asyncio.ensure_future(open_relay(coturn.server("udp"), nobody))
        for _ in range(turns):
            await asyncio.sleep(0.0005)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError, RelayError):
            await (await opening).close()
        async with relay_of(coturn.server("udp")):
            pass


async def test_a_nonce_that_is_old_is_replaced(coturn: Coturn) -> None:
    async with peer() as other, relay_of(coturn.server("udp")) as relay:
        there = other.transport.get_extra_info("sockname")
        client = relay._client
        for _ in range(3):
            await asyncio.sleep(1.1)  # its nonce's life
            client._refresh_due = 0.0
            client.handle_timeout(asyncio.get_running_loop().time())
            relay._flush()
            await until(lambda: not client._asked)
            assert client.failure is None
        relay.sendto(b"x", there)
        await until(lambda: other.received)


async def test_a_peer_that_it_denies(coturn: Coturn) -> None:
    async with relay_of(coturn.server("udp")) as relay:
        relay.sendto(b"x", ("127.0.0.9", 9))
        assert relay._client._asked
        await until(lambda: not relay._client._asked)
        assert not relay._client._peers.permitted("127.0.0.9")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_login_that_is_wrong(coturn: Coturn, kind: str) -> None:
    with pytest.raises(RelayError, match=r"refuses: 401 .*check the user name"):
        await open_relay(coturn.server(kind, "wrong"), nobody)


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a coturn that shares a secret with who hands out logins."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed (Debian: apt install coturn)")
    directory: Path = tmp_path_factory.mktemp("sharing")
    port = free_port()
    with running(
        *(program, "-n", "--listening-ip", LOOPBACK, "--relay-ip", LOOPBACK, "--no-tls"),
        *("--no-dtls", "--no-cli", "--listening-port", port, "--realm", "example.org"),
        *("--use-auth-secret", "--static-auth-secret", "north", "--log-file", "stdout"),
        *("--allow-loopback-peers", "--userdb", directory / "db", "--pidfile", directory / "pid"),
        log=directory / "log",
        ready=lambda: accepts(port),
    ):
        yield port


async def test_a_login_that_is_handed_out_is_good_until_it_expires(sharing: int) -> None:
    logins = TurnLogins((f"turn:127.0.0.1:{sharing}",), "north")
    now = time.time()
    (good,) = servers_of([logins.login("alice", now)])
    async with peer() as other, relay_of(good) as relay:
        relay.sendto(b"x", other.transport.get_extra_info("sockname"))
        await until(lambda: other.received)
    (old,) = servers_of([logins.login("alice", now - logins.ttl - 2)])
    (forged,) = servers_of([replace(logins, secret="south").login("alice", now)])
    for bad in (old, forged):
        with pytest.raises(RelayError, match="refuses: 401"):
            await open_relay(bad, nobody)


async def test_a_certificate_of_another_name(coturn: Coturn, monkeypatch: Any) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(RelayError, match=r"cannot be reached: .*certificate"):
        await open_relay(coturn.server("tls"), nobody)


async def test_a_server_at_an_ipv6_address(coturn: Coturn) -> None:
    async with peer() as other, relay_of(coturn.server("udp", host="::1")) as relay:
        assert relay.related_address[0] == "::1"
        relay.sendto(b"x", other.transport.get_extra_info("sockname"))
        await until(lambda: other.received)
        assert other.received == [(b"x", relay.address)]


async def test_a_stream_that_ends_loses_the_relay(coturn: Coturn) -> None:
    lost: list[Exception | None] = []
    async with relay_of(coturn.server("tcp")) as relay:
        relay.on_lost = lost.append
        relay._transport.write(b"\xff" * 8)  # coturn hangs up
        relay._transport.write_eof()
        await until(lambda: lost)
    assert relays.RELAY_TIMEOUT > len(lost) == 1
