"""The people whom a device has let in: who shows which certificate, and what they may.

Kept in the state directory: ``people.json`` says who they are, ``visits.json`` when each was here
last. Both may be changed by several programs at once.
"""

from __future__ import annotations

import datetime
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import orjson

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.origins import climbs
from peerfetch_fast.http.routing import path_prefix
from peerfetch_fast.identity import format_pin, parse_pin
from peerfetch_fast.state import locked, write_whole

__all__ = ["EVERYTHING", "Invitation", "People", "Person", "check_person"]

FILE = "people.json"
VISITS = "visits.json"

MAX_FILE = 8 * 1024 * 1024
"""Bytes of the largest file that is read."""

MAX_PEOPLE = 10_000
"""People whom a device knows."""

MAX_CERTIFICATES = 16
"""Certificates of one person: one for each device and browser of hers."""

MAX_INVITATIONS = 64
"""Links that may be open at once: each is tried on the proof of who connects."""

MAX_PATHS = 32
"""Paths that a person may be limited to."""

EVERYTHING = ("/",)
"""The paths of who may see all that is served."""

# A name must fit into a header field as it is, and into a line of a file.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
_SECRET = re.compile(r"[0-9a-f]{32}")
_READING = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link by which somebody is let in, as often as it is used."""

    secret: str
    """The secret in the link, which nobody else knows."""
    until: int
    """Until when it is worth something: seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who was let in."""

    name: str
    certificates: tuple[bytes, ...] = ()
    """SHA-256 of the certificates that she shows."""
    paths: tuple[str, ...] = EVERYTHING
    """Below which she may see what is served."""
    read_only: bool = False
    """Whether she may only ask with GET, HEAD and OPTIONS, and open no WebSocket nor tunnel."""
    until: datetime.date | None = None
    """The last day, in UTC, on which she is let in."""
    invitation: Invitation | None = None
    """Her link, if she has one."""

    @property
    def unlimited(self) -> bool:
        """Whether she may all that there is, without end."""
        return self.paths == EVERYTHING and not self.read_only and self.until is None

    def expired(self, now: float) -> bool:
        """Whether her time was over at ``now`` (seconds since 1970)."""
        if self.until is None:
            return False
        return datetime.datetime.fromtimestamp(now, datetime.UTC).date() > self.until

    def invited_by(self, secret: str, now: float) -> bool:
        """Whether that is the secret of her link, and worth something at ``now``."""
        link = self.invitation
        return link is not None and link.secret == secret and now < link.until

    def may(self, method: str, target: str, *, upgrade: bool = False) -> bool:
        """Whether she may ask for ``target`` with ``method``.

        :param upgrade: whether a WebSocket or a tunnel is asked for.
        """
        if self.read_only and (upgrade or method not in _READING):
            return False
        if self.paths == EVERYTHING:
            return True
        path = target.partition("?")[0]
        # A path that a server may read otherwise than we do leads nowhere.
        if not path.startswith("/") or climbs(path) or climbs(unquote(path)):
            return False
        segments = [unquote(segment) for segment in path.split("/")]
        return any(
            segments[: len(names)] == names
            for names in ([unquote(name) for name in allowed.split("/")] for allowed in self.paths)
        )


def check_person(person: Person) -> Person:
    """``person`` with her paths as they are kept. Raises ValueError for what cannot be."""
    if _NAME.fullmatch(person.name) is None:
        raise ValueError(
            f"{person.name!r} is no name for a person: use up to 64 letters, digits and . _ @ -"
        )
    if len(person.certificates) > MAX_CERTIFICATES:
        raise ValueError(
            f"{person.name} has {MAX_CERTIFICATES} certificates already: revoke her and let her "
            "in anew, or give her other devices another name"
        )
    paths = tuple(dict.fromkeys(path_prefix(path) or "/" for path in person.paths))
    if not 0 < len(paths) <= MAX_PATHS:
        raise ValueError(f"a person may see between 1 and {MAX_PATHS} paths")
    return replace(person, paths=EVERYTHING if "/" in paths else paths)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of the file. What somebody may is kept only of those who may not all, and once
    for all who may the same, or 10,000 people would take more than 2 MB.
    """

    names: dict[bytes, str] = field(default_factory=dict)
    """By certificate."""
    limited: dict[str, Person] = field(default_factory=dict)
    """By name: somebody without one, who may what they may."""
    invited: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By the secret of the link: the name, and until when it is worth something."""

    @classmethod
    def of(cls, people: dict[str, Person]) -> _Known:
        """The records of everybody."""
        shared: dict[Person, Person] = {}
        limited = {}
        for name, person in people.items():
            if not person.unlimited:
                nobody = replace(person, name="", certificates=(), invitation=None)
                limited[name] = shared.setdefault(nobody, nobody)
        return cls(
            {one: name for name, person in people.items() for one in person.certificates},
            limited,
            {
                person.invitation.secret: (name, person.invitation.until)
                for name, person in people.items()
                if person.invitation is not None
            },
        )

    def person(self, name: str) -> Person:
        """The person of that name, without her certificates."""
        nobody = self.limited.get(name)
        return Person(name) if nobody is None else replace(nobody, name=name)


class People:
    """The people in a state directory; found in constant time.

    :param directory: the state directory; it need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._visits_path = directory / VISITS
        self._seen: tuple[int, ...] | None = None
        self._refreshing = threading.Lock()
        self._known = _Known()
        self._visits: dict[str, int] = {}

    def find(self, fingerprint: bytes, now: float) -> Person | None:
        """Who shows that certificate and may be let in at ``now`` (seconds since 1970), as of the
        last :meth:`refresh`; without her certificates.
        """
        known = self._known
        name = known.names.get(fingerprint)
        if name is None:
            return None
        person = known.person(name)
        return None if person.expired(now) else person

    def refresh(self) -> bool:
        """Look whether the file was changed, and read it if so; whether it was.

        Raises PeerfetchError for a file that cannot be used: then nobody is known.
        """
        with self._refreshing:
            state = self._state()
            if state == self._seen:
                return False
            known = _Known()
            try:
                known = _Known.of(self._load())
            finally:
                # All at once: others look meanwhile, and nobody is shown out for it, nor let in
                # without her limits.
                self._known, self._seen = known, state
            return True

    def open_invitations(self, now: float) -> dict[str, Person]:
        """The people whose links are worth something at ``now`` (seconds since 1970), by the
        secrets of these, as of the last :meth:`refresh`.
        """
        found, known = {}, self._known
        for secret, (name, until) in known.invited.items():
            person = known.person(name)
            if now < until and not person.expired(now):
                found[secret] = person
        return found

    def accept(self, secret: str, certificate: bytes, now: float) -> None:
        """Who has that certificate has used a link. Raises as :meth:`add` does, and KeyError where
        it is worth nothing any more.
        """

        def change(people: dict[str, Person]) -> None:
            invited = [one for one in people.values() if one.invited_by(secret, now)]
            if not invited:
                raise KeyError(secret)
            person = invited[0]
            _take_from_others(people, person.name, certificate)
            others = tuple(one for one in person.certificates if one != certificate)
            # Of a browser whose data were cleared, the old one is worth nothing.
            kept = (*others, certificate)[-MAX_CERTIFICATES:]
            people[person.name] = replace(person, certificates=kept)

        self._change(change)

    def _state(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def all(self) -> dict[str, Person]:
        """Everybody, by name, from the file. Raises PeerfetchError."""
        return self._load()

    def add(self, person: Person) -> None:
        """Let somebody in; with a name that is known, as one more device of that person.

        Raises PeerfetchError, ValueError for what cannot be, OSError where it cannot be written.
        """

        def change(people: dict[str, Person]) -> None:
            for certificate in person.certificates:
                _take_from_others(people, person.name, certificate)
            known = people.get(person.name, Person(person.name))
            others = tuple(one for one in known.certificates if one not in person.certificates)
            people[person.name] = check_person(
                replace(
                    person,
                    certificates=others + person.certificates,
                    invitation=person.invitation or known.invitation,
                )
            )

        self._change(change)

    def rename(self, old: str, new: str) -> None:
        """Give somebody another name. Raises KeyError for one whom nobody knows, else as add()."""

        def change(people: dict[str, Person]) -> None:
            person = people[old]
            if new != old and new in people:
                raise ValueError(f"{new} is the name of somebody else: take another")
            del people[old]
            people[new] = check_person(replace(person, name=new))

        self._change(change)
        visits = self.visits()
        if old in visits:
            self.keep_visits({new: visits[old]})

    def limit(self, name: str, change: Callable[[Person], Person]) -> Person:
        """Change what somebody may. Raises as :meth:`rename` does."""

        def apply(people: dict[str, Person]) -> None:
            people[name] = check_person(change(people[name]))

        return self._change(apply)[name]

    def revoke(self, name: str) -> None:
        """Show somebody out. Raises as :meth:`rename` does."""

        def change(people: dict[str, Person]) -> None:
            del people[name]

        self._change(change)

    def _change(self, change: Callable[[dict[str, Person]], None]) -> dict[str, Person]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._path):
            people = self._load()
            change(people)
            if len(people) > MAX_PEOPLE:
                raise ValueError(f"{MAX_PEOPLE} people are known: revoke some first")
            links = [person.invitation for person in people.values() if person.invitation]
            if sum(time.time() < link.until for link in links) > MAX_INVITATIONS:
                raise ValueError(
                    f"{MAX_INVITATIONS} links are open: revoke some of those whom they are for"
                )
            content = {name: _told(person) for name, person in sorted(people.items())}
            write_whole(self._path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        return people

    def _load(self) -> dict[str, Person]:
        try:
            return {name: _person(name, about) for name, about in _read(self._path).items()}
        except OSError as error:
            raise PeerfetchError(f"cannot read {self._path}: {error.strerror}") from None
        except (ValueError, TypeError, AttributeError, PeerfetchError):
            raise PeerfetchError(
                f"{self._path} does not say who is let in: correct or delete it"
            ) from None

    # -- visits ----------------------------------------------------------------------------------

    def visited(self, name: str, now: float) -> None:
        """Somebody was here at ``now`` (seconds since 1970); see :meth:`take_visits`."""
        self._visits[name] = max(int(now), self._visits.get(name, 0))

    def take_visits(self) -> dict[str, int]:
        """Who was here since the last time, and when, for :meth:`keep_visits`. For the thread that
        calls :meth:`visited`.
        """
        visits, self._visits = self._visits, {}
        return visits

    def keep_visits(self, visits: Mapping[str, int]) -> None:
        """Write down who was here. Raises PeerfetchError, OSError."""
        if not visits:
            return
        known = self.all()
        with locked(self._visits_path):
            kept = {name: when for name, when in self.visits().items() if name in known}
            for name, when in visits.items():
                if name in known:
                    kept[name] = max(when, kept.get(name, 0))
            write_whole(self._visits_path, orjson.dumps(kept))

    def visits(self) -> dict[str, int]:
        """When everybody was here last (seconds since 1970). Raises PeerfetchError."""
        try:
            visits = _read(self._visits_path)
            if not all(isinstance(when, int) for when in visits.values()):
                raise ValueError
        except (ValueError, AttributeError):
            raise PeerfetchError(f"{self._visits_path} holds no visits: delete it") from None
        return visits  # type: ignore[return-value]


def _read(path: Path) -> dict[str, object]:
    """The JSON object in a file; an empty one where there is none. Raises ValueError, OSError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    if len(text) > MAX_FILE:
        raise ValueError
    found = orjson.loads(text)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _take_from_others(people: dict[str, Person], name: str, certificate: bytes) -> None:
    """A certificate is of one person: of ``name``, to whom it was given last."""
    for other, person in list(people.items()):
        if other == name or certificate not in person.certificates:
            continue
        kept = tuple(one for one in person.certificates if one != certificate)
        if kept or person.invitation is not None:
            people[other] = replace(person, certificates=kept)
        else:
            del people[other]


def _told(person: Person) -> dict[str, object]:
    invitation = person.invitation
    return {
        "certificates": [format_pin(one) for one in person.certificates],
        "paths": list(person.paths),
        "read_only": person.read_only,
        "until": None if person.until is None else person.until.isoformat(),
        **({} if invitation is None else {"invitation": asdict(invitation)}),
    }


def _person(name: str, about: object) -> Person:
    """A person as the file tells. Raises ValueError, PeerfetchError, TypeError, AttributeError."""
    if not isinstance(about, dict):
        raise ValueError
    until, read_only = about.get("until"), about.get("read_only")
    if not isinstance(read_only, bool):
        raise ValueError
    return check_person(
        Person(
            name,
            tuple(map(parse_pin, _texts(about.get("certificates")))),
            tuple(_texts(about.get("paths"))),
            read_only,
            None if until is None else datetime.date.fromisoformat(until),
            _invitation(about.get("invitation")),
        )
    )


def _invitation(about: object) -> Invitation | None:
    if about is None:
        return None
    if not isinstance(about, dict):
        raise ValueError
    secret, until = about.get("secret"), about.get("until")
    if (
        not isinstance(secret, str)
        or not isinstance(until, int)
        or _SECRET.fullmatch(secret) is None
    ):
        raise ValueError
    return Invitation(secret, until)


def _texts(found: object) -> Sequence[str]:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError
    return found
