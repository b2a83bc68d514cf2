"""An event loop in a thread of its own, for programs without one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar

from peerfetch_fast.errors import LinkClosed

__all__ = ["BackgroundLoop", "Caller"]

T = TypeVar("T")


class Caller:
    """A thread that waits for a coroutine on the loop, and works for that coroutine meanwhile."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    async def iterate(self, source: Iterable[bytes]) -> AsyncIterator[bytes]:
        """The elements of ``source``, which is iterated on the caller's thread alone. Raises what
        iterating it raises.
        """
        iterator, loop = iter(source), asyncio.get_running_loop()
        try:
            while (piece := await self._next(iterator, loop)) is not None:
                yield piece
        finally:
            if isinstance(iterator, Generator):
                self._asked.put(iterator.close)

    async def _next(self, iterator: Any, loop: asyncio.AbstractEventLoop) -> bytes | None:
        came: asyncio.Future[bytes | None] = loop.create_future()

        def settle(piece: bytes | None, error: Exception | None) -> None:
            if came.done():
                return
            if error is None:
                came.set_result(piece)
            else:
                came.set_exception(error)

        def step() -> None:
            piece, failure = None, None
            try:
                piece = next(iterator, None)
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed, which ends the wait
                loop.call_soon_threadsafe(settle, piece, failure)

        self._asked.put(step)
        return await came

    def wait(self, running: concurrent.futures.Future[T]) -> T:
        """The result of ``running``. An exception in this thread, KeyboardInterrupt for example,
        cancels it.
        """
        running.add_done_callback(lambda _: self._asked.put(None))
        try:
            while (asked := self._asked.get()) is not None:
                asked()
        except BaseException:
            running.cancel()
            raise
        return running.result()


class BackgroundLoop:
    """Runs coroutines for any number of threads, from the first one until :meth:`close`.

    :param at_end: releases the resources that the coroutines share; called on the loop.
    :param name: what is being closed, for the sentence of an error.
    """

    def __init__(self, at_end: Callable[[], Awaitable[None]], name: str) -> None:
        self._at_end = at_end
        self._name = name
        # Reentrant: the garbage collector may run while this is held, and close an answer on the
        # same thread.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None
        self._closed = False

    def run(self, work: Callable[[Caller], Coroutine[Any, Any, T]]) -> T:
        """The result of ``work``. Raises what it raises, and LinkClosed if the loop is closed."""
        caller = Caller()
        with self._lock:
            if self._closed:
                raise LinkClosed(f"the {self._name} is closed")
            loop = self._loop or self._start()
            running = asyncio.run_coroutine_threadsafe(work(caller), loop)
        try:
            return caller.wait(running)
        except concurrent.futures.CancelledError:
            raise LinkClosed(f"the {self._name} was closed meanwhile") from None

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call it on the loop, unless the loop is closed."""
        with self._lock:
            if self._loop is not None and not self._closed:
                self._loop.call_soon_threadsafe(callback)

    def close(self) -> None:
        """Cancel what runs, release what is shared, and end the thread. Idempotent."""
        with self._lock:
            closed, self._closed = self._closed, True
            if self._loop is not None and not closed:
                assert self._stop is not None
                self._loop.call_soon_threadsafe(self._stop.set)
        # The garbage collector may call this on the loop's own thread.
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _start(self) -> asyncio.AbstractEventLoop:
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        # A daemon thread: a program that does not close the loop can still end.
        self._thread = threading.Thread(
            target=self._main, args=(started,), name="peerfetch", daemon=True
        )
        self._thread.start()
        self._loop = started.result()
        return self._loop

    def _main(self, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        try:
            import uvloop

            new_loop: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
        except ImportError:
            new_loop = None

        async def until_stopped() -> None:
            self._stop = asyncio.Event()
            started.set_result(asyncio.get_running_loop())
            await self._stop.wait()
            await self._at_end()

        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(until_stopped())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)
