"""A client that speaks HTTP/1.1 in octets on a data channel, seen as a link on which
``peerfetch.2`` is spoken. PeerNet calls that ``peernet.http`` 1.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from peerfetch_fast.http.h1 import Octets
from peerfetch_fast.http.serving import LocalConnection
from peerfetch_fast.local_http_port import LocalHttpPort
from peerfetch_fast.negotiation import Connected
from peerfetch_fast.peer import Peer
from peerfetch_fast.reconnecting import Established, ReconnectingSession
from peerfetch_fast.streams.link import Link, memory_pair
from peerfetch_fast.streams.session import Session

__all__ = ["link_to_octets_client"]

logger = logging.getLogger(__name__)

MAX_READ_AHEAD = 4 * 1024 * 1024
"""Bytes that wait to be read. Such a channel cannot be told to pause: a client that sends more of a
body than is being taken is cut off."""

MAX_MESSAGE = 16 * 1024
"""Bytes of the longest message that is sent, which every implementation of WebRTC takes."""

MAX_BUFFERED = 256 * 1024
"""Bytes that wait to be sent, above which answers wait."""


def link_to_octets_client(connected: Connected, on_refused: Callable[[str], object]) -> Link:
    """A link whose other side sends the requests of the client on the channel of ``connected``.

    Closing either closes the other.

    :param on_refused: called with the reason of each refusal.
    """
    inner, outer = memory_pair()
    _OctetsClient(connected, inner, on_refused)
    return outer


class _Requests(LocalHttpPort):
    """Answers the requests of a client that came by a connection of its own: no page from elsewhere
    can have a browser send them.
    """

    def _refusal(self, fields: list[tuple[str, str]], *, old: bool) -> str | None:
        return None


class _OctetsClient(asyncio.Transport):
    """The channel as the transport of an HTTP/1.1 connection."""

    def __init__(
        self, connected: Connected, link: Link, on_refused: Callable[[str], object]
    ) -> None:
        super().__init__()
        self._channel: Link = connected.link
        self._on_refused = on_refused
        self._closing = self._paused = self._ended = False
        self._session = Session(link, opener=True, accepting=False)
        established = Established(self._session, connected.connection, connected.remote_fingerprint)
        requests = _Requests(Peer(connected.peer_id, ReconnectingSession(established)))
        self._http: LocalConnection = requests.connection()
        self._http.connection_made(self)
        # The channel refers to this object, which refers to the task. It ends with either side.
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._channel.low_water = MAX_BUFFERED // 2
        self._channel.attach(self)

    async def _run(self) -> None:
        try:
            await self._session.wait_closed()
        finally:
            self._channel.close()
            self._end()

    def _end(self, error: Exception | None = None) -> None:
        if not self._ended:
            self._ended = self._closing = True
            self._http.connection_lost(error)

    # -- what the channel tells --------------------------------------------------------------------

    def message_received(self, message: bytes | str) -> None:
        """The next octets of the client."""
        if self._closing:
            return
        self._http.data_received(message.encode() if isinstance(message, str) else message)
        if self._http.http.waiting > MAX_READ_AHEAD:
            self._on_refused("more octets than are read")
            self.abort()

    def parts_received(self, head: bytes, body: bytes) -> None:
        """Never called: there are no frames."""
        raise AssertionError("a channel of octets holds no frames")

    def buffered_low(self) -> None:
        """Take note that the client has received what was sent."""
        if self._closing:
            if not self._channel.buffered_amount:
                self.abort()
        elif self._paused:
            self._paused = False
            self._http.resume_writing()

    def link_closed(self, error: Exception | None) -> None:
        """Cancel all requests: the client is gone."""
        self._end(error)
        self._session.abort()

    # -- as asyncio has it -------------------------------------------------------------------------

    def write(self, data: Octets) -> None:
        """Send octets, in messages that every client takes."""
        if self._closing:
            return
        most = min(self._channel.max_message_size, MAX_MESSAGE)
        view = memoryview(data)
        for start in range(0, len(view), most):
            self._channel.send(bytes(view[start : start + most]))
        if self._channel.buffered_amount > MAX_BUFFERED and not self._paused:
            self._paused = True
            self._http.pause_writing()

    def writelines(self, pieces: Iterable[Octets]) -> None:
        """Send several pieces."""
        self.write(b"".join(pieces))

    def get_write_buffer_size(self) -> int:
        """Bytes that were not sent yet."""
        return self._channel.buffered_amount

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing: there is no socket."""
        return default

    def pause_reading(self) -> None:
        """Without effect: see :data:`MAX_READ_AHEAD`."""

    def resume_reading(self) -> None:
        """Without effect."""

    def write_eof(self) -> None:
        """Without effect: a channel has no half of its own."""

    def is_closing(self) -> bool:
        """Whether it closes."""
        return self._closing

    def close(self) -> None:
        """Close once all was sent."""
        if self._closing:
            return
        self._closing = True
        self._channel.low_water = 0
        if not self._channel.buffered_amount:
            self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._channel.close()
