"""The room of those behind the same router, with peerjs-python's interface."""

from __future__ import annotations

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.peerjs.peer import Peer
from peerfetch_fast.signaling.peerjs.room import Room

__all__ = ["PeerRoom"]


class PeerRoom:
    """The room of ``peer`` at its plug and play server."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._id: str | None = None

    @property
    def id(self) -> str | None:
        """The room's id; None before the first question."""
        return self._id

    async def join(self) -> dict[str, list[str]]:
        """Be seen in the room: ``{"clientsIds": […]}``. Raises SignalingError."""
        client = self._peer._client
        if client is None:
            raise SignalingError("the peer is not connected to a server: start or reconnect it")
        async with Room(client) as room:
            members = await room.join()
            self._id = room.id
        return {"clientsIds": members}

    async def getRoomMembers(self) -> dict[str, list[str]]:
        """The same as :meth:`join`, which is what keeps one in the room."""
        return await self.join()
