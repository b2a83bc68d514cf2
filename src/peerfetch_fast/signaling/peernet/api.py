"""The operations of PeerNet under ``/v1``, without HTTP's octets. Sans-I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peerfetch_fast.signaling.peernet.callers import Caller
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.realm import Realm
from peerfetch_fast.signaling.peernet.schema import Resource, invalid

__all__ = ["PREFIX", "ROUTES", "Call", "Operation", "find"]

PREFIX = "/v1"

_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(slots=True)
class Call:
    """One request."""

    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Resource = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A parameter of the query, or of the body of a custom verb."""
        value = self.query.get(name)
        return str(self.body.get(name, "")) if value is None else value

    def number(self, name: str, most: float) -> float:
        """A number that is not negative; 0 if there is none. Raises Problem."""
        try:
            value = float(self.query.get(name) or self.body.get(name) or 0)
        except ValueError:
            value = -1.0
        if not 0 <= value < 2**31:
            raise invalid(name, "a number that is not negative is expected")
        return min(value, most)

    @property
    def page_size(self) -> int:
        """How many resources a page may have; 0 if it is not said."""
        return int(self.number("page_size", 1000))

    @property
    def knock(self) -> str:
        """The name of a knock."""
        return "servers/{server}/services/{service}/knocks/{knock}".format(**self.path)


Handler = Callable[[Realm, Call, float], Resource]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    :ivar needs: what who asks must know: ``token``, ``name``, or nothing.
    :ivar parameters: those of the query.
    :ivar waits_for: what to wait for where the answer is :attr:`idle`, as a pattern of a key of
        :attr:`.realm.Realm.waiting`; "" if it never waits.
    """

    id: str
    method: str
    path: str
    about: str
    handler: Handler
    answer: str
    body: str = ""
    needs: str = ""
    parameters: tuple[str, ...] = ()
    waits_for: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the path."""
        return tuple(_PARAMETER.findall(self.path))

    def key(self, call: Call) -> str:
        """The event that a call waits for."""
        return self.waits_for.format(**call.path)

    @staticmethod
    def idle(answer: Resource) -> bool:
        """Whether an answer tells nothing yet, so that a call may wait."""
        if "state" in answer:
            return answer["state"] in ("PENDING", "CLAIMED")
        return not any(answer.get(name) for name in ("knocks", "candidates"))


def _refused_list(what: str) -> Handler:
    def refuse(_realm: Realm, _call: Call, _now: float) -> Resource:
        raise Problem(
            Status.PERMISSION_DENIED, f"{what} are not listed: ask for one room's servers"
        )

    return refuse


def _claim(realm: Realm, call: Call, now: float) -> Resource:
    return realm.claim_knocks(
        call.caller,
        call.path["server"],
        call.path.get("service"),
        call.text("filter"),
        call.page_size,
        now,
        waits=call.number("wait", 1.0) > 0,
    )


def _delete_server(realm: Realm, call: Call, now: float) -> Resource:
    realm.delete_server(call.caller, call.path["server"], now)
    return {}


def _delete_knock(realm: Realm, call: Call, _now: float) -> Resource:
    realm.delete_knock(call.knock)
    return {}


def _add_candidates(realm: Realm, call: Call, now: float) -> Resource:
    several = call.body.get("candidates")
    one = {key: value for key, value in call.body.items() if key != "candidates"}
    if several is None and "candidate" not in one:
        raise invalid("candidate", "it is missing")
    realm.sessions.add(call.path["session"], [one] if several is None else several, now)
    return {}


def _candidates(*, take: bool) -> Handler:
    def candidates(realm: Realm, call: Call, now: float) -> Resource:
        return {"candidates": realm.sessions.candidates(call.path["session"], now, take=take)}

    return candidates


_SERVER = "/servers/{server}"
_SERVICE = f"{_SERVER}/services/{{service}}"
_KNOCK = f"{_SERVICE}/knocks/{{knock}}"
_SESSION = "/sessions/{session}"
_CLAIMS: Mapping[str, Any] = {
    "handler": _claim,
    "answer": "ClaimKnocksResponse",
    "body": "ClaimKnocksRequest",
    "needs": "token",
    "parameters": ("filter", "page_size", "wait"),
    "waits_for": "server/{server}",
}

