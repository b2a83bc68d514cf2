"""A node's place at a hub: one WebSocket for all its connections (docs/smoke.md, "The hub")."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import aiohttp
import orjson

from peerfetch_fast.errors import SignalingError, SignalingUnavailable
from peerfetch_fast.printable import printable
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.signaling.peerjs.ice_servers import told
from peerfetch_fast.signaling.peerjs.messages import ENVELOPE
from peerfetch_fast.signaling.peerjs.settings import MAX_MESSAGE_SIZE
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.webrtc.ice.servers import IceServer

__all__ = ["HubClient"]

logger = logging.getLogger(__name__)

OPEN_TIMEOUT = 10.0
"""Seconds that the hub may take to give an address, and to answer a request."""

HEARTBEAT = 15.0
"""Seconds between pings; a hub that does not answer in half of that is lost."""

BACKOFF_INITIAL, BACKOFF_MAXIMUM, STABLE_AFTER = 0.5, 15.0, 10.0

MAX_OFFERED = 1024
"""Connections that we have offered of which it is kept who takes what is said about them."""

OLD = "old-"
"""What the name of a connection begins with that a node of smoke-node has offered: theirs name no
connection, and have one with each address, which is the rest of it."""

MAX_NAME = 128
"""Characters of the longest connection id, protocol or label."""

MAX_REASON = 200
"""Characters of why a hub refuses that are told."""

_KINDS = {
    kind.value: kind
    for kind in (SignalKind.OFFER, SignalKind.ANSWER, SignalKind.CANDIDATE, SignalKind.GONE)
}

OnSignal = Callable[[Signal], None]
T = TypeVar("T")


def _name(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_NAME else None


def _to_data(signal: Signal) -> dict[str, object]:
    """Smoke's message for a signal."""
    data: dict[str, object] = {
        "type": signal.kind.value,
        "loopback": 0,
        "connectionId": signal.connection_id,
    }
    if signal.kind is SignalKind.CANDIDATE:
        return {**data, "candidate": signal.candidate or {"candidate": ""}}
    if signal.kind is SignalKind.GONE:
        return data
    about = {"protocol": signal.protocol, "label": signal.label, "restart": signal.restart}
    return {**data, **about, "sdp": {"type": signal.kind.value, "sdp": signal.sdp}}


def _from_data(peer_id: str, data: object) -> Signal | None:
    """The signal that another node's message is, whatever it holds; None if it is none."""
    if not isinstance(data, dict):
        return None
    kind = _KINDS.get(str(data.get("type")))
    connection_id = _name(data, "connectionId")
    if kind is None or not connection_id:
        return None
    description = data.get("sdp")
    is_one = isinstance(description, dict) and description.get("type") == kind.value
    sdp = description.get("sdp") if isinstance(description, dict) and is_one else None
    return Signal(
        kind,
        peer_id,
        connection_id,
        sdp=sdp if isinstance(sdp, str) else "",
        candidate=data.get("candidate"),
        protocol=_name(data, "protocol"),
        label=_name(data, "label"),
        restart=data.get("restart") is True,
    )


