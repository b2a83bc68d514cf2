"""The fuzzers' targets on what they begin with, and on a few thousand changes to it."""

from __future__ import annotations

import os
import random

import pytest
from tests.fuzz.targets import TARGETS, seeds

RUNS = int(os.environ.get("PEERFETCH_FUZZ_EXAMPLES", "60")) * 50


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds(name: str) -> None:
    rng = random.Random(4)
    pool = seeds(name)
    for _ in range(RUNS):
        data = bytearray(rng.choice(pool))
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(4):
                case 0:
                    data[at:at] = rng.randbytes(rng.randrange(1, 5))
                case 1:
                    del data[at : at + rng.randrange(1, 5)]
                case 2:
                    data[at : at + 1] = bytes([rng.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xFF))])
                case _:
                    other = rng.choice(pool)
                    data += other[rng.randrange(len(other) + 1) :]
        TARGETS[name](bytes(data))
