"""Objects that ``await`` opens, and ``async with`` opens and closes."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Protocol, TypeVar

__all__ = ["Opening"]


class _Closing(Protocol):
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


T = TypeVar("T", bound=_Closing)


class Opening(Coroutine[Any, Any, T]):
    """A coroutine whose result ``async with`` closes after its block.

    ``opened = await opening`` leaves closing to the caller; ``async with opening as opened:``
    closes it. As any coroutine, it can be given to :func:`asyncio.create_task`, and is used once.
    """

    __slots__ = ("_opened", "_work")

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._opened: T | None = None

    def send(self, value: Any) -> Any:
        """See :class:`collections.abc.Coroutine`."""
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        """See :class:`collections.abc.Coroutine`."""
        return self._work.throw(*error)

    def close(self) -> None:
        """Do not open: see :class:`collections.abc.Coroutine`."""
        self._work.close()

    def __await__(self) -> Generator[Any, None, T]:
        return self._work.__await__()

    async def __aenter__(self) -> T:
        self._opened = await self._work
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._opened is not None
        await self._opened.__aexit__(kind, error, traceback)
