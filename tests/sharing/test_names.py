"""Names that others have chosen."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sharing.conftest import NAMES

from peerfetch_fast.errors import UnsafeName
from peerfetch_fast.sharing.names import MAX_NAME, check_path, clean_name, numbered, shown


@pytest.mark.parametrize("name", NAMES)
def test_unusual_names_are_kept(name: str) -> None:
    assert check_path(f"a/{name}", windows=False) == f"a/{name}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "a/../",
        ".",
        "./a",
        "a//b",
        "a//",
        "a\0b",
        "C:",
        "C:/x",
        "c:\\x",
        "x" * 256,
        "é" * 128,
        "/".join("a" * 65),
        "a/" * 2100,
        "\ud800",
    ],
)
@pytest.mark.parametrize("windows", [False, True])
def test_what_leads_out_or_is_no_name_is_refused(path: str, windows: bool) -> None:
    with pytest.raises(UnsafeName):
        check_path(path, windows=windows)


@pytest.mark.parametrize(
    "path",
    [
        "a\\b",
        "..\\x",
        "a:stream",
        "CON",
        "con.txt",
        "x/NUL",
        "LPT1.a.b",
        "COM¹",
        "end.",
        "end ",
        "a?",
        'a"',
        "a\nb",
    ],
)
def test_what_windows_takes_for_something_else_is_refused_there(path: str) -> None:
    assert check_path(path, windows=False) == path
    with pytest.raises(UnsafeName):
        check_path(path, windows=True)


@given(st.text())
def test_a_clean_name_is_a_name_everywhere(text: str) -> None:
    name = clean_name(text)
    assert check_path(name, windows=True) == name
    assert clean_name(name) == name
    assert shown(name) == name


def test_a_long_name_keeps_its_ending() -> None:
    name = clean_name("ü" * 300 + ".jpeg")
    assert name.endswith("ü.jpeg")
    assert len(name.encode()) <= MAX_NAME


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\photo.jpg", "photo.jpg"),
        ("..", "file"),
        ("nul", "_nul"),
        # Where it is cut, Windows would take away what is at the end.
        (f"{'a' * 254}.{'b' * 40}", "a" * 254),
        (f"con{' ' * 300}x", "_con"),
        ("a\u202egpj.exe", "a_gpj.exe"),
    ],
)
def test_names_of_uploads(told: str, kept: str) -> None:
    assert clean_name(told) == kept


def test_of_an_endless_name_the_end_is_looked_at() -> None:
    """All of 32,000 marks to be put in order would take seconds, in which nobody else is served."""
    marks = "\N{COMBINING GREEK YPOGEGRAMMENI}" * 16_000 + "\N{COMBINING TILDE OVERLAY}" * 16_000
    began = time.process_time()
    assert clean_name(f"{marks}/a.txt") == "a.txt"
    assert clean_name(f"a{marks}.txt").endswith(".txt")
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("a.tar.gz", "a.tar (2).gz"),
        (".profile", ".profile (2)"),
        (f"{'a' * 251}.txt", f"{'a' * 247} (2).txt"),
        (f"a.{'b' * 253}", f"a.{'b' * 249} (2)"),  # that is no ending
    ],
)
def test_a_name_beside_another(name: str, beside: str) -> None:
    assert numbered(name, 2) == beside
    assert len(beside.encode()) <= MAX_NAME


def test_what_is_shown_moves_no_cursor() -> None:
    assert shown("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\nb\\u202e"
