"""Codes that people ask a device for themselves: by them, another browser or program of theirs is
let in under the same name, with the same limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from peerfetch_fast.devices import Device
from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.webrtc.certificate import Certificate

if TYPE_CHECKING:
    from peerfetch_fast.people import People

__all__ = ["TARGET", "OwnCodes"]

logger = logging.getLogger(__name__)

TARGET = "/~peerfetch/code"
"""The path that somebody who was let in by name sends a POST to."""

VALID = 300.0
"""Seconds that such a code is worth something."""

MAX_CODES = 4
"""Codes that are open at once; of each person one."""


class OwnCodes:
    """The codes that are open. Close it after use.

    :param device: how the device is reached.
    :param signaling_pin: see :func:`peerfetch_fast.serve`.
    """

    def __init__(
        self, people: People, device: Device, certificate: Certificate, signaling_pin: str | None
    ) -> None:
        self._people = people
        self._device = device
        self._certificate = certificate
        self._signaling_pin = signaling_pin
        self._open: dict[str, asyncio.Task[None]] = {}

    async def answer(self, exchange: Exchange, name: str) -> None:
        """Answer the request of a person for a code; the one before is worth nothing any more."""
        if exchange.method != "POST":
            exchange.respond(405, [("allow", "POST")])
            return
        await self._end(name)
        if len(self._open) >= MAX_CODES:
            exchange.refuse(429, f"{MAX_CODES} codes are open: wait until one is used or over.")
            return
        loop = asyncio.get_running_loop()
        made: asyncio.Future[str] = loop.create_future()
        task = self._open[name] = loop.create_task(self._wait(name, made))
        task.add_done_callback(lambda _: made.cancel())
        try:
            code = await asyncio.shield(made)
        except asyncio.CancelledError:
            if not made.cancelled():
                raise
            exchange.refuse(503, "No code can be made now: the signaling server is not there.")
            return
        body = orjson.dumps({"code": code, "seconds": VALID})
        exchange.respond(200, [("content-type", "application/json")], body)

    async def _wait(self, name: str, made: asyncio.Future[str]) -> None:
        from peerfetch_fast.pairing import invite

        try:
            known = await asyncio.to_thread(self._people.all)
            person = replace(known[name], certificates=(), invitation=None)
            inviting = invite(
                person,
                self._people,
                self._device,
                self._certificate,
                signaling_pin=self._signaling_pin,
            )
            async with inviting as shown:
                if not made.done():
                    made.set_result(str(shown.code))
                await asyncio.wait((shown.over,), timeout=VALID)
                if shown.over.done():
                    shown.over.result()
        except (PeerfetchError, OSError, ValueError, KeyError) as error:
            logger.warning("no code for %s: %s", name, error)
        finally:
            if self._open.get(name) is asyncio.current_task():
                del self._open[name]

    async def _end(self, name: str) -> None:
        task = self._open.pop(name, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((task,))

    async def close(self) -> None:
        """Let all of them be worth nothing."""
        for name in tuple(self._open):
            await self._end(name)
