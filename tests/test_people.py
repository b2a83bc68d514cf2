"""Who is let in by name, and what each may."""

from __future__ import annotations

import contextlib
import datetime
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.people import (
    EVERYTHING,
    FILE,
    MAX_CERTIFICATES,
    MAX_INVITATIONS,
    MAX_PEOPLE,
    Invitation,
    People,
    Person,
    check_person,
)

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
NOON = 1_800_000_000.0

names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?", fullmatch=True)
segments = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=5)
paths = st.lists(segments, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path / "state")


def found(people: People, certificate: bytes, now: float = NOON) -> str | None:
    people.refresh()
    person = people.find(certificate, now)
    return None if person is None else person.name


# -- who -----------------------------------------------------------------------------------------


def test_who_is_let_in_is_found_until_shown_out(people: People) -> None:
    assert found(people, ONE) is None
    people.add(Person("anna", (ONE,)))
    people.add(Person("anna", (TWO,)))
    assert [found(people, one) for one in (ONE, TWO, THREE)] == ["anna", "anna", None]
    people.rename("anna", "anne")
    assert found(people, TWO) == "anne"
    people.revoke("anne")
    assert [found(people, one) for one in (ONE, TWO)] == [None, None]


def test_a_certificate_is_of_whom_it_was_given_to_last(people: People) -> None:
    people.add(Person("anna", (ONE, TWO)))
    people.add(Person("ben", (ONE,)))
    assert [found(people, one) for one in (ONE, TWO)] == ["ben", "anna"]
    people.add(Person("ben", (TWO,)))
    assert list(people.all()) == ["ben"]


@pytest.mark.parametrize("change", ["rename", "limit", "revoke"])
def test_nobody_is_changed_whom_nobody_knows(people: People, change: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "rename": ("eve", "anna"),
        "limit": ("eve", lambda person: person),
        "revoke": ("eve",),
    }
    with pytest.raises(KeyError):
        getattr(people, change)(*arguments[change])
    assert not (people._path).exists()


def test_a_name_is_not_taken_from_somebody_else(people: People) -> None:
    people.add(Person("anna", (ONE,)))
    people.add(Person("ben", (TWO,)))
    with pytest.raises(ValueError, match="somebody else"):
        people.rename("ben", "anna")
    assert [found(people, one) for one in (ONE, TWO)] == ["anna", "ben"]


def test_the_file_is_for_its_owner_alone(people: People) -> None:
    people.add(Person("anna", (ONE,)))
    assert people._path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{", '{"anna": []}', '{"anna": {}}', '{"an na": {"certificates": []}}'),
        '{"anna": {"certificates": ["x"], "paths": ["/"], "read_only": false, "until": null}}',
        '{"anna": {"certificates": [], "paths": ["x"], "read_only": false, "until": null}}',
        '{"anna": {"certificates": [], "paths": [], "read_only": false, "until": null}}',
        '{"anna": {"certificates": [], "paths": ["/"], "read_only": 0, "until": null}}',
        '{"anna": {"certificates": [], "paths": ["/"], "read_only": false, "until": "soon"}}',
        '{"anna": {"certificates": [], "paths": ["/"], "read_only": false, "until": 1}}',
    ],
)
def test_a_file_that_says_something_else_lets_nobody_in(people: People, content: str) -> None:
    people.add(Person("anna", (ONE,)))
    assert found(people, ONE) == "anna"
    people._path.write_text(content)
    with pytest.raises(PeerfetchError, match=FILE):
        people.refresh()
    assert people.find(ONE, NOON) is None
    with pytest.raises(PeerfetchError):
        people.add(Person("ben", (TWO,)))
    assert people._path.read_text() == content


