"""Resources that handlers keep for one session, such as its connections to an upstream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

__all__ = ["Closable", "Kept"]


class Closable(Protocol):
    """A resource that is closed with its session."""

    def close(self) -> object: ...


T = TypeVar("T", bound=Closable)


class Kept:
    """The resources of one session, by the handler that owns them."""

    def __init__(self) -> None:
        self._things: dict[object, Any] = {}

    def get(self, owner: object, make: Callable[[], T]) -> T:
        """The resource of ``owner``, made on first use."""
        thing = self._things.get(owner)
        if thing is None:
            thing = self._things[owner] = make()
        return cast(T, thing)

    def forget(self, owner: object) -> None:
        """Close and forget the resource of ``owner``."""
        thing = self._things.pop(owner, None)
        if thing is not None:
            thing.close()

    def close(self) -> None:
        """Close all resources."""
        things, self._things = self._things, {}
        for thing in things.values():
            thing.close()
