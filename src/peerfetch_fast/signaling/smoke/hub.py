"""A hub without its sockets: the nodes, their addresses and host names.

Connections are opaque here. The reactions to a message are returned as a list of
:class:`~peerfetch_fast.signaling.peerjs.realm.Send` and ``Close``; times are passed in, in seconds
of a monotonic clock.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Generic, TypeVar

import orjson

from peerfetch_fast.signaling.peerjs.messages import CLOSE_POLICY, CLOSE_TAKEN_OVER, ENVELOPE
from peerfetch_fast.signaling.peerjs.realm import Action, Close, Send
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings

__all__ = ["CLOSE_UNSUPPORTED", "Hub"]

CLOSE_UNSUPPORTED = 1003
"""Smoke's own hub closes with this code if it cannot read a message (RFC 6455 section 7.4.1)."""

MAX_NAME = 253
"""Characters of the longest host name, as of one in DNS."""

MAX_REQUEST_ID = 64
MAX_TOKEN = 128

RENEWED_AT = 0.8
"""The part of their time after which nodes are told other logins at TURN servers."""

C = TypeVar("C", bound=Hashable)

_ADDRESS = re.compile(r"0\.\d{1,3}\.\d{1,3}\.\d{1,3}")


class _Violation(Exception):
    """A message that breaks the protocol."""


@dataclass(slots=True)
class _Node(Generic[C]):
    address: str
    connection: C
    token: str | None
    account: str
    hostname: str | None = None


