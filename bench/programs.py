"""How long do whole programs take: the help, a refusal, and the demo with its four processes?"""

from __future__ import annotations

import sys
from pathlib import Path

import pyperf

from bench.report import Row, environment, report

PROGRAMS = {
    "help": ("--help",),
    "version": ("--version",),
    "fetch, refused": ("fetch", "http://no.peer/"),
    "demo of 8 MB": ("demo", "--size", "8M"),
}


def main() -> None:
    runner = pyperf.Runner(processes=1, values=7, warmups=1, program_args=("-m", "bench.programs"))
    runner.argparser.add_argument("--json", type=Path, metavar="FILE", help="write the report here")
    runner.argparser.set_defaults(inherit_environ=["PYTHONPATH"], quiet=True)
    arguments = runner.parse_args()
    results: list[Row] = []
    for name, command in PROGRAMS.items():
        # A refusal ends with 2, which pyperf would take for a failure; -3 is DEVNULL.
        argv = [sys.executable, "-m", "peerfetch_fast", *command]
        code = f"import subprocess as s; s.run({argv!r}, stdout=-3, stderr=-3, check=False)"
        measured = runner.bench_command(name, [sys.executable, "-I", "-S", "-c", code])
        if measured is not None and not arguments.worker:
            results.append(
                {"program": name, "seconds": measured.median(), "runs": measured.get_nvalue()}
            )
    if not arguments.worker:
        report(
            arguments.json,
            results,
            line=lambda row: f"{row['program']:<16} {row['seconds'] * 1000:8.1f} ms",
            settings={"values": arguments.values},
            facts=environment(pyperf=pyperf.__version__),
        )


if __name__ == "__main__":
    main()
