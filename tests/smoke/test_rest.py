"""Patterns of routes."""

from __future__ import annotations

import pytest

from peerfetch_fast.smoke.rest import _pattern
from steps import processor_time


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/:a", "/b.c-d", {"a": "b.c-d"}),
        ("/:a-:b/x", "/1-2-3/x", {"a": "1", "b": "2-3"}),
        ("/:a.:b", "/x.tar.gz", {"a": "x.tar", "b": "gz"}),
        ("/:a.:b.:c", "/1.2.3.4", {"a": "1.2", "b": "3", "c": "4"}),
        ("/:a..:b", "/x...y", {"a": "x.", "b": "y"}),
        ("/:a.json", "/b.c.json", {"a": "b.c"}),
        ("/:a/:b", "/c.d/e.f", {"a": "c.d", "b": "e.f"}),
        ("/:a", "/b/c", None),
        ("/a.b", "/axb", None),
    ],
)
def test_what_a_pattern_matches(pattern: str, path: str, expected: dict[str, str] | None) -> None:
    found = _pattern(pattern).fullmatch(path)
    assert (found and found.groupdict()) == expected


@pytest.mark.parametrize("pattern", ["/:a.:b", "/:a~:b.:c", "/:a..:b", "/:a-:b-:c"])
def test_a_path_of_a_stranger_is_matched_in_linear_time(pattern: str) -> None:
    with processor_time(2.0):
        for character in ".~-":
            assert _pattern(pattern).fullmatch("/" + character * 60_000 + "!") is None
