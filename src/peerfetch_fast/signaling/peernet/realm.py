"""The state of a PeerNet server: :mod:`.registry`, and knocks. Sans-I/O.

Methods take the time in seconds of any clock that does not go back, and raise
:class:`.problems.Problem`.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TypeVar

from peerfetch_fast.signaling.peernet.callers import Caller
from peerfetch_fast.signaling.peernet.filters import parse_filter
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.registry import PAGE, Registry, page_of
from peerfetch_fast.signaling.peernet.resources import Knock, Server, size_of
from peerfetch_fast.signaling.peernet.schema import Resource, invalid
from peerfetch_fast.signaling.peernet.sessions import Sessions
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

__all__ = ["Realm"]

KNOCK_FIELDS = ("service.name", "service.protocol", "service.version", "create_time")

T = TypeVar("T")


class Realm(Registry):
    """Everything that one PeerNet server knows.

    :param unix: seconds since 1970 at the time 0 of the clock.
    :param ice_servers: gives the STUN and TURN servers of who asks, whose relays count for the
        network that it is called with.
    """

    def __init__(
        self,
        settings: PeerNetSettings,
        unix: float = 0.0,
        ice_servers: Callable[[str], list[Resource]] = lambda _: [],
    ) -> None:
        super().__init__(settings, unix)
        self.ice_servers = ice_servers
        self.sessions = Sessions(
            settings, self._shares, lambda session: self.waiting.wake(f"session/{session}")
        )
        # Knocks and claims are in the order in which they expire.
        self._knocks: dict[str, Knock] = {}
        self._claims: OrderedDict[str, tuple[float, Knock]] = OrderedDict()
        self._open_of_network: Counter[str] = Counter()

    # -- knocks ------------------------------------------------------------------------------------

    def create_knock(
        self, caller: Caller, server_id: str, service_id: str, body: Resource, now: float
    ) -> Resource:
        """Knock. A caller that repeats its knock gets the knock that is there."""
        server, service = self._service(server_id, service_id)
        offer = dict(body.get("offer") or {})
        if not offer.get("sdp"):
            raise invalid("offer.sdp", "a description is expected")
        offer.setdefault("sdp_type", "offer")
        offer["name"] = offer.get("name") or secrets.token_hex(16)
        for knock in server.knocks.values():
            if knock.offer == offer and knock.service.id == service.id:
                return self._knock_shown(knock)
        self._check_knocks(server, caller)
        session = body.get("session") or None
        size = size_of(offer)
        knock_id, network = secrets.token_urlsafe(16), caller.network
        self._hold(network, size, offer["name"], now)
        expires = now + self._settings.knock_timeout
        knock = Knock(
            knock_id, server, service, network, offer, session, size, created=now, expires=expires
        )
        self._knocks[knock_id] = server.knocks[knock_id] = knock
        self._open_of_network[network] += 1
        self.waiting.wake(f"server/{server.id}")
        return self._knock_shown(knock)

    def _check_knocks(self, server: Server, caller: Caller) -> None:
        settings = self._settings
        if self._open_of_network[caller.network] >= settings.max_knocks_per_address:
            raise Problem(
                Status.RESOURCE_EXHAUSTED,
                f"{settings.max_knocks_per_address} knocks from your address are not answered yet",
                retry_after=1.0,
            )
        if sum(knock.open for knock in server.knocks.values()) >= settings.max_knocks:
            raise Problem(
                Status.RESOURCE_EXHAUSTED, f"too many knock at {server.id}", retry_after=1.0
            )

    def get_knock(self, knock_name: str) -> Resource:
        """A knock, for who knows its name."""
        return self._knock_shown(self._knock(knock_name))

    def update_knock(self, caller: Caller, knock_name: str, body: Resource, now: float) -> Resource:
        """Answer a knock, or refuse it; by the server."""
        knock = self._knock(knock_name)
        self._owned(caller, knock.server.id, now)
        answer = dict(body.get("answer") or {})
        if answer.get("sdp"):
            self._answer(knock, answer, now)
        elif body.get("state") == "REFUSED":
            self._must_be_open(knock)
            knock.reason = body.get("reason", "")
            self._settle(knock, "REFUSED")
        else:
            raise invalid("answer", "an answer with a description, or state REFUSED, is expected")
        return self._knock_shown(knock)

    def _answer(self, knock: Knock, answer: Resource, now: float) -> None:
        answer.setdefault("sdp_type", "answer")
        answer["name"] = answer.get("name") or secrets.token_hex(16)
        if knock.answer == answer:
            return
        self._must_be_open(knock)
        size = size_of(answer)
        self._hold(knock.server.network, size, answer["name"], now)
        knock.answer_size = size
        knock.answer = answer
        self._settle(knock, "ANSWERED")

    def _hold(self, network: str, size: int, session: str, now: float) -> None:
        """Take the bytes of a description, and open its session."""
        self._shares.take(network, size)
        try:
            self.sessions.open(session, network, now)
        except Problem:
            self._shares.give_back(network, size)
            raise

    @staticmethod
    def _must_be_open(knock: Knock) -> None:
        if not knock.open:
            raise Problem(Status.ALREADY_EXISTS, f"the knock is {knock.state.lower()} already")

    def _settle(self, knock: Knock, state: str) -> None:
        """Nobody has to answer a knock any more."""
        if knock.open:
            self._open_of_network[knock.network] -= 1
            if not self._open_of_network[knock.network]:
                del self._open_of_network[knock.network]
        knock.state = state
        self._claims.pop(knock.id, None)
        self.waiting.wake(f"knock/{knock.id}")

    def delete_knock(self, knock_name: str) -> None:
        """Give a knock up; by who knows its name."""
        self._drop_knock(self._knock(knock_name))

    def _drop_knock(self, knock: Knock) -> None:
        if knock.answer is None:
            self.sessions.close(knock.offer["name"])  # who knocks again may name it again
        self._settle(knock, "EXPIRED")
        del self._knocks[knock.id]
        del knock.server.knocks[knock.id]
        self._shares.give_back(knock.network, knock.size)
        self._shares.give_back(knock.server.network, knock.answer_size)

    def _knock(self, knock_name: str) -> Knock:
        knock = self._knocks.get(knock_name.rpartition("/")[2])
        if knock is None or knock.name != knock_name:
            raise Problem(Status.NOT_FOUND, "there is no such knock, or it has expired")
        return knock

    def list_knocks(
        self, caller: Caller, server_id: str, service_id: str, page_size: int, now: float
    ) -> Resource:
        """The knocks at a service that are not answered. Changes nothing."""
        server = self._owned(caller, server_id, now)
        service = self._service(server_id, service_id)[1]
        found = [k for k in server.knocks.values() if k.open and k.service.id == service.id]
        shown = found[: min(page_size or PAGE, PAGE)]
        return {"knocks": list(map(self._knock_shown, shown)), "next_page_token": ""}

    def claim_knocks(
        self,
        caller: Caller,
        server_id: str,
        service_id: str | None,
        text: str,
        page_size: int,
        now: float,
        *,
        waits: bool = False,
    ) -> Resource:
        """Hand out knocks, each to one claimer, so many as fit into a page.

        :param waits: whether who asks waits where there is none.
        """
        server = self._owned(caller, server_id, now)
        if service_id is not None:
            self._service(server_id, service_id)
        matches = parse_filter(text, KNOCK_FIELDS)
        pending = (
            knock
            for knock in server.knocks.values()
            if knock.state == "PENDING"
            and service_id in (None, knock.service.id)
            and matches(knock.values(self._when(knock)))
        )
        found = page_of(pending, page_size)
        for knock in found:
            knock.state = "CLAIMED"
            knock.claims += 1
            self._claims[knock.id] = (now + self._settings.claim_timeout, knock)
        if not found and not waits:
            self._polled(server, now)
        return {"knocks": list(map(self._knock_shown, found)), "next_page_token": ""}

    def _polled(self, server: Server, now: float) -> None:
        too_early = server.polled + self._settings.poll_interval - now
        if too_early > 0:
            raise Problem(
                Status.RESOURCE_EXHAUSTED,
                "this server asks too often: let its requests wait with ?wait=25",
                retry_after=too_early,
            )
        server.polled = now

    def _when(self, knock: Knock) -> float:
        return self._unix + knock.created

    def _knock_shown(self, knock: Knock) -> Resource:
        return {
            "name": knock.name,
            "service": knock.service.brief,
            "offer": knock.offer,
            "answer": knock.answer,
            "state": knock.state,
            "reason": knock.reason,
            "session": knock.session,
            "create_time": self._when(knock),
            "expire_time": self._unix + knock.expires,
        }

    # -- time --------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When :meth:`expire` has something to do."""
        firsts = (
            next((server.expires for server in self._servers.values()), None),
            next((knock.expires for knock in self._knocks.values()), None),
            next((deadline for deadline, _ in self._claims.values()), None),
            self.sessions.next_deadline,
        )
        return min((one for one in firsts if one is not None), default=None)

    def expire(self, now: float) -> None:
        """Hand back what was claimed and not answered, and drop what has expired."""
        _while_due(
            self._claims, lambda claim: claim[0], now, lambda claim: self._hand_back(claim[1])
        )
        _while_due(self._knocks, lambda knock: knock.expires, now, self._drop_knock)
        _while_due(self._servers, lambda server: server.expires, now, self._drop_server)
        self.sessions.expire(now)

    def _hand_back(self, knock: Knock) -> None:
        if knock.claims > 1:
            self._settle(knock, "EXPIRED")
            return
        del self._claims[knock.id]
        knock.state = "PENDING"
        self.waiting.wake(f"server/{knock.server.id}")

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each resource."""
        return {
            "rooms": len(self._rooms),
            "servers": len(self._servers),
            "knocks": len(self._knocks),
            "sessions": len(self.sessions),
            "waiting": len(self.waiting),
        }


def _while_due(
    resources: dict[str, T], deadline: Callable[[T], float], now: float, drop: Callable[[T], None]
) -> None:
    """Drop the first of ``resources``, in the order of their deadlines, as long as it is due."""
    while resources:
        first = next(iter(resources.values()))
        if deadline(first) > now:
            return
        drop(first)
