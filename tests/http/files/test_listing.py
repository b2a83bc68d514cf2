from __future__ import annotations

import re

import orjson
import pytest

from peerfetch_fast.http.files.listing import (
    MAX_ENTRIES,
    Entry,
    as_html,
    as_json,
    prefers_json,
)

ENTRIES = [
    Entry("films", "./films/", None, "2026-01-02T03:04:05Z"),
    Entry("<b>&\"'.txt", "./%3Cb%3E%26%22%27.txt", 1_234_567, "2026-01-02T03:04:05Z"),
]


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", True),
        ("application/*", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json, text/plain, */*", False),
        ("application/json, text/html;q=0.5", True),
        ("application/json;q=0.2, text/html;q=0.5", False),
        ("text/html;q=0, */*", True),
        ("application/json;q=x", False),
    ],
)
def test_json_is_chosen_where_accept_prefers_it(accept: str, json: bool) -> None:
    assert prefers_json(accept) == json


def test_a_listing_as_json_has_every_entry_and_says_if_there_are_more() -> None:
    assert orjson.loads(as_json("/a/", ENTRIES, True)) == {
        "path": "/a/",
        "entries": [
            {
                "name": "films",
                "href": "./films/",
                "type": "directory",
                "size": None,
                "modified": "2026-01-02T03:04:05Z",
            },
            {
                "name": "<b>&\"'.txt",
                "href": "./%3Cb%3E%26%22%27.txt",
                "type": "file",
                "size": 1_234_567,
                "modified": "2026-01-02T03:04:05Z",
            },
        ],
        "more": True,
    }


def test_html_is_escaped() -> None:
    page = as_html("/<script>/", ENTRIES, False, parent=True).decode()
    assert "<script" not in page
    assert "<b>" not in page
    assert "Files in /&lt;script&gt;/" in page
    assert '<a href="./films/">films/</a>' in page
    assert "1.23 MB" in page
    assert '<a href="../">' in page
    assert "Only" not in page


def test_html_is_complete() -> None:
    page = as_html("/", ENTRIES, True, parent=False).decode()
    for tag in re.findall(r"<(\w+)[ >]", page):
        if tag not in ("meta",):
            assert page.count(f"<{tag}>") + page.count(f"<{tag} ") == page.count(f"</{tag}>"), tag
    assert '<html lang="en">' in page
    assert f"Only {MAX_ENTRIES}" in page
    assert "../" not in page
