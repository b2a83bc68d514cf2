"""Errors as programs catch them."""

from __future__ import annotations

import re

import pytest

from peerfetch_fast import errors
from peerfetch_fast.errors import NotConnected, PeerfetchError, SessionEnded


def tree(base: type[Exception], depth: int = 1) -> list[str]:
    """The classes below ``base``, as the docstring of the module shows them."""
    found = []
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__ and kind.__bases__[0] is base:
            found += ["    " * depth + kind.__name__, *tree(kind, depth + 1)]
    return found


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    shown = re.findall(r"^    (.*)$", errors.__doc__, re.MULTILINE)
    assert shown == ["PeerfetchError", *tree(PeerfetchError)]


def test_each_error_is_public() -> None:
    names = {line.strip() for line in tree(PeerfetchError)}
    assert names < set(errors.__all__)


@pytest.mark.parametrize(
    "name", ["ConnectError", "PeerLost", "SignalingError", "PeerUnavailable", "IdentityChanged"]
)
def test_who_was_never_connected_is_not_connected(name: str) -> None:
    assert issubclass(getattr(errors, name), NotConnected)
    assert not issubclass(getattr(errors, name), SessionEnded)


@pytest.mark.parametrize(
    "name", ["LinkClosed", "SessionClosed", "ProtocolError", "RequestLost", "AccessDenied"]
)
def test_what_ends_a_session_is_not_connected_either(name: str) -> None:
    assert issubclass(getattr(errors, name), SessionEnded)
    assert issubclass(SessionEnded, NotConnected)
