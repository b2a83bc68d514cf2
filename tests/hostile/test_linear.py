"""Work that a peer can cause is linear in what it sent, counted in instructions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hostile.linear import SIZES, attacks

GROWTH = 2
"""Times the growth of the size, which is four: what is quadratic grows by sixteen."""

pytestmark = pytest.mark.skipif(
    "PEERFETCH_INTEROP" not in os.environ and shutil.which("valgrind") is None,
    reason="instructions are counted by valgrind",
)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], int]:
    """Instructions of each attack, by its name and size."""
    directory = tmp_path_factory.mktemp("callgrind")
    done = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            "--dump-before=getppid",
            f"--callgrind-out-file={directory}/out",
            sys.executable,
            "-m",
            "tests.hostile.linear",
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    counts = {}
    for index, line in enumerate(done.stdout.splitlines()):
        name, size = line.split()
        # Before each attack there is a dump of what made it ready.
        dump = (directory / f"out.{2 * index + 2}").read_text()
        found = re.search(r"^(?:summary|totals): (\d+)$", dump, re.MULTILINE)
        assert found is not None
        counts[name, int(size)] = int(found[1])
    return counts


@pytest.mark.parametrize("name", attacks)
def test_work_is_linear_in_what_arrived(name: str, counted: dict[tuple[str, int], int]) -> None:
    first, last = (counted[name, size] for size in SIZES)
    assert last / first <= GROWTH * SIZES[1] / SIZES[0]
