"""A hub of Smoke's nodes, and a node that hears what one says."""

from __future__ import annotations

import json
from collections import Counter

from tests.fuzz.connections import Connections
from tests.fuzz.program import Program

from peerfetch_fast.signaling.peerjs.ice_servers import Welcome
from peerfetch_fast.signaling.peerjs.messages import ENVELOPE
from peerfetch_fast.signaling.peerjs.realm import Action
from peerfetch_fast.signaling.peerjs.refusals import Refusal
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.signaling.smoke.client import MAX_NAME, MAX_OFFERED, HubClient
from peerfetch_fast.signaling.smoke.hub import Hub
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import MAX_SERVERS

TTL = 100.0
SETTINGS = SignalingServerSettings(
    max_clients=4,
    max_queue=1_500,
    max_queued_total=2_500,
    max_message_size=1_000,
    max_outgoing=4_000,
    turn=TurnLogins(("turn:relay.example",), "secret", ttl=TTL),
)
ADDRESSES = ("0.0.0.1", "0.0.0.2", "0.0.0.3", "0.0.1.0", "0.0.0.0", "0.0.0.256", "1.2.3.4", "", "a")
TOKENS = (None, "t", "u", "", "\ud800", "t" * 200)
NAMES = ("a", "b", "0.0.0.1", "0.0.0.2", "", "x" * 254, "é")
TYPES = ("forward", "forward", "register", "lookup", "binding", "", 7, None)
IDS: tuple[object, ...] = ("1", 7, True, None, "x" * 65, [], 1.5)
VALUES: tuple[object, ...] = (None, True, 7, 1e15, "", "text", "x" * 300, [], [[]], {}, {"a": {}})
LEAPS = (0.0, 0.1, 10.0, TTL, 10 * TTL)


class World(Connections):
    """What a hub was told, and what must hold for it; connections are known by their addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.hub: Hub[int] = Hub(SETTINGS, Welcome(SETTINGS, lambda: 5_000.0), Counter[Refusal]())

    def take(self, actions: list[Action[int]], newcomer: int | None = None) -> None:
        for action in self.sent(actions, newcomer):
            assert len(action.data) <= SETTINGS.max_message_size + ENVELOPE
            said = json.loads(action.data)
            if said["type"] == "binding":
                assert self.open.setdefault(action.to, said["address"]) == said["address"]
            elif said["type"] == "forward":
                assert said["to"] == self.open[action.to]
                assert said["from"] in self.open.values()
        assert list(self.open.values()) == self.hub.addresses
        assert len(set(self.hub.addresses)) == len(self.hub.addresses) <= SETTINGS.max_clients
        deadline = self.hub.next_deadline()
        assert (deadline is None) == (not self.open)

    def attach(self, program: Program) -> None:
        self.next += 1
        address, token = program.pick((None, *ADDRESSES)), program.pick(TOKENS)
        self.take(self.hub.attach(self.next, address, token, self.now), self.next)

    def message(self, program: Program) -> None:
        if not self.open:
            return
        connection, flags = program.pick(list(self.open)), program.byte()
        if flags & 1:
            text = program.text()
        else:
            fields: dict[str, object] = {"type": program.pick(TYPES), "to": program.pick(ADDRESSES)}
            fields["hostname"] = program.pick(NAMES)
            fields["data"] = program.pick(VALUES)
            if flags & 2:
                fields["request_id"] = program.pick(IDS)
            if flags & 4:
                fields["data"] = [fields["data"]] * program.byte()
            text = json.dumps(fields).replace("1000000000000000.0", "1e15")
        if len(text.encode()) <= SETTINGS.max_message_size:
            self.take(self.hub.receive(connection, text, self.now))


def hub(data: bytes) -> int:
    """A hub's nodes: they come, go, speak, take each other's places and wait for new logins."""
    program, world, steps = Program(data), World(), 0
    while program and steps < 200:
        steps += 1
        match program.byte() % 6:
            case 0 | 1:
                world.attach(program)
            case 2 | 3:
                world.message(program)
            case 4:
                world.hub.detach(world.end_one(program))
                world.take([])
            case _:
                world.now += program.pick(LEAPS)
                world.take(world.hub.expire(world.now))
                deadline = world.hub.next_deadline()
                assert deadline is None or deadline > world.now
    for connection in list(world.open):
        del world.open[connection]
        world.hub.detach(connection)
    world.take([])
    return steps


def hub_client(data: bytes) -> int:
    """A node to which its hub, and through it others, say anything."""
    program, taken, steps = Program(data), list[Signal](), 0
    client = HubClient("ws://hub.example/smoke")
    client.join(taken.append, accepts=True)
    while program and steps < 200:
        steps += 1
        if program.byte() & 1:
            client._receive(program.text())
        else:
            client._receive(json.dumps(_said(program)))
        assert client.address is None or 0 < len(client.address) <= MAX_NAME
        assert len(client.ice_servers) <= MAX_SERVERS
        assert not client._requests
        assert len(client._offered) <= MAX_OFFERED
    for signal in taken:
        assert signal.peer_id is not None
        if signal.kind is not SignalKind.ABSENT:
            assert 0 < len(signal.connection_id) <= MAX_NAME
            assert isinstance(signal.sdp, str)
    return steps


def _said(program: Program) -> dict[str, object]:
    """A hub's message, of which some members are of another kind."""
    kinds = ("offer", "answer", "candidate", "gone", "left", "absent", 7, None, [])
    kind = program.pick(kinds)
    data: object = {
        "type": kind,
        "connectionId": program.pick(("a", "", "x" * 200, 7, None)),
        "sdp": program.pick(({"type": kind, "sdp": "v=0"}, {"type": "offer", "sdp": 7}, *VALUES)),
        "label": program.pick(VALUES),
        "restart": program.pick((True, False, 1)),
    }
    servers = {"urls": program.pick(("stun:a.example", "turn:a", ["stun:b"] * 40, *VALUES))}
    configuration = {"iceServers": program.pick(([servers] * 20, [[]], *VALUES))}
    return {
        "type": program.pick(("forward", "binding", "forward-fail", "lookup-ok", "", 7, [])),
        "from": program.pick(("0.0.0.2", *VALUES)),
        "to": program.pick(("0.0.0.2", *VALUES)),
        "address": program.pick(("0.0.0.1", *VALUES)),
        "data": program.pick((data, *VALUES)),
        "configuration": program.pick((configuration, {**configuration, "ttl": 1}, *VALUES)),
        "request_id": program.pick(IDS),
    }


def hub_seeds() -> list[bytes]:
    come = bytes((0, 1, 1, 0, 2, 2, 0, 0, 0))
    forward = bytes((2, 0, 2, 0, 1, 0, 5, 0))
    return [
        come + forward * 3 + bytes((5, 3, 4, 0, 0, 1, 2)),
        come + bytes((2, 0, 2, 2, 0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0)),
        come + bytes((2, 0, 4, 0, 1, 0, 3, 120)),
        come + bytes((2, 0, 1, 17)) + b'{"type":"lookup"}' + come * 2,
    ]


def hub_client_seeds() -> list[bytes]:
    return [
        bytes((0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)),
        bytes((0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1)) * 3,
        b"\x01\x2e" + b'{"type":"forward-fail","to":"0.0.0.2","data":1}',
        bytes(range(256)),
    ]
