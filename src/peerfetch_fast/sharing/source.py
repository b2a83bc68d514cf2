"""The source of an offer: files and directories that somebody has named, opened later."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from peerfetch_fast.errors import SharingError, UnsafeName
from peerfetch_fast.http.files.tree import Node, Tree
from peerfetch_fast.sharing.manifest import MAX_ENTRIES, MAX_SIZE, Entry, Heading
from peerfetch_fast.sharing.names import check_path, shown

__all__ = ["Changed", "Item", "Offer", "collect", "collect_folder"]


class Changed(OSError):
    """A file is another one than was offered."""


class Item(NamedTuple):
    """A file or directory as it was when it was offered."""

    entry: Entry
    tree: Tree
    place: bytes
    """Where it is below the tree."""
    inode: int
    changed: int
    """Nanoseconds."""

    @property
    def version(self) -> tuple[int, int, int]:
        """The version of the contents: another one once they have changed."""
        return self.inode, self.entry.size, self.changed

    def open(self) -> Node:
        """Open the file. Raises Changed where it is another one now, and OSError."""
        node = self.tree.open(self.place.split(b"/"))
        try:
            self.check(node)
        except BaseException:
            node.close()
            raise
        return node

    def check(self, node: Node) -> None:
        """Raises Changed unless what is open there is still what was offered."""
        status = os.fstat(node.descriptor)
        if _version(status) != self.version or not stat.S_ISREG(status.st_mode):
            raise Changed(0, _difference(self.entry.size, status))


def _difference(size: int, status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "it is no file any more"
    if status.st_size != size:
        return f"it was {size} bytes when it was offered, and is {status.st_size} now"
    return "it was written anew after it was offered"


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(slots=True)
class Offer:
    """All that is offered."""

    title: str = ""
    text: str | None = None
    items: dict[str, Item] = field(default_factory=dict)
    """By path, in the order in which they are sent."""
    left_out: list[str] = field(default_factory=list)
    """Sentences about files that were named, or their folder, and are not offered."""
    total: int = 0
    files: int = 0
    _trees: dict[Path, Tree] = field(default_factory=dict)

    def heading(self) -> Heading:
        """The first line of its manifest."""
        return Heading(
            self.title,
            socket.gethostname()[:64],
            len(self.items),
            self.files,
            self.total,
            self.text,
        )

    def entries(self) -> Iterator[Entry]:
        """The rest of its manifest."""
        return (item.entry for item in self.items.values())

    def close(self) -> None:
        """Let go of the directories."""
        for tree in self._trees.values():
            tree.close()
        self._trees.clear()

    def tree(self, directory: Path) -> Tree:
        """The tree that begins there. Raises SharingError."""
        if directory not in self._trees:
            try:
                self._trees[directory] = Tree(directory)
            except ValueError as error:
                raise SharingError(str(error)) from None
        return self._trees[directory]

    def add(self, path: str, tree: Tree, place: bytes, status: os.stat_result) -> None:
        """Offer what is there. Raises SharingError where that is more than can be."""
        directory = stat.S_ISDIR(status.st_mode)
        path = _unlike(self.items, path)
        try:
            check_path(path, windows=False)
        except UnsafeName as error:
            self.left_out.append(str(error))
            return
        if len(self.items) >= MAX_ENTRIES:
            raise SharingError(
                f"there are more than {MAX_ENTRIES} files and directories: "
                "share an archive of them instead"
            )
        size = 0 if directory else status.st_size
        modified = min(max(status.st_mtime_ns // 1_000_000, 0), MAX_SIZE)
        entry = Entry(f"{path}/" if directory else path, size, modified, status.st_mode & 0o7777)
        item = Item(entry, tree, place, status.st_ino, status.st_mtime_ns)
        self.items[entry.path] = item
        self.total += size
        self.files += not directory


def _unlike(taken: dict[str, Item], path: str) -> str:
    """``path``, or one like it that is not taken: two names that are no text may look the same."""
    tried, number = path, 1
    while tried in taken or f"{tried}/" in taken:
        number += 1
        tried = f"{path} ({number})"
    return tried


def collect(paths: Sequence[Path], *, text: str | None = None, title: str | None = None) -> Offer:
    """What is there to be offered now. Links below a directory are followed where they lead to a
    file in it, and else left out.

    Raises SharingError for what cannot be shared, OSError for what cannot be read.
    """
    offer = Offer(text=text)
    try:
        for path in paths:
            _collect(offer, path)
    except BaseException:
        offer.close()
        raise
    names = [Path(path).resolve().name or str(path) for path in paths]
    offer.title = title or ", ".join(map(shown, names))[:200] or "a text"
    return offer


def collect_folder(tree: Tree, segments: Sequence[bytes], title: str) -> Offer:
    """What is below a directory that is served: as :func:`collect`, hidden names left out. The
    tree is left open.

    :param segments: the names that lead from the root of ``tree`` to it.

    Raises SharingError for more than can be offered, OSError where it cannot be read.
    """
    offer = Offer(title=title)
    waiting: list[tuple[list[bytes], str]] = [([*segments], title)]
    while waiting:
        place, path = waiting.pop()
        for entry, status in _visible(tree, place):
            there, inside = [*place, entry], f"{path}/{_as_text(entry)}"
            offer.add(inside, tree, b"/".join(there), status)
            if stat.S_ISDIR(status.st_mode):
                waiting.append((there, inside))
    return offer


def _visible(tree: Tree, segments: list[bytes]) -> list[tuple[bytes, os.stat_result]]:
    """What is in a directory by name, links to directories left out. Raises OSError."""
    node = tree.open(segments)
    try:
        if not node.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return sorted(
            (name, status)
            for name, status in tree.entries(segments, node)
            if not (stat.S_ISDIR(status.st_mode) and _is_link(node, name))
        )
    finally:
        node.close()


def _is_link(node: Node, name: bytes) -> bool:
    status = os.stat(name, dir_fd=node.descriptor, follow_symlinks=False)
    return stat.S_ISLNK(status.st_mode)


def _collect(offer: Offer, path: Path) -> None:
    real = path.resolve(strict=True)
    status = real.stat()
    name = _as_text(path.name if path.name not in ("", "..") else real.name) or "files"
    if stat.S_ISREG(status.st_mode):
        offer.add(name, offer.tree(real.parent), os.fsencode(real.name), status)
    elif stat.S_ISDIR(status.st_mode):
        tree = offer.tree(real)
        offer.add(name, tree, b"", status)
        _walk(offer, tree, real, name)
    else:
        raise SharingError(f"{str(path)!r} is neither a file nor a directory")


def _walk(offer: Offer, tree: Tree, top: Path, name: str) -> None:
    waiting = [(b"", name)]
    while waiting:
        place, path = waiting.pop()
        directory = os.path.join(os.fsencode(top), place)
        try:
            found = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except OSError as error:
            offer.left_out.append(f"{shown(path)}: {error.strerror}")
            continue
        below = []
        for entry in found:
            there = os.path.join(place, entry.name)
            inside = f"{path}/{_as_text(entry.name)}"
            try:
                status = _look(tree, entry, there)
            except OSError as error:
                offer.left_out.append(f"{shown(inside)}: {error.strerror}")
                continue
            offer.add(inside, tree, there, status)
            if stat.S_ISDIR(status.st_mode):
                below.append((there, inside))
        waiting.extend(reversed(below))


def _look(tree: Tree, entry: os.DirEntry[bytes], place: bytes) -> os.stat_result:
    """The entry, if it can be offered. Raises OSError."""
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        node = tree.open(place.split(b"/"))
        node.close()
        if node.is_directory:
            raise OSError(0, "it is a link to a directory")
        return node.status
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError(0, "it is neither a file nor a directory")
    return status


def _as_text(name: str | bytes) -> str:
    return os.fsencode(name).decode(errors="replace")
