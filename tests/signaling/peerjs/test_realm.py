"""The server's decisions, in virtual time and without sockets: connections are plain strings."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.signaling.peerjs.ice_servers import Welcome
from peerfetch_fast.signaling.peerjs.messages import (
    CLOSE_POLICY,
    CLOSE_SILENT,
    CLOSE_TAKEN_OVER,
    Message,
    MessageType,
    encode,
)
from peerfetch_fast.signaling.peerjs.realm import Action, Close, Realm, Send, cost
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.webrtc.ice.servers import IceServer
from steps import assert_linear

T0 = 1000.0


def make(**settings: Any) -> Realm[str]:
    made = SignalingServerSettings(**settings)
    return Realm(made, Welcome(made))


def join(realm: Realm[str], peer_id: str, connection: str = "", now: float = T0) -> list[Any]:
    actions = realm.attach(connection or f"c-{peer_id}", "peerjs", peer_id, f"t-{peer_id}", now)
    return sent(actions)


def message(kind: str, dst: str | None = None, payload: object = None, **more: object) -> str:
    return json.dumps({"type": kind, "dst": dst, "payload": payload, **more})


def sent(actions: list[Action[str]]) -> list[Any]:
    """What is sent and closed, in a form that is easy to compare."""
    return [
        (action.to, json.loads(action.data))
        if isinstance(action, Send)
        else (action.to, action.code)
        for action in actions
    ]


def expire_of(connection: str, src: str, dst: str) -> tuple[str, dict[str, str]]:
    return (connection, {"type": "EXPIRE", "src": src, "dst": dst})


def test_a_new_id_is_let_in() -> None:
    realm = make()
    assert join(realm, "alice") == [("c-alice", {"type": "OPEN"})]
    assert realm.ids == ["alice"]
    assert not realm.refused


def test_who_is_let_in_is_told_of_ice_servers() -> None:
    stun = IceServer("stun:192.0.2.1")
    turn = IceServer(("turn:192.0.2.1", "turns:192.0.2.1"), "someone", "secret")
    realm = make(ice_servers=(stun, turn))
    told = [
        {"urls": ["stun:192.0.2.1"]},
        {
            "urls": ["turn:192.0.2.1", "turns:192.0.2.1"],
            "username": "someone",
            "credential": "secret",
        },
    ]
    assert join(realm, "alice") == [("c-alice", {"type": "OPEN", "payload": {"iceServers": told}})]
    # Who is not let in is not.
    refused = realm.attach("c-mallory", "peerjs", "alice", "another", T0)
    assert "secret" not in repr(refused)
    with pytest.raises(ValueError, match="not the URL of a STUN or TURN server"):
        SignalingServerSettings(ice_servers=(IceServer("http://192.0.2.1"),))


def test_ids_and_tokens_are_taken_as_peerjs_s_server_takes_them() -> None:
    realm = make()
    for peer_id in ("a/b", "me@example.org", "grüße"):
        for token in ("a token", "ünicode", "t" * 1024):
            actions = realm.attach((peer_id, token), "peerjs", peer_id, token, T0)
            assert sent(actions)[0][1]["type"] == "OPEN"
            other = sent(realm.attach("other", "peerjs", peer_id, f"{token[:-1]}x", T0))
            assert other[0][1]["type"] == "ID-TAKEN"
            again = sent(realm.attach("again", "peerjs", peer_id, token, T0))
            assert again[-1][1]["type"] == "OPEN"
            realm.detach("again")
    assert realm.ids == []


def test_errors_are_named_as_peerjs_s_server_names_them() -> None:
    realm = make(max_clients=1)
    join(realm, "alice")

    def said(*query: str | None) -> object:
        return sent(realm.attach("c", *query, T0))[0][1]["payload"]["msg"]

    assert said("peerjs", "bob", None) == "No id, token, or key supplied to websocket server"
    assert said("other", "bob", "t") == "Invalid key provided"
    assert said("peerjs", "bob", "t") == "Server has reached its concurrent user limit"
    assert said("peerjs", "alice", "wrong") == "ID is taken"


@pytest.mark.parametrize(
    ("key", "peer_id", "token", "refusal"),
    [
        (None, "alice", "t", Refusal.MISSING_PARAMETERS),
        ("peerjs", None, "t", Refusal.MISSING_PARAMETERS),
        ("peerjs", "alice", "", Refusal.MISSING_PARAMETERS),
        ("other", "alice", "t", Refusal.WRONG_KEY),
        ("peerjs", "a\nb", "t", Refusal.BAD_ID),
        ("peerjs", "alice", "t" * 1025, Refusal.BAD_ID),
    ],
)
def test_a_bad_handshake_gets_an_error_and_is_closed(
    key: str | None, peer_id: str | None, token: str | None, refusal: Refusal
) -> None:
    realm = make()
    (to, error), (closed, code) = sent(realm.attach("c", key, peer_id, token, T0))
    assert (to, closed, code) == ("c", "c", CLOSE_POLICY)
    assert error["type"] == "ERROR"
    assert error["payload"]["msg"]
    assert realm.refused == {refusal: 1}
    assert realm.ids == []
    assert realm.receive("c", message("HEARTBEAT"), T0) == []


def test_an_id_in_use_is_taken_for_any_other_token() -> None:
    realm = make()
    join(realm, "alice")
    assert sent(realm.attach("thief", "peerjs", "alice", "guess", T0)) == [
        ("thief", {"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}),
        ("thief", CLOSE_POLICY),
    ]
    assert realm.refused == {Refusal.ID_TAKEN: 1}
    join(realm, "bob")
    assert sent(realm.receive("c-bob", message("OFFER", "alice", 1), T0))[0][0] == "c-alice"


def test_the_same_id_and_token_take_over() -> None:
    realm = make(max_clients=1)
    join(realm, "alice", "old")
    assert join(realm, "alice", "new") == [("old", CLOSE_TAKEN_OVER), ("new", {"type": "OPEN"})]
    realm.detach("old")  # its socket is gone only now
    assert realm.ids == ["alice"]
    assert realm.receive("old", message("OFFER", "alice"), T0) == []
    assert sent(realm.receive("new", message("OFFER", "alice", 1), T0))[0][0] == "new"


def test_there_is_a_limit_of_clients_and_a_place_becomes_free_again() -> None:
    realm = make(max_clients=2)
    join(realm, "a")
    join(realm, "b")
    assert join(realm, "c")[0][1]["type"] == "ERROR"
    assert realm.refused == {Refusal.TOO_MANY_CLIENTS: 1}
    realm.detach("c-a")
    assert join(realm, "c") == [("c-c", {"type": "OPEN"})]


@pytest.mark.parametrize("kind", ["OFFER", "ANSWER", "CANDIDATE", "LEAVE", "EXPIRE"])
def test_messages_between_peers_are_forwarded_with_their_sender(kind: str) -> None:
    realm = make()
    join(realm, "alice")
    join(realm, "bob")
    payload = {"sdp": {"type": "offer", "sdp": "v=0\r\n"}, "n": [1, 2.5, None, "ü"]}
    assert sent(realm.receive("c-alice", message(kind, "bob", payload), T0)) == [
        ("c-bob", {"type": kind, "src": "alice", "dst": "bob", "payload": payload})
    ]
    assert not realm.refused


def test_a_forged_sender_is_overwritten_and_counted() -> None:
    realm = make()
    for peer_id in ("alice", "bob", "carol"):
        join(realm, peer_id)
    ((_, forwarded),) = sent(realm.receive("c-alice", message("OFFER", "bob", 1, src="carol"), T0))
    assert forwarded["src"] == "alice"
    assert realm.refused == {Refusal.FORGED_SRC: 1}
    realm.receive("c-alice", message("OFFER", "bob", 1, src="alice"), T0)
    assert realm.refused == {Refusal.FORGED_SRC: 1}


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("no json", Refusal.NOT_JSON),
        ("[]", Refusal.BAD_SHAPE),
        (message("OFFER"), Refusal.BAD_SHAPE),
        (message("GREETING", "bob"), Refusal.UNKNOWN_TYPE),
        (message("OPEN", "bob"), Refusal.NOT_FOR_CLIENTS),
        (message("ID-TAKEN", "bob"), Refusal.NOT_FOR_CLIENTS),
        (message("ERROR", "bob"), Refusal.NOT_FOR_CLIENTS),
        (message("OFFER", "bob\n"), Refusal.BAD_ID),
    ],
)
def test_bad_messages_are_counted_and_go_nowhere(text: str, refusal: Refusal) -> None:
    realm = make()
    join(realm, "alice")
    join(realm, "bob")
    assert realm.receive("c-alice", text, T0) == []
    assert realm.refused == {refusal: 1}
    assert realm.ids == ["alice", "bob"]


def test_a_payload_that_cannot_be_written_again_is_refused() -> None:
    realm = make()
    join(realm, "alice")
    deep = '{"type": "OFFER", "dst": "alice", "payload": ' + "[" * 500 + "]" * 500 + "}"
    assert realm.receive("c-alice", deep, T0) == []
    assert realm.refused == {Refusal.BAD_SHAPE: 1}


def test_a_payload_that_grows_when_it_is_written_again_is_refused() -> None:
    realm = make(max_message_size=10_000)
    join(realm, "alice")
    join(realm, "bob")
    text = '{"type":"OFFER","dst":"bob","payload":[' + ",".join(["1e15"] * 1_900) + "]}"
    assert len(text) < 10_000
    assert realm.receive("c-alice", text, T0) == []
    assert realm.refused[Refusal.BAD_SHAPE] == 1


def test_a_leave_to_nobody_leaves_the_server() -> None:
    realm = make()
    join(realm, "alice")
    assert sent(realm.receive("c-alice", message("LEAVE"), T0)) == [("c-alice", 1000)]
    assert realm.ids == []


def test_messages_wait_for_their_destination_and_keep_their_order() -> None:
    realm = make()
    join(realm, "alice")
    for n in range(3):
        assert realm.receive("c-alice", message("CANDIDATE", "bob", n), T0 + n) == []
    assert realm.queued_bytes > 0
    opened, *waited = join(realm, "bob", now=T0 + 4.9)
    assert opened == ("c-bob", {"type": "OPEN"})
    assert [(to, data["src"], data["payload"]) for to, data in waited] == [
        ("c-bob", "alice", n) for n in range(3)
    ]
    assert realm.queued_bytes == 0
    assert realm.expire(T0 + 29) == []
    assert Refusal.EXPIRED not in realm.refused


def test_what_waited_too_long_expires_once_for_each_pair() -> None:
    realm = make()
    join(realm, "alice")
    join(realm, "carol")
    for kind in ("OFFER", "CANDIDATE", "CANDIDATE"):
        realm.receive("c-alice", message(kind, "bob"), T0)
    realm.receive("c-alice", message("OFFER", "dave"), T0 + 1)
    realm.receive("c-carol", message("OFFER", "bob"), T0 + 2)
    assert realm.next_deadline() == T0 + 5
    assert realm.expire(T0 + 4.999) == []
    assert sent(realm.expire(T0 + 5)) == [expire_of("c-alice", "bob", "alice")]
    assert sent(realm.expire(T0 + 7)) == [
        expire_of("c-alice", "dave", "alice"),
        expire_of("c-carol", "bob", "carol"),
    ]
    assert realm.queued_bytes == 0
    assert realm.refused == {Refusal.EXPIRED: 5}
    assert join(realm, "bob", now=T0 + 8) == [("c-bob", {"type": "OPEN"})]


@pytest.mark.parametrize("kind", ["LEAVE", "EXPIRE"])
def test_leave_and_expire_never_wait(kind: str) -> None:
    realm = make()
    join(realm, "alice")
    assert realm.receive("c-alice", message(kind, "bob"), T0) == []
    assert realm.queued_bytes == 0
    assert realm.expire(T0 + 6) == []


def test_nobody_is_told_where_the_sender_is_gone() -> None:
    realm = make()
    join(realm, "alice")
    realm.receive("c-alice", message("OFFER", "bob"), T0)
    realm.detach("c-alice")
    assert realm.expire(T0 + 5) == []
    assert realm.queued_bytes == 0
    assert realm.next_deadline() is None


def test_a_full_queue_refuses_and_tells_the_sender() -> None:
    realm = make(max_queue=3 * 1024)
    for peer_id in ("alice", "carol"):
        join(realm, peer_id)
    while not realm.refused:
        assert realm.receive("c-alice", message("CANDIDATE", "bob", "x" * 500), T0) == []
    # What alice has waiting expires by itself; carol would never hear.
    assert sent(realm.receive("c-carol", message("OFFER", "bob", "x" * 500), T0)) == [
        expire_of("c-carol", "bob", "carol")
    ]
    assert realm.refused == {Refusal.QUEUE_FULL: 2}
    assert realm.queued_bytes <= 3 * 1024


def test_one_sender_cannot_fill_the_queues_of_all() -> None:
    realm = make(max_queue=3 * 1024)
    join(realm, "alice")
    join(realm, "carol")
    for n in range(100):
        realm.receive("c-alice", message("OFFER", f"peer-{n}", "x" * 500), T0)
    assert realm.queued_bytes <= 3 * 1024
    assert realm.receive("c-carol", message("OFFER", "peer-99"), T0) == []
    assert len(join(realm, "peer-99")) == 2


def test_all_queues_together_are_bounded() -> None:
    realm = make(max_queue=2 * 1024, max_queued_total=4 * 1024)
    for n in range(10):
        join(realm, f"s-{n}")
        realm.receive(f"c-s-{n}", message("OFFER", f"d-{n}", "x" * 500), T0)
    assert 0 < realm.queued_bytes <= 4 * 1024
    assert realm.refused[Refusal.QUEUE_FULL] == 7


def test_many_tiny_messages_fill_a_queue_too() -> None:
    realm = make(max_queue=64 * 1024)
    join(realm, "alice")
    for _ in range(10_000):
        realm.receive("c-alice", message("OFFER", "bob"), T0)
    assert len(join(realm, "bob")) < 64 * 1024 / cost(b"")


def test_who_says_nothing_at_all_is_dropped_sooner() -> None:
    realm = make(first_message_timeout=30, alive_timeout=90)
    for peer_id in ("mute", "pings", "talks", "anew"):
        join(realm, peer_id)
    assert realm.next_deadline() == T0 + 30
    realm.heard("c-pings", T0 + 1)
    realm.receive("c-talks", "no json", T0 + 1)
    join(realm, "anew", "c-again", T0 + 20)
    assert realm.expire(T0 + 29.9) == []
    assert sent(realm.expire(T0 + 30)) == [("c-mute", CLOSE_SILENT)]
    assert sent(realm.expire(T0 + 50)) == [("c-again", CLOSE_SILENT)]
    assert realm.ids == ["pings", "talks"]
    assert realm.next_deadline() == T0 + 91
    realm.detach("c-pings")
    realm.detach("c-talks")
    assert realm.next_deadline() is None


def held_for(act: Callable[[Realm[str]], None], **settings: Any) -> tuple[int, Realm[str]]:
    """Bytes of memory that a realm holds after ``act``, beside what it needs for itself."""
    realm = make(**settings)
    gc.collect()
    tracemalloc.start()
    try:
        act(realm)
        gc.collect()
        return tracemalloc.get_traced_memory()[0], realm
    finally:
        tracemalloc.stop()


def test_offers_to_the_absent_cost_no_more_memory_than_is_counted() -> None:
    def flood(realm: Realm[str]) -> None:
        for sender in range(8):
            join(realm, f"s{sender}")
            for n in range(5000):
                kind = message("OFFER", f"{'x' * 100}-{sender}-{n}", "y" * (n % 50))
                realm.receive(f"c-s{sender}", kind, T0)

    limits = {"max_queue": 1024 * 1024, "max_outgoing": 2 * 1024 * 1024}
    held, realm = held_for(flood, **limits, max_queued_total=4 * 1024 * 1024)
    assert 3 * 1024 * 1024 < realm.queued_bytes <= 4 * 1024 * 1024
    assert held <= realm.queued_bytes
    assert realm.refused[Refusal.QUEUE_FULL] > 0
    realm.expire(T0 + 5)
    assert realm.queued_bytes == 0
    assert not realm._waiting
    assert not realm._senders_by_dst


def test_registrations_and_rooms_are_bounded_by_the_clients() -> None:
    def register(realm: Realm[str]) -> None:
        for n in range(20_000):
            join(realm, f"peer-{n}")
            if realm.is_client(f"peer-{n}", f"t-peer-{n}"):
                realm.rooms.join(f"room-{n}", f"peer-{n}")
            realm.detach(f"c-peer-{n - 50}")

    held, realm = held_for(register, max_clients=50)
    assert len(realm.ids) <= 50
    assert held < 50 * 8192
    for n in range(20_000):
        realm.detach(f"c-peer-{n}")
    assert not realm.rooms._members
    assert not realm.rooms._room_of


def test_the_silent_are_dropped_and_any_sign_of_life_counts() -> None:
    realm = make(first_message_timeout=90)
    for peer_id in ("pings", "beats", "silent", "talks", "babbles"):
        join(realm, peer_id)
    assert realm.next_deadline() == T0 + 90
    realm.heard("c-pings", T0 + 50)
    realm.receive("c-beats", message("HEARTBEAT"), T0 + 50)
    realm.receive("c-talks", message("LEAVE", "nobody"), T0 + 50)
    realm.receive("c-babbles", "no json", T0 + 50)
    assert realm.expire(T0 + 89.9) == []
    assert sent(realm.expire(T0 + 90)) == [("c-silent", CLOSE_SILENT)]
    assert realm.ids == ["babbles", "beats", "pings", "talks"]
    assert realm.next_deadline() == T0 + 140
    assert len(realm.expire(T0 + 140)) == 4
    assert realm.next_deadline() is None
    assert realm.refused[Refusal.SILENT] == 5


def test_those_not_connected_are_ignored() -> None:
    realm = make()
    realm.heard("stranger", T0)
    realm.detach("stranger")
    assert realm.receive("stranger", message("OFFER", "alice"), T0) == []
    assert not realm.refused


PEERS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), PEERS, st.sampled_from(["1", "2"])),
        st.tuples(st.just("gone"), PEERS, st.sampled_from(["1", "2"])),
        st.tuples(
            st.sampled_from(["OFFER", "CANDIDATE", "LEAVE", "EXPIRE", "HEARTBEAT"]), PEERS, PEERS
        ),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 3.0, 5.0, 91.0]), st.none()),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_nothing_is_lost_or_left_behind(steps: list[tuple[Any, Any, Any]]) -> None:
    realm = make(max_queue=2 * 1024)
    now = T0
    current: dict[str, str] = {}
    for what, first, second in steps:
        actions: list[Action[str]] = []
        if what == "join":
            connection = f"{first}{second}"
            if current.get(first) != connection:
                actions = realm.attach(connection, "peerjs", first, "t", now)
                current[first] = connection
        elif what == "gone":
            realm.detach(f"{first}{second}")
            if current.get(first) == f"{first}{second}":
                del current[first]
        elif what == "wait":
            now += first
            actions = realm.expire(now)
            for action in actions:
                if isinstance(action, Close):
                    del current[action.to[0]]
            deadline = realm.next_deadline()
            assert deadline is None or deadline > now
        elif first in current:
            actions = realm.receive(current[first], message(what, second), now)
        assert set(realm.ids) == set(current)
        for action in actions:
            if isinstance(action, Send):
                assert current[action.to[0]] == action.to
    realm.expire(now + 1000)
    assert realm.ids == []
    assert realm.queued_bytes == 0
    assert realm.next_deadline() is None


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_upsets_the_realm(text: str) -> None:
    realm = make()
    join(realm, "alice")
    realm.receive("c-alice", text, T0)
    assert realm.ids == ["alice"]
    assert realm.queued_bytes == 0


def test_the_cost_of_a_message_covers_its_bytes() -> None:
    data = encode(Message(MessageType.OFFER, payload="ü" * 100))
    assert cost(data) > len(data) > 200


def test_work_is_linear_in_what_came() -> None:
    wide = {"max_queue": 1 << 28, "max_queued_total": 1 << 29, "max_outgoing": 1 << 29}

    def offers(n: int, many: bool) -> None:
        realm = make(**wide)
        join(realm, "alice")
        for number in range(n):
            realm.receive("c-alice", message("OFFER", f"b{number}" if many else "bob"), T0)
        join(realm, "bob")
        realm.expire(T0 + 5)

    def senders(n: int) -> None:
        realm = make(**wide, max_clients=1 << 20)
        for number in range(n):
            join(realm, f"s{number}")
            realm.receive(f"c-s{number}", message("OFFER", "bob"), T0)
        join(realm, "bob")
        realm.expire(T0 + 200)

    def registrations(n: int) -> None:
        realm = make(max_clients=1 << 20)
        for number in range(n):
            join(realm, f"p{number}", now=T0 + number / 1000)
            realm.next_deadline()
        realm.expire(T0 + 1000)
        assert realm.ids == []

    assert_linear(lambda n: offers(n, False))
    assert_linear(lambda n: offers(n, True))
    assert_linear(senders)
    assert_linear(registrations)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"OFFER","dst":"b","payload":' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"type":"OFFER","dst":"b","payload":' + "9" * 60_000 + "}",
        '{"type":"OFFER","dst":"b","payload":"\\ud800"}',
        '{"type":"OFFER","dst":"b\\u0000"}',
        '{"type":' + "[" * 60_000,
        '{"type":"OFFER","dst":"' + "b" * 129 + '"}',
        '{"type":"OFFER","dst":' + "1" * 400 + "}",
    ],
)
def test_deep_large_and_odd_messages_are_refused(text: str) -> None:
    realm = make()
    join(realm, "alice")
    assert realm.receive("c-alice", text, T0) == []
    assert sum(realm.refused.values()) == 1
    assert realm.queued_bytes == 0
