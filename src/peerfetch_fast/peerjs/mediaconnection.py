"""A call between two peers, as PeerJS has it: sound and pictures, by aiortc."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from peerfetch_fast.errors import ConnectError, PeerfetchError, PeerUnavailable, SignalingError
from peerfetch_fast.peerjs.enums import ConnectionEventType, ConnectionType
from peerfetch_fast.peerjs.util import Configuration, util
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.switchboard import MAX_CANDIDATES, Switchboard, has_description
from peerfetch_fast.webrtc.candidates import candidate_from_dict
from peerfetch_fast.webrtc.listeners import SafeEmitter
from peerfetch_fast.webrtc.transports import close_connection

if TYPE_CHECKING:
    from peerfetch_fast.webrtc.connection import RTCPeerConnection

__all__ = ["MediaConnection", "RemoteStream"]

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 60.0
"""Seconds in which a call may be answered and connected: somebody may have to come to the
telephone."""

MAX_SIGNALS = 2 * MAX_CANDIDATES
"""Signals of the other side that wait to be read."""

_HANG_UP = "undefined"
"""The label of the channel by which PeerJS notices that the other side has hung up."""


@dataclass(frozen=True)
class RemoteStream:
    """What the other side sends: aiortc's tracks."""

    tracks: tuple[Any, ...]

    @property
    def audio(self) -> Any:
        """The first track of sound; None if there is none."""
        return next((track for track in self.tracks if track.kind == "audio"), None)

    @property
    def video(self) -> Any:
        """The first track of pictures; None if there is none."""
        return next((track for track in self.tracks if track.kind == "video"), None)


def _urls(urls: str | Sequence[str]) -> str | list[str]:
    return urls if isinstance(urls, str) else list(urls)


class Provider(Protocol):
    """The parts of a peer that its calls use."""

    @property
    def _configuration(self) -> Configuration | None: ...

    @property
    def _switchboard(self) -> Switchboard: ...

    def _connection_failed(self, connection: MediaConnection, error: PeerfetchError) -> None: ...

    def _forget(self, connection: MediaConnection) -> None: ...


