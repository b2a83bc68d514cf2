"""``python -m tests.fuzz TARGET [LIBFUZZER-OPTION-OR-DIRECTORY…]``: fuzz with atheris (README.md).

``PEERFETCH_FUZZ_STEPS`` and ``PEERFETCH_FUZZ_SECONDS`` end it; what was run is printed then.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["peerfetch_fast"]):
    from tests.fuzz.targets import CORPUS, seeds, target

    TARGET = target(sys.argv[1])

MOST_STEPS = float(os.environ.get("PEERFETCH_FUZZ_STEPS", "inf"))
MOST_SECONDS = float(os.environ.get("PEERFETCH_FUZZ_SECONDS", "inf"))


class Counter:
    """Runs a target, and counts what it does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._target = TARGET
        self._steps = self._programs = 0
        self._began = time.monotonic()

    def __call__(self, data: bytes) -> None:
        self._steps += self._target(data) or 1
        self._programs += 1
        seconds = time.monotonic() - self._began
        if self._steps >= MOST_STEPS or seconds >= MOST_SECONDS:
            print(
                f"{self._name}: {self._steps} steps of {self._programs} programs in "
                f"{seconds:.0f} s: {self._steps / seconds:.0f} steps/s",
                file=sys.stderr,
                flush=True,
            )
            # To libFuzzer, an exit within a target is a fault.
            os._exit(0)


def main() -> None:
    name, options = sys.argv[1], sys.argv[2:]
    # What a program makes the library say is no finding.
    logging.getLogger("peerfetch_fast").setLevel(logging.CRITICAL)
    # libFuzzer runs itself again to merge, by what it takes for its own name.
    own = f"{sys.executable} -m tests.fuzz {name}"
    with tempfile.TemporaryDirectory(prefix="peerfetch-fuzz-") as begin:
        if not any(option.startswith("-merge") for option in options):
            for number, seed in enumerate(seeds(name)):
                Path(begin, f"seed-{number}").write_bytes(seed)
            # What it finds it writes to the first directory that it is given.
            options += [begin, str(CORPUS / name)] if (CORPUS / name).is_dir() else [begin]
        atheris.Setup([own, *options], Counter(name))
        atheris.Fuzz()


main()
