"""``peerfetch share --to NAME``, and those who accept and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peerfetch_fast import serve
from peerfetch_fast.cli import deliver as module
from peerfetch_fast.cli.deliver import deliver
from peerfetch_fast.errors import SharingError
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.sharing.room import member_id
from peerfetch_fast.signaling import SignalingServer
from peerfetch_fast.webrtc.transports import ConnectionOptions
from processes import posix_only

pytestmark = posix_only


class Accepting(Resources):
    """Somebody who accepts what they are offered, and does not come for it."""

    async def __call__(self, exchange: Exchange) -> None:
        exchange.respond(204)


async def test_who_accepts_and_does_not_come_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE", 0.5)
    monkeypatch.setattr(module, "LOOK_EACH", 0.1)
    (tmp_path / "file").write_text("content")
    signaling = SignalingServer()
    await signaling.start("127.0.0.1", 0)
    taker = {"peer_id": member_id("takes", "anna"), "discoverable": True}
    async with serve(Accepting(), signaling=signaling.url, **taker), asyncio.timeout(60.0):
        with pytest.raises(SharingError, match="not there any more"):
            await deliver([tmp_path / "file"], "anna", signaling.url, ConnectionOptions())
    await signaling.close()
