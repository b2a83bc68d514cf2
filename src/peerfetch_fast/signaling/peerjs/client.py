"""A client of PeerJS-compatible signaling servers, which stays connected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from yarl import URL

from peerfetch_fast.errors import IdTaken, SignalingError, WebSocketClosed, WebSocketError
from peerfetch_fast.http.websocket_frames import Close, Ping
from peerfetch_fast.identity import parse_pin
from peerfetch_fast.networks import Networks, Watch, watch_networks
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.signaling.http_client import HttpClient, SignalingSocket
from peerfetch_fast.signaling.patience import Patience
from peerfetch_fast.signaling.peerjs.endpoint import Endpoint
from peerfetch_fast.signaling.peerjs.heartbeat import Heartbeat
from peerfetch_fast.signaling.peerjs.ice_servers import Told, told
from peerfetch_fast.signaling.peerjs.messages import (
    CLOSE_TAKEN_OVER,
    FORWARDED,
    MAX_ID_LENGTH,
    Message,
    MessageType,
    encode,
    is_peer_id,
    is_remote_id,
    is_token,
)
from peerfetch_fast.signaling.peerjs.settings import SignalingClientSettings
from peerfetch_fast.webrtc.ice.servers import IceServer

__all__ = ["ClientState", "SignalMessage", "SignalingClient"]

_log = logging.getLogger(__name__)

_HEARTBEAT = encode(Message(MessageType.HEARTBEAT)).decode()

T = TypeVar("T")


class ClientState(Enum):
    """The state of a client's connection to its server."""

    NEW = "new"
    CONNECTING = "connecting"
    OPEN = "open"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SignalMessage:
    """A message of another peer: OFFER, ANSWER, CANDIDATE or LEAVE.

    An EXPIRE from ``src`` says that no such peer came to fetch what was sent to it.
    """

    type: MessageType
    src: str
    payload: object


