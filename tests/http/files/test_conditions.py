from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from peerfetch_fast.http.files.conditions import (
    check_conditions,
    file_time,
    http_date,
    range_holds,
)
from peerfetch_fast.http.heads import Headers

ETAG = '"abc"'
MODIFIED = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"


def headers(**fields: str) -> Headers:
    return CIMultiDictProxy(
        CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
    )


def test_dates_are_written_as_http_has_them() -> None:
    assert http_date(MODIFIED) == DATE


@pytest.mark.parametrize("seconds", [-(2**62), -(2**35), 2**38, 2**62])
def test_times_that_no_date_can_say(seconds: int) -> None:
    # File systems keep 64 bits; what is written must be a date all the same.
    date = parsedate_to_datetime(http_date(seconds))
    assert date.year == (1000 if seconds < 0 else 9999)
    assert file_time(seconds) == date


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, None),
        ({"if_match": ETAG}, None),
        ({"if_match": '"x", "abc"'}, None),
        ({"if_match": "*"}, None),
        ({"if_match": '"x"'}, 412),
        ({"if_match": 'W/"abc"'}, 412),
        ({"if_match": "abc"}, 412),
        ({"if_match": ""}, 412),
        ({"if_unmodified_since": DATE}, None),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_none_match": ETAG}, 304),
        ({"if_none_match": 'W/"abc"'}, 304),
        ({"if_none_match": '"x","a,b" , "abc"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, None),
        ({"if_modified_since": DATE}, 304),
        ({"if_modified_since": AFTER}, 304),
        ({"if_modified_since": BEFORE}, None),
        # The other two forms of RFC 9110 §5.6.7.
        ({"if_modified_since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
        ({"if_modified_since": "Sun Nov  6 08:49:37 1994"}, 304),
        # What is no date is as if it were not there.
        ({"if_modified_since": "yesterday"}, None),
        ({"if_modified_since": "Sun, 06 Nov 99999 08:49:37 GMT"}, None),
        ({"if_unmodified_since": "never"}, None),
        # Precedence: tags before dates, "match" before "none match" (§13.2.2).
        ({"if_match": ETAG, "if_unmodified_since": BEFORE}, None),
        ({"if_none_match": '"x"', "if_modified_since": DATE}, None),
        ({"if_none_match": ETAG, "if_modified_since": BEFORE}, 304),
        ({"if_match": '"x"', "if_none_match": ETAG}, 412),
        ({"if_match": ETAG, "if_none_match": ETAG}, 304),
        ({"if_unmodified_since": BEFORE, "if_none_match": ETAG}, 412),
        ({"if_unmodified_since": DATE, "if_modified_since": DATE}, 304),
    ],
)
def test_preconditions_give_the_status_of_rfc_9110(
    fields: dict[str, str], status: int | None
) -> None:
    assert check_conditions(headers(**fields), ETAG, MODIFIED) == status


def test_a_field_in_several_lines() -> None:
    lines = [("If-None-Match", '"x"'), ("If-None-Match", ETAG)]
    assert check_conditions(CIMultiDictProxy(CIMultiDict(lines)), ETAG, MODIFIED) == 304
    dates = [("If-Modified-Since", DATE), ("If-Modified-Since", AFTER)]
    assert check_conditions(CIMultiDictProxy(CIMultiDict(dates)), ETAG, MODIFIED) is None


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (ETAG, True),
        ('"x"', False),
        ('W/"abc"', False),
        (f"{ETAG}, {ETAG}", False),
        (DATE, True),
        (AFTER, False),
        (BEFORE, False),
        ("abc", False),
        ("", False),
    ],
)
def test_if_range_holds_for_the_same_version_alone(value: str, holds: bool) -> None:
    assert range_holds(headers(if_range=value), ETAG, MODIFIED, MODIFIED + 10) == holds


def test_a_date_of_just_now_says_too_little_for_a_range() -> None:
    assert not range_holds(headers(if_range=DATE), ETAG, MODIFIED, MODIFIED + 0.5)
    assert range_holds(headers(if_range=ETAG), ETAG, MODIFIED, MODIFIED + 0.5)
    assert range_holds(headers(), ETAG, MODIFIED, MODIFIED)


@given(st.text(), st.text(), st.text(), st.text())
def test_nonsense_raises_nothing(one: str, two: str, three: str, four: str) -> None:
    check_conditions(headers(if_match=one, if_none_match=two), ETAG, MODIFIED)
    check_conditions(headers(if_unmodified_since=three), ETAG, MODIFIED)
    check_conditions(headers(if_modified_since=three), ETAG, MODIFIED)
    range_holds(headers(if_range=four), ETAG, MODIFIED, MODIFIED)
