"""Files to be shared, and what receives them without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from peerfetch_fast.sharing.manifest import ManifestReader, manifest_lines
from peerfetch_fast.sharing.sending import Digests, Outgoing
from peerfetch_fast.sharing.source import Offer, collect
from peerfetch_fast.sharing.storing import Storing

NAMES = [
    "plain.txt",
    "größe ☃ 日本語 עברית",
    "with \"quotes\" and 'these'",
    "a\\b",
    "line\nbreak\ttab",
    " spaces ",
    "-rf",
    "é" * 127 + "x",
    "<b>html</b>&amp;",
    "%2e%2e%2f",
    "~",
    ".hidden",
]
"""Names that are unusual, and allowed."""


def fill(directory: Path) -> dict[str, bytes]:
    """Files below ``directory`` with those names, empty ones and empty directories: the contents,
    by path.
    """
    contents = {f"src/{name}": os.urandom(100 + number) for number, name in enumerate(NAMES)}
    contents |= {"src/empty": b"", "src/deep/er/file": b"deep", "src/sub/plain.txt": b"other"}
    for path, content in contents.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    (directory / "src/nothing/in/here").mkdir(parents=True)
    return contents


def contents_of(directory: Path) -> dict[str, bytes]:
    """All files below ``directory``, by path."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def offer_of(*paths: Path) -> Offer:
    return collect(paths)


def pass_on(
    offer: Offer, storing: Storing, cut: Callable[[bytes], Sequence[bytes]] | None = None
) -> None:
    """One answer, from the sender to the receiver; ``cut`` makes pieces of what is sent."""
    outgoing = Outgoing(offer, storing.ask(1000), Digests())
    try:
        while pieces := outgoing.read():
            data = b"".join(pieces)
            storing.feed([data] if cut is None else cut(data))
    finally:
        outgoing.close()


def manifest_of(offer: Offer) -> ManifestReader:
    reader = ManifestReader()
    for lines in manifest_lines(offer.heading(), offer.entries()):
        reader.feed(lines)
    reader.finish()
    return reader


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Offer]:
    """An offer of ``src``, in which there is a bit of everything."""
    fill(tmp_path)
    offer = offer_of(tmp_path / "src")
    yield offer
    offer.close()
