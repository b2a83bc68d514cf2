"""The life of an application: its startup before the first request, its shutdown after the last.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from peerfetch_fast.errors import ApplicationError
from peerfetch_fast.http.asgi.types import ASGI_VERSION, Application, Message, Scope

__all__ = ["Lifespan"]

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 10.0
"""Seconds that an application's shutdown may take before it is cancelled."""


class Lifespan:
    """Start an application and shut it down again, if it knows of that."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._started = False
        self._failure: str | None = None
        self.state: dict[str, Any] = {}
        """The state that the startup made; the scope of each request gets a copy."""

    async def start(self) -> None:
        """Return when the application is ready, or knows of no startup.

        Raises ApplicationError when it fails.
        """
        task = self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            await self._ask("startup", task)
        except BaseException:
            task.cancel()
            await self._end(task)
            raise
        if self._failure is not None:
            await self._end(task)
            # Starlette's message is a traceback, of which the last line tells most.
            logger.error("the application did not start: %s", self._failure)
            told = self._failure.strip().splitlines()[-1:] or ["it does not say why"]
            raise ApplicationError(f"the application did not start: {told[0]}")

    async def close(self) -> None:
        """Shut the application down, if it was started."""
        task, self._task = self._task, None
        if task is None:
            return
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await self._ask("shutdown", task)
        except TimeoutError:
            logger.warning("the application did not shut down within %g s", SHUTDOWN_TIMEOUT)
            task.cancel()
        await self._end(task)
        if self._failure is not None:
            logger.error("the application did not shut down: %s", self._failure)

    async def _ask(self, what: str, task: asyncio.Task[None]) -> None:
        """Wait for the answer, or for the application to have ended without one."""
        self._answered.clear()
        self._messages.put_nowait({"type": f"lifespan.{what}"})
        answered = asyncio.ensure_future(self._answered.wait())
        try:
            await asyncio.wait((answered, task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            answered.cancel()

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": ASGI_VERSION, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._messages.get, self._send)
        except Exception as error:
            if self._failure is not None:
                return  # the failure was reported already
            if self._started:
                logger.exception("the application's shutdown failed")
            else:
                # By the specification, an application that raises does not know of lifespans.
                logger.info("the application takes no part in its startup and shutdown: %r", error)

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "lifespan.startup.complete" | "lifespan.shutdown.complete":
                self._started = True
            case "lifespan.startup.failed" | "lifespan.shutdown.failed":
                self._failure = str(message.get("message", ""))
            case other:
                raise RuntimeError(f"{other} has no place in a lifespan")
        self._answered.set()

    @staticmethod
    async def _end(task: asyncio.Task[None]) -> None:
        """Wait for a task that has given its answer, or was cancelled, but not for ever."""
        await asyncio.wait((task,), timeout=SHUTDOWN_TIMEOUT)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=SHUTDOWN_TIMEOUT)
