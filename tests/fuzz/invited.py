"""Who is let in: a device's file of people, codes that were typed, links that invite."""

from __future__ import annotations

import tempfile
from pathlib import Path

import orjson

from peerfetch_fast.codes import looks_like_code, parse_code
from peerfetch_fast.errors import InvalidCode, PeerfetchError
from peerfetch_fast.identity import parse_invitation
from peerfetch_fast.people import FILE, MAX_CERTIFICATES, MAX_PATHS, Invitation, People, Person

NOW = 1_800_000_000.0
CERTIFICATE = bytes(range(32))
TARGETS = ("/", "/cam", "/cam/../x", "/cam%2f..%2fx", "//cam", "http://a/cam", "*", "")


def people(data: bytes) -> None:
    """A file that is read, changed and read again; the same bytes as what somebody has typed."""
    text = data.decode(errors="replace")
    try:
        code = parse_code(text)
        assert looks_like_code(text)
        assert parse_code(str(code)) == code
    except InvalidCode:
        pass
    link = parse_invitation(text)
    if link is not None:
        assert parse_invitation(str(link)) == link
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / FILE).write_bytes(data)
        _read(People(Path(directory)))


def _read(one: People) -> None:
    try:
        one.refresh()
    except PeerfetchError:
        assert one.find(CERTIFICATE, NOW) is None
        assert one.open_invitations(NOW) == {}
        return
    before = one.all()
    for name, person in before.items():
        assert person.name == name
        assert len(person.certificates) <= MAX_CERTIFICATES
        assert 0 < len(person.paths) <= MAX_PATHS
        for target in TARGETS:
            if person.paths == ("/cam",) and person.may("GET", target):
                assert target == "/cam"
    try:
        one.add(Person("somebody", (CERTIFICATE,)))
    except ValueError:  # there are too many already
        assert one.all() == before
        return
    one.refresh()
    found = one.find(CERTIFICATE, NOW)
    assert found is not None
    assert found.name == "somebody"


def people_seeds() -> list[bytes]:
    """A file with everything in it, an empty one, a code and a link."""
    with tempfile.TemporaryDirectory() as directory:
        kept = People(Path(directory))
        link = Invitation("3f" * 16, 4_000_000_000)
        kept.add(Person("anna", (CERTIFICATE,), ("/cam",), read_only=True, invitation=link))
        kept.add(Person("somebody", (bytes(32),)))
        whole = (Path(directory) / FILE).read_bytes()
    small = orjson.dumps(orjson.loads(whole))
    typed = b"123-able-boat", f"peer://dev#sha256:{'0a' * 32}.{'3f' * 16}".encode()
    return [whole, small, b"{}", *typed]
