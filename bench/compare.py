"""Measure the same thing with every stack, in alternation."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.pattern import Pattern
from bench.processes import Failed, Process, WrongBytes
from bench.report import Row, some_of
from bench.stacks import STACKS, prepare

__all__ = ["Measure", "add_stacks", "compare"]

Measure = Callable[[Process, Process], Awaitable[list[Row]]]
"""What is done with both ends of an open channel, and the rows that come of it."""


def add_stacks(parser: argparse.ArgumentParser) -> None:
    """``--stacks``."""
    parser.add_argument(
        "--stacks",
        type=some_of(STACKS),
        default=list(STACKS),
        metavar="NAME,…",
        help=f"of {', '.join(STACKS)}; all by default",
    )


async def compare(names: list[str], runs: int, measure: Measure) -> tuple[list[Row], Row]:
    """Rows of every run, each with its ``stack``; and the stacks that failed, with the reason.

    Every run is made by new processes. Exits if a byte is wrong.
    """
    ready, failures = prepare(STACKS[name] for name in names)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
        pattern = Pattern.create(Path(directory) / "pattern")
        for run in range(runs):
            for stack in list(ready):
                try:
                    async with stack.connect(pattern) as (offerer, answerer):
                        measured = await measure(offerer, answerer)
                except WrongBytes as wrong:
                    sys.exit(f"wrong bytes: {wrong}")
                except Failed as failure:
                    failures[stack.name] = f"run {run + 1}: {failure}"
                    ready.remove(stack)
                    continue
                rows += ({"stack": stack.name, **row} for row in measured)
    for name, reason in failures.items():
        print(f"{name} could not be measured: {reason}", file=sys.stderr)
    return rows, failures
