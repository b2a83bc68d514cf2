"""QR codes of the page are those of segno, of all versions, where nothing is left to choose."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import segno

QR = Path(__file__).parents[2] / "src/peerfetch_fast/web/lib/qr.js"
ROOMS = [19, 34, 55, 80, 108, 136, 156, 194, 232, 274]
ROOMS += [324, 370, 428, 461, 523, 589, 647, 721, 795, 861]
"""Octets of data in each version. A text that fills them leaves no padding, which segno makes in a
way of its own.
"""

DRAW = """
import { qrCode } from "FILE";
const texts = JSON.parse(process.argv[1]);
console.log(JSON.stringify(texts.map((text) => qrCode(text).map((row) => row.map(Number)))));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_against_another_encoder() -> None:
    rng = random.Random(1)
    lengths = [room - (2 if number < 9 else 3) for number, room in enumerate(ROOMS)]
    texts = ["".join(rng.choices("abcdefgh#:.!", k=length)) for length in lengths]
    done = subprocess.run(
        ["node", "--input-type=module", "-e", DRAW.replace("FILE", QR.as_uri()), json.dumps(texts)],
        capture_output=True,
        text=True,
        check=True,
    )
    for number, (text, drawn) in enumerate(zip(texts, json.loads(done.stdout), strict=True)):
        assert drawn in [segno_rows(text, number + 1, mask) for mask in range(8)], number + 1


def segno_rows(text: str, version: int, mask: int) -> list[list[int]]:
    """How segno draws it."""
    code = segno.make(
        text, error="l", micro=False, boost_error=False, mode="byte", mask=mask, version=version
    )
    return [[int(module) for module in row] for row in code.matrix]
