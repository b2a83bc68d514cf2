"""How long each piece of work takes: ``python -m pytest bench/micro``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.micro.workloads import WORKLOADS, Work


@pytest.mark.parametrize("make", WORKLOADS.values(), ids=WORKLOADS)
def test_time(benchmark: Any, make: Callable[[], Work]) -> None:
    benchmark(make())
