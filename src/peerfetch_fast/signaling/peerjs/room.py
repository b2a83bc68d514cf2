"""The client's side of plug and play rooms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import orjson

from peerfetch_fast.errors import MessageError, SignalingError
from peerfetch_fast.signaling.peerjs.client import ClientState, SignalingClient
from peerfetch_fast.signaling.peerjs.messages import is_peer_id

__all__ = ["Room", "stay_in_room"]

logger = logging.getLogger(__name__)

MAX_ANSWER = 256 * 1024
"""Bytes of the longest list of members that is read."""

JOIN_INTERVAL = 5.0
"""Seconds between joins: a server that was restarted knows of no room."""

ANSWER_TIMEOUT = 10.0
"""Seconds that each answer of the server may take."""


class Room:
    """The room of the clients that reach the server from the same network. Use ``async with``.

    :param client: one that is connected; its id and token say who we are.
    """

    def __init__(self, client: SignalingClient) -> None:
        self._client = client
        self._http = client.http()
        self._id: str | None = None

    @property
    def id(self) -> str | None:
        """The room's id; None before the server was asked."""
        return self._id

    async def __aenter__(self) -> Room:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the HTTP connection, without leaving the room."""
        self._http.close()

    async def join(self) -> list[str]:
        """Join the room, and return the ids of its members. Raises SignalingError."""
        # The room is looked up each time: our address or the server's secret may have changed.
        self._id = await self._ask_id()
        found = await self._ask("POST", f"{self._id}/join")
        return self._ids(found.get("clientsIds") if isinstance(found, dict) else None)

    async def _ask_id(self) -> str:
        found = await self._ask("GET", "id")
        room = found.get("roomId") if isinstance(found, dict) else None
        if not isinstance(room, str) or not is_peer_id(room):
            raise self._nonsense()
        return room

    async def members(self) -> list[str]:
        """The ids of the members. Raises SignalingError."""
        if self._id is None:
            self._id = await self._ask_id()
        return self._ids(await self._ask("GET", f"{self._id}/members"))

    async def leave(self) -> bool:
        """Leave the room, and return whether we were in it. Raises SignalingError."""
        if self._id is None:
            return False
        found = await self._ask("POST", f"{self._id}/leave")
        return isinstance(found, dict) and found.get("wasInRoom") is True

    def _ids(self, found: object) -> list[str]:
        if not isinstance(found, list):
            raise self._nonsense()
        return [id for id in found if isinstance(id, str) and is_peer_id(id)]

    def _nonsense(self) -> SignalingError:
        return SignalingError(f"{self._client.url} answered with what is no room")

    async def _ask(self, method: str, path: str) -> Any:
        url = self._client.room_url / path
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                status, text = await self._http.request(method, url, max_body=MAX_ANSWER)
        except (OSError, MessageError) as error:
            raise SignalingError(f"{self._client.url} has no answer: {error!r}") from error
        if len(text) > MAX_ANSWER:
            raise self._nonsense()
        if status == 404:
            raise SignalingError(f"{self._client.url} knows no rooms")
        if status != 200:
            raise SignalingError(f"{self._client.url} refused the room, with HTTP status {status}")
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            raise self._nonsense() from None


async def stay_in_room(client: SignalingClient) -> None:
    """Stay in the room, so that others find us, until cancelled; then leave it."""
    async with Room(client) as room:
        told = ""
        try:
            while client.state is not ClientState.CLOSED:
                try:
                    await room.join()
                    told = ""
                except SignalingError as error:
                    if str(error) != told:  # logged once, not every few seconds
                        told = str(error)
                        logger.warning("nobody finds this device in its room: %s", error)
                await asyncio.sleep(JOIN_INTERVAL)
        finally:
            with contextlib.suppress(SignalingError):
                await room.leave()
