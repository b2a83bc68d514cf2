"""What handlers keep for a session, such as connections that no other may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

__all__ = ["Closable", "Kept"]


class Closable(Protocol):
    """What is closed with its session."""

    def close(self) -> object: ...


T = TypeVar("T", bound=Closable)


class Kept:
    """By the handler that keeps it, what is closed when the session has ended."""

    def __init__(self) -> None:
        self._things: dict[object, Any] = {}

    def get(self, owner: object, make: Callable[[], T]) -> T:
        """What ``owner`` keeps here, made when it is first asked for."""
        thing = self._things.get(owner)
        if thing is None:
            thing = self._things[owner] = make()
        return cast(T, thing)

    def forget(self, owner: object) -> None:
        """Close what ``owner`` keeps here, and keep it no more."""
        thing = self._things.pop(owner, None)
        if thing is not None:
            thing.close()

    def close(self) -> None:
        """Close all of it."""
        things, self._things = self._things, {}
        for thing in things.values():
            thing.close()
