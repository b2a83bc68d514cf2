"""Codes to be read out and typed: ``NUMBER-word-word``, and digits for one who waits in a room.

The number says where the device waits, and is no secret; the two words are 22 bits that are. Of a
device that waits in its network's room the id is seen there, so that six digits are enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from peerfetch_fast.errors import InvalidCode
from peerfetch_fast.words import WORDS

__all__ = [
    "Digits",
    "PairingCode",
    "draw_code",
    "draw_digits",
    "looks_like_code",
    "parse_code",
    "parse_digits",
    "waiting_name",
]

NUMBERS = (range(100, 1000), range(1000, 10_000), range(10_000, 1_000_000))
"""From where numbers are drawn: at first a short one; if that is taken, from more of them."""

_PREFIX = 4
"""By so many letters all words differ."""

DIGITS = 6
"""Of a device that waits in a room: 20 bits."""

MAX_NAME = 40
"""Letters of the name that such a device is seen by."""

_WAITING = re.compile(rf"wait-([A-Za-z0-9-]{{1,{MAX_NAME}}})-[0-9a-f]{{8}}")
_BY_PREFIX = {word[:_PREFIX]: word for word in WORDS}
_FORM = re.compile(r"\s*([1-9][0-9]{2,5})[\s_.,-]*([a-z]{4,7})[\s_.,-]*([a-z]{4,7})\s*", re.I)


class PairingCode(NamedTuple):
    """The parts of a code."""

    number: int
    first: str
    second: str

    @property
    def peer_id(self) -> str:
        """The id by which who has made the code is found at the signaling server."""
        return f"pair-{self.number}"

    def __str__(self) -> str:
        return f"{self.number}-{self.first}-{self.second}"


class Digits(NamedTuple):
    """The entry of a device that waits in a room."""

    peer_id: str
    """The id by which it is seen there, and found at the signaling server."""
    digits: str

    def __str__(self) -> str:
        return self.digits


def draw_digits(below: Callable[[int], int], name: str) -> Digits:
    """New ones.

    :param below: see :func:`draw_code`.
    :param name: what the device is to be seen by; of others than letters and digits nothing is.
    """
    shown = re.sub(r"[^A-Za-z0-9]+", "-", name)[:MAX_NAME].strip("-") or "device"
    return Digits(f"wait-{shown}-{below(16**8):08x}", f"{below(10**DIGITS):0{DIGITS}}")


def waiting_name(peer_id: str) -> str | None:
    """The name that a waiting device has in a room; None if the id is not that of such a device."""
    found = _WAITING.fullmatch(peer_id)
    return None if found is None else found[1]


def parse_digits(peer_id: str, typed: str) -> Digits:
    """The digits that were typed, with spaces between allowed. Raises InvalidCode."""
    digits = re.sub(r"[\s_.,-]", "", typed)
    if re.fullmatch(rf"[0-9]{{{DIGITS}}}", digits) is None:
        raise InvalidCode(f"{typed!r} are not the {DIGITS} digits that the device shows")
    return Digits(peer_id, digits)


def draw_code(below: Callable[[int], int], attempt: int = 0) -> PairingCode:
    """A new code.

    :param below: a random number from 0 up to, and without, the one given; as
        :func:`secrets.randbelow`.
    :param attempt: how many were drawn before whose number was taken.
    """
    numbers = NUMBERS[min(attempt, len(NUMBERS) - 1)]
    number = numbers[below(len(numbers))]
    return PairingCode(number, WORDS[below(len(WORDS))], WORDS[below(len(WORDS))])


def looks_like_code(text: str) -> bool:
    """Whether ``text`` has the form of a code, whatever its words are."""
    return _FORM.fullmatch(text) is not None


def parse_code(text: str) -> PairingCode:
    """The code that was typed, with capitals, other separators and shortened words allowed.

    Raises InvalidCode, before anybody is told of it: what is no word costs no guess.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InvalidCode(f"{text!r} is no code: it is a number and two words, as in 123-able-boat")
    return PairingCode(int(found[1]), _word(found[2]), _word(found[3]))


def _word(typed: str) -> str:
    word = _BY_PREFIX.get(typed.lower()[:_PREFIX])
    if word is None or not word.startswith(typed.lower()):
        raise InvalidCode(f"{typed!r} is no word of a code: read it again")
    return word