@given(st.binary(max_size=200))
def test_whatever_is_in_the_file_it_ends_in_a_typed_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        people = People(Path(directory))
        (Path(directory) / FILE).write_bytes(content)
        with contextlib.suppress(PeerfetchError):
            people.refresh()
        assert people.find(ONE, NOON) is None


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a-", "ä", "a\n", "a" * 65, "a:b", 'a"'])
def test_what_is_no_name(people: People, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        people.add(Person(name, (ONE,)))


def test_a_person_has_not_any_number_of_certificates(people: People) -> None:
    for number in range(MAX_CERTIFICATES):
        people.add(Person("anna", (bytes([number]) * 32,)))
    with pytest.raises(ValueError, match="certificates"):
        people.add(Person("anna", (b"\xff" * 32,)))


def test_ten_thousand_people_take_little_memory(people: People) -> None:
    """One lookup in a table, whoever it is; and no more than was said."""

    def all_at_once(kept: dict[str, Person]) -> None:
        for number in range(MAX_PEOPLE):
            name = f"person-{number}"
            kept[name] = Person(name, (number.to_bytes(32, "big"),))

    people._change(all_at_once)
    tracemalloc.start()
    try:
        people.refresh()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * 1024 * 1024
    assert people.find((77).to_bytes(32, "big"), NOON) == Person("person-77")
    with pytest.raises(ValueError, match="revoke"):
        people.add(Person("one-more", (ONE,)))


# -- what ----------------------------------------------------------------------------------------


@given(names, st.lists(paths, min_size=1, max_size=5), st.booleans(), st.dates() | st.none())
def test_what_is_kept_is_what_was_given(
    name: str, paths: list[str], read_only: bool, until: datetime.date | None
) -> None:
    person = check_person(Person(name, (ONE,), tuple(paths), read_only, until))
    with tempfile.TemporaryDirectory() as directory:
        People(Path(directory)).add(person)
        assert People(Path(directory)).all() == {name: person}


@given(st.lists(paths, min_size=1, max_size=4), paths, st.sampled_from(["GET", "POST", "HEAD"]))
def test_what_is_below_a_path_and_nothing_else(allowed: list[str], asked: str, method: str) -> None:
    person = check_person(Person("anna", paths=tuple(allowed)))
    below = any(asked == path or asked.startswith(f"{path}/") for path in allowed)
    assert person.may(method, asked) == below
    assert person.may(method, f"{asked}?a=/b/..") == below
    reading = replace(person, read_only=True)
    assert reading.may(method, asked) == (below and method != "POST")
    assert not reading.may("GET", asked, upgrade=True)


@given(
    paths,
    st.sampled_from(["..", ".", "%2e%2e", "%2E.", "..;a", "..%2f", "..\\", "%5c..", "%252e%252e"]),
    st.lists(segments, max_size=2),
)
def test_no_way_leads_up(allowed: str, up: str, rest: list[str]) -> None:
    person = check_person(Person("anna", paths=(allowed,)))
    assert not person.may("GET", "/".join([allowed, up, *rest]))
    assert not person.may("GET", allowed + quote("/") + quote("../x", safe=""))


@pytest.mark.parametrize("target", ["http://a/cam", "*", "", "//cam", "cam", "/ca", "/cam2"])
def test_targets_that_are_not_below(target: str) -> None:
    assert not check_person(Person("anna", paths=("/cam",))).may("GET", target)


def test_all_is_all() -> None:
    for given_paths in (("/",), ("/cam", "/")):
        assert check_person(Person("anna", paths=given_paths)).paths == EVERYTHING
    assert Person("anna").may("DELETE", "http://127.0.0.1/x", upgrade=True)


def test_until_the_end_of_the_day() -> None:
    person = Person("anna", (ONE,), until=datetime.date(2027, 1, 1))
    last = datetime.datetime(2027, 1, 1, 23, 59, 59, tzinfo=datetime.UTC).timestamp()
    assert not person.expired(last)
    assert person.expired(last + 1)


def test_whose_time_is_over_is_not_found(people: People) -> None:
    people.add(Person("anna", (ONE,), until=datetime.date(2027, 1, 15)))
    assert found(people, ONE, NOON) == "anna"
    assert found(people, ONE, NOON + 366 * 86400) is None


def test_limits_stay_where_they_are_not_changed(people: People) -> None:
    people.add(Person("anna", (ONE,), ("/cam",), True))
    people.limit("anna", lambda person: replace(person, read_only=False))
    assert people.all()["anna"] == Person("anna", (ONE,), ("/cam",))


# -- visits --------------------------------------------------------------------------------------


def test_visits_are_kept_for_those_who_are_known(people: People) -> None:
    people.add(Person("anna", (ONE,)))
    people.visited("anna", NOON)
    people.visited("eve", NOON)
    people.keep_visits(people.take_visits())
    assert people.visits() == {"anna": int(NOON)}
    people.rename("anna", "anne")
    assert people.visits() == {"anne": int(NOON)}
    another = People(people._path.parent)  # of a second proxy, whose clock is behind
    another.visited("anne", NOON - 60)
    another.keep_visits(another.take_visits())
    assert people.visits() == {"anne": int(NOON)}


# -- links ---------------------------------------------------------------------------------------

SECRET = "3f" * 16
LINK = Invitation(SECRET, int(NOON))


def test_a_link_is_open_until_its_time_or_the_persons_is_over(people: People) -> None:
    limited = Person("anna", until=datetime.date(2027, 1, 15))
    people.add(replace(limited, invitation=Invitation(SECRET, int(NOON) + 10)))
    people.refresh()
    assert people.open_invitations(NOON) == {SECRET: limited}
    assert people.open_invitations(NOON + 10) == {}
    people.limit("anna", lambda person: replace(person, until=datetime.date(2027, 1, 1)))
    people.refresh()
    assert people.open_invitations(NOON) == {}


def test_who_uses_a_link_is_known_by_it(people: People) -> None:
    people.add(Person("anna", (ONE,), invitation=LINK))
    people.add(Person("ben", (TWO,)))
    people.accept(SECRET, TWO, NOON - 1)
    assert people.all() == {"anna": Person("anna", (ONE, TWO), invitation=LINK)}
    for secret, now in ((SECRET, NOON), ("3e" * 16, NOON - 1)):
        with pytest.raises(KeyError):
            people.accept(secret, THREE, now)
    assert found(people, THREE) is None


def test_a_new_browser_takes_the_place_of_the_oldest(people: People) -> None:
    people.add(Person("anna", invitation=LINK))
    for number in range(MAX_CERTIFICATES + 2):
        people.accept(SECRET, bytes([number]) * 32, NOON - 1)
    kept = people.all()["anna"].certificates
    assert [one[0] for one in kept] == list(range(2, MAX_CERTIFICATES + 2))


def test_links_are_open_for_so_many_and_no_more(people: People) -> None:
    for number in range(MAX_INVITATIONS):
        link = Invitation(f"{number:032x}", 4_000_000_000)
        people.add(Person(f"p{number}", invitation=link))
    with pytest.raises(ValueError, match="links"):
        people.add(Person("anna", invitation=Invitation(SECRET, 4_000_000_000)))
    people.revoke("p0")
    people.add(Person("anna", invitation=Invitation(SECRET, 4_000_000_000)))


def test_nobody_is_unknown_while_the_file_is_read_anew(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server looks who is there while another thread reads: nobody is shown out for that."""
    people.add(Person("anna", (ONE,), ("/cam",)))
    people.refresh()
    people.add(Person("ben", (TWO,)))
    load, seen = people._load, []

    def looked_at() -> dict[str, Person]:
        seen.append(people.find(ONE, NOON))
        return load()

    monkeypatch.setattr(people, "_load", looked_at)
    assert people.refresh()
    assert seen == [Person("anna", paths=("/cam",))]
    assert found(people, TWO) == "ben"
