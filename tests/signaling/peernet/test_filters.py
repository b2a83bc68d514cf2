"""AIP-160's filters, the part that PeerNet has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.signaling.peernet.filters import MAX_FILTER, parse_filter
from peerfetch_fast.signaling.peernet.problems import Problem, Status

FIELDS = ("service.name", "service.version", "tags")
THING = {
    "service.name": ("peernet.http",),
    "service.version": ("1.10",),
    "tags": ("a", "b c"),
}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", True),
        ("  ", True),
        ('service.name="peernet.http" AND service.version="1.10"', True),
        ("service.name='peernet.http'", True),
        ("service.name=peernet.http", True),
        ("service.name = peernet.http", True),
        ('service.name="peernet.*"', True),
        ('service.name="*.http"', True),
        ('service.name="*net*"', True),
        ('service.name="p*p"', False),
        ('service.name!="peernet.http"', False),
        ("NOT service.name=x", True),
        ("-service.name=x", True),
        ("NOT NOT service.name=x", False),
        # A sequence is an AND, and OR binds tighter than AND.
        ("tags:a service.name=x", False),
        ("service.name=x OR tags:a AND tags:b", False),
        ("service.name=x OR tags:a AND tags:a", True),
        ("(service.name=x AND tags:b) OR tags:a", True),
        # Versions compare by their numbers.
        ("service.version>1.9", True),
        ("service.version>=1.10", True),
        ("service.version<=1.10.0", True),
        ("service.version<1.9", False),
        ("service.version>abc", False),
        ("service.name>a", True),
        ("tags:*", True),
        ("tags:'*'", True),
        ("tags:'b c'", True),
        ("tags=a", True),
        ("tags!=a", False),
        (r'tags="b\ c"', True),
        ("NOT tags:*", False),
    ],
)
def test_what_passes(text: str, passes: bool) -> None:
    assert parse_filter(text, FIELDS)(THING) is passes


def test_a_field_without_a_value() -> None:
    thing = THING | {"tags": ()}
    assert not parse_filter("tags:*", FIELDS)(thing)
    assert parse_filter("tags!=a", FIELDS)(thing)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("name=x", "position 0"),
        ("service.name", "position 12"),
        ("service.name=", "position 13"),
        ('service.name="x', "position 13"),
        ("service.name=x AND", "position 18"),
        ("service.name=x OR", "position 17"),
        ("AND service.name=x", "position 0"),
        ("(service.name=x", "position 15"),
        ("service.name=x)", "position 14"),
        ("service.name=f(x)", "position 15"),
        ('"peernet.http"', "position 0"),
        ("((((((((((((service.name=x", "position"),
        ("NOT " * 11 + "service.name=x", "position"),
        ("service.name=x and tags:a", "position 15"),
    ],
)
def test_what_is_wrong_is_said_with_its_position(text: str, position: str) -> None:
    with pytest.raises(Problem, match=position) as refused:
        parse_filter(text, FIELDS)
    assert refused.value.status is Status.INVALID_ARGUMENT


def test_a_filter_is_bounded() -> None:
    with pytest.raises(Problem, match="characters"):
        parse_filter("x" * (MAX_FILTER + 1), FIELDS)


WORDS = st.sampled_from(
    [
        "service.name",
        "tags",
        "=",
        "!=",
        ":",
        "<",
        "(",
        ")",
        "AND",
        "OR",
        "NOT",
        "-",
        "'x'",
        "*",
        " ",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=60).map("".join)))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = parse_filter(text, FIELDS)
    except Problem as problem:
        status = problem.status
    else:
        status = Status.INVALID_ARGUMENT
        assert found(THING) in (True, False)
    assert status is Status.INVALID_ARGUMENT
