"""A directory in which received files are kept, and out of which nothing leads."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from peerfetch_fast.errors import UnsafeName
from peerfetch_fast.sharing.names import shown

__all__ = ["Directory"]

# A link in place of a directory leads elsewhere, whoever has put it there.
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_BY_DESCRIPTOR = {os.open, os.stat, os.mkdir, os.unlink, os.rename} <= os.supports_dir_fd
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK))


class Directory:
    """Opens, makes and names files below ``root``, each by the path of a checked entry.

    Directories are walked name by name, and none that is a link is entered. Where the system cannot
    open by directory (Windows), that is looked at before each use instead.

    Raises OSError where ``root`` cannot be made or read.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root.resolve(strict=True)
        self._root = os.open(self.root, os.O_RDONLY) if _BY_DESCRIPTOR else -1
        self._above: tuple[str, int] | None = None
        """The directory that was used last: as a rule the next file is in it, too."""

    def close(self) -> None:
        """Let go of it."""
        self._leave()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _leave(self) -> None:
        if self._above is not None:
            os.close(self._above[1])
            self._above = None

    def _at(self, path: str, *, make: bool = False) -> tuple[str, int | None]:
        """The name of ``path``, and the directory that it is in, as system calls take them."""
        above, slash, name = path.removesuffix("/").rpartition("/")
        if not _BY_DESCRIPTOR:
            return str(self._walked(above, make) / name), None
        if not slash:
            return name, self._root
        if self._above is None or self._above[0] != above:
            descriptor = self._enter(above, make)
            self._leave()
            self._above = above, descriptor
        return name, self._above[1]

    def _enter(self, path: str, make: bool) -> int:
        current = os.dup(self._root)
        try:
            for name in path.split("/"):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=current)
                try:
                    below = os.open(name, _DIRECTORY, dir_fd=current)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                        raise _not_a_directory(path) from None
                    raise
                os.close(current)
                current = below
        except BaseException:
            os.close(current)
            raise
        return current

    def _walked(self, path: str, make: bool) -> Path:
        current = self.root
        for name in filter(None, path.split("/")):
            current /= name
            if make:
                current.mkdir(exist_ok=True)
            if current.is_symlink() or not current.resolve().is_relative_to(self.root):
                raise _not_a_directory(path)
        return current

    def look(self, path: str) -> os.stat_result | None:
        """The entry, links not followed; None if there is none. Raises UnsafeName, OSError."""
        try:
            name, above = self._at(path)
            return os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, path: str, *, beside: str | None = None) -> int:
        """A descriptor of the file at ``path`` for reading and writing, made where there is none.

        :param beside: the file that it is put beside. Raises UnsafeName, OSError.
        """
        name, above = self._at(path, make=True)
        name = name if beside is None else str(Path(name).with_name(beside))
        flags = os.O_RDWR | os.O_CREAT | _FILE
        descriptor = os.open(name, flags, 0o600, dir_fd=above)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnsafeName(f"{shown(path)!r} is no file here")
        return descriptor

    def size(self, path: str, beside: str) -> int:
        """Bytes of a file beside ``path``; 0 where there is none. Raises UnsafeName, OSError."""
        found = self.look(_beside(path, beside))
        return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else 0

    def put(self, path: str, beside: str, *, overwrite: bool) -> None:
        """Give the file ``beside`` its name.

        Raises FileExistsError where there is something already, which nobody overwrites.
        """
        name, above = self._at(path)
        old = str(Path(name).with_name(beside))
        if overwrite:
            os.replace(old, name, src_dir_fd=above, dst_dir_fd=above)
            return
        try:
            os.link(old, name, src_dir_fd=above, dst_dir_fd=above, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        except NotImplementedError:
            pass
        else:
            os.unlink(old, dir_fd=above)
            return
        # File systems without links: nothing better is to be had.
        if self.look(path) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        os.rename(old, name, src_dir_fd=above, dst_dir_fd=above)

    def remove(self, path: str, beside: str) -> None:
        """Remove the file ``beside``, if it is there."""
        with contextlib.suppress(OSError):
            name, above = self._at(path)
            os.unlink(str(Path(name).with_name(beside)), dir_fd=above)

    def make(self, path: str) -> None:
        """Make a directory, and those above it, where there is none. Raises UnsafeName, OSError."""
        self._at(f"{path}/.", make=True)

    def finish(self, path: str, mode: int, modified: int) -> None:
        """Give a directory its permissions and its time, which is in milliseconds."""
        name, above = self._at(path)
        with contextlib.suppress(OSError, NotImplementedError):
            if os.chmod in os.supports_dir_fd:
                os.chmod(name, mode & 0o777 | 0o700, dir_fd=above)
            os.utime(name, ns=(modified * 1_000_000,) * 2, dir_fd=above, follow_symlinks=False)


def _beside(path: str, name: str) -> str:
    above, slash, _ = path.rpartition("/")
    return f"{above}{slash}{name}"


def _not_a_directory(path: str) -> UnsafeName:
    return UnsafeName(f"{shown(path)!r} is a link or a file here, and no directory: move it away")
