from __future__ import annotations

import pytest

from peerfetch_fast.webrtc.mapping import recent
from peerfetch_fast.webrtc.mapping.recent import MAX_KEPT, Recent


def test_what_is_kept_is_kept_for_its_time_and_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(recent.time, "monotonic", lambda: now)
    kept: Recent[int] = Recent()
    assert kept.get("one") is None
    kept.keep("one", 1, 10)
    kept.keep("two", 2, 20)
    assert (kept.get("one"), kept.get("two")) == (1, 2)
    now = 110.0
    assert (kept.get("one"), kept.get("two")) == (None, 2)
    kept.forget("two")
    kept.forget("two")
    assert kept.get("two") is None
    for number in range(2 * MAX_KEPT):
        kept.keep(str(number), number, 10)
    assert len(kept._kept) == MAX_KEPT
    assert kept.get(str(MAX_KEPT - 1)) is None
    assert kept.get(str(MAX_KEPT)) == MAX_KEPT
