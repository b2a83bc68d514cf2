"""Codes to be typed: their words, and what people make of them."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.codes import NUMBERS, PairingCode, draw_code, looks_like_code, parse_code
from peerfetch_fast.errors import InvalidCode
from peerfetch_fast.words import WORDS

codes = st.builds(
    PairingCode,
    st.one_of([st.integers(n.start, n.stop - 1) for n in NUMBERS]),
    st.sampled_from(WORDS),
    st.sampled_from(WORDS),
)


def near(one: str) -> set[str]:
    """What is typed in place of ``one`` by a slip: a letter too many, too few or wrong, or two that
    changed places.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    cuts = [(one[:at], one[at:]) for at in range(len(one) + 1)]
    slips = {a + b[1:] for a, b in cuts if b}
    slips |= {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    slips |= {a + c + b[1:] for a, b in cuts if b for c in letters}
    slips |= {a + c + b for a, b in cuts for c in letters}
    return slips - {one}


def test_no_word_is_taken_for_another() -> None:
    known = set(WORDS)
    assert len(WORDS) == len(known) == 2048
    assert all(re.fullmatch("[a-z]{4,7}", word) for word in WORDS)
    assert all(one < other for one, other in pairwise(WORDS))
    assert len({word[:4] for word in WORDS}) == len(WORDS)
    assert not [word for word in WORDS if near(word) & known]


@given(codes)
def test_a_code_that_is_typed_as_it_was_shown(code: PairingCode) -> None:
    assert parse_code(str(code)) == code
    assert looks_like_code(str(code))


@given(codes, st.sampled_from(["-", " ", "  ", "_", ".", ", ", ""]), st.booleans(), st.booleans())
def test_how_people_type(code: PairingCode, between: str, loud: bool, short: bool) -> None:
    words = [word[:4] if short else word for word in code[1:]]
    if not between:  # nobody can tell where one word ends and the next begins
        between = "-"
    typed = f" {code.number}{between}{between.join(words)}\n"
    assert parse_code(typed.upper() if loud else typed) == code


@pytest.mark.parametrize(
    "text",
    [
        *("", "123", "123-able", "able-boat", "12-able-boat", "012-able-boat", "1234567-able-boat"),
        *("123-able-boat-acid", "123-abel-boat", "123-able-zzzz", "123-able-boats"),
        "١٢٣-able-boat",
    ],
)
def test_what_is_no_code(text: str) -> None:
    with pytest.raises(InvalidCode):
        parse_code(text)


def test_numbers_grow_where_they_are_taken() -> None:
    below = random.Random(1).randrange
    for attempt, numbers in enumerate((*NUMBERS, NUMBERS[-1])):
        code = draw_code(below, attempt)
        assert code.number in numbers
        assert parse_code(str(code)) == code
        assert code.peer_id == f"pair-{code.number}"
