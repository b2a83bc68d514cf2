"""An input read as a program: bytes that choose, and pieces that are content."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

from tests.virtual_time import VirtualTimeLoop

T = TypeVar("T")


class Offline(VirtualTimeLoop):
    """A loop on which time jumps, and from which no name is asked for and no address is reached."""

    async def create_datagram_endpoint(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OSError("there is no network")

    async def create_connection(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OSError("there is no network")

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OSError("there are no names")


def run_offline(work: Coroutine[Any, Any, T], loop: Offline | None = None) -> T:
    """Run ``work``; what escapes into the event loop or is left running is an error."""
    escaped: list[dict[str, Any]] = []
    loop = loop or Offline()
    loop.set_exception_handler(lambda _, context: escaped.append(context))
    try:
        result = loop.run_until_complete(work)
        left = asyncio.all_tasks(loop)
        assert not left, f"tasks are left running: {left}"
    finally:
        loop.close()
    assert not escaped, escaped
    return result


class Program:
    """Reads an input from its beginning; false at its end. What is not there is zero or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def pick(self, of: Sequence[T]) -> T:
        """One of these, as the next byte says."""
        return of[self.byte() % len(of)]

    def piece(self) -> bytes:
        """As many bytes as the next byte says."""
        length = self.byte()
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def text(self) -> str:
        """A piece that is text; what is no UTF-8 becomes U+FFFD."""
        return self.piece().decode(errors="replace")

    def rest(self) -> bytes:
        """All that is left."""
        taken, self._at = self._data[self._at :], len(self._data)
        return taken
