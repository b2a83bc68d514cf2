"""Viewers and publishers by WebRTC, in the shape of WHEP (draft-ietf-wish-whep) and WHIP (RFC
9725): an offer is posted, the answer comes back, and what was made of it is a resource that is
patched and deleted.

It is plain HTTP inside a session that both ends have authenticated: whoever is between them can
change no fingerprint.
"""

from __future__ import annotations

import contextlib

import orjson

from peerfetch_fast.errors import CameraError, InvalidDescription
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.media.feed import Feed
from peerfetch_fast.media.inlet import Inlet
from peerfetch_fast.media.rtc.descriptions import Offer, read_offer
from peerfetch_fast.media.rtc.publishing import Publishing
from peerfetch_fast.media.rtc.viewing import Viewing
from peerfetch_fast.media.speaker import Hearing
from peerfetch_fast.webrtc.descriptions import MAX_SDP
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["Whep", "Whip"]

MAX_PER_PEER = 32
"""Connections of one peer to one camera at once."""

OFFER, FRAGMENT = "application/sdp", "application/trickle-ice-sdpfrag"


class _Connections:
    """Those of one peer: they end with its session.

    :ivar begun: how many offers are being answered.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Viewing | Publishing] = {}
        self.begun = 0

    def close(self) -> None:
        for connection in self.by_id.values():
            connection.close()


class _Negotiated:
    """Answers requests to where offers are posted, and to what is below it.

    :param name: the last part of that path.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._all: set[Viewing | Publishing] = set()

    async def close(self) -> None:
        """End all connections."""
        for connection in tuple(self._all):
            connection.close()
            await connection.closed()

    async def __call__(self, exchange: Exchange, path: str) -> None:
        """Answer one request; ``path`` is what is behind the name. Raises CameraError."""
        connections = exchange.kept.get(self, _Connections)
        if path == "":
            if exchange.method == "POST":
                await self._take(exchange, connections)
            else:
                exchange.refuse_method("POST")
            return
        connection = connections.by_id.get(path[1:])
        if connection is None:
            exchange.refuse(404, "There is no such connection, or no longer.")
        elif exchange.method == "DELETE":
            connection.close()
            await connection.closed()
            exchange.respond(200)
        elif exchange.method == "PATCH":
            await _patch(exchange, connection)
        elif exchange.method == "GET":
            headers = [("content-type", "application/json"), ("cache-control", "no-store")]
            exchange.respond(200, headers, orjson.dumps(connection.told()))
        else:
            exchange.refuse_method("GET, PATCH, DELETE")

    async def _take(self, exchange: Exchange, connections: _Connections) -> None:
        sdp = await read_text(exchange, OFFER)
        if sdp is None:
            return
        if len(connections.by_id) + connections.begun >= MAX_PER_PEER:
            exchange.refuse(429, f"{MAX_PER_PEER} connections to this camera: close one of them.")
            return
        try:
            offer = read_offer(sdp)
        except InvalidDescription as error:
            exchange.refuse(400, f"The offer cannot be used: {error}.")
            return
        connections.begun += 1
        try:
            await self._begin(exchange, connections, offer, sdp)
        finally:
            connections.begun -= 1

    async def _begin(
        self, exchange: Exchange, connections: _Connections, offer: Offer, sdp: str
    ) -> None:
        raise NotImplementedError

    def _keep(
        self,
        stack: contextlib.AsyncExitStack,
        connections: _Connections,
        connection: Viewing | Publishing,
    ) -> None:
        """Have the connection found until ``stack`` is left."""
        connections.by_id[connection.id] = connection
        self._all.add(connection)
        stack.callback(self._all.discard, connection)
        stack.callback(connections.by_id.pop, connection.id, None)

    def _created(self, exchange: Exchange, connection: Viewing | Publishing, answer: str) -> None:
        headers = [
            ("content-type", OFFER),
            ("location", f"{self._name}/{connection.id}"),
            ("accept-patch", FRAGMENT),
            ("cache-control", "no-store"),
        ]
        exchange.respond(201, headers, answer.encode())


class Whep(_Negotiated):
    """Viewers of a feed; what they say is heard by ``speaker``."""

    def __init__(self, name: str, feed: Feed, speaker: Hearing | None = None) -> None:
        super().__init__(name)
        self._feed, self._speaker = feed, speaker

    async def _begin(
        self, exchange: Exchange, connections: _Connections, offer: Offer, sdp: str
    ) -> None:
        async with contextlib.AsyncExitStack() as stack:
            viewer = await stack.enter_async_context(self._feed.join(exchange.kept))
            video = self._feed.video
            if video is None or video.codec == "jpeg":
                exchange.refuse(406, "This camera gives single pictures: they are at mjpeg.")
                return
            if video.codec == "h265":
                exchange.refuse(406, "This camera gives H.265, no H.264: it is at live.mp4.")
                return
            viewing = Viewing(self._feed, options_of(exchange), self._speaker)
            stack.push_async_callback(viewing.connection.close)
            try:
                # The pictures are passed on as they are: what says their profile is taken.
                offer = read_offer(sdp, video.sps[1:3].hex())
                answer = await viewing.answer(offer)
            except InvalidDescription as error:
                exchange.refuse(406, f"The offer cannot be answered: {error}.")
                return
            self._keep(stack, connections, viewing)
            self._created(exchange, viewing, answer)
            viewing.start(viewer, stack.pop_all())


class Whip(_Negotiated):
    """Publishers to an inlet, one at a time."""

    def __init__(self, name: str, inlet: Inlet) -> None:
        super().__init__(name)
        self._inlet = inlet

    async def _begin(
        self, exchange: Exchange, connections: _Connections, offer: Offer, sdp: str
    ) -> None:
        async with contextlib.AsyncExitStack() as stack:
            publishing = Publishing(self._inlet, options_of(exchange))
            stack.push_async_callback(publishing.connection.close)
            try:
                self._inlet.begin(publishing)
            except CameraError as error:
                exchange.refuse(409, f"{error}.")
                return
            stack.callback(self._inlet.end, publishing)
            try:
                answer = await publishing.answer(offer)
            except InvalidDescription as error:
                exchange.refuse(406, f"The offer cannot be answered: {error}.")
                return
            self._keep(stack, connections, publishing)
            self._created(exchange, publishing, answer)
            publishing.start(stack.pop_all())


def options_of(exchange: Exchange) -> ConnectionOptions:
    """How connections to who asks are made."""
    return ConnectionOptions() if exchange.connecting is None else exchange.connecting()


async def _patch(exchange: Exchange, connection: Viewing | Publishing) -> None:
    fragment = await read_text(exchange, FRAGMENT)
    if fragment is None:
        return
    try:
        connection.connection.add_candidates(fragment)
    except InvalidDescription as error:
        exchange.refuse(400, f"The candidates cannot be used: {error}.")
        return
    exchange.respond(204)


async def read_text(exchange: Exchange, content_type: str) -> str | None:
    """The body of a request of that type; None if it was refused."""
    given = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != content_type:
        exchange.refuse(415, f"This is to be sent as {content_type}.")
        return None
    body = b""
    while piece := await exchange.read():
        body += piece
        if len(body) > MAX_SDP:
            exchange.refuse(413, f"A description has {MAX_SDP} bytes at most.")
            return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        exchange.refuse(400, "A description is text in UTF-8.")
        return None
