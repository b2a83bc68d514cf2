"""The media type of a file, by its name and its first bytes."""

from __future__ import annotations

import codecs
import mimetypes
import re

__all__ = ["LOOK", "content_type", "read_types"]

LOOK = 64 * 1024
"""Bytes of the beginning that are looked at, at most."""

# The types of files that are compressed as a whole; they are sent as they are.
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}

# TypeScript has these endings too, and systems' tables name neither of the two.
_MAYBE_TRANSPORT_STREAM = (b".ts", b".mts")

_SYNC = 0x47

_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Bytes of a packet of a transport stream (ISO/IEC 13818-1 §2.4.3.2), and where in it the sync byte
is: bare, with time stamps before it (of cameras, Blu-ray), with error correction behind it."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
)

# Text that is none of `text/…`.
_ALSO_TEXT = frozenset(("application/javascript", "application/x-sh"))

_SAYS_ITSELF = re.compile(rb"charset\s*=|encoding\s*=|@charset", re.IGNORECASE)

_DECLARES = frozenset(("text/html", "text/css", "text/xml"))
"""Types that can name their charset inside, where a field of the head would overrule it."""

_PRESCAN = 1024
"""Bytes in which they do (HTML §4.2.5.4)."""


def read_types() -> None:
    """Read the system's tables, which no request shall wait for."""
    mimetypes.init()


def content_type(name: bytes, look: bytes) -> str:
    """The Content-Type of a file.

    :param look: its first bytes, :data:`LOOK` of them unless there are fewer.
    """
    if name.lower().endswith(_MAYBE_TRANSPORT_STREAM):
        if is_transport_stream(look):
            return "video/mp2t"
        kind: str | None = "text/plain" if _charset(look) else None
    else:
        kind, compression = mimetypes.guess_type(f"./{name.decode(errors='replace')}")
        if compression is not None:
            return _COMPRESSED.get(compression, "application/octet-stream")
    if kind is None:
        return "application/octet-stream"
    if not kind.startswith("text/") and kind not in _ALSO_TEXT:
        return kind
    charset = _charset(look)
    if charset is None or (kind in _DECLARES and _SAYS_ITSELF.search(look[:_PRESCAN])):
        return kind
    return f"{kind}; charset={charset}"


def is_transport_stream(look: bytes) -> bool:
    """Whether these first bytes are of an MPEG transport stream: a sync byte begins each packet."""
    for size, offset in _PACKETS:
        at = look[offset::size]
        if len(at) > 1 and at == bytes((_SYNC,)) * len(at):
            return True
    return False


def _charset(look: bytes) -> str | None:
    """The charset of a text: that of its byte order mark, or UTF-8 if its bytes are valid."""
    for mark, charset in _MARKS:
        if look.startswith(mark):
            return charset
    try:
        # The look may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(look, final=len(look) < LOOK)
    except UnicodeDecodeError:
        return None
    return None if b"\0" in look else "utf-8"
