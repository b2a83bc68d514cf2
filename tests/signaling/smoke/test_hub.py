"""The hub's decisions, in virtual time and without sockets: connections are plain strings."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from peerfetch_fast.signaling.peerjs.ice_servers import Welcome
from peerfetch_fast.signaling.peerjs.messages import CLOSE_POLICY, CLOSE_TAKEN_OVER
from peerfetch_fast.signaling.peerjs.realm import Action, Send
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.smoke.hub import CLOSE_UNSUPPORTED, Hub
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import IceServer

T0 = 1000.0


def make(**settings: Any) -> tuple[Hub[str], Counter[Refusal]]:
    made = SignalingServerSettings(**settings)
    refused: Counter[Refusal] = Counter()
    return Hub(made, Welcome(made, lambda: 5000.0), refused), refused


def sent(actions: list[Action[str]]) -> list[Any]:
    return [
        (action.to, json.loads(action.data))
        if isinstance(action, Send)
        else (action.to, action.code)
        for action in actions
    ]


def join(
    hub: Hub[str], connection: str, address: str | None = None, token: str | None = None
) -> Any:
    return sent(hub.attach(connection, address, token, T0))


def say(hub: Hub[str], connection: str, **fields: Any) -> Any:
    return sent(hub.receive(connection, json.dumps(fields), T0))


def test_addresses_are_counted_from_one_and_not_given_twice() -> None:
    hub, _ = make()
    empty = {"iceServers": []}
    for number in (1, 2):
        binding = {"type": "binding", "address": f"0.0.0.{number}", "configuration": empty}
        assert join(hub, f"c{number}") == [(f"c{number}", binding)]
    hub.detach("c1")
    assert join(hub, "c3")[0][1]["address"] == "0.0.0.3"
    assert hub.addresses == ["0.0.0.2", "0.0.0.3"]


def test_the_256th_address_goes_on_in_the_next_octet() -> None:
    hub, _ = make()
    for number in range(256):
        join(hub, f"c{number}")
    assert hub.addresses[254:] == ["0.0.0.255", "0.0.1.0"]


def test_a_node_is_told_of_ice_servers_with_a_login_and_again_before_that_expires() -> None:
    turn = TurnLogins(("turn:relay.example",), "secret", ttl=1000.0)
    hub, _ = make(ice_servers=(IceServer("stun:stun.example"),), turn=turn)
    [(_, binding)] = join(hub, "c1")
    stun, relay = binding["configuration"]["iceServers"]
    assert stun == {"urls": ["stun:stun.example"]}
    assert relay["username"] == "6000:" + relay["username"].split(":")[1]
    assert hub.next_deadline() == T0 + 800.0
    assert hub.expire(T0 + 799.0) == []
    [(to, again)] = sent(hub.expire(T0 + 800.0))
    assert (to, again["address"]) == ("c1", "0.0.0.1")
    assert hub.next_deadline() == T0 + 1600.0
    hub.detach("c1")
    assert hub.next_deadline() is None


def test_relays_are_counted_for_the_account_that_is_given() -> None:
    hub, _ = make(turn=TurnLogins(("turn:relay.example",), "secret", ttl=1000.0))
    for connection in ("c1", "c2"):
        [(_, binding)] = sent(hub.attach(connection, None, None, T0, account="network"))
        [relay] = binding["configuration"]["iceServers"]
        assert relay["username"] == "6000:network"


def test_a_message_is_passed_on_with_the_address_of_who_sent_it() -> None:
    hub, _ = make()
    join(hub, "c1")
    join(hub, "c2")
    forged = {"from": "0.0.0.9", "to": "0.0.0.2", "data": {"any": [1]}, "more": 1}
    expected = {"type": "forward", "from": "0.0.0.1", "to": "0.0.0.2", "data": {"any": [1]}}
    assert say(hub, "c1", type="forward", **forged) == [("c2", expected)]


def test_to_nobody_it_is_lost_and_who_asks_is_told() -> None:
    hub, _ = make()
    join(hub, "c1")
    assert say(hub, "c1", type="forward", to="0.0.0.2", data=1) == []
    [(to, answer)] = say(hub, "c1", type="forward", to="0.0.0.2", data=1, request_id="7")
    assert (to, answer["type"], answer["request_id"]) == ("c1", "forward-fail", "7")
    assert answer["to"] == "0.0.0.2"


def test_host_names_are_one_for_each_node_and_free_when_it_leaves() -> None:
    hub, _ = make()
    join(hub, "c1")
    join(hub, "c2")

    def register(connection: str, hostname: str) -> Any:
        return say(hub, connection, type="register", request_id=1, hostname=hostname)[0][1]

    def lookup(hostname: str) -> Any:
        return say(hub, "c2", type="lookup", request_id="a", hostname=hostname)[0][1]["addresses"]

    assert register("c1", "one") == {"type": "register-ok", "request_id": 1, "hostname": "one"}
    assert register("c1", "one")["type"] == "register-ok"
    failed = register("c2", "one")
    assert (failed["type"], failed["reason"]) == (
        "register-fail",
        "hostname 'one' already registered",
    )
    assert (lookup("one"), lookup("two"), lookup("0.0.0.2")) == (["0.0.0.1"], [], ["0.0.0.2"])
    register("c1", "two")
    assert (lookup("one"), lookup("two")) == ([], ["0.0.0.1"])
    hub.detach("c1")
    assert lookup("two") == []
    assert register("c2", "two")["type"] == "register-ok"


def test_a_node_comes_back_by_its_address_also_to_a_hub_that_was_started_anew() -> None:
    hub, _ = make()
    join(hub, "c1", token="t1")
    hub.detach("c1")
    assert join(hub, "c2", "0.0.0.1", "t1")[0][1]["address"] == "0.0.0.1"
    fresh, _ = make()
    assert join(fresh, "c1", "0.0.0.1", "t1")[0][1]["address"] == "0.0.0.1"
    assert join(fresh, "c2")[0][1]["address"] == "0.0.0.2"


def test_who_proves_it_takes_over_a_connection_that_may_be_dead() -> None:
    hub, _ = make(max_clients=1)
    join(hub, "c1", token="t1")
    say(hub, "c1", type="register", request_id=1, hostname="one")
    closed, (to, binding) = join(hub, "c2", "0.0.0.1", "t1")
    assert closed == ("c1", CLOSE_TAKEN_OVER)
    assert (to, binding["address"]) == ("c2", "0.0.0.1")
    assert say(hub, "c1", type="forward", to="0.0.0.1", data=1) == []
    hub.detach("c1")
    assert hub.addresses == ["0.0.0.1"]


@pytest.mark.parametrize(
    ("address", "token"),
    [
        ("0.0.0.1", "other"),
        ("0.0.0.1", None),
        ("0.0.0.0", "t"),
        ("0.0.0.256", "t"),
        ("0.0.0.01", "t"),
        ("10.0.0.1", "t"),
        ("x" * 10_000, "t"),
        ("\ud800", "t"),
    ],
)
def test_nobody_gets_an_address_that_is_anothers_or_none(address: str, token: str | None) -> None:
    for left in (False, True):
        hub, _ = make()
        join(hub, "c1", token="t1")
        if left:
            hub.detach("c1")
        assert join(hub, "c2", address, token)[0][1]["address"] == "0.0.0.2"


def test_a_hub_that_is_full_says_so() -> None:
    hub, refused = make(max_clients=1)
    join(hub, "c1")
    assert join(hub, "c2") == [("c2", CLOSE_POLICY)]
    assert refused[Refusal.TOO_MANY_CLIENTS] == 1
    hub.detach("c2")
    assert hub.addresses == ["0.0.0.1"]


def test_those_who_have_left_are_remembered_up_to_a_bound() -> None:
    hub, _ = make(max_clients=2)
    for number in range(1, 6):
        join(hub, f"c{number}", token=f"t{number}")
        hub.detach(f"c{number}")
    assert join(hub, "c6", "0.0.0.5", "other")[0][1]["address"] == "0.0.0.6"
    assert join(hub, "c7", "0.0.0.1", "other")[0][1]["address"] == "0.0.0.1"


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "1",
        "{}",
        '{"type": "binding"}',
        '{"type": []}',
        '{"type": "forward"}',
        '{"type": "forward", "to": 5}',
        '{"type": "forward", "to": ""}',
        json.dumps({"type": "forward", "to": "x" * 254}),
        '{"type": "forward", "to": "x", "request_id": true}',
        '{"type": "register", "hostname": "a"}',
        '{"type": "register", "request_id": {}, "hostname": "a"}',
        json.dumps({"type": "lookup", "request_id": "x" * 65, "hostname": "a"}),
        '{"type": "lookup", "request_id": "1", "hostname": null}',
        '{"type": "forward", "to": "0.0.0.2", "data": ' + "[" * 300 + "]" * 300 + "}",
    ],
)
def test_what_cannot_be_read_ends_the_connection(text: str) -> None:
    hub, refused = make()
    join(hub, "c1")
    join(hub, "c2")
    assert sent(hub.receive("c1", text, T0)) == [("c1", CLOSE_UNSUPPORTED)]
    assert refused.total() == 1
    assert hub.addresses == ["0.0.0.2"]
    assert hub.receive("c1", '{"type": "lookup"}', T0) == []


def test_a_message_that_grows_when_it_is_written_again_does_not_reach_its_receiver() -> None:
    hub, _ = make(max_message_size=10_000)
    join(hub, "c1")
    join(hub, "c2")
    text = '{"type":"forward","to":"0.0.0.2","data":[' + ",".join(["1e15"] * 1_900) + "]}"
    assert len(text) < 10_000
    assert sent(hub.receive("c1", text, T0)) == [("c1", CLOSE_UNSUPPORTED)]


@pytest.mark.parametrize("token", ["", "x" * 129])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    hub, refused = make()
    assert join(hub, "c1", None, token) == [("c1", CLOSE_POLICY)]
    assert refused[Refusal.BAD_ID] == 1
