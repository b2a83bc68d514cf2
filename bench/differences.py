"""What has changed between two directories of reports: ``python -m bench.differences OLD NEW``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["differences", "figures"]

NOTABLE = 0.05
"""Change that is marked."""


def figures(report: dict[str, Any]) -> dict[tuple[str, str], float]:
    """The numbers in a report, of ours or pytest-benchmark's, by what was measured and how."""
    if "benchmarks" in report:
        return {(one["name"], "seconds"): one["stats"]["median"] for one in report["benchmarks"]}
    found = {}
    for row in report.get("results", []):
        about = [f"{name} {value}" for name, value in row.items() if not isinstance(value, float)]
        label = ", ".join(text for text in about if not text.startswith(("runs ", "declared ")))
        for name, value in row.items():
            if isinstance(value, float):
                found[label, name] = value
        if "instructions" in row:
            found[row["workload"], "instructions"] = row["instructions"]
    return found


def differences(old: Path, new: Path) -> Iterator[str]:
    """Lines of a table, in Markdown, of what both directories have."""
    yield "| report | measured | figure | before | now | change |"
    yield "|---|---|---|---|---|---|"
    for path in sorted(new.glob("*.json")):
        before = old / path.name
        if not before.is_file():
            continue
        was, now = (figures(json.loads(one.read_text())) for one in (before, path))
        for (label, name), value in now.items():
            if base := was.get((label, name)):
                change = value / base - 1
                mark = " **!**" if abs(change) > NOTABLE else ""
                cells = (
                    path.stem,
                    label,
                    name,
                    f"{base:.4g}",
                    f"{value:.4g}",
                    f"{change:+.1%}{mark}",
                )
                yield f"| {' | '.join(cells)} |"


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    old, new = map(Path, sys.argv[1:])
    if not old.is_dir():
        print(f"There is nothing from before in {old}: this is the first.")
        return
    print("\n".join(differences(old, new)))


if __name__ == "__main__":
    main()
