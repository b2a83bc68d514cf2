"""What is known to be seen otherwise by h11 and llhttp is seen otherwise."""

from __future__ import annotations

import pytest
from tests.fuzz.h1 import connecting, read
from tests.fuzz.h1_differences import FROM_H11, FROM_LLHTTP, Body, Refusal
from tests.fuzz.h1_oracles import Reading, Role, read_by_h11, read_by_llhttp

from peerfetch_fast.http.h1 import Leniency

KNOWN = {"h11": FROM_H11, "llhttp": FROM_LLHTTP}

REFUSALS = [
    (oracle, role, whose, one)
    for oracle, known in KNOWN.items()
    for role, differences in known.items()
    for whose, refusals in (("ours", differences.ours), ("theirs", differences.theirs))
    for one in refusals
]


def readings(oracle: str, role: Role, example: bytes) -> tuple[Reading, Reading]:
    """Ours, and the oracle's."""
    pieces = [example] * bool(example)
    if oracle == "h11":
        pieces.append(b"")
        theirs = read_by_h11(role, pieces, "GET")
    else:
        theirs = read_by_llhttp(role, pieces)
    return read(connecting(role)(Leniency(0)), pieces), theirs


@pytest.mark.parametrize(
    ("oracle", "role", "whose", "one"),
    REFUSALS,
    ids=[f"{oracle}-{role}-{whose}-{one.words}" for oracle, role, whose, one in REFUSALS],
)
def test_one_refuses_what_the_other_takes(
    oracle: str, role: Role, whose: str, one: Refusal
) -> None:
    ours, theirs = readings(oracle, role, one.example)
    refuses, takes = (ours, theirs) if whose == "ours" else (theirs, ours)
    assert refuses[1] is not None
    assert one.words in refuses[1]
    assert takes[1] is None
    assert takes[0]
    assert one.why


BODIES = [(role, body) for role, known in FROM_LLHTTP.items() for body in known.bodies]


@pytest.mark.parametrize(("role", "body"), BODIES, ids=[body.name for _, body in BODIES])
def test_a_body_that_llhttp_sees_end_elsewhere(role: Role, body: Body) -> None:
    ours, theirs = readings("llhttp", role, body.example)
    assert body.of(theirs[0])
    assert ours[0][:1] == theirs[0][:1]
    assert ours[0][-2:] == [b"ok", ("end", [])] != theirs[0][-2:]
    assert ours[1] is theirs[1] is None
    assert body.why
