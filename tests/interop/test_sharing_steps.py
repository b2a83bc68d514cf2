"""From "I have a file" to "they have it" in three steps each, on phones that are new."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.phones import phone_to_phone

from processes import posix_only

pytestmark = [posix_only, needs_chromium]

MOST = 3


@pytest.mark.parametrize("by", ["link", "code"])
async def test_from_a_phone_to_a_phone(tmp_path: Path, by: str) -> None:
    """``python -m bench.share_steps`` says how long one waits after each."""
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(bytes(range(256)) * 20_000)
    sender, receiver, saved = await phone_to_phone(tmp_path, picture, by)
    assert saved.read_bytes() == picture.read_bytes()
    for phone in (sender, receiver):
        print(*(f"{what}: {seconds:.2f} s" for what, seconds in phone.steps), sep="\n")
        assert len(phone.steps) <= MOST
