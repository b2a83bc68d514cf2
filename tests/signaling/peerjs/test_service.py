"""The seam's signals as PeerJS's messages, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from peerfetch_fast.signaling.peerjs.client import SignalMessage
from peerfetch_fast.signaling.peerjs.messages import MessageType
from peerfetch_fast.signaling.peerjs.service import from_message, to_message
from peerfetch_fast.signaling.seam import Signal, SignalKind

OFFER = Signal(
    SignalKind.OFFER, "other", "id", sdp="v=0", protocol="peerfetch.2", label="peerfetch"
)


@pytest.mark.parametrize(
    "signal",
    [
        OFFER,
        replace(OFFER, restart=True, label=None),
        Signal(SignalKind.ANSWER, "other", "id", sdp="v=0", protocol="peerfetch.2"),
        Signal(SignalKind.ANSWER, "other", "id", sdp="v=0"),
        Signal(SignalKind.CANDIDATE, "other", "id", candidate={"candidate": "x"}),
        Signal(SignalKind.CANDIDATE, "other", "id", candidate=None),
        Signal(SignalKind.GONE, "other", "id"),
    ],
)
def test_what_is_sent_is_read_as_the_same(signal: Signal) -> None:
    kind, payload = to_message(signal)
    found = from_message(SignalMessage(kind, "other", payload))
    assert found is not None
    assert replace(found, about={}) == signal


def test_an_offer_is_what_peerjs_sends() -> None:
    assert to_message(OFFER) == (
        MessageType.OFFER,
        {
            "type": "data",
            "connectionId": "id",
            "sdp": {"type": "offer", "sdp": "v=0"},
            "metadata": {"protocol": "peerfetch.2"},
            "label": "peerfetch",
            "reliable": True,
            "serialization": "raw",
        },
    )


def test_what_programs_of_peerjs_say_goes_before_what_is_said_by_default() -> None:
    about = {"serialization": "json", "metadata": None}
    _, payload = to_message(replace(OFFER, about=about))
    assert (payload["serialization"], payload["metadata"]) == ("json", None)


@pytest.mark.parametrize(
    ("kind", "found"),
    [(MessageType.LEAVE, SignalKind.LEFT), (MessageType.EXPIRE, SignalKind.ABSENT)],
)
def test_who_is_gone_is_told_of_all_connections(kind: MessageType, found: SignalKind) -> None:
    for payload in (None, "text", {"connectionId": "id"}):
        assert from_message(SignalMessage(kind, "other", payload)) == Signal(found, "other")


@pytest.mark.parametrize(
    "payload", [None, [], "text", {}, {"connectionId": 5}, {"connectionId": "x" * 129}]
)
def test_a_message_about_no_connection_is_no_signal(payload: Any) -> None:
    assert from_message(SignalMessage(MessageType.OFFER, "other", payload)) is None


@pytest.mark.parametrize(
    "sdp", [None, "v=0", {}, {"type": "answer", "sdp": "v=0"}, {"type": "offer", "sdp": 5}]
)
def test_a_description_of_another_kind_is_none(sdp: Any) -> None:
    payload = {"connectionId": "id", "sdp": sdp, "label": 5, "metadata": "text", "restart": 1}
    found = from_message(SignalMessage(MessageType.OFFER, "other", payload))
    assert found is not None
    assert (found.sdp, found.label, found.protocol, found.restart) == ("", None, None, False)
