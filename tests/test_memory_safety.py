"""docs/memory-safety.md names every function that does what it lists, and none that is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "peerfetch_fast"
FILES = [
    SOURCE / "_framing.pyx",
    SOURCE / "_keys.pyx",
    *sorted((SOURCE / "streams").glob("_*.p[yx][xd]")),
    *sorted((SOURCE / "webrtc").glob("_*.pyx")),
    *sorted((SOURCE / "webrtc").glob("_*.h")),
    *sorted((SOURCE / "webrtc" / "_sctp").rglob("*.p[yx][xd]")),
    *sorted((SOURCE / "webrtc" / "_sctp").glob("*.h")),
    SOURCE / "http" / "_receive.pyx",
]
RAW = re.compile(
    r"\b(memcpy|memmove|realloc|malloc|calloc|_PyBytes_Resize|claim|PyBytes_AS_STRING)\("
    r"|PyBytes_FromStringAndSize\(NULL"
)
FUNCTION = re.compile(
    r"^\s*(?:cdef|cpdef|def)\b[^=(]*?\b(\w+)\(|^(?!__attribute__)(?:static\b.*?)?\b(\w+)\((?=[^;]*$)"
)
NAMES = re.compile(r"`([^`]+)`")

KEPT = {
    # They allocate what has the size of its type, and write its fields.
    "__cinit__",
    "open_stream",
    # They give bytes of Python's to what the page names, with their length.
    "crc32c",
    "receive_packet",
}


def functions(path: Path) -> Iterator[tuple[str, str]]:
    """Each line of code, with the name of the function that it is in."""
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        found = FUNCTION.match(line)
        if found:
            name = found[1] or found[2]
        elif not line.lstrip().startswith(("#", "*", "/*", "from ", "cimport")):
            yield name, line


def documented() -> set[str]:
    rows = [
        line.split("|")[1]
        for line in (ROOT / "docs" / "memory-safety.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    return {name.rpartition(".")[2] for row in rows for name in NAMES.findall(row)}


def test_every_raw_copy_is_in_the_table() -> None:
    known = documented() | KEPT
    missing = {
        f"{path.name}: {name}"
        for path in FILES
        for name, line in functions(path)
        if name and RAW.search(line) and name not in known
    }
    assert not missing


def test_every_function_of_the_table_is_there() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    gone = [name for name in documented() if not re.search(rf"\b{name}\(", code)]
    assert not gone
