"""What the WebRTC tests share: a strict event loop, and servers written for the tests."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest

import support
from peerfetch_fast.webrtc import HAVE_NATIVE

T = TypeVar("T")


# A build without OpenSSL's headers has no SCTP either. (CI builds with PEERFETCH_STRICT=1.)
collect_ignore_glob = [] if HAVE_NATIVE else ["_sctp/*"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coroutines run on each of our loops, and may leave no task for even one turn."""
    monkeypatch.setattr(support, "new_loop", LOOPS[request.param])
    monkeypatch.setattr(support, "left_for", 0.0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    in_virtual_time = metafunc.definition.get_closest_marker("virtual_time")  # a loop of its own
    if inspect.iscoroutinefunction(metafunc.function) and not in_virtual_time:
        metafunc.fixturenames.insert(0, "each_loop")
    if "each_loop" in metafunc.fixturenames:
        metafunc.parametrize("each_loop", LOOPS, indirect=True)


@pytest.fixture
def run(each_loop: None) -> Callable[[Coroutine[Any, Any, T]], T]:
    """For a test that looks at what is left after its loop."""
    return support.run


@pytest.fixture(
    params=[
        pytest.param("native", marks=pytest.mark.skipif(not HAVE_NATIVE, reason="not built")),
        "aiortc",
    ]
)
def pc(request: Any) -> Any:
    """Make a peer connection over either transport."""
    pytest.importorskip("aiortc", reason="not everywhere a dependency")
    from peerfetch_fast.webrtc.connection import RTCPeerConnection

    return partial(RTCPeerConnection, transport=request.param)
