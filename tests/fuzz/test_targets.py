"""The fuzzers' targets on what they begin with, and on changes to it."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.fuzz.targets import CORPUS, TARGETS, seeds, target

ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("PEERFETCH_FUZZ_EXAMPLES", "60"))


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_breaks_its_target(name: str) -> None:
    for seed in seeds(name):
        target(name)(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_fuzzers_have_found_breaks_its_target(name: str) -> None:
    for found in sorted((CORPUS / name).glob("*")):
        target(name)(found.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_no_changed_seed_breaks_its_target(name: str) -> None:
    rng = random.Random(4)
    pool = seeds(name)
    # A program of steps takes as long as fifty inputs of a parser.
    parses = TARGETS[name].startswith(("parsers.", "h1."))
    for _ in range(50 * EXAMPLES if parses else EXAMPLES):
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
        target(name)(bytes(data))


def test_each_target_has_its_night() -> None:
    workflow = Path(__file__).parents[2] / ".github" / "workflows" / "fuzz.yml"
    matrix = yaml.safe_load(workflow.read_text())["jobs"]["fuzz"]["strategy"]["matrix"]
    native = {source.stem for source in Path(__file__).parent.glob("native/*.pyx")}
    # Those of the native data path are no targets where it was not built.
    assert set(matrix["target"]) == native | set(TARGETS) | {"dtls", "path"}


def test_targets_import_nothing_that_is_not_built_with_them() -> None:
    """What .ci/fuzz copies to where it builds is all that there is of the tests."""
    importing = "import sys; from tests.fuzz.targets import *; [*map(target, TARGETS)]"
    told = (
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('tests.')), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{importing}; {told}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {str(Path(line).relative_to(ROOT)) for line in done.stdout.split() if "/" in line}
    copying = re.search(r"tar -c (.*?) \| tar -x", (ROOT / ".ci/fuzz").read_text(), re.DOTALL)
    assert copying is not None
    copied = tuple(word for word in copying[1].split() if word.startswith("tests/"))
    assert "tests/fuzz/targets.py" in imported
    assert [path for path in imported if not path.startswith(copied)] == []
