"""What do the people whom a device knows cost: in memory, to be found, and to be read anew?"""

from __future__ import annotations

import gc
import random
import tempfile
import time
import tracemalloc
from pathlib import Path

from bench.report import Row, environment, medians, parser, report
from peerfetch_fast.people import MAX_PEOPLE, People, Person

COUNTS = (100, MAX_PEOPLE)
LOOKUPS = 20_000


def main() -> None:
    arguments = parser("bench.people", __doc__ or "", runs=5).parse_args()
    rows: list[Row] = []
    for count in COUNTS:
        for limited in (False, True):
            with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as directory:
                known = _written(Path(directory), count, limited)
                rows += (
                    {"people": count, "limited": limited, **_measure(Path(directory), known)}
                    for _ in range(arguments.runs)
                )
    report(
        arguments.json,
        medians(rows, "people", "limited"),
        line=_line,
        settings={"lookups": LOOKUPS},
        facts=environment(),
    )


def _line(row: Row) -> str:
    kind = "each with limits" if row["limited"] else "who may all"
    return (
        f"{row['people']:6,} {kind:16}  {row['mb']:5.2f} MB, {row['ns_known']:4.0f} ns to find one,"
        f" {row['ns_unknown']:4.0f} ns to find that one is unknown, read in {row['ms_read']:.0f} ms"
    )


def _written(directory: Path, count: int, limited: bool) -> list[bytes]:
    """People in a state directory; their certificates."""
    drawn = random.Random(count)
    certificates = [drawn.randbytes(32) for _ in range(count)]
    paths, read_only = (("/cam",), True) if limited else (("/",), False)

    def add(people: dict[str, Person]) -> None:
        for number, certificate in enumerate(certificates):
            name = f"person-{number}"
            people[name] = Person(name, (certificate,), paths, read_only)

    People(directory)._change(add)
    return certificates


def _measure(directory: Path, known: list[bytes]) -> Row:
    people = People(directory)
    gc.collect()
    tracemalloc.start()
    people.refresh()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    again = People(directory)
    began = time.process_time()
    again.refresh()
    read = time.process_time() - began
    drawn = random.Random(1)
    return {
        "mb": held / 1e6,
        "ns_known": _lookup(people, [drawn.choice(known) for _ in range(LOOKUPS)]),
        "ns_unknown": _lookup(people, [drawn.randbytes(32) for _ in range(LOOKUPS)]),
        "ms_read": read * 1e3,
    }


def _lookup(people: People, asked: list[bytes]) -> float:
    """Nanoseconds of CPU for each."""
    now = time.time()
    began = time.process_time()
    for certificate in asked:
        people.find(certificate, now)
    return (time.process_time() - began) / len(asked) * 1e9


if __name__ == "__main__":
    main()
