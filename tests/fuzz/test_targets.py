"""The fuzzers' targets on what they begin with, and on changes to it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import yaml
from tests.fuzz.targets import CORPUS, SEEDS, TARGETS, seeds

EXAMPLES = int(os.environ.get("PEERFETCH_FUZZ_EXAMPLES", "60"))


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzers_have_found(name: str) -> None:
    for found in sorted((CORPUS / name).glob("*")):
        TARGETS[name](found.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds(name: str) -> None:
    rng = random.Random(4)
    pool = seeds(name)
    # A program of steps takes as long as fifty inputs of a parser.
    for _ in range(EXAMPLES if name in SEEDS else 50 * EXAMPLES):
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


def test_each_target_has_its_night() -> None:
    workflow = Path(__file__).parents[2] / ".github" / "workflows" / "fuzz.yml"
    matrix = yaml.safe_load(workflow.read_text())["jobs"]["fuzz"]["strategy"]["matrix"]
    native = {source.stem for source in Path(__file__).parent.glob("native/*.pyx")}
    # Those of the native data path are no targets where it was not built.
    assert set(matrix["target"]) == native | set(TARGETS) | {"dtls", "path"}
