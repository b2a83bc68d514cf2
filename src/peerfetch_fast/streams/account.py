"""Accounts of the memory that is held for peers."""

from __future__ import annotations

from collections.abc import Callable

from peerfetch_fast._framing import EXCESSIVE_LOAD
from peerfetch_fast.errors import MemoryExceeded

__all__ = ["Account", "Share"]


class Account:
    """Counts the bytes held for one peer; or, as the *parent* of other accounts, for all peers.

    Beyond the limit, an account is closed: this one, or of a parent's accounts the one that holds
    most.

    :param limit: the limit in bytes.
    :param parent: the account of the process.
    :param setting: the name of the limit in error messages.
    """

    __slots__ = ("_children", "_parent", "_setting", "held", "limit", "on_exceeded")

    def __init__(self, limit: int, *, setting: str, parent: Account | None = None) -> None:
        self.limit = limit
        self.held = 0
        """Bytes held now."""
        self.on_exceeded: Callable[[MemoryExceeded], object] | None = None
        """Called once with the reason when everything that this account counts must be freed."""
        self._setting = setting
        self._parent = parent
        self._children: set[Account] = set()
        if parent is not None:
            parent._children.add(self)

    def share(self) -> Share:
        """A new share for one holder."""
        return Share(self)

    def close(self) -> None:
        """Release everything, and ignore later changes."""
        if self._parent is not None:
            self._parent._children.discard(self)
            self._parent.held -= self.held
            self._parent = None
        self.held = 0
        self.limit = -1

    def _change(self, by: int) -> None:
        if self.limit < 0:
            return
        self.held += by
        parent = self._parent
        if parent is not None:
            parent.held += by
            if parent.held > parent.limit:
                greatest = max(parent._children, key=lambda account: account.held)
                greatest._exceed(parent)
        if self.held > self.limit >= 0:
            self._exceed(self)

    def _exceed(self, account: Account) -> None:
        told, self.on_exceeded = self.on_exceeded, None
        if told is not None:
            told(
                MemoryExceeded(
                    f"{self.held} bytes are held for this peer, and {account.held} of the "
                    f"{account.limit} that {account._setting} allows: read what was asked for, ask "
                    "for less at once, or raise the setting",
                    EXCESSIVE_LOAD,
                )
            )


class Share:
    """The bytes that one holder has in an account."""

    __slots__ = ("_account", "_held")

    def __init__(self, account: Account) -> None:
        self._account = account
        self._held = 0

    def set(self, held: int) -> None:
        """Set the number of bytes that are held."""
        by = held - self._held
        if by:
            self._held = held
            self._account._change(by)
