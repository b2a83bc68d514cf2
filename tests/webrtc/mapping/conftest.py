from __future__ import annotations

from collections.abc import Iterator

import pytest

from peerfetch_fast.webrtc.mapping import mapper, upnp


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """Each test has networks of its own."""
    yield
    mapper._silent.clear()
    upnp._answered.clear()
