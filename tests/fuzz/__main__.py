"""``python -m tests.fuzz TARGET [LIBFUZZER-OPTION…]``: fuzz a target with atheris (README.md)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["peerfetch_fast"]):
    from tests.fuzz.targets import TARGETS, seeds


def main() -> None:
    name, options = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="peerfetch-fuzz-") as corpus:
        for number, seed in enumerate(seeds(name)):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, *options], TARGETS[name])
        atheris.Fuzz()


main()
