"""Connections to a server's state, which says by actions what they are sent."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.program import Program

from peerfetch_fast.signaling.peerjs.realm import Action, Close, Send


class Connections:
    """Those that are open, and the time.

    :ivar open: what each is known by.
    """

    def __init__(self) -> None:
        self.now = 1_000.0
        self.next = 0
        self.open: dict[int, str] = {}

    def sent(self, actions: list[Action[int]], newcomer: int | None) -> Iterator[Send[int]]:
        """The messages among actions, and the end of those that are closed."""
        for action in actions:
            assert action.to in self.open or action.to == newcomer, "to nobody"
            if isinstance(action, Close):
                assert 1000 <= action.code < 5000
                assert len(action.reason.encode()) <= 123
                self.open.pop(action.to, None)
            else:
                yield action

    def end_one(self, program: Program) -> int:
        """One of them goes; which, and where there is none, one that is not known."""
        gone = program.byte()
        if self.open:
            gone = list(self.open)[gone % len(self.open)]
            del self.open[gone]
        return gone
