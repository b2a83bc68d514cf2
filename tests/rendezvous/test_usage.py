"""What a coturn that runs tells of its relays, and that it ends those that are too much."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.webrtc.ice.test_relays import peer

from certificates import self_signed
from peerfetch_fast.errors import RelayError
from peerfetch_fast.rendezvous import usage as module
from peerfetch_fast.rendezvous.coturn import Coturn, CoturnSettings
from peerfetch_fast.rendezvous.quotas import Quotas, QuotaSettings
from peerfetch_fast.rendezvous.usage import HOST, Usage
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.relays import Relay, open_relay
from peerfetch_fast.webrtc.ice.servers import servers_of
from processes import free_port, posix_only
from support import until

pytestmark = posix_only

needs_coturn = pytest.mark.skipif(
    shutil.which("turnserver") is None,
    reason="coturn is not installed (Debian: apt install coturn)",
)


@contextlib.asynccontextmanager
async def running(
    directory: Path, quotas: QuotaSettings
) -> AsyncIterator[tuple[Usage, TurnLogins]]:
    certificate, key = self_signed(directory, "localhost")
    settings = CoturnSettings(
        "localhost", "north", port=free_port(), tls_port=free_port(), private_peers=True
    )
    urls = (f"turn:127.0.0.1:{settings.port}",)
    async with (
        Usage(Quotas(quotas)) as usage,
        Coturn(settings, certificate, key, directory, usage=usage),
    ):
        yield usage, TurnLogins(urls, "north", withheld=usage.refuses)


async def relay_of(logins: TurnLogins, account: str) -> Relay:
    (server,) = servers_of([logins.login(account, time.time())])
    return await open_relay(server, lambda *_: None)


@needs_coturn
async def test_who_has_had_enough_bytes_loses_the_relays_that_stand_and_gets_no_login(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, QuotaSettings(size=3_000_000)) as (usage, logins), peer() as other:
        there = other.transport.get_extra_info("sockname")
        relay, neighbour = await relay_of(logins, "anna"), await relay_of(logins, "bert")
        assert not logins.refuses("anna")
        while await relay.holds():
            for _ in range(100):
                relay.sendto(bytes(1000), there)
            await asyncio.sleep(0.01)
        await until(lambda: usage.cut == 1)
        assert logins.refuses("anna")
        assert usage.quotas.relayed >= 3_000_000
        # With the login from before there is a relay for a moment.
        with contextlib.suppress(RelayError):
            again = await relay_of(logins, "anna")
            await until(lambda: usage.cut == 2)
            assert not await again.holds()
            await again.close()
        assert await neighbour.holds()
        assert not logins.refuses("bert")
        await relay.close()
        await neighbour.close()
        await until(lambda: usage.quotas.relays == 0)


@needs_coturn
async def test_who_has_had_relays_for_long_enough_loses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.1)
    async with running(tmp_path, QuotaSettings(time=1.0)) as (usage, logins):
        relay = await relay_of(logins, "anna")
        await until(lambda: usage.cut == 1)
        assert not await relay.holds()
        assert logins.refuses("anna")
        await relay.close()


async def test_nobody_else_tells_it_anything() -> None:
    async with Usage(Quotas(QuotaSettings(size=1))) as usage:
        name = b"turn/realm/r/user/1:anna/allocation/1/status"
        publish = b"*3\r\n$7\r\npublish\r\n$%d\r\n%s\r\n$3\r\nnew\r\n" % (len(name), name)
        for octets in (publish, b"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n" + publish, b"GET /\r\n"):
            reader, writer = await asyncio.open_connection(HOST, usage._port)
            writer.write(octets)
            assert await reader.read() == b""
            writer.close()
        assert usage.quotas.relays == 0
        assert usage._password not in repr(usage)
