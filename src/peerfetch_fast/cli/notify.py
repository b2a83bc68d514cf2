"""systemd's notifications (sd_notify(3)), which are datagrams to the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["ready", "status", "stopping", "watched"]

T = TypeVar("T")

SOCKET = "NOTIFY_SOCKET"


def ready() -> None:
    """Tell the service manager that the program does what it was started for."""
    _tell("READY=1\nSTATUS=")


def status(sentence: str) -> None:
    """Tell the service manager what the program, which has started, waits for."""
    _tell(f"READY=1\nSTATUS={' '.join(sentence.split())}")


def stopping() -> None:
    """Tell the service manager that the program ends."""
    _tell("STOPPING=1")


def _tell(text: str) -> None:
    """Send to the service manager, if there is one; one that does not listen is no error."""
    address = os.environ.get(SOCKET, "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # of Linux's abstract namespace
        address = f"\0{address[1:]}"
    with contextlib.suppress(OSError):
        flags = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
        with socket.socket(socket.AF_UNIX, flags) as telling:
            telling.setblocking(False)
            telling.sendto(text.encode(), address)


def _watchdog_interval() -> float | None:
    """Seconds between two signs of life, half of what the manager waits for; None for none."""
    try:
        pid = int(os.environ.get("WATCHDOG_PID", os.getpid()))
        microseconds = int(os.environ["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return microseconds / 2e6 if pid == os.getpid() and microseconds > 0 else None


async def watched(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work``, with signs of life of the event loop that it runs on, where they are asked for:
    a program whose loop stands still is started anew.
    """
    interval = _watchdog_interval()
    if interval is None:
        return await work
    signs = asyncio.ensure_future(_give_signs(interval))
    try:
        return await work
    finally:
        signs.cancel()


async def _give_signs(interval: float) -> None:
    while True:
        _tell("WATCHDOG=1")
        await asyncio.sleep(interval)
