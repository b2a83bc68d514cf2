"""The form of the sources, as CONTRIBUTING.md asks for it. `./run lint` runs this too."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src/peerfetch_fast"
PYTHON = sorted(SOURCES.rglob("*.py"))
CYTHON = sorted(SOURCES.rglob("*.pyx"))
DECLARATIONS = sorted([*SOURCES.rglob("*.pyi"), *SOURCES.rglob("*.pxd")])
JAVASCRIPT = sorted((SOURCES / "web").rglob("*.js"))

LONGEST_FUNCTION = 60
"""Lines, not counting the parameters and the docstring."""

LONGEST_FILE = 500

REASON = "This file is longer than others, because"
"""How a file of more lines says near its beginning why it is not cut."""

NAME = r"[\w.:~`]*[A-Z]\w+|(?:what|as|nothing|the error)\b"


Reader = Callable[[str], Iterator[tuple[str, int]]]
"""Gives the name of each function of a text, and the number of its lines."""


def name_of(path: Path) -> str:
    return path.relative_to(SOURCES).as_posix()


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - body[0].lineno + 1 if body else 0


_CYTHON_HEAD = re.compile(
    r"^( *)(?:async )?(?:def|cpdef|cdef)\b(?! class| extern| enum| struct)[^\n(=]*?(\w+)\(", re.M
)
_DOCSTRING = re.compile(r'\s*"""(?s:.*?)"""')


def cython_functions(text: str) -> Iterator[tuple[str, int]]:
    for head in _CYTHON_HEAD.finditer(text):
        at, depth = head.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        end = re.compile(r"[^\n:]*:[ \t]*(?:#.*)?\n").match(text, at)
        if end is None:
            continue  # a variable that is called, or a declaration
        docstring = _DOCSTRING.match(text, end.end())
        body = text[(docstring or end).end() :]
        stop = re.compile(rf"^ {{0,{len(head[1])}}}\S", re.M).search(body)
        yield head[2], len(body[: stop.start() if stop else None].strip().splitlines())


_JAVASCRIPT_HEAD = re.compile(
    r"^( *)(?:[\w ]*\bfunction\*? +(\w+)|(?:static |async |get |set |\*)*(#?\w+)(?= *\()"
    r"|[\w ]*\b(\w+) = (?:async )?\(?[\w, {}=]*\)? =>).*\{$",
    re.M,
)
_WORDS = {"if", "for", "while", "switch", "catch"}


def javascript_functions(text: str) -> Iterator[tuple[str, int]]:
    for head in _JAVASCRIPT_HEAD.finditer(text):
        name = head[2] or head[3] or head[4]
        end = re.compile(rf"^{head[1]}\}}", re.M).search(text, head.end())
        if name not in _WORDS and end is not None:
            yield name, text.count("\n", head.end(), end.start()) - 1


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (python_functions, 'async def f(a):\n    """Of it."""\n    a = 1\n    return a\n'),
        (
            cython_functions,
            "cdef class C:\n    cdef int f(\n        self, int a=(1)\n    ) except -1:\n"
            '        """Of\n        it."""\n'
            "        cdef int b = g(a)\n\n        return b\n\n    x = 1\n",
        ),
        (javascript_functions, "  async #f(a) {\n    if (a) {\n    }\n    return a;\n  }\n"),
        (javascript_functions, "export function f(a) {\n  const b = a;\n\n  return b;\n}\n"),
    ],
)
def test_lines_are_counted(read: Reader, text: str) -> None:
    [(name, lines)] = read(text)
    assert name.strip("#") == "f"
    assert lines in (2, 3)


@pytest.mark.parametrize(
    ("files", "read"),
    [
        (PYTHON, python_functions),
        (CYTHON, cython_functions),
        (JAVASCRIPT, javascript_functions),
    ],
    ids=["Python", "Cython", "JavaScript"],
)
def test_no_function_is_longer_than_a_screen(files: list[Path], read: Reader) -> None:
    found = [
        (f"{name_of(path)}:{name}", lines)
        for path in files
        for name, lines in read(path.read_text())
    ]
    assert len(found) > 300
    longer = {name: lines for name, lines in found if lines > LONGEST_FUNCTION}
    assert not longer


def test_a_long_file_says_why_it_is_not_cut() -> None:
    silent = []
    for path in [*PYTHON, *CYTHON, *JAVASCRIPT]:
        lines = path.read_text().splitlines()
        if (len(lines) > LONGEST_FILE) != (REASON in " ".join(" ".join(lines[:60]).split())):
            silent.append((name_of(path), len(lines)))
    assert not silent


def test_docstrings_say_in_one_form_what_is_raised() -> None:
    other = [
        f"{name_of(path)}: {line.strip()}"
        for path in [*PYTHON, *CYTHON, *DECLARATIONS]
        for line in path.read_text().splitlines()
        if re.search(r":raises\b|\bRaises?:", line) or re.search(rf"\bRaises (?!{NAME})", line)
    ]
    assert not other
