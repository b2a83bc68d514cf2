"""The receivers of a share, as its sender sees them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from peerfetch_fast.sharing.names import shown

__all__ = ["Receiver", "Receivers"]

MAX_RECEIVERS = 256
"""Receivers that are remembered; of more, those that were heard of least lately are forgotten."""

MAX_NAME = 64
"""Characters of what a receiver calls itself."""

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True, eq=False, weakref_slot=True)
class Receiver:
    """One of them. What it says of itself nobody has checked. What others keep of it, they keep by
    a weak reference: once it is forgotten, another one may have its ``id()``.
    """

    name: str = "somebody"
    peer_id: str | None = None
    """Under which it is connected."""
    file: str = ""
    """The file that it was sent last, or part of."""
    sent: int = 0
    """Bytes that were sent to it."""
    total: int | None = None
    """Bytes that it wants, if it has said so."""
    before: int = 0
    """Bytes of these that it had before."""
    state: str = "looks"
    """``asks`` (to be let in), ``refused``, ``looks``, ``receives``, ``done`` or ``failed``."""
    why: str = ""
    """The failure, in the receiver's words."""
    heard: float = field(default_factory=time.monotonic)
    """When it asked for something last, in seconds of the monotonic clock."""
    downloads: int = 0
    """Answers that it is being sent."""

    @property
    def over(self) -> bool:
        """Whether it has said that it wants nothing more."""
        return self.state in ("done", "failed", "refused")


class Receivers:
    """All that came, by the id that each has made for itself, so that it is known again when it
    has connected anew; else by the peer id of its connection.

    :param on_change: called with one of whom there is something new. It must not raise.
    """

    def __init__(self, on_change: Callable[[Receiver], object] = lambda _: None) -> None:
        self._known: dict[str, Receiver] = {}
        self.on_change = on_change

    def all(self) -> list[Receiver]:
        """Everybody, those who were heard of last at the end."""
        return list(self._known.values())

    def find(self, claimed: str | None, peer_id: str | None, name: str | None) -> Receiver:
        """The one who asks."""
        known = claimed if claimed is not None and _ID.fullmatch(claimed) else f"peer {peer_id}"
        receiver = self._known.pop(known, None) or Receiver()
        self._known[known] = receiver
        receiver.peer_id = peer_id
        receiver.heard = time.monotonic()
        if name and receiver.name == "somebody":
            receiver.name = shown(name)[:MAX_NAME].strip() or receiver.name
        if len(self._known) > MAX_RECEIVERS:
            del self._known[self._least(known)]
        return receiver

    def _least(self, but: str) -> str:
        """Who is forgotten. Anybody can come under many ids, so it is one who has got nothing, if
        there is one, and none who is just being sent something.
        """
        others = [one for one in self._known if one != but]
        idle = [one for one in others if not self._known[one].downloads]
        strangers = [one for one in idle if self._known[one].state in ("looks", "refused")]
        return next(iter(strangers or idle or others))

    def told(self, receiver: Receiver, event: dict[str, object]) -> None:
        """A receiver says how it goes."""
        kind = event.get("event")
        total, before, why = event.get("total"), event.get("before"), event.get("why")
        if kind == "start":
            receiver.state = "receives"
            receiver.sent = 0
            receiver.total = total if type(total) is int and 0 <= total < 1 << 62 else None
            receiver.before = before if type(before) is int and 0 <= before < 1 << 62 else 0
        elif kind in ("done", "failed"):
            receiver.state = str(kind)
            receiver.why = shown(why)[:200] if isinstance(why, str) else ""
        self.on_change(receiver)
