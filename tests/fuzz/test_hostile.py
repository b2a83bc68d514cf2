"""A short run of the hostile peer; the long one is a command (README.md)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.fuzz.hostile import drive

from support import run


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the proxy from /proc")
def test_a_hostile_peer_disturbs_nobody(tmp_path: Path) -> None:
    measured = run(drive(6_000, 1, tmp_path), timeout=120)
    assert measured["frames"] >= 6_000
    assert measured["neighbour_answers"] > 0
    assert measured["memory_mb_most"] < 300
