"""What OPEN says of STUN and TURN servers, as servers write it and as clients read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.signaling.peerjs.ice_servers import (
    MAX_TTL,
    MAX_URLS,
    MIN_TTL,
    Told,
    Welcome,
    told,
)
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import MAX_SERVERS, IceServer, servers_of

TURN = {"urls": "turn:192.0.2.1", "username": "u", "credential": "c"}


def test_what_a_server_tells_a_client_reads() -> None:
    turn = TurnLogins(("turn:192.0.2.1", "turns:192.0.2.1:443"), "north", ttl=600)
    settings = SignalingServerSettings(ice_servers=(IceServer("stun:192.0.2.1"),), turn=turn)
    welcome = Welcome(settings, lambda: 1000.0)
    found = told(json.loads(json.dumps(welcome("alice"))))
    login = turn.login("alice", 1000.0)
    one, other = (IceServer(url, login.username, login.credential) for url in turn.urls)
    assert found == Told((IceServer("stun:192.0.2.1"), one, other), 600.0)
    assert told(welcome("bob")) != found


def test_peerjs_s_servers_tell_nothing() -> None:
    assert Welcome(SignalingServerSettings())("alice") is None
    assert told(None) == Told()


@pytest.mark.parametrize(
    "payload",
    [
        [],
        {"iceServers": "stun:192.0.2.1"},
        {"iceServers": [None, "stun:192.0.2.1", {}, {"urls": 5}, {"urls": [[]]}]},
        {"iceServers": [{"urls": "turn:192.0.2.1"}]},
        {"iceServers": [TURN | {"username": 5}, TURN | {"credential": "x" * 513}]},
        {"iceServers": [{"urls": "http://192.0.2.1"}, {"urls": "stun:"}], "ttl": 600},
    ],
)
def test_what_cannot_be_used_is_left_out(payload: Any) -> None:
    assert told(payload) == Told()


def test_there_are_bounds_to_what_is_taken() -> None:
    many = {"iceServers": [{"urls": [f"stun:192.0.2.{n}" for n in range(9)]}] * 99}
    assert len(told(many).servers) == MAX_SERVERS
    urls = ["turn:?"] * MAX_URLS + ["turn:192.0.2.1"]
    assert told({"iceServers": [TURN | {"urls": urls[1:]}]}).servers
    assert not told({"iceServers": [TURN | {"urls": urls}]}).servers
    for ttl, taken in ((1, MIN_TTL), (10**12, MAX_TTL), (600, 600.0), (0, None), ("9", None)):
        assert told({"iceServers": [TURN], "ttl": ttl}).ttl == taken


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(
    st.dictionaries(st.sampled_from(["iceServers", "ttl", "x"]), json_values)
    | st.fixed_dictionaries(
        {"iceServers": st.lists(st.fixed_dictionaries({"urls": json_values}))},
        optional={"ttl": json_values},
    )
)
def test_any_payload_gives_servers_that_can_be_used(payload: Any) -> None:
    servers_of(told(payload).servers)