class Hub(Generic[C]):
    """The nodes that are connected.

    :param configure: the RTCConfiguration of a node whose relays count for an account; None for an
        empty one.
    :param refused: counts refusals, by reason.
    """

    def __init__(
        self,
        settings: SignalingServerSettings,
        configure: Callable[[str], object],
        refused: Counter[Refusal],
    ) -> None:
        self._settings = settings
        self._configure = configure
        self._refused = refused
        self._count = 0
        self._nodes: dict[str, _Node[C]] = {}
        self._by_connection: dict[C, _Node[C]] = {}
        self._by_name: dict[str, _Node[C]] = {}
        # Former owners of addresses, so that nobody else gets theirs: as many as may be there.
        self._left: OrderedDict[str, str] = OrderedDict()
        self._renewals: OrderedDict[C, float] = OrderedDict()

    @property
    def addresses(self) -> list[str]:
        """The addresses of the connected nodes, in the order in which they came."""
        return list(self._nodes)

    def attach(
        self,
        connection: C,
        address: str | None,
        token: str | None,
        now: float,
        *,
        account: str | None = None,
    ) -> list[Action[C]]:
        """A WebSocket opened: let it in, or refuse it.

        :param address: what it asks for, as a node of ours does that was here before.
        :param token: what proves that the address is its own.
        :param account: whom its relays count for; by default its address alone.
        """
        if token is not None and not 0 < len(token) <= MAX_TOKEN:
            return self._refuse(connection, Refusal.BAD_ID, "the token is malformed")
        actions: list[Action[C]] = []
        before = self._nodes.get(address or "")
        if before is not None and _same(before.token, token):
            actions.append(Close(before.connection, CLOSE_TAKEN_OVER, "connected anew elsewhere"))
            self.detach(before.connection)
        if len(self._nodes) >= self._settings.max_clients:
            refusal = self._refuse(connection, Refusal.TOO_MANY_CLIENTS, "the hub is full")
            return actions + refusal
        if address is None or not self._may_have(address, token):
            address = self._next_address()
        self._left.pop(address, None)
        node = _Node(address, connection, token, account or address)
        self._nodes[address] = self._by_connection[connection] = node
        return [*actions, self._bind(node, now)]

    def _refuse(self, connection: C, refusal: Refusal, why: str) -> list[Action[C]]:
        self._refused[refusal] += 1
        return [Close(connection, CLOSE_POLICY, why)]

    def _may_have(self, address: str, token: str | None) -> bool:
        """Whether an address is free, and was not somebody else's when it was last seen."""
        if token is None or not _is_address(address) or address in self._nodes:
            return False
        return address not in self._left or _same(self._left[address], token)

    def _next_address(self) -> str:
        while True:
            self._count += 1
            address = str(IPv4Address(self._count))
            # One that a node has brought along from before the hub was started anew.
            if address not in self._nodes and address not in self._left:
                return address

    def _bind(self, node: _Node[C], now: float) -> Send[C]:
        told = self._configure(node.account)
        fields = dict(told) if isinstance(told, dict) else {}
        ttl = fields.pop("ttl", None)
        if isinstance(ttl, (int, float)):
            self._renewals[node.connection] = now + RENEWED_AT * ttl
            self._renewals.move_to_end(node.connection)
        configuration = {"iceServers": [], **fields}
        return _send(
            node.connection,
            {"type": "binding", "address": node.address, "configuration": configuration},
        )

    def detach(self, connection: C) -> None:
        """Forget a WebSocket that is gone; no effect if it was refused or replaced."""
        node = self._by_connection.pop(connection, None)
        if node is None:
            return
        self._renewals.pop(connection, None)
        del self._nodes[node.address]
        if node.hostname is not None:
            del self._by_name[node.hostname]
        if node.token is not None:
            self._left[node.address] = node.token
            if len(self._left) > self._settings.max_clients:
                self._left.popitem(last=False)

    def heard(self, connection: C, now: float) -> None:
        """Signs of life are asked for by the WebSocket's own pings."""

    def next_deadline(self) -> float | None:
        """The earliest time at which :meth:`expire` has something to do; None for never."""
        return next(iter(self._renewals.values()), None)

    def expire(self, now: float) -> list[Action[C]]:
        """Tell nodes their configuration anew before the logins in it expire."""
        actions: list[Action[C]] = []
        while self._renewals:
            connection, deadline = next(iter(self._renewals.items()))
            if deadline > now:
                break
            actions.append(self._bind(self._by_connection[connection], now))
        return actions

    def receive(self, connection: C, text: str, now: float) -> list[Action[C]]:
        """Pass a text message on, or answer it. One that cannot be read ends the connection."""
        node = self._by_connection.get(connection)
        if node is None:
            return []
        try:
            return self._route(node, orjson.loads(text))
        except (_Violation, orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
            is_json = isinstance(error, _Violation)
            self._refused[Refusal.BAD_SHAPE if is_json else Refusal.NOT_JSON] += 1
            self.detach(connection)
            return [Close(connection, CLOSE_UNSUPPORTED, "protocol violation")]

    def _route(self, node: _Node[C], message: object) -> list[Action[C]]:
        if not isinstance(message, dict):
            raise _Violation("no object")
        match message.get("type"):
            case "forward":
                return self._forward(node, message)
            case "register":
                return self._register(node, message)
            case "lookup":
                return self._lookup(node, message)
        raise _Violation("an unknown type")

    def _forward(self, node: _Node[C], message: dict[str, object]) -> list[Action[C]]:
        to = _text(message, "to", MAX_NAME)
        receiver = self._nodes.get(to)
        if receiver is not None:
            fields = {"type": "forward", "from": node.address, "to": to}
            passed = _send(receiver.connection, {**fields, "data": message.get("data")})
            if len(passed.data) > self._settings.max_message_size + ENVELOPE:
                # Numbers can grow ("1e15"), and the receiver's WebSocket would break.
                raise _Violation("too large as it is passed on")
            return [passed]
        if "request_id" not in message:
            return []  # as Smoke's own hub has it: its nodes know no answer
        answer = {"request_id": _request_id(message), "to": to, "reason": "nobody is there"}
        return [_send(node.connection, {"type": "forward-fail", **answer})]

    def _register(self, node: _Node[C], message: dict[str, object]) -> list[Action[C]]:
        about = {"request_id": _request_id(message)}
        hostname = _text(message, "hostname", MAX_NAME)
        holder = self._by_name.get(hostname)
        if holder not in (None, node):
            reason = f"hostname '{hostname}' already registered"
            return [_send(node.connection, {"type": "register-fail", **about, "reason": reason})]
        if node.hostname is not None:
            del self._by_name[node.hostname]
        node.hostname = hostname
        self._by_name[hostname] = node
        return [_send(node.connection, {"type": "register-ok", **about, "hostname": hostname})]

    def _lookup(self, node: _Node[C], message: dict[str, object]) -> list[Action[C]]:
        about = {"request_id": _request_id(message)}
        hostname = _text(message, "hostname", MAX_NAME)
        found = self._by_name.get(hostname) or self._nodes.get(hostname)
        addresses = [] if found is None else [found.address]
        return [_send(node.connection, {"type": "lookup-ok", **about, "addresses": addresses})]


def _same(one: str | None, other: str | None) -> bool:
    """Whether two tokens are the same, and tokens."""
    if one is None or other is None:
        return False
    octets = [token.encode(errors="surrogatepass") for token in (one, other)]
    return hmac.compare_digest(*octets)


def _is_address(text: str) -> bool:
    if not _ADDRESS.fullmatch(text):
        return False
    try:
        return str(IPv4Address(text)) == text and text != "0.0.0.0"  # noqa: S104 - nobody's
    except ValueError:
        return False


def _text(message: dict[str, object], name: str, most: int) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise _Violation(f"{name} is no text of 1 to {most} characters")
    return value


def _request_id(message: dict[str, object]) -> str | int:
    value = message.get("request_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _text(message, "request_id", MAX_REQUEST_ID)


def _send(connection: C, fields: dict[str, object]) -> Send[C]:
    """Raises orjson.JSONEncodeError for what is nested too deeply."""
    return Send(connection, orjson.dumps(fields))
