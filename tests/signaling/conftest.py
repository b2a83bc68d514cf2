from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a test's coroutine; one that hangs fails, and so does one that leaves tasks behind."""

    def runner(main: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            errors: list[dict[str, Any]] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _loop, context: errors.append(context))
            await asyncio.wait_for(main, 20)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if left:
                # What ends with a closed socket ends a few turns of the loop later.
                await asyncio.wait(left, timeout=2)
            assert not [task for task in left if not task.done()]
            assert not errors

        asyncio.run(bounded())

    return runner
