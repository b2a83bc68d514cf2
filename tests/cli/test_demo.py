from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from processes import TRANSPORTS, environment, posix_only, require_transport

pytestmark = posix_only


def demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peerfetch_fast", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=environment(directory),
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_all_that_it_promises_holds(tmp_path: Path, transport: str) -> None:
    require_transport(transport)
    result = demo(tmp_path, "--size", "1M", "--transport", transport)
    assert result.returncode == 0, result.stderr
    assert f"transport {transport}" in result.stdout
    for said in ("SHA-256 matches", "MB/s", "p50", "p99", "of 50 small requests", "next  "):
        assert said in result.stdout


@pytest.mark.parametrize("size", ["", "x", "-1", "1T", "1.5M"])
def test_sizes_that_are_none(tmp_path: Path, size: str) -> None:
    result = demo(tmp_path, "--size", size)
    assert result.returncode == 2
    assert "write a number" in result.stderr
