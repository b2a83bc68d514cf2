"""A PeerNet server, which is asked what an input tells, and the filters that it takes."""

from __future__ import annotations

import contextlib
import json

from tests.fuzz.program import Program

from peerfetch_fast.signaling.peernet import protobuf
from peerfetch_fast.signaling.peernet.api import ROUTES, Call, find
from peerfetch_fast.signaling.peernet.callers import Caller
from peerfetch_fast.signaling.peernet.filters import parse_filter
from peerfetch_fast.signaling.peernet.problems import Problem
from peerfetch_fast.signaling.peernet.realm import KNOCK_FIELDS, Realm
from peerfetch_fast.signaling.peernet.schema import read_json, write_json
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

SETTINGS = PeerNetSettings(
    max_servers=3,
    max_servers_per_address=2,
    max_room=2,
    max_knocks=3,
    max_knocks_per_address=2,
    max_candidates=4,
    max_bytes=30_000,
    max_bytes_per_address=20_000,
    max_addresses=2,
)
LEAPS = (0.0, 0.1, 1.0, 14.0, 31.0, 61.0)
ADDRESSES = ("192.0.2.1", "192.0.2.2", "2001:db8::1", None)
TOKENS = ("a token of one owner", "a token of the other", "short", "\udcff" * 16, None)
NAMES = ("chidi", "tahani", "den", "peernet.http", "peernet.http:2", "s" * 22, "t" * 22, "", "é")
BODIES = (
    {"unique_id": "chidi", "auth_token": TOKENS[0], "rooms": ["den"]}
    | {"services": [{"protocol": "peernet.http"}, {"protocol": "peernet.http", "version": "2"}]},
    {"offer": {"name": "s" * 22, "sdp": "v=0"}},
    {"answer": {"name": "t" * 22, "sdp": "v=0"}},
    {"state": "REFUSED", "reason": "gone"},
    {"candidate": "1 1 udp", "sdpMid": "0", "sdpLineIndex": 0},
    {"candidates": [{"candidate": "x"}] * 3},
    {"filter": "service.version=2", "page_size": 1, "wait": 1},
)


class World:
    """A realm, its time, and the names of the knocks that were seen."""

    def __init__(self) -> None:
        self.realm = Realm(SETTINGS)
        self.now = 0.0
        self.knocks = ["unknown"]
        self.claimed: dict[str, int] = {}

    def ask(self, program: Program) -> None:
        route = program.pick(ROUTES)
        names = {name: program.pick(NAMES) for name in route.names}
        if "knock" in names and program.byte() & 1:
            path = "/" + program.pick(self.knocks)
        else:
            path = route.path.format(**names)
        call = Call(Caller(program.pick(ADDRESSES), program.pick(TOKENS)), {})
        with contextlib.suppress(Problem):
            operation, call.path = find(route.method, path)
            call.body = self.body(program, operation.body)
            self.realm.callers.asks(call.caller, self.now)
            answer = operation.handler(self.realm, call, self.now)
            json.dumps(write_json(operation.answer, answer))
            protobuf.encode(operation.answer, answer)
            self.look(operation.id, answer)

    def body(self, program: Program, message: str) -> dict[str, object]:
        if not message:
            return {}
        match program.byte() % 3:
            case 0:
                return protobuf.decode(message, program.text().encode(errors="replace"))
            case 1:
                return read_json(message, program.pick(BODIES))
        fields = dict(program.pick(BODIES))
        fields[program.pick(list(fields))] = program.text()
        return read_json(message, fields)

    def look(self, operation: str, answer: dict[str, object]) -> None:
        assert "auth_token" not in str(answer)
        if operation == "createKnock":
            self.knocks = [*self.knocks[-7:], str(answer["name"])]
        if operation.startswith("claim") and "knocks" in answer:
            for knock in answer["knocks"]:  # type: ignore[attr-defined]
                self.claimed[knock["name"]] = self.claimed.get(knock["name"], 0) + 1
                assert self.claimed[knock["name"]] <= 2, "handed out too often"

    def check(self) -> None:
        counts = self.realm.counts
        assert counts["servers"] <= SETTINGS.max_servers
        assert counts["rooms"] <= 8 * SETTINGS.max_servers
        assert 0 <= self.realm._shares.held <= SETTINGS.max_bytes


def realm(data: bytes) -> int:
    """Requests of anybody, and time that passes."""
    program, world, steps = Program(data), World(), 0
    while program and steps < 200:
        steps += 1
        if program.byte() % 5:
            world.ask(program)
        else:
            world.now += program.pick(LEAPS)
            world.realm.expire(world.now)
            deadline = world.realm.next_deadline()
            assert deadline is None or deadline > world.now
        world.check()
    for _ in range(3):
        world.now += 1_000
        world.realm.expire(world.now)
    assert not any(world.realm.counts.values())
    assert world.realm._shares.held == 0, "bytes are lost"
    return steps


def filters(data: bytes) -> None:
    """One filter."""
    with contextlib.suppress(Problem):
        passes = parse_filter(data.decode(errors="replace"), KNOCK_FIELDS)
        values = {"service.version": ("1.1",), "create_time": ()}
        assert passes(dict.fromkeys(KNOCK_FIELDS, ("peernet.http",)) | values) in (True, False)


def realm_seeds() -> list[bytes]:
    return [bytes(range(256)), bytes(range(255, -1, -1)), bytes((1, 0, 0, 0, 1, 0)) * 20]


def filters_seeds() -> list[bytes]:
    return [
        b'service.name="peernet.http" AND service.version="1.1"',
        b"NOT (service.version<2 OR -service.protocol:'x') service.name:*",
    ]
