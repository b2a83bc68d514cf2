"""Candidates as descriptions have them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.webrtc.ice.candidate import Candidate, foundation, priority

CHROMIUM = (
    "842163049 1 udp 1677729535 203.0.113.9 46154 typ srflx raddr 10.0.0.7"
    " rport 46154 generation 0 ufrag EsAw network-id 1 network-cost 10"
)


def test_reads_what_a_browser_sends() -> None:
    candidate = Candidate.from_sdp(CHROMIUM)
    assert candidate == Candidate(
        "842163049", 1, "udp", 1677729535, "203.0.113.9", 46154, "srflx", "10.0.0.7", 46154
    )
    assert Candidate.from_sdp(candidate.to_sdp()) == candidate


@pytest.mark.parametrize(
    "line",
    [
        "1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
        "1 1 udp 2113937151 4f3c0a3e-0b1c-4f3e-9a1c-3b2d1e0f9a8b.local 5000 typ host",
        "1 2 udp 1 2001:db8::1 5000 typ relay raddr 0.0.0.0 rport 9",
    ],
)
def test_a_candidate_of_sdp_is_written_as_it_was(line: str) -> None:
    assert Candidate.from_sdp(line).to_sdp() == line


def test_an_address_has_one_form() -> None:
    candidate = Candidate.from_sdp("1 1 UDP 1 2001:DB8:0:0::1 5000 typ HOST")
    assert (candidate.host, candidate.transport, candidate.type) == ("2001:db8::1", "udp", "host")


HOST = "1 1 udp 2130706431 192.0.2.1 5000 typ host"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1 1 udp 2130706431 192.0.2.1 5000",
        "1 1 udp 2130706431 192.0.2.1 5000 kind host",
        "1 1 udp 2130706431 192.0.2.1 5000 typ tunnel",
        "1 1 sctp 2130706431 192.0.2.1 5000 typ host",
        "1 1 udp 2130706431 192.0.2.1 65536 typ host",
        "1 1 udp 2130706431 192.0.2.1 -1 typ host",
        "1 1 udp 4294967296 192.0.2.1 5000 typ host",
        "1 0 udp 2130706431 192.0.2.1 5000 typ host",
        "1 one udp 2130706431 192.0.2.1 5000 typ host",
        "1 1 udp 2_1 192.0.2.1 5000 typ host",
        "1 1 udp 2130706431 192.0.2.1 5٣00 typ host",
        "1" * 33 + HOST[1:],
        HOST.replace("192.0.2.1", "x" * 256),
        HOST + " raddr 10.0.0.1 rport x",
        HOST + " x" * 1000,
    ],
)
def test_refuses_what_is_not_a_candidate(line: str) -> None:
    with pytest.raises(ValueError, match=r"candidate|number"):
        Candidate.from_sdp(line)


def test_priorities_are_those_of_rfc_8445() -> None:
    """RFC 8445 section 5.1.2.1, and the order of its section 5.1.2.2."""
    assert priority("host", 65_535) == 2130706431
    assert priority("relay", 0, component=2) == 254
    assert (
        priority("host", 0)
        > priority("prflx", 65_535)
        > priority("srflx", 65_535)
        > priority("relay", 65_535)
    )


def test_foundations_differ_where_candidates_will_fare_differently() -> None:
    """The same for what will fare alike, and another otherwise (RFC 8445 section 5.1.1.3)."""
    assert foundation("host", "udp", "192.0.2.1") == foundation("host", "udp", "192.0.2.1")
    different = {
        foundation("host", "udp", "192.0.2.1"),
        foundation("host", "udp", "192.0.2.2"),
        foundation("srflx", "udp", "192.0.2.1", server="203.0.113.1"),
        foundation("srflx", "udp", "192.0.2.1", server="203.0.113.2"),
        foundation("host", "tcp", "192.0.2.1"),
    }
    assert len(different) == 5
    assert all(len(one) <= 32 for one in different)


@given(st.lists(st.sampled_from([*CHROMIUM.split(), "x", "-1", "٣", "99999999999"])).map(" ".join))
def test_anything_is_read_or_refused(line: str) -> None:
    with contextlib.suppress(ValueError):
        Candidate.from_sdp(line)
