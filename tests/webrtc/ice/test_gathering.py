"""Addresses of this machine, and names in its network."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import mdns

from peerfetch_fast.webrtc.ice.gathering import host_addresses, is_mdns_name, resolve_mdns


def _adapters(*addresses: str) -> Any:
    ips = [SimpleNamespace(ip=(a, 0, 2 if a.startswith("fe80") else 0)) for a in addresses]
    for ip in ips:
        if ":" not in ip.ip[0]:
            ip.ip = ip.ip[0]
    return SimpleNamespace(get_adapters=lambda: [SimpleNamespace(name="eth0", ips=ips)])


@pytest.mark.parametrize(
    ("there", "used"),
    [
        ([], ["127.0.0.1"]),
        (["127.0.0.1", "::1"], ["127.0.0.1"]),
        (["127.0.0.1", "192.0.2.1", "2001:db8::1"], ["192.0.2.1", "2001:db8::1"]),
        (["192.0.2.1", "fe80::1", "169.254.0.1"], ["192.0.2.1"]),
        (["127.0.0.1", "fe80::1"], ["fe80::1%eth0"]),
        (["192.0.2.1", "192.0.2.1"], ["192.0.2.1"]),
    ],
)
def test_addresses_of_this_machine(monkeypatch: Any, there: list[str], used: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "ifaddr", _adapters(*there))
    assert host_addresses() == used


def test_names() -> None:
    assert is_mdns_name(mdns.create_mdns_hostname())
    for name in ("192.0.2.1", "local", ".local", "a.b.local", "a.local.", "a_b.local", "ä.local"):
        assert not is_mdns_name(name)
        assert asyncio.run(resolve_mdns(name)) is None


def test_a_name_is_resolved(run: Any) -> None:
    async def main() -> str | None:
        name = mdns.create_mdns_hostname()
        responder = await mdns.create_mdns_protocol()
        try:
            await responder.publish(name, "192.0.2.7")
            return await resolve_mdns(name)
        finally:
            await responder.close()

    try:
        address = run(main())
    except OSError:
        address = None
    if address is None:
        pytest.skip("no multicast here")
    assert address == "192.0.2.7"
