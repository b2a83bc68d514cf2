"""PeerNet's messages in Protobuf, by the table of :mod:`.schema`.

Needs the package ``protobuf`` (the extra ``protobuf``). ``peernet.proto`` says the same for other
programs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from peerfetch_fast.errors import MissingExtra
from peerfetch_fast.signaling.peernet.problems import Problem, Status
from peerfetch_fast.signaling.peernet.schema import (
    MESSAGES,
    STATES,
    Field,
    Kind,
    Resource,
    check_field,
    invalid,
)

__all__ = ["decode", "encode", "proto_text"]

PACKAGE = "peernet.v1"

_HEADER = f"""\
// The messages of PeerNet (docs/peernet.md). The numbers of the fields are those of peerfetch-fast:
// the source of PeerNet gives none.

syntax = "proto3";

package {PACKAGE};

import "google/protobuf/timestamp.proto";
"""


def proto_text() -> str:
    """The text of ``peernet.proto``."""
    return "\n".join([_HEADER, *(_message_text(name) for name in MESSAGES)])


def _message_text(name: str) -> str:
    lines = [f"message {name} {{"]
    if name == "Knock":
        lines.append("  enum State {")
        lines += [f"    {_state_name(number)} = {number};" for number in range(len(STATES))]
        lines += ["  }", ""]
    for field in MESSAGES[name]:
        kind = field.of if field.kind is Kind.MESSAGE else field.kind.value.removeprefix("Knock.")
        json = f' [json_name = "{field.json}"]' if field.json else ""
        repeated = "repeated " if field.repeated else ""
        lines.append(f"  {repeated}{kind} {field.name} = {field.number}{json};")
    return "\n".join([*lines, "}"]) + "\n"


def _state_name(number: int) -> str:
    return "STATE_UNSPECIFIED" if number == 0 else STATES[number]


@cache
def _types() -> dict[str, Any]:
    """The classes of the messages. Raises MissingExtra."""
    try:
        from google.protobuf import (
            descriptor_pb2,
            descriptor_pool,
            message_factory,
            timestamp_pb2,
        )
    except ImportError as error:
        raise MissingExtra(
            "Protobuf needs the package protobuf: pip install 'peerfetch-fast[protobuf]'"
        ) from error
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="peernet.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "Knock":
            state = message.enum_type.add(name="State")
            for number in range(len(STATES)):
                state.value.add(name=_state_name(number), number=number)
        for field in fields:
            _add_field(message, field)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


def _add_field(message: Any, field: Field) -> None:
    """Add a field to a DescriptorProto."""
    added = message.field.add(name=field.name, number=field.number, json_name=field.json_name)
    added.label = added.LABEL_REPEATED if field.repeated else added.LABEL_OPTIONAL
    if field.kind is Kind.MAP:
        entry_name = "".join(map(str.capitalize, field.name.split("_"))) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        for number, name in enumerate(("key", "value"), 1):
            entry.field.add(
                name=name, number=number, type=added.TYPE_STRING, label=added.LABEL_OPTIONAL
            )
        added.label = added.LABEL_REPEATED
        added.type, added.type_name = added.TYPE_MESSAGE, entry_name
    elif field.kind is Kind.MESSAGE:
        added.type, added.type_name = added.TYPE_MESSAGE, f".{PACKAGE}.{field.of}"
    elif field.kind is Kind.TIME:
        added.type, added.type_name = added.TYPE_MESSAGE, f".{field.kind.value}"
    elif field.kind is Kind.STATE:
        added.type, added.type_name = added.TYPE_ENUM, f".{PACKAGE}.{field.kind.value}"
    else:
        added.type = getattr(added, f"TYPE_{field.kind.name}")


def decode(message: str, data: bytes) -> Resource:
    """The fields that Protobuf of a client sets, checked.

    Raises Problem: INVALID_ARGUMENT; UNSUPPORTED_MEDIA_TYPE without ``protobuf``.
    """
    try:
        parsed = _types()[message].FromString(data)
    except MissingExtra as error:
        raise Problem(Status.UNSUPPORTED_MEDIA_TYPE, str(error)) from None
    except Exception as error:  # its DecodeError, and RecursionError of old releases
        raise Problem(Status.INVALID_ARGUMENT, f"this is no {message} in Protobuf") from error
    return _read(message, parsed, "")


def _read(message: str, parsed: Any, path: str) -> Resource:
    found: Resource = {}
    for field in MESSAGES[message]:
        if field.output:
            continue
        value = getattr(parsed, field.name)
        is_single = field.kind is Kind.MESSAGE and not field.repeated
        if not (parsed.HasField(field.name) if is_single else value):
            continue
        if field.kind is Kind.STATE:
            if value >= len(STATES):
                raise invalid(field.name, "this state is not known")
            value = STATES[value]
        elif field.kind is Kind.MAP:
            value = dict(value)
        elif field.repeated:
            value = list(value)
        where = f"{path}.{field.name}" if path else field.name
        found[field.name] = check_field(field, value, where, _read)
    return found


def encode(message: str, resource: Resource) -> bytes:
    """A message in Protobuf. Raises MissingExtra."""
    data: bytes = _built(message, resource).SerializeToString()
    return data


def _built(message: str, resource: Resource) -> Any:
    built = _types()[message]()
    for field in MESSAGES[message]:
        value = resource.get(field.name)
        if value is None or field.secret:
            continue
        target = getattr(built, field.name)
        if field.kind is Kind.MESSAGE:
            if field.repeated:
                target.extend(_built(field.of, one) for one in value)
            else:
                target.CopyFrom(_built(field.of, value))
        elif field.kind is Kind.TIME:
            target.FromNanoseconds(round(value * 1000) * 1_000_000)
        elif field.kind is Kind.MAP:
            target.update(value)
        elif field.repeated:
            target.extend(value)
        else:
            setattr(built, field.name, STATES.index(value) if field.kind is Kind.STATE else value)
    return built
