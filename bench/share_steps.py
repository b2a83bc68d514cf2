"""How long does one wait after each step from a file on one phone to the same on another?

Two Chromiums that have never seen the page, as wide as a phone, each used by taps; once by the
link and once by the code.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.interop.phones import Phone, phone_to_phone

from bench.processes import run
from bench.report import Row, environment, medians, parser, report


def main() -> None:
    arguments_parser = parser("bench.share_steps", __doc__ or "", runs=3)
    arguments = arguments_parser.parse_args()
    rows = [row for _ in range(arguments.runs) for by in ("link", "code") for row in run(_main(by))]
    report(
        arguments.json,
        medians(rows, "by", "end", "number", "step"),
        line=_line,
        settings={"runs": arguments.runs},
        facts=environment(),
    )


def _line(row: Row) -> str:
    return f"{row['end']:8} by {row['by']} {row['number']}. {row['step']}: {row['seconds']:.2f} s"


async def _main(by: str) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="peerfetch-bench-") as name:
        work = Path(name)
        picture = work / "picture.jpg"
        picture.write_bytes(bytes(range(256)) * 20_000)
        sender, receiver, _ = await phone_to_phone(work, picture, by)
    return [*_rows(by, "sender", sender), *_rows(by, "receiver", receiver)]


def _rows(by: str, end: str, phone: Phone) -> list[Row]:
    return [
        {"by": by, "end": end, "number": number, "step": what, "seconds": seconds}
        for number, (what, seconds) in enumerate(phone.steps, 1)
    ]


if __name__ == "__main__":
    main()
