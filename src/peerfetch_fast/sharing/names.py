"""Names that others have chosen: which may become files here, and how they are shown."""

from __future__ import annotations

import os
import re
import unicodedata

from peerfetch_fast.errors import UnsafeName

__all__ = ["check_path", "clean_name", "numbered", "shortened", "shown"]

MAX_PATH = 4096
"""Bytes of the longest path, in UTF-8."""

MAX_NAME = 255
"""Bytes of the longest name in a path."""

MAX_TOLD = 1024
"""Characters at the end of what somebody calls a file that are looked at: to put accents in order
takes the square of their number.
"""

MAX_DEPTH = 64
"""Names in a path."""

MAX_EXTENSION = 32
"""Characters of an ending that is kept where a name is shortened."""

WINDOWS = os.name == "nt"

_DRIVE = re.compile(r"[A-Za-z]:")
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\..*)?", re.I
)
_NOT_ON_WINDOWS = re.compile(r'[\x00-\x1f<>:"|?*\\]')


def check_path(path: str, *, windows: bool = WINDOWS) -> str:
    """``path`` as it came, if a file may be written there, below a directory of ours.

    :param path: names with ``/`` between them; behind a directory's there is one more.
    :param windows: whether what Windows takes for something else is refused, too.

    Raises UnsafeName, for the whole offer: who sends such a path means harm.
    """
    names = path.removesuffix("/").split("/")
    try:
        size = len(path.encode())
        longest = max(len(name.encode()) for name in names)
    except UnicodeEncodeError:
        raise UnsafeName(f"{shown(path)!r} is no text") from None
    if size > MAX_PATH or longest > MAX_NAME or len(names) > MAX_DEPTH:
        raise UnsafeName(f"{shown(path)[:80]!r}… is too long or too deep to be kept here")
    if any(name in ("", ".", "..") for name in names) or "\0" in path:
        raise UnsafeName(f"{shown(path)!r} leads out of the directory")
    # On every system: what is received is copied on to others.
    if _DRIVE.match(path) and (len(names[0]) == 2 or names[0][2] == "\\"):
        raise UnsafeName(f"{shown(path)!r} names a drive")
    if windows:
        for name in names:
            if _NOT_ON_WINDOWS.search(name) or _RESERVED.fullmatch(name) or name[-1] in ". ":
                raise UnsafeName(f"{shown(path)!r} cannot be a file's name on Windows")
    return path


def clean_name(name: str) -> str:
    """A name that a file may have on any system, made of what somebody calls theirs.

    What leads elsewhere is left out, what no system or reader takes well becomes ``_``, and it is
    cut to :data:`MAX_NAME` bytes with its ending kept.
    """
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", name[-MAX_TOLD:]))[-1]
    name = "".join("_" if _is_odd(c) or c in '<>:"|?*' else c for c in name)
    # Windows takes the dots and spaces off the end, which cutting may bring there.
    name = shortened(name.strip(" .") or "file", MAX_NAME).rstrip(" .")
    if _RESERVED.fullmatch(name):
        name = shortened(f"_{name}", MAX_NAME).rstrip(" .")
    return name


def shortened(name: str, most: int) -> str:
    """``name`` in at most ``most`` bytes of UTF-8, its ending kept."""
    if len(name.encode()) <= most:
        return name
    stem, ending = _parts(name)
    kept = stem.encode()[: most - len(ending.encode())]
    return f"{kept.decode(errors='ignore')}{ending}"


def numbered(name: str, number: int) -> str:
    """``name`` for a file beside others of that name: with the number before its ending."""
    stem, ending = _parts(name)
    more = f" ({number}){ending}"
    return shortened(stem, MAX_NAME - len(more.encode())) + more


def _parts(name: str) -> tuple[str, str]:
    """The part before the ending, and the ending with its dot."""
    stem, dot, ending = name.rpartition(".")
    return (stem, f"{dot}{ending}") if stem and len(ending) <= MAX_EXTENSION else (name, "")


def shown(text: str) -> str:
    """``text`` without what would move a terminal's cursor, or the direction of writing."""
    return "".join(ascii(c)[1:-1] if _is_odd(c) else c for c in text)


def _is_odd(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
