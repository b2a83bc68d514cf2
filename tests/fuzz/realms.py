"""The signaling realm, whose clients say what an input tells them to."""

from __future__ import annotations

import json

from tests.fuzz.connections import Connections
from tests.fuzz.program import Program

from peerfetch_fast.signaling.peerjs.messages import FORWARDED, MessageType, parse
from peerfetch_fast.signaling.peerjs.realm import Action, Close, Realm, Send
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings

SETTINGS = SignalingServerSettings(
    max_clients=4,
    max_room=2,
    max_queue=1_500,
    max_queued_total=2_500,
    max_message_size=1_000,
    max_outgoing=4_000,
    alive_timeout=9.0,
)
IDS = ("a", "b", "c", "d", "e", "a b", "", "x/y", "é", "z" * 129)
KEYS = ("peerjs", "peerjs", "peerjs", "other", "", None)
TYPES = (*MessageType, "OFFER", "NO-TYPE", "", 7, None)
LEAPS = (0.0, 0.1, 1.0, 5.0, 9.0, 100.0)


class World(Connections):
    """What a realm was told, and what must hold for it; connections are known by their ids."""

    def __init__(self) -> None:
        super().__init__()
        self.realm: Realm[int] = Realm(SETTINGS)

    def take(self, actions: list[Action[int]], newcomer: int | None = None) -> None:
        for action in self.sent(actions, newcomer):
            self._look_at(action)
        assert 0 <= self.realm.queued_bytes <= SETTINGS.max_queued_total
        assert len(self.realm.ids) <= SETTINGS.max_clients
        assert sorted(self.open.values()) == self.realm.ids
        for room in ("r", "s"):
            members = self.realm.rooms.members(room)
            assert len(members) <= SETTINGS.max_room
            assert set(members) <= set(self.realm.ids)

    def _look_at(self, action: Send[int]) -> None:
        message = parse(action.data)
        if message.type in FORWARDED:
            assert message.src is not None
            assert message.dst == self.open[action.to]

    def attach(self, program: Program) -> None:
        connection, self.next = self.next, self.next + 1
        peer_id, token = program.pick(IDS), program.pick(("t", "t", "u", "", "a b", "t" * 200))
        actions = self.realm.attach(connection, program.pick(KEYS), peer_id, token, self.now)
        if not any(isinstance(a, Close) and a.to == connection for a in actions):
            # Only now may it be written to; whom it replaces is told first.
            self.open[connection] = peer_id
        self.take(actions, connection)

    def message(self, program: Program) -> None:
        if not self.open:
            return
        connection = program.pick(list(self.open))
        flags = program.byte()
        if flags & 1:
            text = program.text()
        else:
            fields: dict[str, object] = {"type": program.pick(TYPES), "dst": program.pick(IDS)}
            if flags & 2:
                fields["src"] = program.pick((*IDS, 5, None))
            if flags & 4:
                fields["payload"] = program.text()
            if flags & 8:
                fields["payload"] = {"connectionId": "x" * 4 * program.byte()}
            if flags & 16:
                del fields["dst"]
            text = json.dumps(fields, ensure_ascii=not flags & 32)
        self.take(self.realm.receive(connection, text, self.now))


def realm(data: bytes) -> int:
    """A realm's clients: they come, go, speak, fall silent, come again and join rooms."""
    program, world, steps = Program(data), World(), 0
    while program and steps < 200:
        steps += 1
        match program.byte() % 8:
            case 0 | 1:
                world.attach(program)
            case 2 | 3 | 4:
                world.message(program)
            case 5:
                world.realm.detach(world.end_one(program))
                world.take([])
            case 6:
                world.now += program.pick(LEAPS)
                world.take(world.realm.expire(world.now))
                deadline = world.realm.next_deadline()
                assert deadline is None or deadline > world.now
            case _:
                peer_id = program.pick(IDS[:5])
                if program.byte() & 1:
                    world.realm.rooms.leave(peer_id)
                elif peer_id in world.realm.ids:
                    world.realm.rooms.join(program.pick(("r", "s")), peer_id)
                if world.open:
                    world.realm.heard(next(iter(world.open)), world.now)
                world.realm.is_client(peer_id, program.text())
                world.take([])
    world.now += 1_000
    world.take(world.realm.expire(world.now))
    world.take(world.realm.expire(world.now))
    assert not world.realm.ids
    assert world.realm.queued_bytes == 0
    assert world.realm.next_deadline() is None
    return steps


def realm_seeds() -> list[bytes]:
    come = [bytes((0, number, 0, 0)) for number in range(5)]
    offer = bytes((2, 0, 8, 5, 1, 30))
    return [
        b"".join(come),
        come[0] + offer + come[1] + offer + bytes((6, 3)),
        b"".join(come[:3]) + bytes((7, 0, 0, 0, 7, 1, 0, 1, 5, 0, 6, 5)) + offer * 9,
        come[0] + bytes((2, 0, 1, 18)) + b'{"type":"OFFER"}  ' + bytes((2, 0, 16, 7, 0)),
    ]
