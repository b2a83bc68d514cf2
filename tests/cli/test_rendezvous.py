"""A rendezvous server as a program, with coturn for real."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.webrtc.ice.test_relays import peer

from certificates import self_signed
from peerfetch_fast.cli import main
from peerfetch_fast.cli.serving import tls_pin
from peerfetch_fast.errors import RelayError
from peerfetch_fast.signaling import SignalingClient
from peerfetch_fast.webrtc.ice.relays import open_relay
from peerfetch_fast.webrtc.ice.servers import Server, servers_of
from processes import accepts, fetch, free_port, peerfetch, posix_only
from support import until

pytestmark = posix_only

needs_coturn = pytest.mark.skipif(
    shutil.which("turnserver") is None,
    reason="coturn is not installed (Debian: apt install coturn)",
)


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    files = self_signed(tmp_path, "localhost")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(files[0]))
        yield files


def started(directory: Path, files: tuple[Path, Path], *more: str) -> Any:
    certificate, key = files
    return peerfetch(
        directory,
        *("rendezvous", "--domain", "localhost", "--listen", f"127.0.0.1:{free_port()}"),
        *("--tls-certificate", str(certificate), "--tls-key", str(key)),
        *("--turn-port", str(free_port()), "--turn-tls-port", str(free_port()), *more),
    )


def client_of(url: str) -> SignalingClient:
    # By its pin: what this process trusts may have been read before.
    pin = tls_pin(Path(os.environ["SSL_CERT_FILE"]))
    return SignalingClient(url, "alice", on_message=print, pin=pin)


async def relayed_by_all(url: str) -> list[str]:
    """The URLs of the relays that are handed out, each of which has carried a datagram."""
    async with client_of(url) as client, peer() as other:
        there = other.transport.get_extra_info("sockname")
        found = []
        for server in servers_of(client.ice_servers):
            if server.relays:
                relay = await open_relay(server, lambda *_: None)
                relay.sendto(str(server).encode(), there)
                await until(lambda: other.received)
                found.append(other.received.pop()[0].decode())
                await relay.close()
        return found


async def opened_until_refused(server: Server) -> None:
    """Ask for relays, up to 30 s, until one is refused: coturn looks at a clock of its own, which
    a timer sets and which is behind where the machine is busy."""
    for _ in range(60):
        await (await open_relay(server, lambda *_: None)).close()
        await asyncio.sleep(0.5)


async def over_expiry(url: str) -> None:
    """A client and its relay stay over the time at which their first login expires."""
    async with client_of(url) as client, peer() as other:
        there = other.transport.get_extra_info("sockname")
        first = next(one for one in servers_of(client.ice_servers) if one.relays)
        assert first.username is not None
        expires = int(first.username.partition(":")[0])
        relay = await open_relay(first, lambda *_: None)

        async def relays(data: bytes) -> bool:
            relay.sendto(data, there)
            await until(lambda: other.received)
            return other.received.pop()[0] == data

        assert await relays(b"before")
        await until(lambda: servers_of(client.ice_servers)[1].username != first.username, 90)
        assert time.time() < expires  # in time
        await asyncio.sleep(max(expires - time.time(), 0))  # what is waited for is this moment
        with pytest.raises(RelayError, match="refuses: 401"):
            await opened_until_refused(first)
        assert await relay.holds()  # the server takes refreshes of what stands
        assert await relays(b"after")
        renewed = next(one for one in servers_of(client.ice_servers) if one.relays)
        another = await open_relay(renewed, lambda *_: None)
        await another.close()
        await relay.close()


@needs_coturn
def test_logins_expire_and_are_renewed_in_a_running_session(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with started(tmp_path, certificate, "--private-peers", "--login-time", "60") as server:
        asyncio.run(over_expiry(server.ready["signaling"]))


@needs_coturn
def test_signaling_the_page_and_relays_are_there(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with started(tmp_path, certificate, "--private-peers") as server:
        url = server.ready["signaling"]
        port = url.rpartition(":")[2]
        with urllib.request.urlopen(
            urllib.request.Request(server.ready["page"], headers={"Accept": "text/html"})
        ) as response:
            assert b"<html" in response.read()
        relays = asyncio.run(relayed_by_all(url))
        assert len(relays) == 3
        assert relays[-1] == f"turns:localhost:{port}"
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in server.output


@needs_coturn
@pytest.mark.parametrize("service", ["signaling", "peernet"])
def test_a_proxy_and_a_client_find_each_other(
    tmp_path: Path, certificate: tuple[Path, Path], service: str
) -> None:
    (tmp_path / "hello.txt").write_text("hello")
    with started(tmp_path, certificate, "--private-peers", "--peernet") as server:
        url = server.ready[service]
        serving = ("proxy", "--serve", str(tmp_path), "--signaling", url)
        with peerfetch(tmp_path, *serving) as proxy:
            done = fetch(tmp_path, f"peer://{proxy.ready['peer_id']}/hello.txt", "--signaling", url)
            assert done.stdout == b"hello", done.stderr


@needs_coturn
def test_relays_lead_to_no_private_addresses_unless_they_may(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    async def refused(url: str) -> bool:
        async with client_of(url) as client, peer() as other:
            server = next(it for it in servers_of(client.ice_servers) if it.relays)
            relay = await open_relay(server, lambda *_: None)
            host, port = other.transport.get_extra_info("sockname")
            relay.sendto(b"x", (host, port))
            await until(lambda: not relay._client._asked)
            permitted = relay._client._peers.permitted(host)
            await relay.close()
            return not permitted

    with started(tmp_path, certificate) as server:
        assert asyncio.run(refused(server.ready["signaling"]))


@needs_coturn
def test_coturn_is_started_anew_when_it_ends_and_ends_with_us(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    with started(tmp_path, certificate, "--private-peers") as server:
        url = server.ready["signaling"]

        async def alone() -> int:
            """The port of the relays, once they are found."""
            async with client_of(url) as client:
                turn = next(it for it in servers_of(client.ice_servers) if it.relays)
                return turn.port

        turn_port = asyncio.run(alone())

        async def is_there() -> bool:
            async with client_of(url) as client:
                turn = next(it for it in servers_of(client.ice_servers) if it.relays)
                try:
                    await (await open_relay(turn, lambda *_: None)).close()
                except RelayError:
                    return False
                return True

        assert asyncio.run(is_there())
        (child,) = children(server.pid)
        os.kill(child, signal.SIGKILL)

        async def comes_back() -> None:
            while not await is_there():
                await asyncio.sleep(0.2)

        asyncio.run(asyncio.wait_for(comes_back(), 30))
        server.signal(signal.SIGKILL)
        server.wait()

        async def gone() -> None:
            while accepts(turn_port):
                await asyncio.sleep(0.05)

        asyncio.run(asyncio.wait_for(gone(), 10))


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@needs_coturn
def test_what_is_counted_is_told(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    port = free_port()
    listen = ("--private-peers", "--metrics-listen", f"127.0.0.1:{port}")

    def counted() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = response.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    with started(tmp_path, certificate, *listen) as server:
        before = counted()
        assert before["peerfetch_coturn_starts_total"] == 1
        assert before["peerfetch_certificate_expiry_timestamp_seconds"] > time.time()
        assert before["peerfetch_tls_relayed_bytes_total"] == 0

        async def meanwhile() -> float:
            async with client_of(server.ready["signaling"]):
                return (await asyncio.to_thread(counted))["peerfetch_clients"]

        assert asyncio.run(meanwhile()) == 1
        asyncio.run(relayed_by_all(server.ready["signaling"]))
        assert counted()["peerfetch_tls_relayed_bytes_total"] > 0
        # coturn tells of what it has relayed when a relay ends.
        deadline = time.monotonic() + 10
        while not counted()["peerfetch_relayed_bytes_total"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@needs_coturn
def test_an_address_that_has_had_enough_relayed_loses_its_relays_and_is_told_of_none(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    async def use_up(url: str) -> int:
        """How many servers with relays are named to a client once nothing is relayed any more."""
        async with client_of(url) as client, peer() as other:
            there = other.transport.get_extra_info("sockname")
            relay = await open_relay(servers_of(client.ice_servers)[1], lambda *_: None)
            while await relay.holds():
                for _ in range(100):
                    relay.sendto(bytes(1000), there)
                await asyncio.sleep(0.01)
            await relay.close()
        async with client_of(url) as client:
            servers = servers_of(client.ice_servers)
            assert servers  # STUN is for everybody
            return sum(server.relays for server in servers)

    quota = ("--relay-bytes-per-day", "3000000")
    with started(tmp_path, certificate, "--private-peers", *quota) as server:
        assert asyncio.run(use_up(server.ready["signaling"])) == 0
        assert "have had enough" in server.output


def test_without_relays_it_needs_no_coturn(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path, certificate, "--no-turn") as server:

        async def servers() -> Any:
            url = server.ready["signaling"]
            async with client_of(url) as client:
                return client.ice_servers

        assert asyncio.run(servers()) == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--domain", "a b"], "is no name of a host"),
        (["--domain", "-a.example"], "is no name of a host"),
        (["--relay-ports", "1"], "FIRST-LAST"),
        (["--relay-ports", "9-8"], "lower first"),
        (["--external-address", "a b"], "cannot stand in coturn's configuration"),
        (["--login-time", "59"], "59"),
        (["--tls-certificate", __file__], "cannot be used as a certificate"),
    ],
)
def test_options_that_make_no_sense(
    certificate: tuple[Path, Path], arguments: list[str], says: str
) -> None:
    usual = ["--domain", "localhost", "--listen", "127.0.0.1:0", "--no-turn"]
    usual += ["--tls-certificate", str(certificate[0])]
    result = CliRunner().invoke(main, ["rendezvous", *usual, *arguments])
    assert result.exit_code in (1, 2)
    assert says in result.stderr


def test_a_machine_without_coturn_is_told_what_to_do(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    files = ["--tls-certificate", str(certificate[0]), "--tls-key", str(certificate[1])]
    result = CliRunner().invoke(
        main, ["rendezvous", "--domain", "localhost", "--listen", "127.0.0.1:0", *files]
    )
    assert result.exit_code == 1
    assert "apt install coturn" in result.stderr
