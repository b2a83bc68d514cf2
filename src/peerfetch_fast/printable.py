"""Text of a peer or a server, made fit for a terminal and a log."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, at_most: int | None = None) -> str:
    """The text with control characters and the like as Python's escapes, such as ``\\x1b``.

    :param at_most: characters that are returned.
    """
    shown = (char if char.isprintable() else ascii(char)[1:-1] for char in text[:at_most])
    return "".join(shown)[:at_most]
