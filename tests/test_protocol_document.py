"""The tables of docs/protocol.md name what the two implementations do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from peerfetch_fast import _framing
from peerfetch_fast.http import codes
from wire import NAMES

ROOT = Path(__file__).parent.parent
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
LIB = ROOT / "src" / "peerfetch_fast" / "web" / "lib"
VECTORS = json.loads((ROOT / "tests" / "vectors" / "peerfetch2.json").read_text())


def section(title: str) -> str:
    """What follows a heading, up to the next one."""
    return re.split(r"^#+ ", PROTOCOL.split(f" {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def table(text: str) -> dict[str, int]:
    """Rows that begin with a number and a name, as names and numbers."""
    rows = re.findall(r"^\| *`(0x[0-9a-f]+)` *\| *([A-Z_]+) *\|", text, re.M)
    return {name: int(number, 16) for number, name in rows}


def javascript(file: str, name: str) -> dict[str, int]:
    """The members of a frozen object of numbers."""
    body = re.search(rf"const {name} = Object\.freeze\({{(.*?)}}\)", (LIB / file).read_text(), re.S)
    assert body
    return {key: int(value, 0) for key, value in re.findall(r"(\w+): (\w+),", body[1])}


@pytest.mark.parametrize("kind", ["Session", "Stream"])
def test_the_codes_are_those_of_both_implementations(kind: str) -> None:
    of_session, of_stream = section("6. Codes").split("Of a stream", 1)
    stated = table(of_session if kind == "Session" else of_stream)
    assert len(stated) >= 8
    module = _framing if kind == "Session" else codes
    assert stated == {name: getattr(module, name) for name in stated}
    assert stated == javascript("errors.js", f"{kind}Code")


def test_the_frames_are_those_of_both_implementations() -> None:
    stated = table(section("2. Frames").replace("STREAM, and FIN", "STREAM_FIN"))
    assert stated == javascript("wire.js", "Frame")
    assert {value: name.removesuffix("_FIN") for name, value in stated.items()} == NAMES


def test_each_error_of_the_vectors_has_a_code_that_the_document_names() -> None:
    stated = table(section("6. Codes").split("Of a stream", 1)[0])
    named = {value: name for name, value in stated.items()}
    counted = {named[error["code"]] for error in VECTORS["errors"]}
    # The codes of faults that one message, or the lack of one, cannot show.
    assert set(stated) - counted == {"NO_ERROR", "INTERNAL_ERROR", "ACCESS_DENIED"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("MAX_STREAMS above 2^60", "a MAX_STREAMS above 2^60"),
        ("a stream past 2^62 bytes", "add up to more than 2^62"),
        ("GOAWAY with a reason of 1,025 bytes", "at most 1,024 bytes"),
        ("an empty message", "a message without a frame"),
    ],
)
def test_what_cannot_be_read_is_said_to_be_so(fault: str, words: str) -> None:
    (error,) = [error for error in VECTORS["errors"] if error["name"] == fault]
    assert error["code"] == _framing.FRAME_ENCODING_ERROR
    assert words in " ".join(section("2. Frames").split())
