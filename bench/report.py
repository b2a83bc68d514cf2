"""What every benchmark shares: arguments, facts about the machine, medians and the JSON file."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import ssl
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Row", "environment", "medians", "parser", "percentile", "report", "size", "some_of"]

Row = dict[str, Any]
"""One line of a report: what was measured, and figures."""

PACKAGES = ("peerfetch-fast", "aiortc", "aioice", "aiohttp", "uvloop", "orjson", "Cython")


def parser(module: str, description: str, *, runs: int) -> argparse.ArgumentParser:
    """The arguments that all benchmarks have."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    made.add_argument("--json", type=Path, metavar="FILE", help="write the report here")
    made.add_argument(
        "--runs", type=int, default=runs, help="runs of which the median is reported (%(default)s)"
    )
    return made


def size(text: str) -> int:
    """Bytes, with K, M or G for powers of 1024: the type of an argument."""
    unit = text[-1:].upper()
    scale = {"K": 10, "M": 20, "G": 30}.get(unit)
    return int(text) if scale is None else int(text[:-1]) << scale


def some_of(choices: Iterable[str]) -> Callable[[str], list[str]]:
    """Names of ``choices``, joined by commas: the type of an argument."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(choices)}")
        return chosen

    return names


def environment(**versions: str) -> Row:
    """What the figures depend on besides the code. ``versions`` are those of other stacks."""
    installed = dict(versions)
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # run from a source tree, or not needed here
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "openssl": ssl.OPENSSL_VERSION,
        "load": _load(),
        "versions": installed,
    }


def _load() -> float | None:
    """The load of the last minute: above 0, the machine was not ours alone."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def medians(rows: Sequence[Row], *keys: str) -> list[Row]:
    """One row for the runs that agree in ``keys``, with the median of everything else."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    joined = []
    for values, group in groups.items():
        figures = {
            name: median(row[name] for row in group) for name in group[0] if name not in keys
        }
        joined.append({**dict(zip(keys, values, strict=True)), **figures, "runs": len(group)})
    return joined


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of ``values`` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def report(
    path: Path | None,
    results: Sequence[Row],
    *,
    line: Callable[[Row], str],
    settings: Mapping[str, Any],
    facts: Row,
) -> None:
    """Print a line for each result, and write the JSON file if ``path`` was given."""
    for row in results:
        print(line(row))
    if path is not None:
        content = {"environment": facts, "settings": dict(settings), "results": list(results)}
        path.write_text(json.dumps(content, indent=2) + "\n")
