"""The messages of PeerNet: one table for JSON, Protobuf and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from peerfetch_fast.signaling.peernet.patterns import (
    PROTOCOL,
    SERVER_ID,
    SERVICE_VERSION,
    SESSION_ID,
)
from peerfetch_fast.signaling.peernet.problems import Problem, Status

__all__ = ["MESSAGES", "STATES", "Field", "Kind", "Resource", "read_json", "write_json"]

Resource = dict[str, Any]
"""A message by the names of its fields in the table."""

MAX_SDP = 48 * 1024
"""Characters of the longest description."""

MAX_CANDIDATE = 1024
"""Characters of the longest candidate."""

MAX_ITEM = 256
"""Characters of a string in a list."""

MAX_METADATA = 4096
"""Bytes of the names and values of one service's metadata."""

STATES = ("UNSPECIFIED", "PENDING", "CLAIMED", "ANSWERED", "REFUSED", "EXPIRED")
"""The states of a knock, by their numbers in Protobuf."""


class Kind(Enum):
    """The type of a field, as Protobuf names it."""

    STRING = "string"
    INT32 = "int32"
    DOUBLE = "double"
    TIME = "google.protobuf.Timestamp"
    MAP = "map<string, string>"
    STATE = "Knock.State"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message."""

    name: str
    number: int
    kind: Kind = Kind.STRING
    of: str = ""
    """The name of the message that it holds."""
    repeated: bool = False
    most: int = 256
    """Characters of a string, members of a map, items of a list."""
    json: str = ""
    """Its name in JSON, if that is another."""
    also: tuple[str, ...] = ()
    """Names in JSON by which it is read, too."""
    output: bool = False
    """Whether only the server sets it: what a request says of it is ignored."""
    secret: bool = False
    """Whether only requests have it."""
    pattern: str = ""
    """The pattern that a string must match."""

    @property
    def longest(self) -> int:
        """Characters of a string, or of each in a list."""
        return MAX_ITEM if self.repeated else self.most

    @property
    def json_name(self) -> str:
        """Its name in JSON."""
        return self.json or self.name

    @property
    def json_names(self) -> tuple[str, ...]:
        """The names by which it is read."""
        first, *rest = self.name.split("_")
        camel = first + "".join(map(str.capitalize, rest))
        return tuple(dict.fromkeys((self.json_name, self.name, camel, *self.also)))


def _time(name: str, number: int) -> Field:
    return Field(name, number, Kind.TIME, output=True)


def _page(of: str, name: str) -> tuple[Field, ...]:
    return (
        Field(name, 1, Kind.MESSAGE, of, repeated=True, output=True),
        Field("next_page_token", 2, output=True),
    )


_CANDIDATE = (
    Field("candidate", 1, most=MAX_CANDIDATE),
    Field("sdp_mid", 2, most=MAX_CANDIDATE, json="sdpMid"),
    Field("sdp_line_index", 3, Kind.INT32, json="sdpLineIndex", also=("sdpMLineIndex",)),
)

MESSAGES: dict[str, tuple[Field, ...]] = {
    "Room": (
        Field("name", 1, output=True),
        Field("display_name", 2, output=True),
        _time("create_time", 3),
        _time("expire_time", 4),
    ),
    "Service": (
        Field("name", 1, output=True),
        Field("protocol", 2, most=64, pattern=PROTOCOL),
        Field("version", 3, most=32, pattern=SERVICE_VERSION),
        Field("display_name", 4, most=128),
        Field("metadata", 5, Kind.MAP, most=32),
    ),
    "Server": (
        Field("name", 1, output=True),
        Field("unique_id", 2, most=128, pattern=f"({SERVER_ID})?"),
        Field("display_name", 3, most=128),
        Field("auth_token", 4, most=256, secret=True),
        Field("rooms", 5, repeated=True, most=8),
        Field("services", 6, Kind.MESSAGE, "Service", repeated=True, most=16),
        _time("create_time", 7),
        _time("update_time", 8),
        _time("expire_time", 9),
    ),
    "Candidate": _CANDIDATE,
    "Session": (
        Field("name", 1, most=128, pattern=f"({SESSION_ID})?"),
        Field("sdp", 2, most=MAX_SDP),
        Field("sdp_type", 3, most=16, json="sdpType", also=("type",)),
        Field("candidates", 4, Kind.MESSAGE, "Candidate", repeated=True, most=64),
    ),
    "Knock": (
        Field("name", 1, output=True),
        Field("service", 2, Kind.MESSAGE, "Service", output=True),
        Field("offer", 3, Kind.MESSAGE, "Session", also=("client_session_description",)),
        Field("answer", 4, Kind.MESSAGE, "Session"),
        Field("state", 5, Kind.STATE),
        Field("reason", 6),
        _time("create_time", 7),
        _time("expire_time", 8),
        # The offer's session of the connection to which this knock gives another path.
        Field("session", 9, most=128, pattern=f"({SESSION_ID})?"),
    ),
    "IceServer": (
        Field("urls", 1, repeated=True, most=16),
        Field("username", 2, most=512),
        Field("credential", 3, most=512),
        _time("expire_time", 4),
    ),
    "ListRoomServersResponse": _page("Server", "servers"),
    "ListServicesResponse": _page("Service", "services"),
    "ListKnocksResponse": _page("Knock", "knocks"),
    "ClaimKnocksRequest": (
        Field("filter", 1, most=1024),
        Field("page_size", 2, Kind.INT32),
        Field("wait", 3, Kind.DOUBLE),
    ),
    "ClaimKnocksResponse": _page("Knock", "knocks"),
    # One candidate, as the source has it, or several.
    "AddCandidatesRequest": (
        *_CANDIDATE,
        Field("candidates", 4, Kind.MESSAGE, "Candidate", repeated=True, most=64),
    ),
    "ListCandidatesResponse": (
        Field("candidates", 1, Kind.MESSAGE, "Candidate", repeated=True, output=True),
    ),
    "ListIceServersResponse": (
        Field("ice_servers", 1, Kind.MESSAGE, "IceServer", repeated=True, output=True),
    ),
    "Empty": (),
    "Error": (
        Field("code", 1, Kind.INT32, output=True),
        Field("message", 2, most=512, output=True),
        Field("status", 3, output=True),
    ),
}
"""The fields of each message. The numbers are ours: the source of PeerNet gives none."""


def invalid(path: str, message: str) -> Problem:
    """The refusal of a field."""
    return Problem(Status.INVALID_ARGUMENT, f"{path}: {message}" if path else message)


def read_json(message: str, value: object, path: str = "") -> Resource:
    """The fields that JSON of a client sets, checked. Names that are not known are ignored, so that
    messages can grow.

    Raises Problem (INVALID_ARGUMENT).
    """
    if not isinstance(value, dict):
        raise invalid(path, "a JSON object is expected")
    found: Resource = {}
    for field in MESSAGES[message]:
        if field.output:
            continue
        name = next((name for name in field.json_names if value.get(name) is not None), None)
        if name is not None:
            where = f"{path}.{name}" if path else name
            found[field.name] = check_field(field, value[name], where, read_json)
    return found


Reader = Callable[[str, Any, str], Resource]
"""Reads a message that a field holds: its name, what came, and where."""


def check_field(field: Field, value: Any, path: str, read: Reader) -> object:
    """The value of a field as a client gives it. Raises Problem."""
    if not field.repeated:
        return _check_one(field, value, path, read)
    if not isinstance(value, (list, tuple)):
        raise invalid(path, "a list is expected")
    if len(value) > field.most:
        raise invalid(path, f"at most {field.most} are allowed")
    return [_check_one(field, one, f"{path}[{at}]", read) for at, one in enumerate(value)]


def _check_one(field: Field, value: Any, path: str, read: Reader) -> object:
    kind = field.kind
    if kind is Kind.MESSAGE:
        return read(field.of, value, path)
    if kind is Kind.STRING:
        return _text(value, path, field.longest, field.pattern)
    if kind is Kind.MAP:
        return _map(value, path, field.most)
    if kind is Kind.STATE:
        if value not in STATES:
            raise invalid(path, f"one of {', '.join(STATES)} is expected")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(path, "a number is expected")
    if kind is Kind.INT32 and (int(value) != value or not -(2**31) <= value < 2**31):
        raise invalid(path, "a whole number of 32 bits is expected")
    return int(value) if kind is Kind.INT32 else float(value)


def _text(value: object, path: str, most: int, pattern: str) -> str:
    if not isinstance(value, str):
        raise invalid(path, "a string is expected")
    if len(value) > most:
        raise invalid(path, f"at most {most} characters are allowed")
    if not value.isprintable() and re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", value):
        raise invalid(path, "a control character or half a surrogate pair is not allowed")
    if pattern and not re.fullmatch(pattern, value):
        raise invalid(path, f"what matches {pattern} is expected")
    return value


def _map(value: object, path: str, most: int) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise invalid(path, "a JSON object is expected")
    if len(value) > most:
        raise invalid(path, f"at most {most} members are allowed")
    found = {
        _text(key, path, 128, ""): _text(one, f"{path}.{key}"[:256], MAX_METADATA, "")
        for key, one in value.items()
    }
    if sum(len(key.encode()) + len(one.encode()) for key, one in found.items()) > MAX_METADATA:
        raise invalid(path, f"at most {MAX_METADATA} bytes are allowed")
    return found


def write_json(message: str, resource: Resource) -> Resource:
    """A message as JSON has it: the fields that ``resource`` has, by their names there."""
    written: Resource = {}
    for field in MESSAGES[message]:
        value = resource.get(field.name)
        if value is None or field.secret:
            continue
        if field.kind is Kind.MESSAGE:
            if field.repeated:
                value = [write_json(field.of, one) for one in value]
            else:
                value = write_json(field.of, value)
        elif field.kind is Kind.TIME:
            value = _rfc_3339(value)
        written[field.json_name] = value
    return written


def _rfc_3339(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
