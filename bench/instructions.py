"""How many instructions does each piece of work of the core take, and has that grown?

They are counted by callgrind, in one process whose addresses and hashes are the same each time, and
so are the same each time for the same build, whatever else the machine does. How malloc finds a
place is left out: it depends on all that was allocated before, by 5 %. ``--check`` compares with
bench/micro/instructions.json, for the same Python, compiler and C library, and fails where a figure
has grown by more than 3 %. Who means that declares it: ``--update`` writes the new figures.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.micro.workloads import WORKLOADS
from bench.report import environment, report

BASELINE = Path(__file__).parent / "micro" / "instructions.json"

TOLERANCE = 0.03
"""Growth that needs no declaration."""

MARK = "getppid"
"""A function of the C library that nobody else calls: at each call, counting begins anew."""

ALLOCATOR = frozenset(
    ("_int_malloc", "_int_free", "unlink_chunk.constprop.0", "malloc_consolidate", "sysmalloc")
)
"""Functions of the C library that search for a place."""


def build() -> str:
    """What the figures hold for: the same source gives others elsewhere."""
    compiler = subprocess.run(
        [(sysconfig.get_config_var("CC") or "cc").split()[0], "-dumpfullversion"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    libc = "-".join(platform.libc_ver())
    return f"cpython-{platform.python_version()} {platform.machine()} cc-{compiler} {libc}"


def _work() -> None:
    """Do each piece once to have all in place, and once to be counted."""
    for make in WORKLOADS.values():
        work = make()
        work()
        gc.collect()
        gc.disable()
        os.getppid()
        work()
        os.getppid()
        gc.enable()


ATTEMPTS = 3
"""Where things lie on the heap changes with the environment and the place of the installation, and
once in a while it costs one piece of work 7 %: growth is believed if it is there each time."""


def count(attempt: int = 0) -> dict[str, int]:
    """Instructions of each piece of work. Raises SystemExit where they cannot be counted.

    :param attempt: has the heap begun elsewhere.
    """
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "out")
        finished = subprocess.run(
            [
                *("setarch", "--addr-no-randomize"),
                *("valgrind", "--tool=callgrind", f"--dump-before={MARK}"),
                f"--callgrind-out-file={out}",
                *(sys.executable, "-m", "bench.instructions", "--work"),
            ],
            env={
                **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
                "PYTHONHASHSEED": "0",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PADDING": "x" * 1000 * attempt,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        # Each dump holds what came before it: every second one is of work, the others of between.
        dumps = sorted(Path(directory).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        counted = [sum_of(path.read_text()) for path in dumps[1::2]]
    if finished.returncode or len(counted) < len(WORKLOADS):
        sys.exit(f"valgrind counted nothing:\n{finished.stderr}")
    return dict(zip(WORKLOADS, counted, strict=False))


def sum_of(dump: str) -> int:
    """Instructions in a file of callgrind, but for those of the allocator."""
    total, counts, is_call = 0, True, False
    left_out = set()
    for line in dump.splitlines():
        if named := re.match(r"c?fn=\((\d+)\)(?: (.*))?", line):
            number, name = named.groups()
            if name in ALLOCATOR:  # named where it is first met
                left_out.add(number)
            if line.startswith("fn"):
                counts = number not in left_out
        elif line.startswith("calls="):
            is_call = True  # what the function that is called costs follows
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if counts and not is_call:
                total += int(line.split()[1])
            is_call = False
    return total


def grown(counted: Mapping[str, int], baseline: Mapping[str, int]) -> list[str]:
    """A sentence for each piece of work that takes more than was declared."""
    return [
        f"{name}: {now:,} instructions, {now / baseline[name] - 1:+.1%} of {baseline[name]:,}"
        for name, now in counted.items()
        if name in baseline and now > baseline[name] * (1 + TOLERANCE)
    ]


def check(counted: Mapping[str, int], baselines: Mapping[str, Mapping[str, int]]) -> str | None:
    """What is wrong; None if nothing is."""
    baseline = baselines.get(build())
    if baseline is None:
        print(f"no figures of {build()} to compare with: --update stores them")
        return None
    if undeclared := grown(counted, baseline):
        return "more than was declared (--update declares it):\n" + "\n".join(undeclared)
    if new := counted.keys() - baseline.keys():
        return f"without figures to compare with (--update stores them): {', '.join(sorted(new))}"
    return None


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m bench.instructions")
    arguments.add_argument("--json", type=Path, metavar="FILE", help="write the report here")
    arguments.add_argument("--check", action="store_true", help="fail where they have grown")
    arguments.add_argument("--update", action="store_true", help="declare these figures")
    arguments.add_argument("--work", action="store_true", help="do what is counted")
    given = arguments.parse_args()
    if given.work:
        return _work()
    counted = count()
    baselines = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    before = baselines.get(build(), {})
    for attempt in range(1, ATTEMPTS if given.check else 1):
        if not grown(counted, before):
            break
        again = count(attempt)
        counted = {name: min(now, again[name]) for name, now in counted.items()}
    rows = [
        {"workload": name, "instructions": now, "declared": before.get(name)}
        for name, now in counted.items()
    ]
    report(given.json, rows, line=_line, settings={"build": build()}, facts=environment())
    if given.update:
        BASELINE.write_text(json.dumps({**baselines, build(): counted}, indent=2) + "\n")
    elif given.check and (wrong := check(counted, baselines)):
        sys.exit(wrong)
    return None


def _line(row: Mapping[str, object]) -> str:
    now, before = row["instructions"], row["declared"]
    assert isinstance(now, int)
    change = f", {now / before - 1:+.2%}" if isinstance(before, int) else ""
    return f"{row['workload']:<26} {now:>12,}{change}"


if __name__ == "__main__":
    main()
