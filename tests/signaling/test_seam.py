"""Two peers who meet by whatever service the URL names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peerfetch_fast import IdTaken, PeerUnavailable, SignalingError, connect, serve
from peerfetch_fast.signaling.local import LocalService
from peerfetch_fast.signaling.seam import Signal, SignalKind, checked_service, join
from support import until


def nobody(signal: Signal) -> None:
    raise AssertionError(f"nobody has a word for this one: {signal}")


@pytest.mark.parametrize(
    "service", ["http//example.org", "ftp://example.org", "wss://", "", "peernet"]
)
def test_a_url_of_no_service_is_refused(service: str) -> None:
    for use in (checked_service, lambda url: join(url, on_signal=nobody)):
        with pytest.raises(SignalingError, match="ws"):
            use(service)


async def test_signals_reach_the_peer_that_they_name() -> None:
    place = LocalService()
    came: list[Signal] = []
    one = place.join("one", on_signal=nobody)
    other = place.join("other", on_signal=came.append)
    with pytest.raises(SignalingError, match="never started"):
        await one.send(Signal(SignalKind.OFFER, "other", "id"))
    await one.start()
    await other.start()
    await one.send(Signal(SignalKind.OFFER, "other", "id", sdp="v=0", label="peerfetch"))
    await until(lambda: bool(came))
    assert came == [Signal(SignalKind.OFFER, "one", "id", sdp="v=0", label="peerfetch")]


async def test_a_signal_to_nobody_is_answered_with_absent() -> None:
    came: list[Signal] = []
    one = LocalService().join("one", on_signal=came.append)
    await one.start()
    await one.send(Signal(SignalKind.OFFER, "other", "id"))
    await until(lambda: bool(came))
    assert came == [Signal(SignalKind.ABSENT, "other")]


async def test_an_id_belongs_to_one_and_is_free_after_it() -> None:
    place = LocalService()
    one, other = (place.join("one", on_signal=nobody) for _ in range(2))
    await one.start()
    with pytest.raises(IdTaken):
        await other.start()
    await other.close()
    await one.start()  # it is still its own
    await one.close()
    await other.start()


async def test_peers_are_those_who_want_to_be_found() -> None:
    place = LocalService()
    one, other = place.join("one", on_signal=nobody), place.join("other", on_signal=nobody)
    staying = asyncio.ensure_future(other.be_found())
    await asyncio.sleep(0)
    assert (await one.peers(), await other.peers()) == (["other"], [])
    staying.cancel()
    await asyncio.wait((staying,))
    assert await one.peers() == []


async def test_requests_are_answered_through_a_service_of_this_process(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    options = {"signaling": "local:here"}
    async with (
        serve(tmp_path, peer_id="device", **options),
        connect("device", known_peers=tmp_path / "known", **options) as peer,
        peer.fetch("/a.txt") as response,
    ):
        assert await response.text() == "here"
    with pytest.raises(PeerUnavailable):
        await connect("device", known_peers=tmp_path / "known", **options)
