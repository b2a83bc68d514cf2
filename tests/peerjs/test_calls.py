"""Calls between peers of ours, also those that nobody takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.peerjs.test_peer import events, world

from peerfetch_fast.peerjs import mediaconnection
from peerfetch_fast.peerjs.enums import ConnectionEventType, PeerErrorType, PeerEventType
from peerfetch_fast.signaling.seam import Signal, SignalKind
from support import until

aiortc = pytest.importorskip("aiortc")


async def test_sound_both_ways_until_one_hangs_up() -> None:
    async with world() as there:
        one, other = await there.peer("one"), await there.peer("other")
        calls = events(other, PeerEventType.Call)
        mine = one.call("other", [aiortc.AudioStreamTrack()], {"metadata": "m"})
        assert mine is not None
        theirs = (await calls.get())[1]
        assert theirs.metadata == "m"
        told = events(mine, ConnectionEventType.Stream, ConnectionEventType.Close)
        theirs.answer([aiortc.AudioStreamTrack()])
        theirs.answer([])  # once is enough
        name, stream = await told.get()
        assert name == ConnectionEventType.Stream
        assert (await stream.audio.recv()).sample_rate == 48_000
        await until(lambda: mine.open and theirs.open)
        await theirs.close()
        assert (await told.get())[0] == ConnectionEventType.Close
        assert one.connections == other.connections == {}


async def test_nobody_is_there_or_nobody_listens() -> None:
    async with world() as there:
        one = await there.peer("one")
        errors = events(one, PeerEventType.Error)
        call = one.call("nobody")
        assert call is not None
        assert (await errors.get())[1].type == PeerErrorType.PeerUnavailable
        await until(lambda: one.connections == {})
        # Who listens for no calls keeps nothing of them.
        offer = Signal(SignalKind.OFFER, "x", "mc_1", sdp="v=0", about={"type": "media"})
        assert one._on_offer(offer) is False


async def test_a_call_that_nobody_answers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediaconnection, "CONNECT_TIMEOUT", 0.3)
    async with world() as there:
        one, other = await there.peer("one"), await there.peer("other")
        calls: asyncio.Queue[Any] = events(other, PeerEventType.Call)
        mine = one.call("other", [aiortc.AudioStreamTrack()])
        assert mine is not None
        theirs = (await calls.get())[1]
        closed = events(mine, ConnectionEventType.Close)
        await closed.get()
        await until(lambda: other.connections == {})
        theirs.answer()  # too late
        assert not theirs.open


async def test_an_offer_that_is_none_is_told() -> None:
    async with world() as there:
        one = await there.peer("one")
        calls = events(one, PeerEventType.Call)
        errors = events(one, PeerEventType.Error)
        about = {"type": "media"}
        offer = Signal(SignalKind.OFFER, "x", "mc_1", sdp="m=audio nonsense", about=about)
        assert one._on_offer(offer)
        (await calls.get())[1].answer()
        assert (await errors.get())[1].type == PeerErrorType.WebRTC
        await until(lambda: one.connections == {})


async def test_a_call_that_cannot_be_begun_is_told_and_let_go_of() -> None:
    async with world() as there:
        one = await there.peer("one")
        errors = events(one, PeerEventType.Error)
        track = aiortc.AudioStreamTrack()
        call = one.call("other", [track, track])  # aiortc takes a track once
        assert call is not None
        closed = events(call, ConnectionEventType.Close)
        assert (await errors.get())[1].type == PeerErrorType.WebRTC
        await closed.get()
        assert one.connections == {}
