"""The progress bar of the commands, on standard error if that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress

    from peerfetch_fast.http.client import Response

__all__ = ["Bar", "with_progress"]

INTERVAL = 0.05
"""Seconds between two updates of the bar: an update costs more than receiving a piece."""


class Bar:
    """Shows progress in bytes.

    :param quiet: whether to print nothing at all.
    """

    def __init__(self, name: str = "", *, show: bool = True, quiet: bool = False) -> None:
        self._quiet = quiet
        show = show and not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._progress = _progress() if show else None
        if self._progress is not None:
            self._task = self._progress.add_task(name, total=None)
        self._done = 0
        self._due = 0.0

    def show(self, done: int, total: int | None) -> None:
        """Show ``done`` bytes of the total, which may be unknown."""
        self._done = done
        if self._progress is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + INTERVAL
            self._progress.update(self._task, completed=done, total=total)

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        line = f"peerfetch: {sentence}"
        if self._progress is not None:
            self._progress.console.print(line, soft_wrap=True, markup=False, highlight=False)
        elif not self._quiet:
            click.echo(line, err=True)

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done)
            self._progress.__exit__(kind, error, traceback)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


async def with_progress(response: Response, name: str, total: int | None) -> AsyncIterator[bytes]:
    """The pieces of ``response``, with a progress bar."""
    done = 0
    with Bar(name) as bar:
        async for piece in response:
            yield piece
            done += len(piece)
            bar.show(done, total)