class MediaConnection(SafeEmitter):
    """Emits ``Stream`` with a :class:`RemoteStream`, ``Close`` and ``Error``; made by a Peer.

    :ivar peer: the id of the other peer.
    :ivar metadata: what the caller has said of the call.
    :ivar remoteStream: what the other side sends, once it is known.
    """

    type = ConnectionType.Media
    ID_PREFIX = "mc_"

    def __init__(
        self,
        peer: str,
        provider: Provider,
        *,
        connectionId: str | None = None,
        metadata: Any = None,
        stream: Iterable[Any] = (),
        offer: Signal | None = None,
    ) -> None:
        super().__init__()
        self.peer = peer
        self.provider = provider
        self.connectionId = connectionId or f"{self.ID_PREFIX}{util.randomToken()}"
        self.metadata = metadata
        self.localStream = tuple(stream)
        self.remoteStream: RemoteStream | None = None
        self.peerConnection: RTCPeerConnection | None = None
        self._offer = offer
        self._open = False
        self._closed = False
        self._signals: asyncio.Queue[Signal] = asyncio.Queue(MAX_SIGNALS)
        self._changed = asyncio.Event()
        self._error: PeerfetchError | None = None
        self._task: asyncio.Task[None] | None = None
        # A call that nobody answers keeps its place no longer than it rings.
        loop = asyncio.get_running_loop()
        self._ringing = loop.call_later(CONNECT_TIMEOUT, self._unanswered)
        # Candidates may come before answer(), and are kept for it.
        provider._switchboard.enter(peer, self.connectionId, self)

    def __repr__(self) -> str:
        return f"<MediaConnection with {self.peer}>"

    @property
    def open(self) -> bool:
        """Whether the call is connected."""
        return self._open

    def start(self) -> None:
        """Call the other side."""
        self._begin(self._call)

    def answer(self, stream: Iterable[Any] = ()) -> None:
        """Take the call, and send these tracks, if any. Nothing happens to a call of ours."""
        if self._offer is not None and self._task is None and not self._closed:
            self.localStream = tuple(stream)
            self._begin(partial(self._take, self._offer))

    async def close(self) -> None:
        """Hang up. A call that was not answered is left unanswered, as PeerJS does. Idempotent."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._end()

    # -- signals of the other side -----------------------------------------------------------------

    def take(self, signal: Signal) -> None:
        """See :class:`.switchboard.Receiver`."""
        with contextlib.suppress(asyncio.QueueFull):
            self._signals.put_nowait(signal)

    def lost(self, kind: SignalKind) -> None:
        """See :class:`.switchboard.Receiver`."""
        if self._open:
            return
        absent = kind is SignalKind.ABSENT
        self._fail(PeerUnavailable(f"no peer {self.peer} is connected") if absent else ConnectError(
            f"the peer {self.peer} left"))  # fmt: skip

    def _unanswered(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._end())

    def _fail(self, error: PeerfetchError) -> None:
        self._error = self._error or error
        self._changed.set()

    # -- the call ----------------------------------------------------------------------------------

    def _begin(self, work: Callable[[], Awaitable[None]]) -> None:
        self._ringing.cancel()
        self._task = asyncio.get_running_loop().create_task(self._run(work))

    def _open_connection(self) -> RTCPeerConnection:
        """A connection whose events are heard. Raises MissingExtra."""
        from peerfetch_fast.webrtc import RTCPeerConnection
        from peerfetch_fast.webrtc._seam import aiortc

        config = self.provider._configuration
        servers = [
            aiortc.RTCIceServer(
                urls=_urls(one.urls), username=one.username, credential=one.credential
            )
            for one in (config.iceServers if config is not None else None) or ()
        ]
        self.peerConnection = connection = RTCPeerConnection(aiortc.RTCConfiguration(servers))
        connection.on("track", self._on_track)
        connection.on("datachannel", self._watch)
        connection.on("connectionstatechange", self._changed.set)
        return connection

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        reading: asyncio.Task[None] | None = None
        try:
            connection = self._open_connection()
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await work()
                reading = asyncio.ensure_future(self._read(connection))
                await self._until(lambda: connection.connectionState == "connected")
            self._open = True
            await self._until(lambda: connection.connectionState in ("failed", "closed"))
        except Exception as error:
            if not isinstance(error, PeerfetchError | TimeoutError | ValueError):
                logger.exception("a call with %s failed", self.peer)
            if not self._open:
                known = isinstance(error, PeerfetchError)
                failed = error if known else ConnectError(f"{self.peer} did not take the call")
                assert isinstance(failed, PeerfetchError)
                self.provider._connection_failed(self, failed)
                self.emit(ConnectionEventType.Error, failed)
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.wait((reading,))
        await self._end()

    async def _until(self, condition: Any) -> None:
        """Wait until that is so. Raises what :meth:`_fail` was told."""
        while not condition():
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    async def _call(self) -> None:
        connection = self.peerConnection
        assert connection is not None
        for track in self.localStream:
            connection.addTrack(track)
        for kind in {"audio", "video"} - {track.kind for track in self.localStream}:
            connection.addTransceiver(kind, direction="recvonly")
        self._watch(connection.createDataChannel(_HANG_UP))
        await connection.setLocalDescription(await connection.createOffer())
        await self._describe(SignalKind.OFFER, {"metadata": self.metadata})

    async def _take(self, offer: Signal) -> None:
        from peerfetch_fast.webrtc._seam import aiortc

        connection = self.peerConnection
        assert connection is not None
        description = aiortc.RTCSessionDescription(offer.sdp, "offer")
        await connection.setRemoteDescription(description)
        for track in self.localStream:
            connection.addTrack(track)
        await connection.setLocalDescription(await connection.createAnswer())
        await self._describe(SignalKind.ANSWER, {})

    async def _describe(self, kind: SignalKind, about: dict[str, object]) -> None:
        connection = self.peerConnection
        assert connection is not None
        about = {"type": ConnectionType.Media.value, **about}
        signal = Signal(kind, self.peer, self.connectionId, about=about)
        connection.on("icecandidate", self._on_candidate)
        sdp = connection.localDescription.sdp
        await self.provider._switchboard.send(replace(signal, sdp=sdp))

    def _on_candidate(self, candidate: Any) -> None:
        if candidate is None:
            return
        from aiortc.sdp import candidate_to_sdp

        told = {
            "candidate": f"candidate:{candidate_to_sdp(candidate)}",
            "sdpMid": candidate.sdpMid,
            "sdpMLineIndex": candidate.sdpMLineIndex,
        }
        about = {"type": ConnectionType.Media.value}
        signal = Signal(
            SignalKind.CANDIDATE, self.peer, self.connectionId, candidate=told, about=about
        )
        sending = asyncio.ensure_future(self._send(signal))
        sending.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _send(self, signal: Signal) -> None:
        with contextlib.suppress(SignalingError):
            await self.provider._switchboard.send(signal)

    async def _read(self, connection: RTCPeerConnection) -> None:
        left = MAX_CANDIDATES
        answered = self._offer is not None
        while True:
            signal = await self._signals.get()
            try:
                if signal.kind is SignalKind.CANDIDATE and left > 0:
                    left -= 1
                    await self._take_candidate(connection, signal)
                elif signal.kind is SignalKind.ANSWER and not answered:
                    answered = True
                    await self._take_answer(connection, signal)
            except Exception as error:  # aiortc has several, as for a connection that has ended
                self._fail(error if isinstance(error, PeerfetchError) else ConnectError(str(error)))

    async def _take_answer(self, connection: RTCPeerConnection, signal: Signal) -> None:
        from peerfetch_fast.webrtc._seam import aiortc

        if not has_description(signal):
            raise ConnectError(f"{self.peer} sent an answer without a description")
        description = aiortc.RTCSessionDescription(signal.sdp, "answer")
        await connection.setRemoteDescription(description)

    async def _take_candidate(self, connection: RTCPeerConnection, signal: Signal) -> None:
        try:
            candidate = candidate_from_dict(signal.candidate)
            if candidate is not None:
                await connection.addIceCandidate(candidate)
        except (ValueError, IndexError, AssertionError) as error:
            logger.info("a candidate of %s was ignored: %s", self.peer, error)

    # -- what becomes of it ------------------------------------------------------------------------

    def _watch(self, channel: Any) -> None:
        channel.on("close", lambda: self._fail(ConnectError(f"{self.peer} has hung up")))

    def _on_track(self, track: Any) -> None:
        before = () if self.remoteStream is None else self.remoteStream.tracks
        first = self.remoteStream is None
        self.remoteStream = RemoteStream((*before, track))
        if first:
            # All tracks of a description come in one turn of the loop.
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: self.emit(ConnectionEventType.Stream, self.remoteStream))

    async def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._open = False
        self._ringing.cancel()
        self.provider._switchboard.leave(self.peer, self.connectionId, self)
        self.provider._forget(self)
        if self.peerConnection is not None:
            await close_connection(self.peerConnection)
        self.emit(ConnectionEventType.Close)
