"""The manifest, and those that lie."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.sharing.conftest import manifest_of

from peerfetch_fast.errors import SharingError, UnsafeName
from peerfetch_fast.sharing import manifest as module
from peerfetch_fast.sharing.manifest import (
    MAX_ENTRIES,
    MAX_LINE,
    MAX_SIZE,
    PIECE,
    ManifestReader,
    manifest_lines,
)
from peerfetch_fast.sharing.source import Offer

FILE = {"path": "a", "size": 1, "modified": 1000, "mode": 0o644}


def told(*entries: dict[str, Any], **heading: Any) -> bytes:
    files = [entry for entry in entries if "size" in entry]
    first = {"v": 1, "piece": PIECE, "title": "t", "by": "b", "entries": len(entries)}
    first |= {"files": len(files), "total": sum(entry["size"] for entry in files)}
    return b"".join(orjson.dumps(one) + b"\n" for one in (first | heading, *entries))


def read(data: bytes) -> ManifestReader:
    reader = ManifestReader()
    reader.feed(data)
    reader.finish()
    return reader


def test_what_was_offered_is_read(source: Offer) -> None:
    reader = manifest_of(source)
    assert reader.entries == [item.entry for item in source.items.values()]
    assert reader.heading == source.heading()


def test_in_pieces_of_any_size(source: Offer) -> None:
    data = b"".join(manifest_lines(source.heading(), source.entries()))
    rng = random.Random(7)
    reader, at = ManifestReader(), 0
    while at < len(data):
        size = rng.randrange(1, 40)
        reader.feed(data[at : at + size])
        at += size
    reader.finish()
    assert reader.entries == [item.entry for item in source.items.values()]


@pytest.mark.parametrize("path", ["../a", "/a", "a/../b", "C:/a", "a\0"])
def test_one_unsafe_name_refuses_all(path: str) -> None:
    with pytest.raises(UnsafeName):
        read(told(FILE, FILE | {"path": path}))


@pytest.mark.parametrize(
    ("first", "second"),
    [("b", "b"), ("b", "b/c"), ("b/c", "b"), ("b/c", "b/c"), ("b", "b/"), ("b/", "b")],
)
def test_nothing_is_two_things(first: str, second: str) -> None:
    entries = [
        {"path": path, "modified": 1, "mode": 1} | ({} if path.endswith("/") else {"size": 1})
        for path in (first, second)
    ]
    with pytest.raises(SharingError):
        read(told(*entries))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[]\n",
        b"{",
        b"{}\n",
        told(FILE, v=2),
        told(FILE, piece=1),
        told(FILE, entries=0),
        told(FILE, entries=2),
        told(FILE, files=0),
        told(FILE, total=2),
        told(FILE, total=-1),
        told(FILE, title=1),
        told(FILE, text=[]),
        told(FILE, text="x" * 40_000),
        told(FILE, entries=MAX_ENTRIES + 1),
        told(FILE | {"size": -1}),
        told(FILE | {"size": MAX_SIZE + 1}),
        told(FILE | {"size": True}),
        told(FILE | {"size": 1.0}),
        told(FILE | {"modified": "now"}),
        told(FILE | {"mode": None}),
        told(FILE | {"path": 7}),
        told(FILE)[:-1],
        b"x" * (MAX_LINE + 1),
        b'{"v":' + b"[" * 60_000,
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(SharingError):
        read(data)


def test_a_million_entries_are_refused_before_they_are_kept() -> None:
    reader = ManifestReader()
    reader.feed(told(entries=0).replace(b'"entries":0', b'"entries":3'))
    line = orjson.dumps(FILE) + b"\n"
    with pytest.raises(SharingError):
        for number in range(1_000_000):
            reader.feed(line.replace(b'"a"', b'"%d"' % number))
    assert len(reader.entries) == 3


def test_as_many_directories_above_them_are_refused() -> None:
    reader = ManifestReader()
    reader.feed(told(entries=0).replace(b'"entries":0', b'"entries":250000'))
    line = orjson.dumps(FILE | {"path": f"a/{'b/' * 60}c"}) + b"\n"
    with pytest.raises(SharingError, match="share an archive"):
        for number in range(MAX_ENTRIES // 60):
            reader.feed(line.replace(b'"a/', b'"%d/' % number))


@pytest.mark.parametrize("path", [f"{'b' * 60}/" * 62 + "☃", f"\N{PILE OF POO}/{'x' * 200}/" * 19])
def test_paths_take_no_more_memory_than_so_much(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the directories above included, each of which is a text of its own."""
    monkeypatch.setattr(module, "MAX_PATHS", 8 * 1024 * 1024)
    reader = ManifestReader()
    reader.feed(told(entries=0).replace(b'"entries":0', b'"entries":250000'))
    tracemalloc.start()
    try:
        with pytest.raises(SharingError, match="share an archive"):
            for number in range(MAX_ENTRIES):
                reader.feed(orjson.dumps(FILE | {"path": f"{number}/{path}"}) + b"\n")
        assert tracemalloc.get_traced_memory()[0] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_directory_that_holds_nothing_is_offered(source: Offer, tmp_path: Path) -> None:
    assert "src/nothing/in/here/" in source.items
