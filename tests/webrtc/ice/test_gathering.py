"""Names in this machine's network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aioice import mdns

from peerfetch_fast.webrtc.ice.gathering import is_mdns_name, resolve_mdns


def test_only_mdns_names_are_resolved() -> None:
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
