from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.signaling.peerjs.messages import (
    MAX_ID_LENGTH,
    BadMessage,
    Message,
    MessageType,
    encode,
    is_peer_id,
    is_remote_id,
    is_remote_token,
    is_token,
    parse,
)
from peerfetch_fast.signaling.peerjs.refusals import Refusal

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
# Close enough to a message to get past the first checks.
NEARLY_MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from([member.value for member in MessageType]) | JSON_VALUES,
        "src": st.sampled_from(["alice", ""]) | JSON_VALUES,
        "dst": st.sampled_from(["bob", ""]) | JSON_VALUES,
        "payload": JSON_VALUES,
        "other": JSON_VALUES,
    },
).map(json.dumps)
PEER_IDS = st.from_regex(r"\A[A-Za-z0-9_-]{1,40}\Z")


@given(st.binary() | st.text() | JSON_VALUES.map(json.dumps) | NEARLY_MESSAGES)
def test_any_input_is_a_message_or_the_typed_error(data: bytes | str) -> None:
    with contextlib.suppress(BadMessage):
        message = parse(data)
        assert message.src is None or is_remote_id(message.src)
        assert message.dst is None or is_remote_id(message.dst)
        assert parse(encode(message)) == message


@given(st.sampled_from(MessageType), st.none() | PEER_IDS, st.none() | PEER_IDS, JSON_VALUES)
def test_a_message_survives_the_wire(
    kind: MessageType, src: str | None, dst: str | None, payload: object
) -> None:
    message = Message(kind, src, dst, payload)
    assert parse(encode(message)) == message


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        ("", Refusal.NOT_JSON),
        ("OFFER", Refusal.NOT_JSON),
        (b"\xff\xfe", Refusal.NOT_JSON),
        ('"\ud800"', Refusal.NOT_JSON),
        ("[" * 100_000, Refusal.NOT_JSON),
        ("[]", Refusal.BAD_SHAPE),
        ("{}", Refusal.BAD_SHAPE),
        ('{"type": 7}', Refusal.BAD_SHAPE),
        ('{"type": ["OFFER"]}', Refusal.BAD_SHAPE),
        ('{"type": "offer"}', Refusal.UNKNOWN_TYPE),
        ('{"type": "OFFER", "dst": 7}', Refusal.BAD_SHAPE),
        ('{"type": "OFFER", "dst": {"a": 1}}', Refusal.BAD_SHAPE),
        ('{"type": "OFFER", "dst": "a\\nb"}', Refusal.BAD_ID),
        ('{"type": "OFFER", "dst": "bob", "src": "\\u001b[2J"}', Refusal.BAD_ID),
        ('{"type": "OFFER", "dst": "%s"}' % ("x" * 129), Refusal.BAD_ID),
    ],
)
def test_malformed_input_is_refused_with_its_reason(data: str | bytes, refusal: Refusal) -> None:
    with pytest.raises(BadMessage) as caught:
        parse(data)
    assert caught.value.refusal is refusal


def test_an_empty_id_counts_as_none() -> None:
    assert parse('{"type": "LEAVE", "dst": ""}') == Message(MessageType.LEAVE)


def test_what_is_none_is_left_out_on_the_wire() -> None:
    assert json.loads(encode(Message(MessageType.HEARTBEAT))) == {"type": "HEARTBEAT"}


def test_a_payload_too_deep_to_write_is_refused_though_it_could_be_read() -> None:
    deep = parse('{"type": "OFFER", "dst": "bob", "payload": ' + "[" * 500 + "]" * 500 + "}")
    with pytest.raises(BadMessage, match="no JSON form"):
        encode(deep)


def test_a_payload_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(BadMessage, match="no JSON form"):
        encode(Message(MessageType.OFFER, dst="bob", payload={"sdp": object()}))


@pytest.mark.parametrize(
    "text", ["a", "-", "0", "a b", "a  b", "_x-Y_", "3f2a-77", "a" * MAX_ID_LENGTH]
)
def test_reasonable_tokens_are_peer_ids(text: str) -> None:
    assert is_peer_id(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", " a", "a ", "a.b", "a/b", "../x", "a\n", "ä", "a\x00b", "a" * (MAX_ID_LENGTH + 1)],
)
def test_other_strings_are_no_peer_ids(text: str) -> None:
    assert not is_peer_id(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("k2j3h4kjh", True),
        ("!~", True),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("é", False),
        ("a" * (MAX_ID_LENGTH + 1), False),
    ],
)
def test_tokens_are_printable_ascii(text: str, good: bool) -> None:
    assert is_token(text) is good


@pytest.mark.parametrize("text", ["a/b", "a.b", "me@example.org", "grüße", "{}", " a", "a" * 128])
def test_ids_that_peerjs_servers_take_are_taken(text: str) -> None:
    assert is_remote_id(text)
    assert parse(json.dumps({"type": "OFFER", "dst": text})).dst == text


@pytest.mark.parametrize("text", ["", "a\n", "\x1b[2J", "\u202ea", "\ud800", "a" * 129])
def test_ids_that_nobody_can_print_are_not(text: str) -> None:
    assert not is_remote_id(text)


@pytest.mark.parametrize(
    ("text", "good"), [("t", True), ("a b", True), ("ü", True), ("t" * 1024, True), ("", False)]
)
def test_tokens_of_other_programs(text: str, good: bool) -> None:
    assert is_remote_token(text) is good
    assert not is_remote_token("t" * 1025)
