from __future__ import annotations

import logging

import pytest

from peerfetch_fast.rendezvous.seldom import BURST, INTERVAL, SeldomLog


def test_what_strangers_repeat_is_a_warning_seldom_and_else_for_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    log = SeldomLog(logging.getLogger("some"), now=0.0)
    for number in range(100):
        log.warning("number %d", number, now=0.0)
    log.warning("later", now=INTERVAL)
    log.warning("at once after it", now=INTERVAL)
    warned = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert warned == [*(f"number {number}" for number in range(int(BURST))), "later"]
    assert len(caplog.records) == 102
