"""What does an attack cost who is attacked, in memory and CPU, and what do others feel of it?

Each attack of ``tests/hostile`` has the proxy, a client or ``peerfetch forward`` for a while, over
real connections, from a process of its own. Meanwhile a bystander asks for small answers: another
client of the proxy; the attacked client, of a good device; a local program. Attack ``none`` is the
figure to compare with. Half-way through, somebody new connects (``newcomer_ms``).
"""

from __future__ import annotations

import argparse
import sys

from tests.hostile.attacks import ATTACKS
from tests.hostile.outside import OUTSIDE
from tests.hostile.scene import TARGETS, Target, attacks_on, scene

from bench.processes import Failed, run
from bench.report import Row, environment, medians, parser, report, some_of

IDLE = "none"


def main() -> None:
    arguments_parser = parser("bench.hostile", (__doc__ or "").partition("\n")[0], runs=1)
    arguments_parser.add_argument(
        "--seconds", type=float, default=5.0, help="of each attack (%(default)s)"
    )
    arguments_parser.add_argument(
        "--targets",
        type=some_of(TARGETS),
        default=list(TARGETS),
        help=f"who is attacked ({','.join(TARGETS)})",
    )
    arguments_parser.add_argument(
        "--attacks",
        type=some_of([*ATTACKS, *OUTSIDE]),
        help="which of them (all); some are for the proxy alone",
    )
    arguments_parser.add_argument(
        "--transport", choices=("auto", "native", "aiortc"), default="auto"
    )
    arguments = arguments_parser.parse_args()
    failures: dict[str, str] = {}
    rows = run(_main(arguments, failures))
    report(
        arguments.json,
        medians(rows, "target", "attack"),
        line=_line,
        settings={
            **{name: value for name, value in vars(arguments).items() if name != "json"},
            "failures": failures,
        },
        facts=environment(),
    )


async def _main(arguments: argparse.Namespace, failures: dict[str, str]) -> list[Row]:
    rows: list[Row] = []
    for _ in range(arguments.runs):
        for target in arguments.targets:
            names = [
                name
                for name in attacks_on(target)
                if arguments.attacks is None or name in arguments.attacks
            ]
            left: list[str | None] = [None, *names]
            while left:
                rows += await _in_one_scene(target, left, arguments, failures)
    return rows


async def _in_one_scene(
    target: Target,
    left: list[str | None],
    arguments: argparse.Namespace,
    failures: dict[str, str],
) -> list[Row]:
    """Attack one victim for as long as it lives, and take what was done off ``left``."""
    rows: list[Row] = []
    async with scene(target, transport=arguments.transport) as here:
        while left:
            name = left.pop(0)
            try:
                rows.append(await here.attack(name, arguments.seconds))
            except Failed as failure:
                what = f"{target}, {name or IDLE}"
                failures[what] = str(failure)
                print(f"{what}: {failure}", file=sys.stderr)
                break
    return rows


def _line(row: Row) -> str:
    return (
        f"{row['target']:8} {row['attack']:28} "
        f"p50 {row['p50_ms']:7.1f} ms, p99 {row['p99_ms']:7.1f} ms; "
        f"CPU {100 * row['cpu_share']:3.0f} %; memory {row['memory_mb_most']:6.1f} MB "
        f"({row['memory_mb_most'] - row['memory_mb_before']:+.1f})"
    )


if __name__ == "__main__":
    main()