ROUTES: tuple[Operation, ...] = (
    Operation(
        "createServer",
        "POST",
        "/servers",
        "Make a server, with its rooms and services; or make it anew, by the same token.",
        lambda realm, call, now: realm.create_server(call.caller, call.body, now),
        "Server",
        body="Server",
    ),
    Operation("listServers", "GET", "/servers", "Refused.", _refused_list("servers"), "Empty"),
    Operation(
        "getServer",
        "GET",
        _SERVER,
        "A server, without its token.",
        lambda realm, call, _: realm.get_server(call.path["server"]),
        "Server",
    ),
    Operation(
        "updateServer",
        "PATCH",
        _SERVER,
        "Change the display name, the rooms or the services.",
        lambda realm, call, now: realm.update_server(
            call.caller, call.path["server"], call.body, call.text("update_mask"), now
        ),
        "Server",
        body="Server",
        needs="token",
        parameters=("update_mask",),
    ),
    Operation(
        "deleteServer",
        "DELETE",
        _SERVER,
        "Drop a server, with its services and knocks.",
        _delete_server,
        "Empty",
        needs="token",
    ),
    Operation(
        "heartbeat",
        "POST",
        f"{_SERVER}:heartbeat",
        "Prolong a server's time, as every request with its token does.",
        lambda realm, call, now: realm.heartbeat(call.caller, call.path["server"], now),
        "Server",
        needs="token",
    ),
    Operation(
        "listIceServers",
        "GET",
        "/ice_servers",
        "STUN and TURN servers, with logins that expire. A client needs them before it knocks.",
        lambda realm, call, _: {"ice_servers": realm.ice_servers(call.caller.network)},
        "ListIceServersResponse",
    ),
    Operation("listRooms", "GET", "/rooms", "Refused.", _refused_list("rooms"), "Empty"),
    Operation(
        "getRoom",
        "GET",
        "/rooms/{room}",
        "A room that somebody is in.",
        lambda realm, call, _: realm.get_room(call.path["room"]),
        "Room",
    ),
    Operation(
        "listRoomServers",
        "GET",
        "/rooms/{room}/servers",
        "The servers in a room.",
        lambda realm, call, _: realm.list_room(
            call.path["room"], call.text("filter"), call.page_size, call.text("page_token")
        ),
        "ListRoomServersResponse",
        parameters=("filter", "page_size", "page_token"),
    ),
    Operation(
        "listServices",
        "GET",
        f"{_SERVER}/services",
        "The services of a server.",
        lambda realm, call, _: realm.list_services(call.path["server"]),
        "ListServicesResponse",
    ),
    Operation(
        "getService",
        "GET",
        _SERVICE,
        "One service.",
        lambda realm, call, _: realm.get_service(call.path["server"], call.path["service"]),
        "Service",
    ),
    Operation(
        "createKnock",
        "POST",
        f"{_SERVICE}/knocks",
        "Ask a service for a connection.",
        lambda realm, call, now: realm.create_knock(
            call.caller, call.path["server"], call.path["service"], call.body, now
        ),
        "Knock",
        body="Knock",
    ),
    Operation(
        "listKnocks",
        "GET",
        f"{_SERVICE}/knocks",
        "The knocks that are not answered. Changes nothing.",
        lambda realm, call, now: realm.list_knocks(
            call.caller, call.path["server"], call.path["service"], call.page_size, now
        ),
        "ListKnocksResponse",
        needs="token",
        parameters=("page_size",),
    ),
    Operation("claimKnocks", "POST", f"{_SERVER}/claim_knocks", "Take knocks.", **_CLAIMS),
    Operation("claimKnocksByGet", "GET", f"{_SERVER}/claim_knocks", "Take knocks.", **_CLAIMS),
    Operation(
        "claimServiceKnocks", "POST", f"{_SERVICE}/claim_knocks", "Take its knocks.", **_CLAIMS
    ),
    Operation(
        "claimServiceKnocksByGet", "GET", f"{_SERVICE}/claim_knocks", "Take its knocks.", **_CLAIMS
    ),
    Operation(
        "getKnock",
        "GET",
        _KNOCK,
        "A knock, and its answer once there is one.",
        lambda realm, call, _: realm.get_knock(call.knock),
        "Knock",
        needs="name",
        parameters=("wait",),
        waits_for="knock/{knock}",
    ),
    Operation(
        "updateKnock",
        "PATCH",
        _KNOCK,
        "Answer a knock, or refuse it.",
        lambda realm, call, now: realm.update_knock(call.caller, call.knock, call.body, now),
        "Knock",
        body="Knock",
        needs="token",
    ),
    Operation(
        "deleteKnock", "DELETE", _KNOCK, "Give a knock up.", _delete_knock, "Empty", needs="name"
    ),
    Operation(
        "addCandidates",
        "POST",
        f"{_SESSION}/candidates",
        "Leave one or several candidates for the owner of a session.",
        _add_candidates,
        "Empty",
        body="AddCandidatesRequest",
        needs="name",
    ),
    Operation(
        "listCandidates",
        "GET",
        f"{_SESSION}/candidates",
        "The candidates that wait in a session. Changes nothing.",
        _candidates(take=False),
        "ListCandidatesResponse",
        needs="name",
        parameters=("wait",),
        waits_for="session/{session}",
    ),
    Operation(
        "claimCandidates",
        "GET",
        f"{_SESSION}/claim/candidates",
        "Take the candidates that wait in a session.",
        _candidates(take=True),
        "ListCandidatesResponse",
        needs="name",
        parameters=("wait",),
        waits_for="session/{session}",
    ),
)


def _pattern(path: str) -> re.Pattern[str]:
    # A server's id has no colon, that of a service may have one.
    expression = re.escape(path).replace(r"\{", "{").replace(r"\}", "}")
    expression = expression.replace("{server}", r"(?P<server>[^/:]+)")
    return re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", expression))


_PATTERNS = [(_pattern(route.path), route) for route in ROUTES]


def find(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    """The operation of a path below :data:`PREFIX`, decoded, and the path's parameters.

    Raises Problem: NOT_FOUND, METHOD_NOT_ALLOWED.
    """
    allowed = []
    for pattern, operation in _PATTERNS:
        found = pattern.fullmatch(path)
        if found is not None:
            if operation.method == method:
                return operation, found.groupdict()
            allowed.append(operation.method)
    if allowed:
        raise Problem(Status.METHOD_NOT_ALLOWED, f"allowed here: {', '.join(sorted(set(allowed)))}")
    raise Problem(Status.NOT_FOUND, f"there is nothing at {PREFIX}{path[:200]}")