class SignalingClient:
    """Keeps one peer id connected to a signaling server.

    A lost connection is taken up again with the same id and token, after exponential back-off
    with full jitter, until :meth:`close` or until the id is found to be someone else's. When this
    machine's networks change that is done at once.

    :param url: of the server: ``ws://``, ``wss://``, ``http://`` or ``https://``, with the path
        under which it serves, and ``?key=…`` where it has a PeerJS key of its own.
    :param peer_id: the id to be known by; None to be given one by the server.
    :param on_message: called with every message from another peer; its exceptions are logged.
    :param on_closed: called once if the client gives up after it had been open.
    :param token: proves to the server that a later connection is ours; None for a random one.
    :param pin: ``sha256:…`` of the TLS certificate by which the server is known, in place of a
        check of its name and issuer.
    :param rng: where the jitter comes from.

    Raises SignalingError if the URL, the id, the key or the token cannot be used, InvalidPin if the
    pin cannot.
    """

    def __init__(
        self,
        url: str,
        peer_id: str | None = None,
        *,
        on_message: Callable[[SignalMessage], None],
        on_closed: Callable[[SignalingError], None] | None = None,
        token: str | None = None,
        pin: str | None = None,
        settings: SignalingClientSettings | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if peer_id is not None and not is_peer_id(peer_id):
            raise SignalingError(
                f"{peer_id!r} cannot be a peer id: use at most {MAX_ID_LENGTH} letters, digits, "
                "'-' and '_'"
            )
        if token is not None and not is_token(token):
            raise SignalingError("The signaling token must be printable ASCII without spaces")
        self._settings = settings if settings is not None else SignalingClientSettings()
        self._endpoint = Endpoint(url, self._settings)
        self._pin = None if pin is None else parse_pin(pin)
        self._peer_id = peer_id
        self._on_message = on_message
        self._on_closed = on_closed
        # Only with a token from before may the server still hold a connection of ours.
        self._may_resume = token is not None
        self._token = token if token is not None else secrets.token_hex(16)
        self._backoff = Backoff(
            self._settings.backoff_initial,
            self._settings.backoff_maximum,
            self._settings.stable_after,
            rng if rng is not None else random.Random(),  # noqa: S311 - jitter is no secret
        )
        self._state = ClientState.NEW
        self._waiters: dict[asyncio.Future[ClientState], frozenset[ClientState]] = {}
        self._socket: SignalingSocket | None = None
        self._heartbeat: Heartbeat | None = None
        self._task: asyncio.Task[None] | None = None
        # While networks are watched: what is waited for until they change, and whether they have.
        self._watch: Watch | None = None
        self._patience = Patience()
        self._moved = False
        self._error: SignalingError | None = None
        self._told = Told()
        self._renew_at = math.inf
        # A connection that the server may have replaced by a later one of ours, unknown to us.
        self._replaced: SignalingSocket | None = None

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._endpoint.url

    @property
    def peer_id(self) -> str:
        """The id that this peer is known by.

        Raises SignalingError if the server has not given one yet.
        """
        if self._peer_id is None:
            raise SignalingError(f"{self.url} has not given a peer id yet: start the client first")
        return self._peer_id

    @property
    def known_id(self) -> str | None:
        """The id that this peer is known by; None before the server gave one."""
        return self._peer_id

    @property
    def room_url(self) -> URL:
        """The URL below which the server tells of our room (:class:`.room.Room`).

        Raises SignalingError if the server has not given an id yet.
        """
        return self._endpoint.room_url(self.peer_id, self._token)

    def http(self) -> HttpClient:
        """The HTTP client for the server, which checks its certificate as this client does."""
        return HttpClient(self._pin)

    @property
    def token(self) -> str:
        """The token, which proves to the server that a connection is ours."""
        return self._token

    @property
    def ice_servers(self) -> tuple[IceServer, ...]:
        """STUN and TURN servers that the server hands out, with logins that are renewed before they
        expire.
        """
        return self._told.servers

    @property
    def state(self) -> ClientState:
        """The state of the client's connection to its server."""
        return self._state

    async def wait_for(self, *states: ClientState) -> ClientState:
        """Wait until the client is, or has just been, in one of ``states``, and return which."""
        if self._state in states:
            return self._state
        waiter: asyncio.Future[ClientState] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = frozenset(states)
        try:
            return await waiter
        finally:
            del self._waiters[waiter]

    def _set_state(self, state: ClientState) -> None:
        self._state = state
        for waiter, states in self._waiters.items():
            if state in states and not waiter.done():
                waiter.set_result(state)

    async def __aenter__(self) -> SignalingClient:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect, and return once the server knows us. A client starts once.

        Raises IdTaken if another client holds the peer id; SignalingError if the server cannot be
        reached, refuses us, or is none.
        """
        if self._state is not ClientState.NEW:
            raise SignalingError("A signaling client starts only once: make a new one")
        self._set_state(ClientState.CONNECTING)
        self._watch = watch_networks(self._on_networks)
        self._task = asyncio.create_task(self._run())
        try:
            state = await self.wait_for(ClientState.OPEN, ClientState.CLOSED)
        except asyncio.CancelledError:
            await self.close()
            raise
        if state is ClientState.CLOSED:
            raise self._error or SignalingError("The signaling client was closed as it started")

    async def close(self) -> None:
        """Disconnect for good. Calling it again does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._watch is not None:
            self._watch.stop()
        self._set_state(ClientState.CLOSED)

    async def send(self, kind: MessageType | str, dst: str, payload: object = None) -> None:
        """Send a message to another peer; while reconnecting, wait for the server.

        :param kind: OFFER, ANSWER, CANDIDATE or LEAVE.
        :param payload: any JSON value.

        Raises SignalingError if the message cannot be sent as it stands, the client is not open, or
        the server was not there for ``send_timeout`` seconds.
        """
        text = self._encode(kind, dst, payload)
        try:
            async with asyncio.timeout(self._settings.send_timeout):
                await self._deliver(text)
        except TimeoutError:
            raise SignalingError(
                f"The message to {dst} was not sent: {self.url} could not be reached for "
                f"{self._settings.send_timeout:g} s"
            ) from None

    def _encode(self, kind: MessageType | str, dst: str, payload: object) -> str:
        if kind not in FORWARDED:
            raise SignalingError(f"{kind!r} is not a message that one peer sends to another")
        if not is_remote_id(dst):
            raise SignalingError(f"{dst!r} cannot be a peer id")
        data = encode(Message(MessageType(kind), dst=dst, payload=payload))
        if len(data) > self._settings.max_message_size:
            raise SignalingError(
                f"The message to {dst} is too large: {len(data)} bytes, and at most "
                f"{self._settings.max_message_size} are allowed"
            )
        return data.decode()

    async def _deliver(self, text: str) -> None:
        while True:
            if self._state in (ClientState.NEW, ClientState.CLOSED):
                raise SignalingError("The signaling client is not open") from self._error
            socket = self._socket
            if socket is None:
                await self.wait_for(ClientState.OPEN, ClientState.CLOSED)
                continue
            try:
                await socket.send(text)
            except (OSError, WebSocketClosed):
                # The connection is lost: wait until the receiving side has seen it too.
                if self._socket is socket:
                    await self.wait_for(ClientState.RECONNECTING, ClientState.CLOSED)
            else:
                return

    async def _run(self) -> None:
        was_open = False
        try:
            with contextlib.closing(self.http()) as http:
                while self._peer_id is None:
                    self._peer_id = await self._patience.wait(self._endpoint.ask_for_id(http))
                socket = await self._open(http)
                self._may_resume = was_open = True
                while True:
                    held = await self._serve(socket)
                    socket = await (self._renew(http, socket) if held else self._reopen(http))
        except SignalingError as error:
            self._error = error
        except Exception as error:
            # No exception may escape into the event loop, whatever a server sends.
            _log.exception("the signaling client failed")
            self._error = SignalingError(f"The connection to {self.url} failed: {error!r}")
        assert self._watch is not None
        self._watch.stop()
        self._set_state(ClientState.CLOSED)
        if was_open and self._on_closed is not None:
            self._call(self._on_closed, self._error)

    async def _open(self, http: HttpClient) -> SignalingSocket:
        """Open a connection, anew as often as networks change meanwhile."""
        while True:
            opening = self._endpoint.open(
                http,
                self.peer_id,
                self._token,
                may_resume=self._may_resume,
                on_message=self._pass_on,
            )
            socket = await self._patience.wait(opening)
            if socket is not None:
                return socket
            self._may_resume = True

    async def _renew(self, http: HttpClient, socket: SignalingSocket) -> SignalingSocket:
        """Connect anew for other logins. Messages that the server has sent on ``socket`` before the
        new connection took its place are read. If connecting fails, ``socket`` stays in use.
        """
        async with contextlib.AsyncExitStack() as over:
            over.push_async_callback(self._endpoint.hang_up, socket)
            try:
                renewed = await self._open(http)
            except IdTaken:
                raise
            except SignalingError as error:
                # The attempt may have reached the server all the same.
                self._replaced = socket
                _log.warning("no new logins for STUN and TURN servers: %s", error)
                self._renew_at = _now() + self._settings.renewal_retry
                over.pop_all()
                return socket
            over.push_async_callback(self._endpoint.hang_up, renewed)
            with contextlib.suppress(OSError, WebSocketClosed, WebSocketError):
                async with asyncio.timeout(self._settings.close_timeout):
                    while not isinstance(event := await socket.receive_event(), Close):
                        if isinstance(event, str):
                            self._receive(event)
            await self._endpoint.hang_up(socket)
            over.pop_all()
        return renewed

    async def _reopen(self, http: HttpClient) -> SignalingSocket:
        while True:
            if not self._moved:
                delay = self._backoff.failed(_now())
                _log.info("connecting to %s again in %.1f s", self.url, delay)
                await self._patience.wait(asyncio.sleep(delay, True))
            self._moved = False
            try:
                return await self._open(http)
            except IdTaken:
                raise
            except SignalingError as error:
                # A server that restarts, is full or is misconfigured gets well again; a device
                # that gave up does not.
                _log.warning("%s", error)

    def _on_networks(self, networks: Networks) -> None:
        """Try at once: another network may lead to a server that the last one did not reach."""
        now = _now()
        self._moved = True
        self._backoff.reset()
        if self._socket is not None and not networks.has(self._socket.local_address):
            self._socket.abort()
        elif self._heartbeat is not None:
            self._heartbeat.doubt(now, self._settings.probe_timeout)
        self._patience.end()

    async def _serve(self, socket: SignalingSocket) -> bool:
        """Receive until the connection is lost (False) or logins are to be renewed (True).

        Raises IdTaken if the server gave our id to someone else.
        """
        now = _now()
        heartbeat = Heartbeat(self._settings.heartbeat_interval, self._settings.dead_after, now)
        self._heartbeat = heartbeat
        self._moved = False
        self._backoff.opened(now)
        self._socket = socket
        self._set_state(ClientState.OPEN)
        held = False
        try:
            while not heartbeat.is_dead(now):
                if held := now >= self._renew_at:
                    return True
                if heartbeat.is_due(now):
                    async with asyncio.timeout(self._settings.dead_after):
                        await _beat(socket)
                deadline = min(heartbeat.deadline, self._renew_at)
                event = await self._patience.wait(socket.receive_event(), deadline)
                now = _now()
                if event is None:
                    continue
                heartbeat.heard(now)
                self._moved = False
                if isinstance(event, Close):
                    if socket is not self._replaced:
                        self._check_takeover(event)
                    _log.info("%s closed the connection", self.url)
                    return False
                if isinstance(event, str):
                    self._receive(event)
                elif isinstance(event, Ping):
                    async with asyncio.timeout(self._settings.dead_after):
                        await socket.send_pong(event.data)
            _log.warning("%s gave no sign of life", self.url)
            socket.abort()  # nor would it answer a CLOSE
        except (OSError, WebSocketClosed, WebSocketError) as error:
            _log.info("the connection to %s was lost: %r", self.url, error)
        finally:
            self._socket = self._heartbeat = None
            self._set_state(ClientState.RECONNECTING)
            if not held:
                await self._endpoint.hang_up(socket)
        return False

    def _check_takeover(self, close: Close) -> None:
        if close.code == CLOSE_TAKEN_OVER:
            # To connect again would throw the other client out, and so on for ever.
            raise IdTaken(
                f"Another program connected to {self.url} as {self.peer_id} with the same token: "
                "run only one of them, or give them different ids"
            )

    def _receive(self, text: str) -> None:
        message = self._endpoint.parse(text)
        if message is not None:
            self._endpoint.check_id(message, self.peer_id)
            self._pass_on(message)

    def _pass_on(self, message: Message) -> None:
        if message.type is MessageType.OPEN:
            self._told = told(message.payload)
            self._renew_at = self._told.renew_at(_now())
        elif message.type is MessageType.ERROR:
            _log.warning("%s reports an error: %.200r", self.url, message.payload)
        elif message.type in FORWARDED and message.src is not None:
            self._call(self._on_message, SignalMessage(message.type, message.src, message.payload))

    def _call(self, callback: Callable[[T], None], argument: T) -> None:
        try:
            callback(argument)
        except Exception:
            _log.exception("a callback of the signaling client failed")


async def _beat(socket: SignalingSocket) -> None:
    # The message is what PeerJS servers count; the ping is what they answer.
    await socket.send(_HEARTBEAT)
    await socket.send_ping(b"")


def _now() -> float:
    return asyncio.get_running_loop().time()
