"""Whoever comes into another network in the middle of everything goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.nat.moving import MOVES, moved
from tests.nat.network import Network
from tests.nat.traffic import REQUESTS, expected

from processes import require_transport

SIZES = {"client": 200_000_000}
SIZE = 40_000_000
"""Bytes each way; `python -m bench.moving` moves 200 MB in each of these."""

SOON = 10.0
"""Seconds until data flows again, at most; `python -m bench.moving` measures them."""


@pytest.mark.parametrize("name", MOVES)
def test_nothing_is_lost_doubled_or_failed(
    homes: Network, turn: None, signaling: str, tmp_path: Path, name: str
) -> None:
    require_transport("native")
    move = MOVES[name]
    size = SIZES.get(name, SIZE)
    found = moved(homes, signaling, move, size, tmp_path)
    result = found.result
    whole = {"size": size, "sha256": expected(size)}
    assert result["upload"] == whole
    assert result["download"] == whole
    sent, received = result["messages"]["sent"], result["messages"]["received"]
    assert sent == received
    assert result["answers"] == [{"n": str(n), "asked": 1} for n in range(REQUESTS)]
    assert result["same session"]
    assert ("reconnecting" in result["states"]) is (move.outage > 5)
    assert result["again"] < SOON
    restarts = "another path to " in found.client + found.device
    assert restarts is not move.followed
