"""The state of a PeerNet server, in a time that the tests make."""

from __future__ import annotations

import ipaddress
import json
import random
from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peerfetch_fast.signaling.peernet.callers import Caller
from peerfetch_fast.signaling.peernet.client import MAX_ANSWER
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.realm import Realm
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

TOKEN = "a token of the owner"
OWNER = Caller("192.0.2.1", TOKEN)
CLIENT = Caller("192.0.2.2")
HTTP = {"protocol": "peernet.http", "version": "1.1"}


def session(number: int = 0) -> str:
    return f"session-{number:022d}"


def offer(number: int = 0, sdp: str = "v=0") -> dict[str, Any]:
    return {"offer": {"name": session(number), "sdp": sdp, "sdp_type": "offer"}}


class World:
    """A realm, its time, and who asks it."""

    def __init__(self, **changes: Any) -> None:
        self.realm = Realm(PeerNetSettings(**changes), unix=1_000_000.0)
        self.now = 0.0

    def create(self, server: str = "chidi", caller: Caller = OWNER, **about: Any) -> Any:
        body = {"unique_id": server, "rooms": ["good"], "services": [HTTP], **about}
        return self.realm.create_server(caller, body, self.now)

    def knock(self, number: int = 0, caller: Caller = CLIENT, **about: Any) -> Any:
        body = offer(number) | about
        return self.realm.create_knock(caller, "chidi", "peernet.http", body, self.now)

    def claim(self, text: str = "", service: str | None = None, **about: Any) -> list[Any]:
        about = {"page_size": 0, "waits": True} | about
        size = about.pop("page_size")
        found = self.realm.claim_knocks(OWNER, "chidi", service, text, size, self.now, **about)
        return found["knocks"]

    def answer(self, knock: Any, number: int = 100, **about: Any) -> Any:
        body = {"answer": {"name": session(number), "sdp": "v=0"}} | about
        return self.realm.update_knock(OWNER, knock["name"], body, self.now)

    def later(self, seconds: float) -> None:
        """Let time pass, with the realm's own deadlines."""
        end = self.now + seconds
        while (deadline := self.realm.next_deadline()) is not None and deadline <= end:
            assert deadline > self.now or deadline == self.now
            self.now = max(self.now, deadline)
            self.realm.expire(self.now)
        self.now = end


