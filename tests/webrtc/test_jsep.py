"""What descriptions agree on beside addresses: the INITs of SCTP."""

from __future__ import annotations

import re

import pytest

from peerfetch_fast.errors import InvalidDescription
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings
from peerfetch_fast.webrtc.descriptions import SessionDescription

Jsep = pytest.importorskip("peerfetch_fast.webrtc.jsep", reason="built without SCTP").Jsep

#: The example of draft-hancke-tsvwg-snap.
EXAMPLE = "AQAAHols3R0AUAAA/////+B5ZR3AAAAEgAgABoLA"
SNAP = re.compile(r"a=sctp-init:(.*)\r\n")


class End:
    """One end, whose descriptions can be changed on their way."""

    def __init__(self) -> None:
        self.jsep = Jsep(b"\xab" * 32, AssociationSettings())

    def describe(self) -> str:
        self.jsep.describe()
        return self.again()

    def again(self) -> str:
        return self.jsep.local_description("abcd", "0123456789012345678901", [], True).sdp

    def offered(self, sdp: str) -> None:
        self.jsep.take(SessionDescription(sdp, "offer"))

    def answered(self, sdp: str) -> None:
        self.jsep.take(SessionDescription(sdp, "answer"))


def without(sdp: str) -> str:
    return SNAP.sub("", sdp)


def saying(sdp: str, value: str) -> str:
    return SNAP.sub(f"a=sctp-init:{value}\r\n", sdp)


def negotiated() -> tuple[End, End]:
    one, other = End(), End()
    other.offered(one.describe())
    one.answered(other.describe())
    return one, other


def test_both_say_their_own_and_know_the_others() -> None:
    one, other = negotiated()
    inits = [SNAP.search(end.again())[1] for end in (one, other)]  # type: ignore[index]
    assert inits[0] != inits[1]
    assert one.jsep.peer_init == other.jsep._init
    assert other.jsep.peer_init == one.jsep._init


def test_who_is_not_offered_one_says_none() -> None:
    one, other = End(), End()
    other.offered(without(one.describe()))
    answer = other.describe()
    assert not SNAP.search(answer)
    one.answered(answer)
    assert one.jsep.peer_init is other.jsep.peer_init is None


def test_an_answer_without_one_takes_the_offers_back() -> None:
    one, other = End(), End()
    other.offered(one.describe())
    one.answered(without(other.describe()))
    assert one.jsep.peer_init is None


def test_who_repeats_ours_does_not_know_what_it_says() -> None:
    """libdatachannel repeats attributes that it does not know."""
    one, other = End(), End()
    offer = one.describe()
    other.offered(without(offer))
    ours = SNAP.search(offer)
    assert ours
    one.answered(other.describe() + ours[0])
    assert one.jsep.peer_init is None


@pytest.mark.parametrize("value", ["", "AQAA", "Q29va2llTW9uc3Rlcg==", "AgAA" + EXAMPLE[4:]])
def test_what_is_no_init_is_refused_and_changes_nothing(value: str) -> None:
    one, other = negotiated()
    before = other.again(), other.jsep.peer_init
    with pytest.raises(InvalidDescription, match="sctp-init"):
        other.offered(saying(one.describe(), value))
    assert (other.again(), other.jsep.peer_init) == before


def test_restarts_keep_it() -> None:
    one, other = negotiated()
    init = one.jsep.begin_association(), other.jsep.begin_association()
    before = SNAP.search(one.again()), SNAP.search(other.again())
    other.offered(one.describe())
    one.answered(other.describe())
    assert (one.jsep.begin_association(), other.jsep.begin_association()) == init
    for end, match in zip((one, other), before, strict=True):
        assert match
        assert match[0] in end.again()


def test_another_one_for_an_association_that_runs_is_refused() -> None:
    one, other = negotiated()
    init = other.jsep.begin_association()
    with pytest.raises(InvalidDescription, match="another association"):
        other.offered(saying(one.describe(), EXAMPLE))
    # Who leaves it out means no other.
    other.offered(without(one.describe()))
    assert other.jsep.begin_association() == init


def test_an_association_that_shook_hands_is_not_described_afterwards() -> None:
    one, other = End(), End()
    other.offered(without(one.describe()))
    one.answered(other.describe())
    for end in (one, other):
        assert end.jsep.begin_association() is None
    assert not SNAP.search(one.describe())
    with pytest.raises(InvalidDescription, match="another association"):
        other.offered(one.again() + f"a=sctp-init:{EXAMPLE}\r\n")
