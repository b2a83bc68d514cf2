"""PCP and NAT-PMP, octet by octet."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import MappingError
from peerfetch_fast.webrtc.mapping import pcp
from peerfetch_fast.webrtc.mapping.pcp import Mapped

NONCE = bytes(range(12))
# What miniupnpd 2.3 has answered to a request for port 40000.
ANSWER = bytes.fromhex(
    "0281000000000e10000000020000000000000000000000000001020304050607"
    "08090a0b110000009c409c4000000000000000000000ffff0b00000b"
)


def test_a_request() -> None:
    assert pcp.pcp_request("192.168.1.2", 40_000, 3600, NONCE, 40_001).hex() == (
        "0201000000000e10"
        "00000000000000000000ffffc0a80102"
        "000102030405060708090a0b11000000"
        "9c409c4100000000000000000000ffff00000000"
    )


def test_an_answer() -> None:
    assert pcp.parse_pcp(ANSWER, 40_000, NONCE) == Mapped("11.0.0.11", 40_000, 3600)


@pytest.mark.parametrize(("at", "value"), [(0, 3), (1, 1), (24, 9), (36, 6), (41, 1)], ids=str)
def test_an_answer_to_another_question(at: int, value: int) -> None:
    changed = bytearray(ANSWER)
    changed[at] = value
    assert pcp.parse_pcp(bytes(changed), 40_000, NONCE) is None


@pytest.mark.parametrize(("code", "says"), [(2, "not allowed"), (8, "no room"), (99, "99")])
def test_refusals(code: int, says: str) -> None:
    refused = ANSWER[:3] + bytes((code,)) + ANSWER[4:]
    with pytest.raises(MappingError, match=says):
        pcp.parse_pcp(refused, 40_000, NONCE)
    with pytest.raises(MappingError, match=says):
        pcp.parse_nat_pmp(bytes((0, 129, 0, code)) + bytes(12), 1, "192.0.2.1")


@pytest.mark.parametrize(
    ("code", "pcp_says", "nat_pmp_says"),
    [
        (3, "nonsense", "no connection"),
        (4, "cannot do that", "no room"),
        (5, "code is 5", "cannot do that"),
        (7, "no connection", None),
        (12, "another router", None),
        (13, "code is 13", None),
    ],
)
def test_each_protocol_has_codes_of_its_own(
    code: int, pcp_says: str, nat_pmp_says: str | None
) -> None:
    with pytest.raises(MappingError, match=pcp_says):
        pcp.parse_pcp(ANSWER[:3] + bytes((code,)) + ANSWER[4:], 40_000, NONCE)
    if nat_pmp_says is not None:
        with pytest.raises(MappingError, match=nat_pmp_says):
            pcp.parse_nat_pmp_address(bytes((0, 128, 0, code)) + bytes(8))


def test_a_router_that_knows_nat_pmp_alone() -> None:
    with pytest.raises(pcp.OldRouter):
        pcp.parse_pcp(bytes((0, 128, 0, 1, 0, 0, 0, 9)), 40_000, NONCE)


def test_nat_pmp() -> None:
    assert pcp.nat_pmp_address_request() == b"\0\0"
    answer = bytes((0, 128, 0, 0, 0, 0, 0, 9, 11, 0, 0, 11))
    assert pcp.parse_nat_pmp_address(answer) == "11.0.0.11"
    assert pcp.nat_pmp_request(40_000, 3600, 40_001).hex() == "000100009c409c4100000e10"
    assert pcp.nat_pmp_request(40_000, 0, 40_001).hex() == "000100009c40000000000000"
    answer = bytes.fromhex("00810000000000099c409c4100000e10")
    assert pcp.parse_nat_pmp(answer, 40_000, "11.0.0.11") == Mapped("11.0.0.11", 40_001, 3600)
    assert pcp.parse_nat_pmp(answer, 40_001, "11.0.0.11") is None


@given(st.binary(max_size=1100))
def test_whatever_a_router_says_is_an_answer_or_none(data: bytes) -> None:
    for parse in (
        lambda: pcp.parse_pcp(data, 1, NONCE),
        lambda: pcp.parse_nat_pmp(data, 1, "192.0.2.1"),
        lambda: pcp.parse_nat_pmp_address(data),
    ):
        with contextlib.suppress(MappingError, pcp.OldRouter):
            parse()