def refused(status: Status, do: Any, *arguments: Any, **more: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        do(*arguments, **more)
    assert caught.value.status is status, caught.value
    return caught.value


def status_of(do: Any, *arguments: Any) -> Status | None:
    """The status with which something is refused; None if it is not."""
    try:
        do(*arguments)
    except Problem as problem:
        return problem.status
    return None


# -- servers and rooms ---------------------------------------------------------------------------


def test_a_server_is_shown_without_its_token() -> None:
    world = World()
    made = world.create(display_name="Chidi")
    assert made == world.realm.get_server("chidi")
    assert made["name"] == "servers/chidi"
    assert made["expire_time"] == 1_000_060.0
    assert made["services"] == [HTTP | {"name": "servers/chidi/services/peernet.http"}]
    assert TOKEN not in str(made)
    assert world.realm.get_room("good")["name"] == "rooms/good"


def test_a_server_without_an_id_gets_one() -> None:
    world = World()
    one, other = world.create(server=""), world.create(server="")
    assert len(one["unique_id"]) == 32
    assert one["unique_id"] != other["unique_id"]


def test_an_id_that_is_taken_is_its_owners_alone() -> None:
    world = World()
    world.create(display_name="Chidi")
    refused(Status.ALREADY_EXISTS, world.create, caller=Caller("192.0.2.9", "another long token"))
    assert world.realm.get_server("chidi")["display_name"] == "Chidi"
    world.later(1.0)
    again = world.create(display_name="Chidi again", rooms=["bad"])
    assert again["display_name"] == "Chidi again"
    assert again["create_time"] == 1_000_000.0
    refused(Status.NOT_FOUND, world.realm.get_room, "good")
    assert world.realm.counts["servers"] == 1


@pytest.mark.parametrize("token", ["", "fifteen bytes.."])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    refused(Status.INVALID_ARGUMENT, World().create, caller=Caller("192.0.2.1", token))


def test_tokens_that_are_missing_wrong_or_of_another_server() -> None:
    world = World(max_wrong_tokens=100)
    world.create()
    other = Caller("192.0.2.3", "the token of another")
    world.create("tahani", other)
    for caller, status in (
        (Caller("192.0.2.3"), Status.UNAUTHENTICATED),
        (Caller("192.0.2.3", "wrong"), Status.PERMISSION_DENIED),
        (other, Status.PERMISSION_DENIED),
    ):
        realm, now = world.realm, world.now
        refused(status, realm.update_server, caller, "chidi", {}, "", now)
        refused(status, realm.delete_server, caller, "chidi", now)
        refused(status, realm.heartbeat, caller, "chidi", now)
        refused(status, realm.claim_knocks, caller, "chidi", None, "", 0, now)
        refused(status, realm.list_knocks, caller, "chidi", "peernet.http", 0, now)
    knock = world.knock()
    refused(Status.PERMISSION_DENIED, world.realm.update_knock, other, knock["name"], {}, world.now)


def test_guesses_are_counted_by_address() -> None:
    world = World(max_wrong_tokens=3)
    world.create()
    wrong = Caller("192.0.2.66", "wrong")
    for _ in range(3):
        refused(Status.PERMISSION_DENIED, world.realm.heartbeat, wrong, "chidi", world.now)
    late = refused(Status.RESOURCE_EXHAUSTED, world.realm.heartbeat, wrong, "chidi", world.now)
    assert late.retry_after
    world.realm.heartbeat(OWNER, "chidi", world.now)
    world.now += 60.0
    refused(Status.PERMISSION_DENIED, world.realm.heartbeat, wrong, "chidi", world.now)


def test_a_server_expires_with_its_rooms_and_knocks_unless_its_owner_asks() -> None:
    world = World()
    world.create()
    world.later(50.0)
    world.claim()
    world.later(50.0)
    knock = world.knock()
    world.later(10.0)
    refused(Status.NOT_FOUND, world.realm.get_server, "chidi")
    refused(Status.NOT_FOUND, world.realm.get_knock, knock["name"])
    refused(Status.NOT_FOUND, world.realm.get_room, "good")
    world.later(100.0)
    assert not any(world.realm.counts.values())
    assert world.realm.next_deadline() is None


def test_a_server_is_updated_by_mask_or_by_what_the_body_has() -> None:
    world = World()
    world.create(display_name="Chidi")
    realm, now = world.realm, world.now
    changed = realm.update_server(OWNER, "chidi", {"display_name": "C", "rooms": ["x"]}, "", now)
    assert (changed["display_name"], changed["rooms"]) == ("C", ["x"])
    assert changed["services"][0]["protocol"] == "peernet.http"
    changed = realm.update_server(OWNER, "chidi", {"rooms": ["y"]}, "display_name", now)
    assert (changed["display_name"], changed["rooms"]) == ("", ["x"])
    refused(Status.INVALID_ARGUMENT, realm.update_server, OWNER, "chidi", {}, "unique_id", now)


def test_rooms_are_listed_in_pages_and_filtered() -> None:
    world = World()
    for number in range(5):
        protocol = {"protocol": "peernet.camera" if number % 2 else "peernet.file"}
        world.create(f"s{number}", rooms=["Good", "rooms/good"], services=[protocol])
    first = world.realm.list_room("good", "", 3, "")
    assert [one["unique_id"] for one in first["servers"]] == ["s0", "s1", "s2"]
    second = world.realm.list_room("good", "", 3, first["next_page_token"])
    assert [one["unique_id"] for one in second["servers"]] == ["s3", "s4"]
    assert second["next_page_token"] == ""
    cameras = world.realm.list_room("good", "services.protocol:peernet.camera", 0, "")
    assert [one["unique_id"] for one in cameras["servers"]] == ["s1", "s3"]
    refused(Status.NOT_FOUND, world.realm.list_room, "elsewhere", "", 0, "")


def test_a_page_is_bounded_in_bytes() -> None:
    """Clients read at most MAX_ANSWER: what is longer, nobody could read."""
    world = World()
    services = [{"protocol": f"p{at}", "metadata": {"about": "x" * 4000}} for at in range(15)]
    for number in range(30):
        world.create(f"s{number:02}", services=services)
    found: list[str] = []
    token, pages = "", 0
    while token or not pages:
        page = world.realm.list_room("good", "", 0, token)
        assert len(json.dumps(page)) < MAX_ANSWER
        found += [one["unique_id"] for one in page["servers"]]
        token, pages = page["next_page_token"], pages + 1
    assert found == [f"s{number:02}" for number in range(30)]
    assert pages > 1


def test_services_of_one_protocol_are_told_apart_by_version() -> None:
    world = World()
    world.create(services=[HTTP, {"protocol": "peernet.http", "version": "2"}])
    names = [one["name"] for one in world.realm.list_services("chidi")["services"]]
    assert names == [
        "servers/chidi/services/peernet.http",
        "servers/chidi/services/peernet.http:2",
    ]
    assert world.realm.get_service("chidi", "peernet.http:1.1")["version"] == "1.1"
    assert world.realm.get_service("chidi", "peernet.http:2")["version"] == "2"
    refused(Status.NOT_FOUND, world.realm.get_service, "chidi", "peernet.http:3")
    refused(Status.INVALID_ARGUMENT, world.create, services=[HTTP, HTTP])
    refused(Status.INVALID_ARGUMENT, world.create, services=[{"version": "1"}])


# -- knocks --------------------------------------------------------------------------------------


def test_a_knock_is_handed_out_once_and_answered() -> None:
    world = World()
    world.create()
    knock = world.knock()
    assert knock["state"] == "PENDING"
    claimed = world.claim()
    assert [one["name"] for one in claimed] == [knock["name"]]
    assert claimed[0]["offer"]["sdp"] == "v=0"
    assert claimed[0]["service"]["version"] == "1.1"
    assert world.claim() == []
    assert world.answer(knock)["state"] == "ANSWERED"
    assert world.realm.get_knock(knock["name"])["answer"]["name"] == session(100)


def test_listing_changes_nothing_and_who_lists_may_answer() -> None:
    world = World()
    world.create()
    knock = world.knock()
    for _ in range(2):
        listed = world.realm.list_knocks(OWNER, "chidi", "peernet.http", 0, world.now)["knocks"]
        assert [one["state"] for one in listed] == ["PENDING"]
    world.answer(knock)
    listed = world.realm.list_knocks(OWNER, "chidi", "peernet.http", 0, world.now)["knocks"]
    assert listed == world.claim() == []


def test_the_first_answer_counts_and_may_be_repeated() -> None:
    world = World()
    world.create()
    knock = world.knock()
    world.answer(knock)
    world.answer(knock)
    refused(Status.ALREADY_EXISTS, world.answer, knock, 101)
    body = {"state": "REFUSED"}
    refused(Status.ALREADY_EXISTS, world.realm.update_knock, OWNER, knock["name"], body, world.now)


def test_a_knock_that_is_refused() -> None:
    world = World()
    world.create()
    knock = world.knock()
    body = {"state": "REFUSED", "reason": "gone"}
    world.realm.update_knock(OWNER, knock["name"], body, world.now)
    found = world.realm.get_knock(knock["name"])
    assert (found["state"], found["reason"]) == ("REFUSED", "gone")
    refused(Status.INVALID_ARGUMENT, world.realm.update_knock, OWNER, knock["name"], {}, world.now)


def test_a_knock_comes_back_once_after_its_claimer_died() -> None:
    world = World(knock_timeout=40.0)
    world.create()
    knock = world.knock()
    assert world.claim()
    world.later(14.9)
    assert world.claim() == []
    world.later(0.2)
    assert world.claim()
    world.later(15.1)
    assert world.claim() == []
    assert world.realm.get_knock(knock["name"])["state"] == "EXPIRED"
    refused(Status.ALREADY_EXISTS, world.answer, knock)
    world.later(10.0)
    refused(Status.NOT_FOUND, world.realm.get_knock, knock["name"])


def test_a_claimer_that_was_slow_may_answer_what_was_handed_back() -> None:
    world = World()
    world.create()
    knock = world.knock()
    world.claim()
    world.later(16.0)
    world.answer(knock)
    assert world.claim() == []


def test_claims_are_of_one_service_and_filtered() -> None:
    world = World()
    world.create(services=[HTTP, {"protocol": "peernet.file", "version": "1.0"}])
    world.knock(1)
    world.realm.create_knock(CLIENT, "chidi", "peernet.file", offer(2), world.now)
    assert world.claim('service.name="peernet.camera"') == []
    found = world.claim('service.name="peernet.http" AND service.version="1.1"')
    assert [one["offer"]["name"] for one in found] == [session(1)]
    assert world.claim(service="peernet.http") == []
    assert [one["offer"]["name"] for one in world.claim(service="peernet.file")] == [session(2)]
    refused(Status.NOT_FOUND, world.claim, service="peernet.camera")


def test_a_page_of_claims() -> None:
    world = World()
    world.create()
    for number in range(3):
        world.knock(number)
    assert len(world.claim(page_size=2)) == 2
    assert len(world.claim(page_size=2)) == 1


def test_claims_are_bounded_in_bytes_and_what_is_left_is_claimed_next() -> None:
    world = World(max_knocks_per_address=64)
    world.create()
    for number in range(60):
        world.knock(number, **offer(number, "v" * 48_000))
    claimed: list[str] = []
    while knocks := world.claim():
        assert len(json.dumps(knocks)) < MAX_ANSWER
        claimed += [one["offer"]["name"] for one in knocks]
    assert claimed == list(map(session, range(60)))


def test_sessions_that_are_taken_are_refused() -> None:
    world = World()
    world.create()
    knock = world.knock(1)
    refused(Status.ALREADY_EXISTS, world.knock, 1, offer={"name": session(1), "sdp": "other"})
    refused(Status.ALREADY_EXISTS, world.answer, knock, 1)
    assert world.knock(1)["name"] == knock["name"], "the same knock again is the same"
    world.answer(knock, 100)
    other = world.knock(2)
    refused(Status.ALREADY_EXISTS, world.answer, other, 100)
    assert world.realm.get_knock(other["name"])["state"] == "PENDING"


def test_who_gives_up_may_knock_again_with_the_same_session() -> None:
    world = World()
    world.create()
    knock = world.knock(1)
    world.realm.delete_knock(knock["name"])
    refused(Status.NOT_FOUND, world.realm.get_knock, knock["name"])
    assert world.knock(1)["name"] != knock["name"]


@pytest.mark.parametrize("name", ["servers/chidi/services/x/knocks/{}", "servers/x/{}", "{}"])
def test_a_knock_has_one_name(name: str) -> None:
    world = World()
    world.create()
    knock_id = world.knock()["name"].rpartition("/")[2]
    refused(Status.NOT_FOUND, world.realm.get_knock, name.format(knock_id))


def test_a_server_that_comes_again_keeps_its_knocks() -> None:
    world = World()
    world.create()
    world.knock()
    world.create()
    knocks = world.claim()
    assert len(knocks) == 1
    world.answer(knocks[0])


def test_who_polls_without_waiting_is_slowed_down() -> None:
    world = World()
    world.create()
    assert world.claim(waits=False) == []
    assert refused(Status.RESOURCE_EXHAUSTED, world.claim, waits=False).retry_after
    world.knock()
    assert world.claim(waits=False), "what there is is given at once"
    world.now += 0.2
    assert world.claim(waits=False) == []


# -- candidates ----------------------------------------------------------------------------------


def test_candidates_are_taken_once() -> None:
    world = World()
    world.create()
    world.knock(1)
    sessions = world.realm.sessions
    sessions.add(session(1), [{"candidate": "one"}], 0.0)
    sessions.add(session(1), [{"candidate": "two"}, {"candidate": ""}], 0.0)
    three = sessions.candidates(session(1), 0.0, take=False)
    assert [one["candidate"] for one in three] == ["one", "two", ""]
    assert sessions.candidates(session(1), 0.0, take=True) == three
    assert sessions.candidates(session(1), 0.0, take=True) == []
    refused(Status.NOT_FOUND, sessions.add, session(2), [], 0.0)


def test_a_session_takes_so_many_candidates_and_lasts_while_it_is_used() -> None:
    world = World(max_candidates=3)
    world.create()
    world.knock(1)
    sessions = world.realm.sessions
    sessions.add(session(1), [{"candidate": "x"}] * 2, 0.0)
    sessions.candidates(session(1), 0.0, take=True)
    refused(Status.RESOURCE_EXHAUSTED, sessions.add, session(1), [{"candidate": "x"}] * 2, 0.0)
    world.answer(world.knock(1))
    world.later(50.0)
    sessions.candidates(session(1), world.now, take=False)
    world.later(50.0)
    assert session(1) in sessions
    world.later(10.0)
    assert session(1) not in sessions


# -- waiting -------------------------------------------------------------------------------------


def test_who_waits_is_woken_by_what_it_waits_for() -> None:
    world = World()
    world.create()
    woken: list[str] = []

    def waits(key: str) -> None:
        world.realm.waiting.add(key, lambda: woken.append(key))

    waits("server/chidi")
    knock = world.knock(1)
    assert woken == ["server/chidi"]
    knock_key = f"knock/{knock['name'].rpartition('/')[2]}"
    waits(knock_key)
    waits(f"session/{session(1)}")
    world.claim()
    assert len(woken) == 1
    waits("server/chidi")
    world.later(15.0)
    assert woken.pop() == "server/chidi", "what was not answered is there again"
    world.answer(knock)
    assert woken.pop() == knock_key
    world.realm.sessions.add(session(1), [{"candidate": "x"}], world.now)
    assert woken.pop() == f"session/{session(1)}"
    waits("server/chidi")
    world.realm.delete_server(OWNER, "chidi", world.now)
    assert woken.pop() == "server/chidi"
    assert world.realm.counts["waiting"] == 0


def test_so_many_wait_for_one_thing() -> None:
    world = World(max_waiting=2)
    callbacks = [lambda: None for _ in range(3)]
    for callback in callbacks[:2]:
        world.realm.waiting.add("x", callback)
    refused(Status.RESOURCE_EXHAUSTED, world.realm.waiting.add, "x", callbacks[2])
    world.realm.waiting.remove("x", callbacks[0])
    world.realm.waiting.add("x", callbacks[2])


# -- bounds --------------------------------------------------------------------------------------


def test_servers_are_bounded_in_all_by_address_and_by_room() -> None:
    world = World(max_servers=3, max_servers_per_address=2, max_room=2)
    world.create("a", rooms=["x"])
    world.create("b", rooms=["x"])
    refused(Status.RESOURCE_EXHAUSTED, world.create, "c")
    other = Caller("192.0.2.7", TOKEN)
    refused(Status.RESOURCE_EXHAUSTED, world.create, "c", other, rooms=["x"])
    world.create("c", other)
    refused(Status.UNAVAILABLE, world.create, "d", Caller("192.0.2.8", TOKEN))
    world.create("c", other, rooms=["y"])
    world.realm.delete_server(other, "c", 0.0)
    world.create("d", Caller("192.0.2.8", TOKEN))


def test_knocks_are_bounded_by_server_and_by_address_until_they_are_answered() -> None:
    world = World(max_knocks=3, max_knocks_per_address=2)
    world.create()
    first = world.knock(1)
    world.knock(2)
    refused(Status.RESOURCE_EXHAUSTED, world.knock, 3)
    world.knock(3, Caller("192.0.2.50"))
    refused(Status.RESOURCE_EXHAUSTED, world.knock, 4, Caller("192.0.2.51"))
    world.answer(first)
    world.knock(4)


def test_what_is_held_is_bounded_in_bytes_and_given_back() -> None:
    world = World(max_bytes=20_000)
    world.create()
    long = {"sdp": "v" * 4_000}
    statuses = [
        status_of(
            lambda number=number: world.knock(
                number, Caller(f"192.0.2.{number}"), offer=long | {"name": session(number)}
            )
        )
        for number in range(10)
    ]
    assert statuses[0] is None
    assert statuses[-1] is Status.UNAVAILABLE
    world.later(30.0)
    assert world.realm.counts["knocks"] == 0
    world.knock(20, offer=long | {"name": session(20)})
    world.realm.delete_server(OWNER, "chidi", world.now)
    world.later(100.0)
    assert world.realm._shares.held == 0


def test_one_address_does_not_take_the_bytes_of_all() -> None:
    world = World(max_bytes=1_000_000, max_bytes_per_address=100_000)
    world.create()
    mine = Caller("192.0.2.9", "another secret of mine")
    body = {"unique_id": "mine", "services": [HTTP]}
    world.realm.create_server(mine, body, world.now)

    def fill(number: int) -> None:
        """As who knocks at a server of its own, answers, and leaves candidates."""
        sdp = {"sdp": "v" * 4_000}
        asked = {"offer": sdp | {"name": session(2 * number)}}
        knock = world.realm.create_knock(mine, "mine", "peernet.http", asked, world.now)
        answer = {"answer": sdp | {"name": session(2 * number + 1)}}
        world.realm.update_knock(mine, knock["name"], answer, world.now)
        for one in (2 * number, 2 * number + 1):
            candidate = {"candidate": "c" * 1_000}
            world.realm.sessions.add(session(one), [candidate] * 8, world.now)

    statuses = [status_of(lambda number=number: fill(number)) for number in range(100)]
    assert statuses[0] is None
    assert statuses[-1] is Status.RESOURCE_EXHAUSTED
    assert world.realm._shares.held < 110_000
    for number in range(10):
        caller = Caller(f"192.0.2.{number + 20}")
        assert world.knock(1_000 + number, caller)["state"] == "PENDING"
    for _ in range(20):
        world.later(10.0)
    world.later(1_000.0)
    assert world.realm._shares.held == 0


def test_more_rooms_than_one_address_may_make_are_refused() -> None:
    world = World()
    statuses = [
        status_of(
            lambda number=number: world.create(
                f"s{number}", rooms=[f"r{8 * number + at}" for at in range(8)]
            )
        )
        for number in range(1_000)
    ]
    assert set(statuses[256:]) == {Status.RESOURCE_EXHAUSTED}
    assert world.realm.counts["rooms"] == 256 * 8


def test_a_million_rooms_from_everywhere_are_refused() -> None:
    world = World()
    address = ipaddress.ip_address("10.0.0.0")
    statuses: Counter[Status | None] = Counter()
    for number in range(125_000):
        rooms = [f"r{8 * number + at}" for at in range(8)]
        caller = Caller(str(address + number), TOKEN)
        statuses[status_of(partial(world.create, f"s{number}", caller, rooms=rooms))] += 1
    assert statuses == {None: 5_000, Status.UNAVAILABLE: 120_000}
    assert world.realm.counts["rooms"] == 5_000 * 8
    assert world.realm._shares.held < PeerNetSettings().max_bytes
    world.later(61.0)
    assert world.realm.counts["rooms"] == 0


def test_requests_are_bounded_by_address() -> None:
    world = World(request_burst=3, request_rate=1.0, max_addresses=2)
    for _ in range(3):
        world.realm.callers.asks(CLIENT, 0.0)
    late = refused(Status.RESOURCE_EXHAUSTED, world.realm.callers.asks, CLIENT, 0.0)
    assert late.retry_after == pytest.approx(1.0)
    world.realm.callers.asks(OWNER, 0.0)
    world.realm.callers.asks(CLIENT, 1.0)


# -- whatever happens ----------------------------------------------------------------------------


def test_two_claimers_never_get_the_same_knock() -> None:
    for seed in range(1_000):
        rng = random.Random(seed)
        world = World()
        world.create()
        knocks = [world.knock(number)["name"] for number in range(rng.randint(1, 5))]
        got: list[str] = []
        while len(got) < len(knocks):
            text = rng.choice(["", 'service.version="1.1"', "service.name:peernet.http"])
            service = rng.choice([None, "peernet.http"])
            got += [one["name"] for one in world.claim(text, service, page_size=rng.randint(1, 3))]
        assert sorted(got) == sorted(knocks)
        assert world.claim() == []


class Races(RuleBasedStateMachine):
    """Claimers, clients, and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(max_knocks=8, max_knocks_per_address=6)
        self.world.create()
        self.number = 0
        self.held: dict[str, float] = {}
        self.times: dict[str, int] = {}

    @rule()
    def knock(self) -> None:
        self.number += 1
        status = status_of(self.world.knock, self.number)
        assert status in (None, Status.RESOURCE_EXHAUSTED)

    @rule(size=st.integers(0, 3))
    def claim(self, size: int) -> None:
        for knock in self.world.claim(page_size=size):
            name, now = knock["name"], self.world.now
            assert name not in self.held or now >= self.held[name] + 15.0, "claimed by two"
            self.held[name] = now
            self.times[name] = self.times.get(name, 0) + 1
            assert self.times[name] <= 2

    @rule(seconds=st.sampled_from([0.1, 1.0, 7.5, 15.0]))
    def wait(self, seconds: float) -> None:
        self.world.later(seconds)
        self.world.realm.heartbeat(OWNER, "chidi", self.world.now)

    @rule(choice=st.integers(0, 7), give_up=st.booleans())
    def settle(self, choice: int, give_up: bool) -> None:
        names = sorted(self.held)
        if not names:
            return
        name = names[choice % len(names)]
        self.number += 1
        if give_up:
            status = status_of(self.world.realm.delete_knock, name)
        else:
            status = status_of(self.world.answer, {"name": name}, 1_000_000 + self.number)
        assert status in (None, Status.NOT_FOUND, Status.ALREADY_EXISTS)
        if status is None:
            self.held[name] = float("inf")

    @invariant()
    def bounded(self) -> None:
        counts = self.world.realm.counts
        assert counts["servers"] == 1
        assert counts["sessions"] <= 2 * self.number
        assert self.world.realm._shares.held < PeerNetSettings().max_bytes

    def teardown(self) -> None:
        self.world.later(1_000.0)
        assert not any(self.world.realm.counts.values())
        assert self.world.realm._shares.held == 0


TestRaces = Races.TestCase
TestRaces.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
