"""Cookies by RFC 6265, and the file that curl and others read and write too."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerfetch_fast.cli.cookies import MAX_COOKIES, Cookies, load_cookies

NOW = 1_700_000_000.0


def taken(*fields: str, target: str = "/a/b") -> Cookies:
    cookies = Cookies()
    for field in fields:
        cookies.take(field, "peer", target, NOW)
    return cookies


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("a=b", "a=b"),
        ("a=b; Path=/", "a=b"),
        (" a = b ; path = / ; secure ; HttpOnly; nonsense=1", "a=b"),
        ("a=b=c", "a=b=c"),
        ("a=", "a="),
        ("a", ""),
        ("=b", ""),
        ("a=b\tc", ""),
        ("a=b; Max-Age=0", ""),
        ("a=b; Max-Age=-1", ""),
        ("a=b; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=b"),
        ("a=b; Expires=Thu, 01-Jan-1970 00:00:00 GMT", ""),
        ("a=b; Expires=Thu, 01 Jan 2099 00:00:00", "a=b"),
        ("a=b; Expires=nonsense; Max-Age=nonsense", "a=b"),
        ("a=b; Domain=peer", "a=b"),
        ("a=b; Domain=other", ""),
        ("a=b; Domain=", "a=b"),
        ("a=b; Path=/other", ""),
        ("a=b; Path=relative", "a=b"),
        ("a=" + "b" * 5000, ""),
    ],
)
def test_cookies_are_taken_as_rfc_6265_says(field: str, expected: str) -> None:
    assert taken(field).field("peer", "/a/c", NOW) == expected


def test_whom_and_where_a_cookie_is_for() -> None:
    cookies = taken("a=1; Path=/", "b=2; Path=/a", "c=3")
    assert cookies.field("peer", "/a/x?y", NOW) == "b=2; c=3; a=1"
    assert cookies.field("peer", "/ab", NOW) == "a=1"
    assert cookies.field("other", "/a/x", NOW) == ""


def test_a_later_cookie_takes_the_place_of_an_earlier_one() -> None:
    assert taken("a=1", "b=1", "a=2").field("peer", "/a/", NOW) == "a=2; b=1"
    assert taken("a=1", "a=; Max-Age=0").field("peer", "/a/", NOW) == ""
    assert taken("a=1; Max-Age=5").field("peer", "/a/", NOW + 6) == ""


def test_a_peer_has_only_so_many() -> None:
    cookies = taken(*(f"a{number}=1" for number in range(MAX_COOKIES + 5)))
    sent = cookies.field("peer", "/a/", NOW).split("; ")
    assert len(sent) == MAX_COOKIES
    assert "a4=1" not in sent


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    cookies = taken("a=1; Path=/; HttpOnly; Secure", "b=; Max-Age=60", "c=ü")
    path = tmp_path / "jar"
    path.write_text(cookies.file(NOW))
    again = load_cookies(path, NOW)
    assert again.file(NOW) == cookies.file(NOW)
    assert again.field("peer", "/a/", NOW) == "b=; c=ü; a=1"
    assert load_cookies(tmp_path / "none", NOW).field("peer", "/", NOW) == ""


def test_files_of_other_programs_are_read() -> None:
    cookies = Cookies()
    cookies.read(
        [
            "# a comment\n",
            "\n",
            "garbage\n",
            "peer\tFALSE\t/\tFALSE\tnever\tx\t1\n",
            "peer\tFALSE\t/\tFALSE\t0\ta\t1\r\n",
            "#HttpOnly_peer\tFALSE\t/\tTRUE\t1800000000\tb\t2\n",
            "peer\tFALSE\t/\tFALSE\t1600000000\tgone\t1\n",
            "peer\tFALSE\t/\tFALSE\t0\tempty\n",
            ".example.com\tTRUE\t/\tFALSE\t0\tc\t3\n",
            "Set-Cookie: d=4; Path=/\n",
        ],
        NOW,
    )
    assert cookies.field("peer", "/", NOW) == "a=1; b=2; empty=; d=4"
    assert ".example.com\tTRUE\t/\tFALSE\t0\tc\t3\n" in cookies.file(NOW)
