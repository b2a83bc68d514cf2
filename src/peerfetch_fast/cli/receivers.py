"""The receivers of a share, shown to its sender."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import click

from peerfetch_fast.cli.asking import asked
from peerfetch_fast.sharing.receivers import Receiver

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from peerfetch_fast.sharing.share import Share

__all__ = ["Board", "size_of"]

INTERVAL = 0.25
"""Seconds between two pictures."""

SHOWN = 20
"""Receivers that are shown at once."""

SMOOTH = 0.3
"""How much of the rate is what was measured last."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")

_STATES = {"asks": "?", "refused": "✗", "looks": "·", "receives": "↓", "done": "✓", "failed": "✗"}


def size_of(count: float) -> str:
    """Bytes, for people."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"


class Board:
    """Shows who receives what: a picture in a terminal, else a line for each thing that happens.

    :param once: whether ``stop`` is set as soon as one of them has all.
    """

    def __init__(self, once: bool, stop: asyncio.Event) -> None:
        self._once = once
        self._stop = stop
        self._told: WeakKeyDictionary[Receiver, str] = WeakKeyDictionary()
        self._rates: WeakKeyDictionary[Receiver, tuple[float, int, float]] = WeakKeyDictionary()
        self._live: Live | None = None
        self._share: Share | None = None
        self._asking = asyncio.Lock()

    def changed(self, receiver: Receiver) -> None:
        """There is something new of a receiver."""
        if self._told.get(receiver) == receiver.state:
            return
        self._told[receiver] = receiver.state
        if self._live is None and receiver.state in ("receives", "done", "failed", "refused"):
            click.echo(self._line(receiver))
        if self._once and receiver.state == "done":
            self._stop.set()

    def code_changed(self) -> None:
        """The code was guessed at too often, or there is another one."""
        code = None if self._share is None else self._share.code
        said = (
            "The code is worth nothing any more: somebody has guessed at it, or has its number"
            if code is None
            else f"code  peerfetch get {code}"
        )
        if self._live is not None:
            self._live.console.print(said)
        else:
            click.echo(said)

    async def ask(self, receiver: Receiver) -> bool:
        """Ask whether this one may have what is shared."""
        return await self._agreed(f"{receiver.name}{self._way(receiver)} wants to receive.")

    async def knock(self, name: str) -> bool:
        """Ask whether somebody in the room may have it. Where nobody can be asked, they need the
        code.
        """
        if not sys.stdin.isatty():
            return False
        return await self._agreed(f"{name}, in this network, wants to receive.")

    async def _agreed(self, sentence: str) -> bool:
        async with self._asking:
            with self._paused():
                try:
                    answer = await asked(f"{sentence} Let them? [y/n] ")
                except EOFError:  # Ctrl-D, or the terminal is gone
                    return False
        return answer.strip().lower() in ("y", "yes")

    @contextlib.contextmanager
    def _paused(self) -> Iterator[None]:
        live = self._live
        if live is not None:
            live.stop()
        try:
            yield
        finally:
            if live is not None and live is self._live:
                live.start()

    @contextlib.contextmanager
    def showing(self, share: Share) -> Iterator[None]:
        """Show it until the block ends."""
        self._share = share
        if not sys.stdout.isatty():
            yield
            return
        from rich.live import Live

        with Live(
            get_renderable=self._picture, refresh_per_second=1 / INTERVAL, transient=False
        ) as self._live:
            try:
                yield
            finally:
                self._live = None

    def _picture(self) -> RenderableType:
        from rich.text import Text

        receivers = [] if self._share is None else self._share.receivers
        lines = [self._line(receiver) for receiver in receivers[-SHOWN:]]
        done = sum(receiver.state == "done" for receiver in receivers)
        lines.append(f"{done} of {len(receivers)} receivers done")
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def _line(self, receiver: Receiver) -> str:
        state = _STATES[receiver.state]
        line = f"{state} {receiver.name}{self._way(receiver)}"
        if receiver.state == "done":
            return f"{line}  all, verified"
        if receiver.state in ("failed", "refused"):
            return f"{line}  {receiver.why or receiver.state}"
        if receiver.state != "receives":
            return line
        have = receiver.before + receiver.sent
        if receiver.total is None:
            return f"{line}  {receiver.file}  {size_of(have)}"
        rate = self._rate(receiver)
        line += f"  {size_of(min(have, receiver.total))}/{size_of(receiver.total)}"
        line += f"  {receiver.file}" if receiver.file else ""
        if not rate:
            return line
        rest = max(receiver.total - have, 0) / rate
        return f"{line}  {size_of(rate)}/s  {rest:.0f} s"

    def _way(self, receiver: Receiver) -> str:
        way = None if self._share is None else self._share.way(receiver)
        return "" if way is None else f" ({way})"

    def _rate(self, receiver: Receiver) -> float:
        """Bytes per second."""
        now = time.monotonic()
        then, sent, rate = self._rates.get(receiver, (now, receiver.sent, 0.0))
        if now - then >= INTERVAL:
            measured = (receiver.sent - sent) / (now - then)
            rate = measured if not rate else SMOOTH * measured + (1 - SMOOTH) * rate
            then, sent = now, receiver.sent
        self._rates[receiver] = then, sent, rate
        return rate
