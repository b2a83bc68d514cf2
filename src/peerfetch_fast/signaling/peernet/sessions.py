"""The sessions of a PeerNet server, and the candidates that wait in them. Sans-I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.resources import Session, size_of
from peerfetch_fast.signaling.peernet.schema import Resource
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.signaling.peernet.shares import Shares

__all__ = ["Sessions"]


class Sessions:
    """All sessions, each of which is dropped when nobody has used it for long.

    :param shares: what they and all else may hold.
    :param wake: called with the id of a session that has got something.
    """

    def __init__(
        self, settings: PeerNetSettings, shares: Shares, wake: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._shares = shares
        self._wake = wake
        # In the order in which they expire.
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._sessions

    def open(self, session_id: str, network: str, now: float) -> None:
        """Open a session that counts for a network. Raises Problem if its id is taken, or there is
        no room.
        """
        if session_id in self._sessions:
            raise Problem(
                Status.ALREADY_EXISTS, "another session has this id: take a new random one"
            )
        session = Session(session_id, network, 0.0, size_of({"id": session_id}))
        self._shares.take(network, session.size)
        self._sessions[session_id] = session
        self._used(session, now)

    def close(self, session_id: str) -> None:
        """Drop a session. Idempotent."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._shares.give_back(session.network, session.size)
            self._wake(session_id)

    def add(self, session_id: str, candidates: Sequence[Resource], now: float) -> None:
        """Leave candidates for the owner of a session. Raises Problem, and adds none then."""
        session = self._find(session_id)
        most = self._settings.max_candidates
        if session.came + len(candidates) > most:
            raise Problem(Status.RESOURCE_EXHAUSTED, f"a session takes at most {most} candidates")
        size = sum(map(size_of, candidates))
        self._shares.take(session.network, size)
        session.size += size
        session.came += len(candidates)
        session.candidates += candidates
        self._used(session, now)
        if candidates:
            self._wake(session_id)

    def candidates(self, session_id: str, now: float, *, take: bool) -> list[Resource]:
        """The candidates that wait; ``take`` them away. Raises Problem."""
        session = self._find(session_id)
        self._used(session, now)
        found = session.candidates
        if take and found:
            size = sum(map(size_of, found))
            session.size -= size
            self._shares.give_back(session.network, size)
            session.candidates = []
        return found

    def _find(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise Problem(Status.NOT_FOUND, "there is no such session, or it has expired")
        return session

    def _used(self, session: Session, now: float) -> None:
        session.expires = now + self._settings.session_timeout
        self._sessions.move_to_end(session.id)

    @property
    def next_deadline(self) -> float | None:
        """When the next session expires."""
        return next((session.expires for session in self._sessions.values()), None)

    def expire(self, now: float) -> None:
        """Drop those that nobody has used for long."""
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.expires > now:
                return
            self.close(session.id)