def _remember(known: OrderedDict[str, T], key: str, value: T) -> None:
    """Keep an entry as the newest; the oldest is forgotten."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MAX_OFFERED:
        known.popitem(last=False)


class HubClient:
    """Connects to a hub, and again when it is lost, by the same address if the hub still has it.

    :param url: ``ws://HOST:PORT/smoke`` or ``wss://…``. Raises SignalingError for what is none.
    """

    _named: ClassVar[dict[str, HubClient]] = {}
    _numbers = itertools.count(1)

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise SignalingError(f"{url!r} is no hub: write its URL, as in wss://HOST/smoke")
        self._url = url
        self._token = secrets.token_hex(16)
        self.name = f"smoke:{next(self._numbers)}"
        """The URL by which the seam's ``join`` finds this one."""
        self.address: str | None = None
        """Our address, or the latest; None before the first."""
        self.ice_servers: Sequence[IceServer] = ()
        self._hostname: str | None = None
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None
        self._bound = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._acceptor: OnSignal | None = None
        self.old_acceptor: OnSignal | None = None
        """Gets the offers of old nodes."""
        self._latest: OrderedDict[str, str] = OrderedDict()
        self._offered: OrderedDict[str, OnSignal] = OrderedDict()
        self._requests: dict[str, asyncio.Future[dict[str, Any]]] = {}

    @classmethod
    def named(cls, name: str) -> HubClient:
        """The client of that :attr:`name`. Raises SignalingError if there is none."""
        try:
            return cls._named[name]
        except KeyError:
            raise SignalingError(f"there is no hub {name}") from None

    async def start(self) -> None:
        """Connect. Raises SignalingUnavailable."""
        if self._keeper is not None:
            return
        self._named[self.name] = self
        self._first = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await self._first
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            await self.close()
            raise SignalingUnavailable(f"the hub {self._url} cannot be reached: {error}") from None

    async def close(self) -> None:
        """Leave the hub. Idempotent."""
        self._named.pop(self.name, None)
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    # -- what a node asks of it --------------------------------------------------------------------

    async def register(self, hostname: str) -> None:
        """Be found by a host name, instead of the one before. Raises SignalingError."""
        await self._ask("register", hostname)
        self._hostname = hostname

    async def lookup(self, hostname: str) -> list[str]:
        """The addresses of a host name: one or none. Raises SignalingError."""
        found = (await self._ask("lookup", hostname)).get("addresses")
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    async def _ask(self, kind: str, hostname: str) -> dict[str, Any]:
        request_id = secrets.token_hex(8)
        answer = asyncio.get_running_loop().create_future()
        self._requests[request_id] = answer
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await self._bound.wait()
                await self._put({"type": kind, "request_id": request_id, "hostname": hostname})
                fields: dict[str, Any] = await answer
        except TimeoutError:
            raise SignalingError(f"the hub {self._url} does not answer") from None
        finally:
            del self._requests[request_id]
        if str(fields.get("type")).endswith("-fail"):
            reason = printable(str(fields.get("reason")), MAX_REASON)
            raise SignalingError(f"the hub refused: {reason}")
        return fields

    # -- as a service of signaling -----------------------------------------------------------------

    def join(self, on_signal: OnSignal, *, accepts: bool) -> _HubSignaling:
        """Our signaling.

        :param accepts: whether it gets the offers of others, and not what is said about its own.
        """
        if accepts:
            self._acceptor = on_signal
        return _HubSignaling(self, on_signal)

    async def send(self, signal: Signal, on_signal: OnSignal) -> None:
        """Pass a signal on. Raises SignalingError if the hub is not connected."""
        if signal.kind is SignalKind.OFFER and not signal.restart:
            _remember(self._offered, signal.connection_id, on_signal)
            _remember(self._latest, signal.peer_id, signal.connection_id)
        forward = {"type": "forward", "to": signal.peer_id, "data": _to_data(signal)}
        await self._put({**forward, "from": self.address, "request_id": secrets.token_hex(8)})

    async def _put(self, fields: dict[str, object]) -> None:
        if self._socket is None:
            raise SignalingError(f"the hub {self._url} is not connected")
        try:
            await self._socket.send_str(orjson.dumps(fields).decode())
        except (OSError, aiohttp.ClientError) as error:
            raise SignalingError(f"the hub {self._url} was lost: {error}") from None

    # -- the connection ----------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Stay connected until cancelled."""
        rng = random.Random()  # noqa: S311 - jitter is no secret
        backoff = Backoff(BACKOFF_INITIAL, BACKOFF_MAXIMUM, STABLE_AFTER, rng)
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    await self._stay(session, backoff)
                # A hub may redirect to a host of which Python's codec makes a UnicodeError.
                except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
                    logger.info("the hub %s was lost: %s", self._url, error)
                    if self._first is not None and not self._first.done():
                        self._first.set_exception(error)
                await asyncio.sleep(backoff.failed(loop.time()))

    async def _stay(self, session: aiohttp.ClientSession, backoff: Backoff) -> None:
        query = {"token": self._token}
        if self.address is not None:
            query["address"] = self.address
        async with session.ws_connect(
            self._url, params=query, heartbeat=HEARTBEAT, max_msg_size=MAX_MESSAGE_SIZE + ENVELOPE
        ) as socket:
            self._socket = socket
            backoff.opened(asyncio.get_running_loop().time())
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        self._receive(message.data)
            finally:
                self._socket = None
                self._bound.clear()

    def _receive(self, text: str) -> None:
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        if not isinstance(fields, dict):
            return
        kind = fields.get("type")
        if kind == "binding":
            self._bind(fields)
        elif kind == "forward" and isinstance(sender := fields.get("from"), str):
            self._take(_from_data(sender, self._completed(sender, fields.get("data"))))
        elif kind == "forward-fail" and isinstance(absent := fields.get("to"), str):
            self._take(Signal(SignalKind.ABSENT, absent))
        elif isinstance(request_id := fields.get("request_id"), str):
            answer = self._requests.get(request_id)
            if answer is not None and not answer.done():
                answer.set_result(fields)

    def _completed(self, sender: str, data: object) -> object:
        """What another node says, with the name of its connection."""
        if not isinstance(data, dict) or "connectionId" in data or len(sender) > MAX_NAME:
            return data
        known = self._latest.get(sender)
        is_offer = data.get("type") == SignalKind.OFFER.value
        if known is None and is_offer:
            _remember(self._latest, sender, OLD + sender)
        # An offer on a connection that there is changes its media, of which we have none.
        return {**data, "connectionId": known or OLD + sender, "restart": known is not None}

    def forget_old(self, address: str) -> None:
        """The connection with an old node has ended: it may make another."""
        self._latest.pop(address, None)

    def _bind(self, fields: dict[str, Any]) -> None:
        address = fields.get("address")
        if not isinstance(address, str) or not 0 < len(address) <= MAX_NAME:
            return
        self.address = address
        self.ice_servers = told(fields.get("configuration")).servers
        self._bound.set()
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        elif self._hostname is not None:
            again = asyncio.get_running_loop().create_task(self._register_again(self._hostname))
            again.add_done_callback(lambda _: None)

    async def _register_again(self, hostname: str) -> None:
        try:
            await self.register(hostname)
        except SignalingError as error:
            logger.warning("the host name %s is not ours any more: %s", hostname, error)

    def _take(self, signal: Signal | None) -> None:
        if signal is None:
            return
        if signal.kind is SignalKind.ABSENT:
            takers = [*dict.fromkeys(self._offered.values()), self._acceptor]
        else:
            is_old = signal.connection_id.startswith(OLD)
            acceptor = self.old_acceptor if is_old else self._acceptor
            takers = [self._offered.get(signal.connection_id, acceptor)]
        for take in takers:
            if take is not None:
                try:
                    take(signal)
                except Exception:
                    logger.exception("a callback of signaling failed")


class _HubSignaling:
    """See :class:`~peerfetch_fast.signaling.seam.Signaling`."""

    token = ""

    def __init__(self, hub: HubClient, on_signal: OnSignal) -> None:
        self._hub = hub
        self._on_signal = on_signal

    @property
    def peer_id(self) -> str:
        if self._hub.address is None:
            raise SignalingError("the hub has given no address yet")
        return self._hub.address

    @property
    def ice_servers(self) -> Sequence[IceServer]:
        return self._hub.ice_servers

    async def start(self) -> None:
        await self._hub.start()

    async def send(self, signal: Signal) -> None:
        await self._hub.send(signal, self._on_signal)

    async def peers(self) -> list[str]:
        return []

    async def be_found(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """The hub is the node's: it closes it."""
