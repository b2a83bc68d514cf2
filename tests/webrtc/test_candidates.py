from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import InvalidCandidate
from peerfetch_fast.webrtc.candidates import candidate_from_dict, candidate_to_dict

CHROMIUM = {
    "candidate": "candidate:842163049 1 udp 1677729535 203.0.113.9 46154 typ srflx raddr 10.0.0.7"
    " rport 46154 generation 0 ufrag EsAw network-id 1 network-cost 10",
    "sdpMid": "0",
    "sdpMLineIndex": 0,
    "usernameFragment": "EsAw",
}
HOST = "candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host"


def test_reads_what_a_browser_sends() -> None:
    candidate = candidate_from_dict(CHROMIUM)
    assert candidate is not None
    found = candidate.candidate
    assert (found.host, found.port, found.type) == ("203.0.113.9", 46154, "srflx")
    assert (found.related_address, found.related_port) == ("10.0.0.7", 46154)
    assert (candidate.sdpMid, candidate.sdpMLineIndex) == ("0", 0)


def test_a_candidate_comes_back_from_its_dictionary() -> None:
    candidate = candidate_from_dict(CHROMIUM)
    assert candidate_from_dict(candidate_to_dict(candidate)) == candidate
    assert candidate_to_dict(candidate)["candidate"].startswith("candidate:842163049 1 udp ")


def test_the_end_of_candidates_is_none_in_every_form() -> None:
    assert candidate_from_dict(None) is None
    assert candidate_from_dict({"candidate": "", "sdpMid": "0", "sdpMLineIndex": 0}) is None
    assert candidate_from_dict(candidate_to_dict(None)) is None


@pytest.mark.parametrize(
    "value",
    [
        "candidate:1 1 udp 1 192.0.2.1 5000 typ host",
        [],
        {},
        {"candidate": 7, "sdpMid": "0"},
        {"candidate": HOST},
        {"candidate": HOST, "sdpMid": 0},
        {"candidate": HOST, "sdpMLineIndex": "0"},
        {"candidate": HOST, "sdpMLineIndex": True},
        {"candidate": HOST + " x" * 1000, "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp 2130706431 192.0.2.1 5000", "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp 2130706431 192.0.2.1 5000 kind host", "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp 2130706431 192.0.2.1 65536 typ host", "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp 2130706431 192.0.2.1 -1 typ host", "sdpMid": "0"},
        {"candidate": "candidate:1 1 udp 4294967296 192.0.2.1 5000 typ host", "sdpMid": "0"},
        {"candidate": "candidate:1 0 udp 2130706431 192.0.2.1 5000 typ host", "sdpMid": "0"},
        {"candidate": "candidate:1 one udp 2130706431 192.0.2.1 5000 typ host", "sdpMid": "0"},
        {"candidate": HOST + " rport x", "sdpMid": "0"},
    ],
)
def test_refuses_what_is_not_a_candidate(value: object) -> None:
    with pytest.raises(InvalidCandidate):
        candidate_from_dict(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    json_values
    | st.fixed_dictionaries(
        {
            "candidate": st.lists(
                st.sampled_from([*HOST.split(), "raddr", "rport", "x", "-1", "99999999999"])
            ).map(" ".join),
            "sdpMid": st.none() | st.text(),
            "sdpMLineIndex": json_values,
        }
    )
)
def test_anything_is_read_or_refused(value: object) -> None:
    with contextlib.suppress(InvalidCandidate):
        candidate_from_dict(value)
