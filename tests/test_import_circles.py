"""No module needs itself to be imported: a circle works or fails by what is imported first."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"
Graph = dict[str, set[str]]


def python_imports(body: list[ast.stmt], package: str) -> Iterator[str]:
    """What is imported as the module is, and not later by a function, or by a type checker only."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from python_imports(node.body, package)
            yield from python_imports(node.orelse, package)
        elif isinstance(node, ast.Try):
            for part in (node.body, *(handler.body for handler in node.handlers), node.orelse):
                yield from python_imports(part, package)
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from python_imports(node.body, package)


def cython_imports(text: str) -> Iterator[str]:
    for base, names in re.findall(r"^from ([\w.]+) c?import (\([^)]*\)|.*)$", text, re.M):
        yield base
        yield from (f"{base}.{name}" for name in re.findall(r"\w+", names))


def python_graph() -> Graph:
    graph: Graph = {}
    for path in [*SOURCES.rglob("*.py"), *SOURCES.rglob("*.pyx"), *SOURCES.rglob("*.pxd")]:
        parts = path.relative_to(SOURCES).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        if path.suffix == ".py":
            package = name if is_package else name.rpartition(".")[0]
            found = set(python_imports(ast.parse(path.read_text()).body, package))
        else:
            found = set(cython_imports(path.read_text()))
        graph.setdefault(name, set()).update(found)
    for name, found in graph.items():
        # A package is imported before its modules; whoever is in it has it already.
        around = {one.rsplit(".", depth)[0] for one in found for depth in range(one.count(".") + 1)}
        mine = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
        graph[name] = {one for one in around if one in graph and one not in mine} - {name}
    return graph


def javascript_graph() -> Graph:
    web = SOURCES / "peerfetch_fast/web"
    graph: Graph = {}
    for path in web.rglob("*.js"):
        of = re.findall(r"^(?:import|export)\b[^;]*?\bfrom \"(\.[^\"]*)\";", path.read_text(), re.M)
        targets = ((path.parent / one).resolve().relative_to(web).as_posix() for one in of)
        graph[path.relative_to(web).as_posix()] = set(targets)
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """The groups of modules that need each other (Tarjan's components of more than one)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]


@pytest.mark.parametrize("graph", [python_graph, javascript_graph], ids=["Python", "JavaScript"])
def test_no_module_imports_itself_through_others(graph: Callable[[], Graph]) -> None:
    read = graph()
    assert len(read) > 50
    assert sum(map(len, read.values())) > 100
    assert circles(read) == []
