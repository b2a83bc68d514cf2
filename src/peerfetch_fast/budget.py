"""Bytes that several share."""

from __future__ import annotations

__all__ = ["Budget"]


class Budget:
    """Bytes that several share.

    :param limit: the number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Take ``size`` bytes; False if there are not so many left."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        """Return ``size`` bytes that were taken."""
        self._left += size
