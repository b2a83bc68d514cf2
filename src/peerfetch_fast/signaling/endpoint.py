"""One signaling server as its clients see it: its URLs, its handshake, and what can go wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from peerfetch_fast.errors import IdTaken, SignalingError, SignalingUnavailable
from peerfetch_fast.signaling.messages import (
    ENVELOPE,
    FORWARDED,
    MAX_ID_LENGTH,
    BadMessage,
    Message,
    MessageType,
    is_peer_id,
    is_token,
    parse,
)
from peerfetch_fast.signaling.settings import DEFAULT_KEY, ClientSettings

__all__ = ["Endpoint"]

_log = logging.getLogger(__name__)

# The release of PeerJS whose messages these are; servers read it for their statistics at most.
_VERSION = "1.5.4"

#: How much of a server's own words goes into an error, in characters.
_LONGEST_REASON = 300

_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}

# What aiohttp raises when a server cannot be reached; UnicodeError is for unspeakable host names.
_UNREACHABLE = (OSError, aiohttp.ClientError, UnicodeError)


class Endpoint:
    """A signaling server, found by its URL.

    :param url: ``ws://``, ``wss://``, ``http://`` or ``https://``, with the path under which the
        server serves, and ``?key=…`` where the server has a key of its own.
    :raises SignalingError: the URL or the key cannot be used.
    """

    def __init__(self, url: str, settings: ClientSettings) -> None:
        self.url = url
        self._base, self._key = _parse_url(url)
        if not is_token(self._key) or "/" in self._key:
            raise SignalingError(f"{self._key!r} cannot be a signaling server's key")
        self._settings = settings

    def room_url(self, peer_id: str, token: str) -> URL:
        """Below which a peer that is connected is told of its room."""
        return self._base / self._key / peer_id / token / "room"

    async def ask_for_id(self, session: aiohttp.ClientSession) -> str:
        """Have the server choose a peer id.

        :raises SignalingError: it cannot be reached, or is no signaling server.
        """
        body = bytearray()
        try:
            async with session.get(
                self._base / self._key / "id",
                params={"version": _VERSION},
                headers={"Accept-Encoding": "identity"},
            ) as response:
                if response.status != 200:
                    raise self._no_server(response.status)
                async for chunk in response.content.iter_chunked(MAX_ID_LENGTH):
                    body += chunk
                    if len(body) > MAX_ID_LENGTH:
                        break
        except _UNREACHABLE as error:
            raise self._unreachable(error) from error
        peer_id = body.decode("ascii", "replace")
        if not is_peer_id(peer_id):
            raise SignalingError(
                f"{self.url} gave no peer id: check that it is a PeerJS signaling server's URL"
            )
        return peer_id

    async def open(
        self,
        session: aiohttp.ClientSession,
        peer_id: str,
        token: str,
        *,
        may_resume: bool,
        on_message: Callable[[Message], None],
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket, and return it once the server knows us by ``peer_id``.

        :param may_resume: whether the server may still hold a connection of ours, for this to
            take the place of.
        :param on_message: called with what comes before the server says that it knows us.
        :raises IdTaken: another client holds the id.
        :raises SignalingError: the server cannot be reached, refuses us, or is none.
        """
        params = {"key": self._key, "id": peer_id, "token": token, "version": _VERSION}

        async def handshake() -> aiohttp.ClientWebSocketResponse:
            socket: aiohttp.ClientWebSocketResponse[Any] = await session.ws_connect(
                self._base / "peerjs",
                params=params,
                autoping=False,  # pongs tell that the server lives
                # Refused from there on; a server adds to what was sent who has sent it.
                max_msg_size=self._settings.max_message_size + ENVELOPE + 1,
            )
            try:
                await socket.ping()
                while not self._is_answer(await socket.receive(), peer_id, may_resume, on_message):
                    pass
            except BaseException:
                await self.hang_up(socket)
                raise
            return socket

        try:
            async with asyncio.timeout(self._settings.open_timeout):
                return await handshake()
        except _UNREACHABLE as error:
            # Not chained: aiohttp's text holds the whole URL, and so the token.
            raise self._unreachable(error) from None

    def _is_answer(
        self,
        frame: aiohttp.WSMessage,
        peer_id: str,
        may_resume: bool,
        on_message: Callable[[Message], None],
    ) -> bool:
        """Whether this frame says that the server knows us.

        :raises SignalingError: it says that the server does not.
        """
        if frame.type is WSMsgType.TEXT:
            message = self.parse(frame.data)
            if message is None:
                return False
            if message.type is MessageType.OPEN:
                return True
            self.check_id(message, peer_id)
            if message.type is MessageType.ERROR:
                raise SignalingError(f"{self.url} refused us: {_printable(_reason(message))}")
            on_message(message)
            return may_resume and message.type in FORWARDED
        if frame.type is WSMsgType.PONG:
            # PeerJS's own server takes a connection up again without a word. It sends its
            # refusals before it reads, so an answered ping means that there was none.
            return may_resume
        if frame.type in (WSMsgType.PING, WSMsgType.BINARY):
            return False
        raise SignalingError(
            f"{self.url} hung up before it let us in: check that it is a PeerJS signaling "
            "server's URL"
        )

    def check_id(self, message: Message, peer_id: str) -> None:
        """Look whether the server says that the id is someone else's.

        :raises IdTaken: it does.
        """
        if message.type is MessageType.ID_TAKEN:
            raise IdTaken(
                f"The peer id {peer_id} is taken at {self.url}: choose another, or stop the "
                "program that uses it"
            )

    def parse(self, text: str) -> Message | None:
        """Read a message; None, with a line in the log, for what is none."""
        try:
            message = parse(text)
        except BadMessage as error:
            _log.debug("%s sent what is no signaling message: %s", self.url, error)
            return None
        return message

    async def hang_up(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Close a WebSocket, in order where the server plays along in time."""
        # aiohttp cuts the connection when its close is cancelled.
        try:
            async with asyncio.timeout(self._settings.close_timeout):
                await socket.close()
        except OSError:
            _log.debug("the connection to %s did not close in order", self.url)

    def _no_server(self, status: int) -> SignalingError:
        kind = SignalingUnavailable if status >= 500 else SignalingError
        return kind(
            f"{self.url} answered with HTTP status {status}: check that it is a PeerJS signaling "
            f"server's URL, with its path, and that the server's key is {self._key!r}"
        )

    def _unreachable(self, error: BaseException) -> SignalingError:
        if isinstance(error, aiohttp.ClientResponseError):
            # One that redirects without end has no status of its own.
            return self._no_server(error.history[0].status if error.history else error.status)
        if isinstance(error, TimeoutError):
            return SignalingUnavailable(
                f"{self.url} did not answer within {self._settings.open_timeout:g} s: check the "
                "address and the network"
            )
        if isinstance(error, aiohttp.ClientSSLError):
            return SignalingError(
                f"{self.url} could not be verified: {_printable(error)}; check the host name, and "
                "that this machine trusts the server's certificate"
            )
        if isinstance(error, aiohttp.ServerFingerprintMismatch):
            return SignalingError(
                f"{self.url} has another TLS certificate than the pin says: check the address, and "
                "take the new pin if the server's certificate was changed"
            )
        return SignalingUnavailable(
            f"{self.url} cannot be reached: {_printable(error)}; check that a signaling server "
            "runs there"
        )


def _reason(message: Message) -> object:
    return message.payload.get("msg") if isinstance(message.payload, dict) else None


def _printable(value: object) -> str:
    # What a server says may hold anything, and ends up on a terminal.
    text = str(value)[:_LONGEST_REASON]
    return "".join(char if char.isprintable() else "?" for char in text)


def _parse_url(text: str) -> tuple[URL, str]:
    try:
        url = URL(text)
        scheme = _SCHEMES[url.scheme]
        if not url.host or url.user is not None or url.password is not None:
            raise ValueError("no host, or credentials beside it")
        key = url.query.get("key", DEFAULT_KEY)
        return url.with_scheme(scheme).with_query(None).with_fragment(None), key
    except (ValueError, KeyError) as error:
        raise SignalingError(
            f"{text!r} cannot be a signaling server's URL: write ws://HOST:PORT or wss://HOST/PATH"
        ) from error
