"""Messages in Protobuf, and the file that says how."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.signaling.peernet import protobuf
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.schema import MESSAGES, read_json, write_json

SERVER = {
    "unique_id": "chidi",
    "display_name": "Chidi",
    "auth_token": "a long enough token",
    "rooms": ["the-good-place"],
    "services": [{"protocol": "peernet.http", "version": "1.1", "metadata": {"path": "/"}}],
}
KNOCK = {
    "offer": {
        "name": "s" * 22,
        "sdp": "v=0",
        "sdp_type": "offer",
        "candidates": [{"candidate": "1 1 udp 1 192.0.2.1 9 typ host", "sdp_line_index": 1}],
    },
    "state": "REFUSED",
    "reason": "gone",
}


def status_of(do: Any, *arguments: Any) -> Status | None:
    """The status with which something is refused; None if it is not."""
    try:
        do(*arguments)
    except Problem as problem:
        return problem.status
    return None


def test_the_file_that_is_shipped_says_what_is_spoken() -> None:
    file = resources.files("peerfetch_fast.signaling.peernet") / "peernet.proto"
    assert file.read_text() == protobuf.proto_text()


@pytest.mark.parametrize(("message", "resource"), [("Server", SERVER), ("Knock", KNOCK)])
def test_what_is_written_is_read(message: str, resource: dict[str, Any]) -> None:
    shown = {key: value for key, value in resource.items() if key != "auth_token"}
    assert protobuf.decode(message, protobuf.encode(message, resource)) == shown
    assert read_json(message, json.loads(json.dumps(write_json(message, resource)))) == shown


def test_a_token_is_read_and_never_written() -> None:
    assert read_json("Server", {"authToken": "t" * 16}) == {"auth_token": "t" * 16}
    made = protobuf._types()["Server"](auth_token="t" * 16)
    assert protobuf.decode("Server", made.SerializeToString()) == {"auth_token": "t" * 16}
    assert write_json("Server", SERVER).keys() == SERVER.keys() - {"auth_token"}


def test_names_in_json_are_those_of_the_source_and_others_are_read() -> None:
    written = write_json("Knock", KNOCK)
    assert written["offer"]["sdpType"] == "offer"
    assert written["offer"]["candidates"][0]["sdpLineIndex"] == 1
    for names in (("sdp_mid", "sdp_line_index"), ("sdpMid", "sdpMLineIndex")):
        read = read_json("Candidate", {"candidate": "x", names[0]: "0", names[1]: 2})
        assert read == {"candidate": "x", "sdp_mid": "0", "sdp_line_index": 2}
    other = read_json("Knock", {"client_session_description": {"sdp": "v=0", "type": "offer"}})
    assert other == {"offer": {"sdp": "v=0", "sdp_type": "offer"}}


def test_times_are_those_of_rfc_3339() -> None:
    assert write_json("Room", {"create_time": 0.25}) == {"create_time": "1970-01-01T00:00:00.250Z"}
    made = protobuf._types()["Room"].FromString(protobuf.encode("Room", {"create_time": 0.25}))
    assert made.create_time.ToJsonString() == "1970-01-01T00:00:00.250Z"


@pytest.mark.parametrize(
    ("message", "value", "path"),
    [
        ("Server", [], "object"),
        ("Server", {"unique_id": 7}, "unique_id"),
        ("Server", {"unique_id": "a/b"}, "unique_id"),
        ("Server", {"display_name": "x" * 129}, "display_name"),
        ("Server", {"display_name": "a\x00b"}, "display_name"),
        ("Server", {"display_name": "\ud800"}, "display_name"),
        ("Server", {"rooms": "the-good-place"}, "rooms"),
        ("Server", {"rooms": ["x"] * 9}, "rooms"),
        ("Server", {"services": [{"protocol": "A B"}]}, r"services\[0\].protocol"),
        ("Server", {"services": [{"metadata": {"a": 1}}]}, r"services\[0\].metadata.a"),
        ("Server", {"services": [{"metadata": {"a": "x" * 4096}}]}, "metadata"),
        ("Server", {"services": [{}] * 17}, "services"),
        ("Knock", {"offer": {"name": "short"}}, "offer.name"),
        ("Knock", {"state": "OPEN"}, "state"),
        ("Candidate", {"sdpLineIndex": 2**31}, "sdpLineIndex"),
        ("Candidate", {"sdpLineIndex": 1.5}, "sdpLineIndex"),
        ("Candidate", {"sdpLineIndex": True}, "sdpLineIndex"),
        ("Candidate", {"candidate": "x" * 1025}, "candidate"),
        ("ClaimKnocksRequest", {"wait": "25"}, "wait"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(message: str, value: Any, path: str) -> None:
    with pytest.raises(Problem, match=path) as refused:
        read_json(message, value)
    assert refused.value.status is Status.INVALID_ARGUMENT


@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=200))
def test_any_octets_are_a_message_or_refused(message: str, data: bytes) -> None:
    assert status_of(protobuf.decode, message, data) in (None, Status.INVALID_ARGUMENT)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([f.json_name for fields in MESSAGES.values() for f in fields]), inner
        )
    ),
    max_leaves=10,
)


@given(st.sampled_from(sorted(MESSAGES)), JSON)
def test_any_json_is_a_message_or_refused(message: str, value: Any) -> None:
    assert status_of(read_json, message, value) in (None, Status.INVALID_ARGUMENT)
