"""Each attack once and briefly, over real connections; figures are for ``bench.hostile``.

A row at all says that the victim lives, that all of the bystander's answers came and were those to
its own questions, and that a newcomer got in.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from bench.processes import Failed
from bench.report import Row
from tests.hostile.scene import Target, attacks_on, scene

from peerfetch_fast.settings import Settings
from peerfetch_fast.webrtc import HAVE_NATIVE
from support import run

pytestmark = pytest.mark.skipif(
    not HAVE_NATIVE, reason="what is promised is of the native data path"
)

SECONDS = 0.4
"""Of an attack; most do their worst at once."""

MEMORY = 64.0
"""Megabytes that one peer may have a victim take in that time, where it is no use of what the
protocol grants it."""

GRANTED = {"unread_answers"}
"""Those that take what is granted besides: ``Settings.memory``."""

FORWARD = ("oversized_heartbeats", "forward_tsns", "refused_opened_reset", "endless_informational")
"""Those that the program that only forwards is shown to: it has the same floors as a client."""


async def attacked(target: Target, names: Sequence[str]) -> list[Row]:
    rows = []
    async with scene(target) as here:
        for name in names:
            try:
                rows.append(await here.attack(name, SECONDS))
            except Failed as failure:
                raise AssertionError(f"{name}: {failure}") from None
    return rows


def check(rows: Sequence[Row], output: str) -> None:
    for row in rows:
        assert row["sessions"] > 0, row
        assert row["answers"] > 0, row
        grown = row["memory_mb_most"] - row["memory_mb_before"]
        granted = Settings().memory / 1e6 if row["attack"] in GRANTED else 0.0
        assert grown < MEMORY + granted, row
    assert "Traceback" not in output


def test_the_proxy_and_its_other_peers_bear_it(capfd: pytest.CaptureFixture[str]) -> None:
    rows = run(attacked("proxy", attacks_on("proxy")), timeout=300)
    check(rows, capfd.readouterr().err)


def test_a_client_bears_a_hostile_device(capfd: pytest.CaptureFixture[str]) -> None:
    rows = run(attacked("client", attacks_on("client")), timeout=300)
    check(rows, capfd.readouterr().err)


def test_a_program_that_forwards_bears_a_hostile_device(
    capfd: pytest.CaptureFixture[str],
) -> None:
    rows = run(attacked("forward", FORWARD), timeout=300)
    check(rows, capfd.readouterr().err)
