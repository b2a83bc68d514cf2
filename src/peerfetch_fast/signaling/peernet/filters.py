"""Filters in the language of AIP-160: the part of it that PeerNet has, with bounds.

A sequence is an AND, and OR binds tighter than AND, as AIP-160 has it::

    expression = sequence *(WS "AND" WS sequence)
    sequence   = factor *(WS factor)
    factor     = term *(WS "OR" WS term)
    term       = ["NOT" WS / "-"] simple
    simple     = member comparator arg / "(" expression ")"
    comparator = "=" / "!=" / "<" / "<=" / ">" / ">=" / ":"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from peerfetch_fast.signaling.peernet.problems import Problem, Status

__all__ = ["Values", "parse_filter"]

MAX_FILTER = 1024
"""Characters of the longest filter."""

MAX_DEPTH = 10
"""Parentheses and negations inside each other."""

Values = Mapping[str, Sequence[str]]
"""The values of a resource's fields, by name: none, one, or those of a list."""

Predicate = Callable[[Values], bool]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<comparator><=|>=|!=|=|<|>|:)
      | (?P<mark>[()-])
      | (?P<word>[^\s"'<>=!:()]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBERS = re.compile(r"\d{1,9}(?:\.\d{1,9})*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def parse_filter(text: str, fields: Iterable[str]) -> Predicate:
    """The test that a filter is, for things that have ``fields``. An empty one lets all pass.

    Raises Problem (INVALID_ARGUMENT), with the position of what is wrong.
    """
    return _parse(text, frozenset(fields))


@lru_cache(maxsize=256)
def _parse(text: str, fields: frozenset[str]) -> Predicate:
    if len(text) > MAX_FILTER:
        raise Problem(
            Status.INVALID_ARGUMENT, f"filter: at most {MAX_FILTER} characters are allowed"
        )
    return _Parser(text, fields).whole()


class _Parser:
    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self._fields = fields
        self._tokens = self._read(text)
        self._at = 0
        self._depth = 0

    def _read(self, text: str) -> list[tuple[str, str, int]]:
        """The tokens: kind, text and position; the last one has the kind ``end``."""
        tokens, at, length = [], 0, len(text.rstrip())
        while at < length:
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise self._wrong("what is no word, string or comparator", at)
            kind = found.lastgroup
            tokens.append((kind, found[kind], found.start(kind)))
            at = found.end()
        return [*tokens, ("end", "", length)]

    @staticmethod
    def _wrong(what: str, at: int) -> Problem:
        return Problem(Status.INVALID_ARGUMENT, f"filter: {what} at position {at}")

    def whole(self) -> Predicate:
        if self._is("end"):
            return lambda _: True
        found = self._expression()
        if not self._is("end"):
            raise self._wrong(f"{self._text!r} is not expected", self._position)
        return found

    @property
    def _text(self) -> str:
        return self._tokens[self._at][1]

    @property
    def _position(self) -> int:
        return self._tokens[self._at][2]

    def _is(self, kind: str, text: str | None = None) -> bool:
        token = self._tokens[self._at]
        return token[0] == kind and text in (None, token[1])

    def _take(self, kind: str, text: str | None = None) -> bool:
        if not self._is(kind, text):
            return False
        self._at += 1
        return True

    def _expression(self) -> Predicate:
        parts = [self._sequence()]
        while self._take("word", "AND"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else lambda values: all(one(values) for one in parts)

    def _sequence(self) -> Predicate:
        parts = [self._factor()]
        while not (self._is("end") or self._is("word", "AND") or self._is("mark", ")")):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else lambda values: all(one(values) for one in parts)

    def _factor(self) -> Predicate:
        parts = [self._term()]
        while self._take("word", "OR"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else lambda values: any(one(values) for one in parts)

    def _term(self) -> Predicate:
        if self._take("word", "NOT") or self._take("mark", "-"):
            inner = self._deeper(self._term)
            return lambda values: not inner(values)
        if self._take("mark", "("):
            inner = self._deeper(self._expression)
            if not self._take("mark", ")"):
                raise self._wrong("')' is missing", self._position)
            return inner
        return self._comparison()

    def _deeper(self, read: Callable[[], Predicate]) -> Predicate:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} levels", self._position)
        inner = read()
        self._depth -= 1
        return inner

    def _comparison(self) -> Predicate:
        field, at = self._text, self._position
        if not self._take("word") or field in ("AND", "OR"):
            raise self._wrong("a field is missing", at)
        if field not in self._fields:
            known = ", ".join(sorted(self._fields))
            raise self._wrong(f"{field!r} is no field (there are {known})", at)
        comparator = self._text
        if not self._take("comparator"):
            raise self._wrong(f"a comparator is missing behind {field}", self._position)
        return _comparison(field, comparator, *self._argument())

    def _argument(self) -> tuple[str, bool]:
        """The right side of a comparison, and whether it was quoted."""
        text, at = self._text, self._position
        if self._take("text"):
            return _ESCAPE.sub(r"\1", text[1:-1]), True
        sign = "-" if self._take("mark", "-") else ""
        text = self._text
        if not self._take("word"):
            raise self._wrong("a value is missing", at)
        return sign + text, False


def _comparison(field: str, comparator: str, wanted: str, quoted: bool) -> Predicate:
    if comparator == ":" and wanted == "*" and not quoted:
        return lambda values: bool(values[field])
    if comparator in ("=", ":"):
        matches = _matching(wanted)
        return lambda values: any(map(matches, values[field]))
    if comparator == "!=":
        matches = _matching(wanted)
        return lambda values: not any(map(matches, values[field]))
    wanted_key = _key(wanted)

    def in_order(values: Values) -> bool:
        return any(_ordered(_key(value), wanted_key, comparator) for value in values[field])

    return in_order


def _matching(wanted: str) -> Callable[[str], bool]:
    """A test for texts like ``wanted``, in which a star at either end stands for anything."""
    if wanted == "*":
        return bool
    if len(wanted) > 1 and wanted.startswith("*") and wanted.endswith("*"):
        return lambda value: wanted[1:-1] in value
    if wanted.startswith("*"):
        return lambda value: value.endswith(wanted[1:])
    if wanted.endswith("*"):
        return lambda value: value.startswith(wanted[:-1])
    return lambda value: value == wanted


def _key(text: str) -> tuple[int, ...] | str:
    """The key of an order: of versions their numbers, of all else the text."""
    if _NUMBERS.fullmatch(text):
        return tuple(map(int, text.split(".")))
    return text


def _ordered(one: tuple[int, ...] | str, other: tuple[int, ...] | str, comparator: str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        if not (isinstance(one, str) and isinstance(other, str)):
            return False
        before, same = one < other, one == other
    else:
        length = max(len(one), len(other))
        left, right = (key + (0,) * (length - len(key)) for key in (one, other))
        before, same = left < right, left == right
    if comparator == "<":
        return before
    if comparator == "<=":
        return before or same
    if comparator == ">":
        return not before and not same
    return not before
