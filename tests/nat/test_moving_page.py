"""A page that comes into another network in the middle of an upload goes on where it was."""

from __future__ import annotations

import array
import hashlib
from pathlib import Path

import pytest
from tests.interop.browsers import needs_chromium
from tests.nat.moving import MOVES, moved
from tests.nat.network import Network

from processes import require_transport

SIZE = 40_000_000


@needs_chromium
@pytest.mark.parametrize("name", ["client", "device"])
def test_the_upload_of_a_page_loses_nothing(
    homes: Network, turn: None, signaling: str, tmp_path: Path, name: str
) -> None:
    require_transport("native")
    found = moved(homes, signaling, MOVES[name], SIZE, tmp_path, client="browser")
    body = array.array("I", range(SIZE // 4)).tobytes()
    sent = {"size": SIZE, "sha256": hashlib.sha256(body).hexdigest()}
    assert found.result["upload"] == sent
    assert "closed" not in found.result["states"]
