"""aiortc's gatherer, which tells of candidates as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from aioice import Candidate
from aiortc import RTCIceServer, RTCIceTransportPolicy
from aiortc.rtcicetransport import (
    ICE_TRANSPORT_POLICIES,
    RTCIceGatherer,
    candidate_from_aioice,
    connection_kwargs,
)

from peerfetch_fast.webrtc._seam.ice import TricklingConnection

__all__ = ["TricklingGatherer"]


class TricklingGatherer(RTCIceGatherer):
    """aiortc's gatherer over a :class:`TricklingConnection`, or a given subclass of it.

    Emits ``localcandidate`` with an :class:`~aiortc.RTCIceCandidate` for each that comes after
    :meth:`gather`, and ``statechange``; both names are ORTC's.
    """

    def __init__(
        self,
        *,
        servers: list[RTCIceServer],
        policy: RTCIceTransportPolicy,
        host_addresses: Sequence[str] | None,
        username: str | None,
        password: str | None,
        connection: type[TricklingConnection] = TricklingConnection,
    ) -> None:
        super().__init__(iceServers=[], iceTransportPolicy=policy)
        self._connection = connection(
            host_addresses=host_addresses,
            local_username=username,
            local_password=password,
            transport_policy=ICE_TRANSPORT_POLICIES[policy],
            **connection_kwargs(servers),
        )

    async def gather(self) -> None:
        """Gather host candidates; the state is ``completed`` if there are no others to come."""
        if self.state == "new":
            self._set_state("gathering")
            await self._connection.gather_candidates()
            if not self._trickling.gathering:
                self._set_state("completed")

    def gather_late(self) -> None:
        """Start to gather the candidates that servers have to give."""
        self._trickling.gather_late(self._found, lambda: self._set_state("completed"))

    def _found(self, candidate: Candidate) -> None:
        self.emit("localcandidate", candidate_from_aioice(candidate))

    @property
    def _trickling(self) -> TricklingConnection:
        return cast(TricklingConnection, self._connection)

    def _set_state(self, state: str) -> None:
        set_state: Callable[[str], None] = getattr(self, "_RTCIceGatherer__setState")  # noqa: B009
        set_state(state)
