"""What nginx makes of changed requests, and what becomes of them here."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.fuzz.nginx_oracle import change, oracle, seeds
from tests.interop.reverse_proxies import NoNginx

from processes import posix_only

pytestmark = posix_only

STEPS = 5 * int(os.environ.get("PEERFETCH_FUZZ_EXAMPLES", "60"))


def test_an_upstream_sees_the_same_requests_as_behind_nginx(tmp_path: Path) -> None:
    rng = random.Random(9)
    pool = seeds()
    try:
        with oracle(tmp_path) as both:
            for asked in pool:
                both.step(asked)
            for _ in range(STEPS):
                both.step(change(rng.choice(pool), rng))
            assert both.passed > 50
            assert both.known
    except NoNginx as missing:
        pytest.skip(str(missing))
