"""The limit of open descriptors, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

ASK = """
import resource
from peerfetch_fast.descriptors import descriptor_limit, raise_descriptor_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
hard = min(hard, 4096)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
before = descriptor_limit()
raise_descriptor_limit()
print(before, descriptor_limit() == hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1] == hard)
"""


def test_a_program_takes_all_that_it_may_have() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["256", "True", "True"]


def test_a_limit_that_cannot_be_raised_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from peerfetch_fast import descriptors

    def refuse(kind: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 1 << 62))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_descriptor_limit()
    assert descriptors.descriptor_limit() == 256
