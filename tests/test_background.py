"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from peerfetch_fast.background import BackgroundLoop, Caller


def test_the_collector_may_let_go_of_something_while_something_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing() -> None:
        pass

    async def work(caller: Caller) -> str:
        return "done"

    loop = BackgroundLoop(nothing, "client")
    begin = asyncio.run_coroutine_threadsafe
    called = threading.Event()

    def collected(*arguments: Any) -> Any:
        loop.call_soon(called.set)  # as an answer's __del__ does
        return begin(*arguments)

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", collected)
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(loop.run(work)), daemon=True)
    thread.start()
    thread.join(10)
    assert results == ["done"]
    assert called.wait(10)
    loop.close()
