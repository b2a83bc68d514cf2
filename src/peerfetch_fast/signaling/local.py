"""Signaling within one process, without a server."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from peerfetch_fast.errors import IdTaken, SignalingError
from peerfetch_fast.signaling.seam import Signal, SignalKind

__all__ = ["LocalService"]

logger = logging.getLogger(__name__)


class LocalService:
    """A place in this process where peers find each other."""

    _named: ClassVar[dict[str, LocalService]] = {}

    def __init__(self) -> None:
        self._members: dict[str, _LocalSignaling] = {}
        self._found: set[str] = set()

    @classmethod
    def named(cls, name: str) -> LocalService:
        """The service of a name: the same one for everybody in this process."""
        return cls._named.setdefault(name, cls())

    def join(
        self, peer_id: str | None = None, *, on_signal: Callable[[Signal], None]
    ) -> _LocalSignaling:
        """See :func:`.seam.join`."""
        return _LocalSignaling(self, peer_id or secrets.token_hex(16), on_signal)


class _LocalSignaling:
    """See :class:`.seam.Signaling`."""

    def __init__(
        self, service: LocalService, peer_id: str, on_signal: Callable[[Signal], None]
    ) -> None:
        self._service = service
        self.peer_id = peer_id
        self.token = ""
        self.ice_servers = ()
        self._on_signal = on_signal

    @property
    def _started(self) -> bool:
        return self._service._members.get(self.peer_id) is self

    async def start(self) -> None:
        if self._service._members.setdefault(self.peer_id, self) is not self:
            raise IdTaken(f"another peer of this process has the id {self.peer_id}")

    async def send(self, signal: Signal) -> None:
        if not self._started:
            raise SignalingError("the signaling was closed, or never started")
        asyncio.get_running_loop().call_soon(self._deliver, signal)

    def _deliver(self, signal: Signal) -> None:
        receiver = self._service._members.get(signal.peer_id)
        if receiver is None:
            self._receive(Signal(SignalKind.ABSENT, signal.peer_id))
        else:
            receiver._receive(replace(signal, peer_id=self.peer_id))

    def _receive(self, signal: Signal) -> None:
        if not self._started:
            return
        try:
            self._on_signal(signal)
        except Exception:
            logger.exception("a callback of signaling failed")

    async def peers(self) -> list[str]:
        return sorted(self._service._found - {self.peer_id})

    async def be_found(self) -> None:
        self._service._found.add(self.peer_id)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._service._found.discard(self.peer_id)

    async def close(self) -> None:
        if self._started:
            del self._service._members[self.peer_id]
