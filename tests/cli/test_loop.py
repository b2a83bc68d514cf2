"""The event loop of a command, and the signals that end it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from peerfetch_fast.cli.loop import run, stop_event, until_stopped
from peerfetch_fast.errors import SignalingError
from processes import posix_only

resource = pytest.importorskip("resource")

pytestmark = posix_only


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Undo what ``run`` does to a process that is to end with it."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    gc.unfreeze()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    async def stopped() -> bool:
        stop = stop_event()
        os.kill(os.getpid(), number)
        return await asyncio.wait_for(stop.wait(), 60)

    assert run(stopped())


async def module_of_loop() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_uvloop_is_the_loop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    assert run(module_of_loop()).startswith("uvloop")


def test_without_uvloop_the_loop_is_asyncios_which_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with caplog.at_level(logging.INFO, "peerfetch_fast"):
        assert run(module_of_loop()).startswith("asyncio")
    assert "uvloop is not installed" in caplog.text


async def test_work_ends_when_it_is_done_stopped_or_late() -> None:
    stop, ended = asyncio.Event(), list[str]()

    async def done() -> None:
        ended.append("done")

    async def lost() -> None:
        raise SignalingError("lost")

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("endless")

    assert not await until_stopped(stop, done(), 60.0)
    with pytest.raises(SignalingError, match="lost"):
        await until_stopped(stop, lost())
    assert await until_stopped(stop, endless(), 0.01)
    stop.set()
    assert not await until_stopped(stop, endless())
    assert ended == ["done", "endless", "endless"]
