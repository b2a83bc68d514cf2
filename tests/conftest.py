"""Let every test module import the helpers that stand beside this file."""

import gc
import inspect
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about what else the machine does.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

sys.path.insert(0, str(Path(__file__).parent))

from support import run, virtually  # noqa: E402 - it stands beside this file


@pytest.fixture(autouse=True, scope="session")
def state_of_its_own() -> Iterator[None]:
    """Keep the tests off the user's own identity and known peers."""
    with tempfile.TemporaryDirectory(prefix="peerfetch-tests-") as directory:
        os.environ["PEERFETCH_STATE_DIR"] = directory
        yield


def pytest_collection_finish() -> None:
    """Take what is loaded by now out of the collector's sight: many tests collect garbage to see
    what was left behind, and that then takes them a tenth of the time.
    """
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "virtual_time: its clock jumps to the next timer")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    """Run a coroutine on a strict event loop: a test that hangs, leaves tasks behind or lets an
    exception escape has failed.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    work = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    runs = virtually if pyfuncitem.get_closest_marker("virtual_time") else run
    runs(work)
    return True
