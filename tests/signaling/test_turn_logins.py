"""Logins that expire."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import IceServer

URLS = ("turn:192.0.2.1", "turns:192.0.2.1:443")


def test_a_login_says_until_when_it_is_good_and_is_signed() -> None:
    made = TurnLogins(URLS, "north", ttl=600).login("alice", 1_700_000_000.2)
    assert made.urls == URLS
    assert made.username == "1700000601:alice"
    digest = hmac.digest(b"north", b"1700000601:alice", hashlib.sha1)
    assert made.credential == base64.b64encode(digest).decode()


@pytest.mark.parametrize("peer_id", ["", "a:b", "gr\u00fc\u00dfe", "x" * 65, "\ud800", "a b"])
def test_any_id_makes_a_user_name_of_plain_characters(peer_id: str) -> None:
    username = TurnLogins(URLS, "north").login(peer_id, 0).username
    assert username is not None
    expiry, _, name = username.partition(":")
    assert expiry.isdecimal()
    assert name.isalnum()
    assert len(name) == 32
    assert name.isascii()


def test_what_cannot_be_used_is_refused_at_once() -> None:
    for urls, secret, ttl, why in (
        ((), "north", 600, "need the servers' URLs"),
        (URLS, "", 600, "and their secret"),
        (URLS, "north", 59, "60 seconds at least"),
        (URLS, "north", float("nan"), "60 seconds at least"),
        (("stun:192.0.2.1",), "north", 600, "for TURN servers alone"),
        (("http://192.0.2.1",), "north", 600, "not the URL of a STUN or TURN server"),
    ):
        with pytest.raises(ValueError, match=why):
            TurnLogins(urls, secret, ttl)


def test_the_secret_is_not_shown() -> None:
    assert "north" not in repr(TurnLogins(URLS, "north"))
    assert TurnLogins(URLS, "north").login("alice", 0) == TurnLogins(URLS, "north").login(
        "alice", 0
    )
    assert isinstance(TurnLogins(URLS, "north").login("alice", 0), IceServer)
