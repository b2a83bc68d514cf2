"""How soon does data flow again when the client, the device or both come into another network?
(Linux, as root; needs coturn.)
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.nat.moving import MOVES, moved
from tests.nat.network import Network, network
from tests.nat.scene import coturn, signaling_server
from tests.nat.traffic import BLOCK, REQUESTS, expected

from bench.processes import WrongBytes
from bench.report import Row, environment, medians, parser, report, size, some_of


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as directory, network() as homes:
        report(
            arguments.json,
            medians(_measure(homes, arguments, Path(directory)), "move"),
            line=lambda row: f"{row['move']:18} {row['seconds']:6.2f} s",
            settings={"runs": arguments.runs, "bytes each way": arguments.size},
            facts=environment(),
        )


def _arguments() -> argparse.Namespace:
    made = parser("bench.moving", __doc__ or "", runs=5)
    made.add_argument("--size", type=size, default=200_000_000, help="bytes each way (%(default)s)")
    made.add_argument(
        "--moves",
        type=some_of(MOVES),
        default=list(MOVES),
        metavar="NAME,…",
        help=f"of {', '.join(MOVES)}; all by default",
    )
    arguments = made.parse_args()
    arguments.size -= arguments.size % BLOCK
    return arguments


def _measure(homes: Network, arguments: argparse.Namespace, directory: Path) -> list[Row]:
    rows: list[Row] = []
    for place in ("turn", "signaling"):
        (directory / place).mkdir()
    with (
        coturn(homes, directory / "turn"),
        signaling_server(homes, directory / "signaling") as signaling,
    ):
        for run in range(arguments.runs):
            for name in arguments.moves:
                there = directory / f"{run} {name}"
                there.mkdir()
                result = moved(homes, signaling, MOVES[name], arguments.size, there).result
                _check(result, arguments.size)
                rows.append({"move": name, "seconds": result["again"]})
    return rows


def _check(result: Row, size: int) -> None:
    whole = {"size": size, "sha256": expected(size)}
    messages = result["messages"]
    if (
        not result["upload"] == result["download"] == whole
        or messages["sent"] != messages["received"]
        or any(answer["asked"] != 1 for answer in result["answers"])
        or len(result["answers"]) != REQUESTS
    ):
        raise WrongBytes(f"something was lost or doubled: {result}")


if __name__ == "__main__":
    main()
