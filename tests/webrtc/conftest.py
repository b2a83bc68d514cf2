"""What the WebRTC tests share: a strict event loop, and servers written for the tests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest

from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from support import HANGS

T = TypeVar("T")


# A build without OpenSSL's headers has no SCTP either. (CI builds with PEERFETCH_STRICT=1.)
collect_ignore_glob = [] if HAVE_NATIVE else ["_sctp/*"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=LOOPS)
def run(request: Any) -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine; fail if it leaves tasks behind or an exception reached the event loop."""

    async def strictly(main: Coroutine[Any, Any, T]) -> T:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        result = await asyncio.wait_for(main, HANGS)
        # Futures that hold an exception nobody asked for say so when they are collected.
        gc.collect()
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        assert not errors, f"escaped into the event loop: {errors}"
        return result

    def run(main: Coroutine[Any, Any, T]) -> T:
        loop = LOOPS[request.param]()
        try:
            return loop.run_until_complete(strictly(main))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    return run


@pytest.fixture(
    params=[
        pytest.param("native", marks=pytest.mark.skipif(not HAVE_NATIVE, reason="not built")),
        "aiortc",
    ]
)
def pc(request: Any) -> Any:
    """Make a peer connection over either transport."""
    return partial(RTCPeerConnection, transport=request.param)
