"""A client of PeerJS-compatible signaling servers, which stays connected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TypeVar

from yarl import URL

from peerfetch_fast.errors import IdTaken, SignalingError, WebSocketClosed, WebSocketError
from peerfetch_fast.http.websocket_frames import Close, Ping
from peerfetch_fast.identity import parse_pin
from peerfetch_fast.networks import Networks, Watch, watch_networks
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.signaling.endpoint import Endpoint
from peerfetch_fast.signaling.heartbeat import Heartbeat
from peerfetch_fast.signaling.http_client import HttpClient, SignalingSocket
from peerfetch_fast.signaling.messages import (
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
from peerfetch_fast.signaling.settings import ClientSettings

__all__ = ["ClientState", "SignalMessage", "SignalingClient"]

_log = logging.getLogger(__name__)

_HEARTBEAT = encode(Message(MessageType.HEARTBEAT)).decode()

T = TypeVar("T")


class ClientState(Enum):
    """Where a client stands with its server."""

    NEW = "new"
    CONNECTING = "connecting"
    OPEN = "open"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SignalMessage:
    """What another peer sent: OFFER, ANSWER, CANDIDATE or LEAVE.

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
    :param on_message: called with every message from another peer. What it raises is logged.
    :param on_closed: called once if the client gives up after it had been open.
    :param token: proves to the server that a later connection is ours; None for a random one.
    :param pin: ``sha256:…`` of the TLS certificate by which the server is known, in place of a
        check of its name and issuer.
    :param rng: where the jitter comes from.
    :raises SignalingError: the URL, the id, the key or the token cannot be used.
    :raises InvalidPin: the pin is none.
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
        settings: ClientSettings | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if peer_id is not None and not is_peer_id(peer_id):
            raise SignalingError(
                f"{peer_id!r} cannot be a peer id: use at most {MAX_ID_LENGTH} letters, digits, "
                "'-' and '_'"
            )
        if token is not None and not is_token(token):
            raise SignalingError("The signaling token must be printable ASCII without spaces")
        self._settings = settings if settings is not None else ClientSettings()
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
        self._patience: asyncio.Timeout | None = None
        self._moved = False
        self._error: SignalingError | None = None

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._endpoint.url

    @property
    def peer_id(self) -> str:
        """The id that this peer is known by.

        :raises SignalingError: the server has not given one yet.
        """
        if self._peer_id is None:
            raise SignalingError(f"{self.url} has not given a peer id yet: start the client first")
        return self._peer_id

    @property
    def room_url(self) -> URL:
        """Below which the server tells of our room (:class:`.room.Room`).

        :raises SignalingError: the server has not given an id yet.
        """
        return self._endpoint.room_url(self.peer_id, self._token)

    def http(self) -> HttpClient:
        """What asks the server over HTTP, and checks its certificate as this client does."""
        return HttpClient(self._pin)

    @property
    def token(self) -> str:
        """What proves to the server that a connection is ours."""
        return self._token

    @property
    def state(self) -> ClientState:
        """Where the client stands with its server."""
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

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect, and return once the server knows us. A client starts once.

        :raises IdTaken: another client holds the peer id.
        :raises SignalingError: the server cannot be reached, refuses us, or is none.
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
        :raises SignalingError: the message cannot be sent as it stands, the client is not open,
            or the server was not there for ``send_timeout`` seconds.
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
                # Lost under our hands: wait until the receiving side has seen it too.
                if self._socket is socket:
                    await self.wait_for(ClientState.RECONNECTING, ClientState.CLOSED)
            else:
                return

    async def _run(self) -> None:
        was_open = False
        try:
            with contextlib.closing(self.http()) as http:
                while self._peer_id is None:
                    self._peer_id = await self._unless_moved(self._endpoint.ask_for_id(http))
                socket = await self._open(http)
                self._may_resume = was_open = True
                while True:
                    await self._serve(socket)
                    socket = await self._reopen(http)
        except SignalingError as error:
            self._error = error
        except Exception as error:
            # Nothing may escape into the event loop, whatever a server finds to send.
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
            socket = await self._unless_moved(opening)
            if socket is not None:
                return socket
            self._may_resume = True

    async def _reopen(self, http: HttpClient) -> SignalingSocket:
        while True:
            if not self._moved:
                delay = self._backoff.failed(_now())
                _log.info("connecting to %s again in %.1f s", self.url, delay)
                await self._unless_moved(asyncio.sleep(delay, True))
            self._moved = False
            try:
                return await self._open(http)
            except IdTaken:
                raise
            except SignalingError as error:
                # A server that restarts, is full or is misconfigured gets well again; a device
                # that gave up does not.
                _log.warning("%s", error)

    async def _unless_moved(self, work: Awaitable[T]) -> T | None:
        """What ``work`` gives; None, at once, if networks change meanwhile."""
        try:
            async with asyncio.timeout(None) as patience:
                self._patience = patience
                return await work
        except TimeoutError:
            if not patience.expired():
                raise
            return None
        finally:
            self._patience = None

    def _on_networks(self, networks: Networks) -> None:
        """Where another network leads, the last may not have, and the other way round."""
        now = _now()
        self._moved = True
        self._backoff.reset()
        if self._socket is not None and not networks.has(self._socket.local_address):
            self._socket.abort()
        elif self._heartbeat is not None:
            self._heartbeat.doubt(now, self._settings.probe_timeout)
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(now)

    async def _serve(self, socket: SignalingSocket) -> None:
        """Receive until the connection is lost.

        :raises IdTaken: the server gave our id to someone else.
        """
        now = _now()
        heartbeat = Heartbeat(self._settings.heartbeat_interval, self._settings.dead_after, now)
        self._heartbeat = heartbeat
        self._moved = False
        self._backoff.opened(now)
        self._socket = socket
        self._set_state(ClientState.OPEN)
        try:
            while not heartbeat.is_dead(now):
                if heartbeat.is_due(now):
                    async with asyncio.timeout(self._settings.dead_after):
                        await _beat(socket)
                try:
                    async with asyncio.timeout_at(heartbeat.deadline) as patience:
                        self._patience = patience
                        event = await socket.receive_event()
                except TimeoutError:
                    if not patience.expired():
                        raise  # TCP's own
                    now = _now()
                    continue
                finally:
                    self._patience = None
                now = _now()
                heartbeat.heard(now)
                self._moved = False
                if isinstance(event, Close):
                    self._check_takeover(event)
                    _log.info("%s closed the connection", self.url)
                    return
                if isinstance(event, str):
                    self._receive(event)
                elif isinstance(event, Ping):
                    async with asyncio.timeout(self._settings.dead_after):
                        await socket.send_pong(event.data)
            _log.warning("%s gave no sign of life", self.url)
            socket.abort()  # nor would it answer a farewell
        except (OSError, WebSocketClosed, WebSocketError) as error:
            _log.info("the connection to %s was lost: %r", self.url, error)
        finally:
            self._socket = self._heartbeat = self._patience = None
            self._set_state(ClientState.RECONNECTING)
            await self._endpoint.hang_up(socket)

    def _check_takeover(self, close: Close) -> None:
        if close.code == CLOSE_TAKEN_OVER:
            # Coming back would throw the other one out, and so on for ever.
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
        if message.type is MessageType.ERROR:
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
