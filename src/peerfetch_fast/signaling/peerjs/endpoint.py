"""A signaling server from a client's view: its URLs, its handshake, and its errors."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from yarl import URL

from peerfetch_fast.errors import (
    IdTaken,
    MessageError,
    PeerfetchError,
    SignalingError,
    SignalingUnavailable,
    WebSocketClosed,
    WebSocketError,
)
from peerfetch_fast.http.websocket_frames import Close, Pong
from peerfetch_fast.http.websocket_frames import Event as SocketEvent
from peerfetch_fast.printable import printable
from peerfetch_fast.signaling.http_client import (
    BadStatus,
    HttpClient,
    SignalingSocket,
    WrongCertificate,
)
from peerfetch_fast.signaling.peerjs.messages import (
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
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_KEY, SignalingClientSettings
from peerfetch_fast.urls import parse_url

__all__ = ["Endpoint"]

_log = logging.getLogger(__name__)

# The release of PeerJS whose messages these are; servers read it for their statistics at most.
_VERSION = "1.5.4"

#: How much of a server's own words goes into an error, in characters.
_LONGEST_REASON = 300

_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}

# When a server cannot be reached, or is none; UnicodeError is for unspeakable host names.
_UNREACHABLE = (OSError, BadStatus, MessageError, UnicodeError)


class Endpoint:
    """A signaling server, found by its URL.

    :param url: ``ws://``, ``wss://``, ``http://`` or ``https://``, with the path under which the
        server serves, and ``?key=…`` where the server has a key of its own.

    Raises SignalingError if the URL or the key cannot be used.
    """

    def __init__(self, url: str, settings: SignalingClientSettings) -> None:
        self.url = url
        self._base, self._key = _parse_url(url)
        if not is_token(self._key) or "/" in self._key:
            raise SignalingError(f"{self._key!r} cannot be a signaling server's key")
        self._settings = settings

    def room_url(self, peer_id: str, token: str) -> URL:
        """The URL below which the server answers about the room of a connected peer."""
        return self._base / self._key / peer_id / token / "room"

    async def ask_for_id(self, http: HttpClient) -> str:
        """Have the server choose a peer id.

        Raises SignalingError if it cannot be reached, or is no signaling server.
        """
        url = (self._base / self._key / "id").with_query(version=_VERSION)
        try:
            async with asyncio.timeout(self._settings.open_timeout):
                status, body = await http.request("GET", url, max_body=MAX_ID_LENGTH, follow=True)
        except _UNREACHABLE as error:
            raise self._unreachable(error) from error
        if status != 200:
            raise self._no_server(status)
        peer_id = body.decode("ascii", "replace")
        if not is_peer_id(peer_id):
            raise SignalingError(
                f"{self.url} gave no peer id: check that it is a PeerJS signaling server's URL"
            )
        return peer_id

    async def open(
        self,
        http: HttpClient,
        peer_id: str,
        token: str,
        *,
        may_resume: bool,
        on_message: Callable[[Message], None],
    ) -> SignalingSocket:
        """Open a WebSocket, and return it once the server knows us by ``peer_id``.

        :param may_resume: whether the server may still hold a connection of ours, for this to
            take the place of.
        :param on_message: called with what comes until the server says that it knows us: the OPEN
            by which it does, and what came before.

        Raises IdTaken if another client holds the id; SignalingError if the server cannot be
        reached, refuses us, or is none.
        """
        url = (self._base / "peerjs").with_query(
            key=self._key, id=peer_id, token=token, version=_VERSION
        )

        async def handshake() -> SignalingSocket:
            most = self._settings.max_message_size + ENVELOPE
            socket = await http.websocket(url, max_message_size=most)
            try:
                await socket.send_ping(b"")
                while True:
                    event = await socket.receive_event()
                    if self._is_answer(event, peer_id, may_resume, on_message):
                        return socket
            except asyncio.CancelledError:
                socket.abort()  # it has had its time, or its network is gone
                raise
            except BaseException:
                await self.hang_up(socket)
                raise

        try:
            async with asyncio.timeout(self._settings.open_timeout):
                return await handshake()
        except _UNREACHABLE as error:
            raise self._unreachable(error) from error
        except (WebSocketClosed, WebSocketError) as error:
            raise self._hung_up() from error

    def _is_answer(
        self,
        event: SocketEvent,
        peer_id: str,
        may_resume: bool,
        on_message: Callable[[Message], None],
    ) -> bool:
        """Whether this message shows that the server has accepted us.

        Raises SignalingError if the message is a refusal.
        """
        if isinstance(event, str):
            message = self.parse(event)
            if message is None:
                return False
            if message.type is MessageType.OPEN:
                on_message(message)
                return True
            self.check_id(message, peer_id)
            if message.type is MessageType.ERROR:
                raise SignalingError(f"{self.url} refused us: {_printable(_reason(message))}")
            on_message(message)
            return may_resume and message.type in FORWARDED
        if isinstance(event, Close):
            raise self._hung_up()
        # PeerJS's own server takes a connection up again without a word. It sends its refusals
        # before it reads, so an answered ping means that there was none.
        return may_resume and isinstance(event, Pong)

    def check_id(self, message: Message, peer_id: str) -> None:
        """Check whether a message reports that the id is taken.

        Raises IdTaken if it does.
        """
        if message.type is MessageType.ID_TAKEN:
            raise IdTaken(
                f"The peer id {peer_id} is taken at {self.url}: choose another, or stop the "
                "program that uses it"
            )

    def parse(self, text: str) -> Message | None:
        """Parse a message; None, with a line in the log, if it is malformed."""
        try:
            message = parse(text)
        except BadMessage as error:
            _log.debug("%s sent what is no signaling message: %s", self.url, error)
            return None
        return message

    async def hang_up(self, socket: SignalingSocket) -> None:
        """Close a WebSocket; cut it if the server does not answer in time."""
        try:
            async with asyncio.timeout(self._settings.close_timeout):
                await socket.close()
        except (OSError, PeerfetchError):
            _log.debug("the connection to %s did not close in order", self.url)

    def _no_server(self, status: int) -> SignalingError:
        kind = SignalingUnavailable if status >= 500 else SignalingError
        return kind(
            f"{self.url} answered with HTTP status {status}: check that it is a PeerJS signaling "
            f"server's URL, with its path, and that the server's key is {self._key!r}"
        )

    def _hung_up(self) -> SignalingError:
        return SignalingError(
            f"{self.url} hung up before it let us in: check that it is a PeerJS signaling "
            "server's URL"
        )

    def _unreachable(self, error: BaseException) -> SignalingError:
        if isinstance(error, BadStatus):
            return self._no_server(error.status)
        if isinstance(error, TimeoutError):
            return SignalingUnavailable(
                f"{self.url} did not answer within {self._settings.open_timeout:g} s: check the "
                "address and the network"
            )
        if isinstance(error, ssl.SSLError):
            return SignalingError(
                f"{self.url} could not be verified: {_printable(error)}; check the host name, and "
                "that this machine trusts the server's certificate"
            )
        if isinstance(error, WrongCertificate):
            return SignalingError(
                f"{self.url} has another TLS certificate than the pin says: check the address, and "
                "take the new pin if the server's certificate was changed"
            )
        reason = error.strerror if isinstance(error, OSError) else None
        return SignalingUnavailable(
            f"{self.url} cannot be reached: {_printable(reason or error)}; check that a signaling "
            "server runs there"
        )


def _reason(message: Message) -> object:
    return message.payload.get("msg") if isinstance(message.payload, dict) else None


def _printable(value: object) -> str:
    return printable(str(value), _LONGEST_REASON)


def _parse_url(text: str) -> tuple[URL, str]:
    try:
        url = parse_url(text)
        scheme = _SCHEMES[url.scheme]
        if not url.host or url.user is not None or url.password is not None:
            raise ValueError("no host, or credentials beside it")
        key = url.query.get("key", DEFAULT_KEY)
        return url.with_scheme(scheme).with_query(None).with_fragment(None), key
    except (ValueError, KeyError) as error:
        raise SignalingError(
            f"{text!r} cannot be a signaling server's URL: write ws://HOST:PORT or wss://HOST/PATH"
        ) from error
