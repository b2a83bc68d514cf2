"""Open files below a directory, and never others, even while the directory is changed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Forbidden", "Node", "Tree"]

MAX_DEPTH = 64
"""Directories below the one that is served: each costs a descriptor while a path is walked."""

MAX_LINKS = 40
"""Symbolic links on the way to a file, as in Linux's path_resolution(7)."""

# Where a file can only be opened for reading, directories must be readable to be walked through.
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)
# Nothing is followed or waited for: between the look at it and this, it may have been replaced.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class Forbidden(OSError):
    """The node exists but is not served: it is outside, or neither a file nor a directory."""


@dataclass(frozen=True)
class Node:
    """A file or directory that is open: its descriptor, and its status at that moment."""

    descriptor: int
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether the node is a directory; if not, it is a regular file."""
        return stat.S_ISDIR(self.status.st_mode)

    def close(self) -> None:
        os.close(self.descriptor)


class Tree:
    """The files and directories below ``root``.

    A path is walked name by name, from one open directory to the next, and symbolic links are
    resolved here rather than by the kernel: those that stay below ``root`` are followed, and
    nothing that others rename or replace at the same time can lead out of it.

    Raises ValueError where ``root`` is no directory, or the system cannot do this (Windows).
    """

    def __init__(self, root: Path) -> None:
        if not {os.open, os.stat, os.readlink} <= os.supports_dir_fd:
            raise ValueError("this system cannot serve a directory safely; name an HTTP server")
        try:
            self._path = os.fsencode(root.resolve(strict=True)).rstrip(b"/")
            self._root = os.open(root, _DIRECTORY)
            if not stat.S_ISDIR(os.fstat(self._root).st_mode):
                self.close()
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        except OSError as error:
            raise ValueError(f"{str(root)!r} cannot be served: {error.strerror}") from None

    def close(self) -> None:
        os.close(self._root)

    def open(self, segments: Sequence[bytes]) -> Node:
        """Open the node at these segments; the caller closes it.

        Raises Forbidden, and OSError as the system calls do.
        """
        names = [*reversed(segments)]  # still to be walked, the next one last
        opened: list[int] = []  # the way from the root to here
        links = 0
        try:
            while names:
                name = names.pop()
                if name in (b"", b"."):
                    continue
                if name == b"..":
                    if not opened:
                        raise Forbidden(errno.EXDEV, "it leads out of the directory")
                    os.close(opened.pop())
                    continue
                parent = opened[-1] if opened else self._root
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISLNK(status.st_mode):
                    links += 1
                    if links > MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    target = os.readlink(name, dir_fd=parent)
                    if target.startswith(b"/"):
                        if not (target + b"/").startswith(self._path + b"/"):
                            raise Forbidden(errno.EXDEV, "it leads out of the directory")
                        target = target[len(self._path) :]
                        while opened:
                            os.close(opened.pop())
                    names.extend(reversed(target.split(b"/")))
                    continue
                if len(opened) >= MAX_DEPTH:
                    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
                opened.append(_open(name, parent, status))
            node = opened.pop() if opened else os.dup(self._root)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        found = Node(node, os.fstat(node))
        try:
            _check_kind(found.status)  # it may have been replaced since
        except Forbidden:
            found.close()
            raise
        return found

    def entries(
        self, segments: Sequence[bytes], directory: Node
    ) -> Iterator[tuple[bytes, os.stat_result]]:
        """Names in ``directory``, which is at ``segments``, with their status; hidden ones and
        those that :meth:`open` would refuse are left out. Raises OSError.
        """
        descriptor = os.open(b".", os.O_RDONLY, dir_fd=directory.descriptor)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if is_hidden(name):
                        continue
                    try:
                        yield name, self._look(segments, name, directory)
                    except OSError:
                        continue
        finally:
            os.close(descriptor)

    def _look(self, segments: Sequence[bytes], name: bytes, directory: Node) -> os.stat_result:
        status = os.stat(name, dir_fd=directory.descriptor, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            node = self.open([*segments, name])
            node.close()
            return node.status
        _check_kind(status)
        return status


def is_hidden(name: bytes) -> bool:
    """Whether a name is neither listed nor served: it begins with a dot."""
    return name.startswith(b".")


def _open(name: bytes, parent: int, status: os.stat_result) -> int:
    """Open ``name`` in the directory ``parent``, where ``status`` was seen just now."""
    _check_kind(status)
    flags = _DIRECTORY if stat.S_ISDIR(status.st_mode) else os.O_RDONLY
    return os.open(name, flags | _SAFELY, dir_fd=parent)


def _check_kind(status: os.stat_result) -> None:
    # To open a pipe or a device is to act on it.
    if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
        raise Forbidden(errno.EPERM, "it is neither a file nor a directory")
