"""The OpenAPI 3.1 document of a PeerNet server, from :mod:`.api` and :mod:`.schema`."""

from __future__ import annotations

from typing import Any

from peerfetch_fast._version import __version__
from peerfetch_fast.signaling.peernet.api import ROUTES, Operation
from peerfetch_fast.signaling.peernet.schema import MAX_METADATA, MESSAGES, STATES, Field, Kind
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

__all__ = ["openapi"]

Document = dict[str, Any]

MAX_IN_PATH, MAX_IN_QUERY = 128, 256
"""Characters of a parameter, of which each may become twelve octets: a request line has 8,190."""

_REFUSALS = {
    400: "The request makes no sense.",
    401: "The token is missing.",
    403: "The token is wrong, or this is not for anybody.",
    404: "There is no such thing, or it has expired.",
    406: "Protobuf is not to be had here.",
    409: "Something else has that id, or the knock is settled.",
    413: "The body is too long.",
    415: "Protobuf is not to be had here.",
    429: "Too much at once: Retry-After says when to try again.",
    503: "The server is full, or shutting down.",
}

_PLAIN: dict[Kind, Document] = {
    Kind.INT32: {"type": "integer", "format": "int32"},
    Kind.DOUBLE: {"type": "number", "format": "double"},
    Kind.TIME: {"type": "string", "format": "date-time"},
    Kind.STATE: {"type": "string", "enum": list(STATES)},
}


def openapi(prefix: str, settings: PeerNetSettings) -> Document:
    """The document of a server whose operations are below ``prefix``."""
    paths: Document = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, settings)
    schemas = {name: _schema(name) for name in MESSAGES if name != "Error"}
    schemas["Error"] = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": _schema("Error")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "PeerNet", "version": __version__},
        "servers": [{"url": prefix}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization"},
            },
        },
    }


def _schema(message: str) -> Document:
    return {
        "type": "object",
        "properties": {field.json_name: _field(field) for field in MESSAGES[message]},
    }


def _field(field: Field) -> Document:
    if field.repeated:
        schema = {"type": "array", "maxItems": field.most, "items": _one(field)}
    else:
        schema = _one(field)
    if field.output:
        schema = {**schema, "readOnly": True}
    if field.secret:
        schema = {**schema, "writeOnly": True}
    return schema


def _one(field: Field) -> Document:
    if field.kind is Kind.MESSAGE:
        return {"$ref": f"#/components/schemas/{field.of}"}
    if field.kind is Kind.MAP:
        text = {"type": "string", "maxLength": MAX_METADATA}
        return {"type": "object", "maxProperties": field.most, "additionalProperties": text}
    if field.kind is not Kind.STRING:
        return _PLAIN[field.kind]
    text = {"type": "string", "maxLength": field.longest}
    return text | ({"pattern": f"^{field.pattern}$"} if field.pattern else {})


def _operation(route: Operation, settings: PeerNetSettings) -> Document:
    parameters: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": _text(MAX_IN_PATH)}
        for name in route.names
    ]
    parameters += [_parameter(name, settings) for name in route.parameters]
    found: Document = {
        "operationId": route.id,
        "summary": route.about,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Done.", "content": _content(route.answer)},
            **{
                str(status): {"description": text, "content": _content("Error")}
                for status, text in _REFUSALS.items()
            },
        },
    }
    if route.body and route.method != "GET":
        found["requestBody"] = {"content": _content(route.body)}
    if route.needs == "token":
        found["security"] = [{"token": []}]
    return found


def _parameter(name: str, settings: PeerNetSettings) -> Document:
    schema = _text(MAX_IN_QUERY)
    if name == "wait":
        schema = {"type": "number", "minimum": 0, "maximum": settings.max_wait}
    elif name == "page_size":
        schema = {"type": "integer", "minimum": 0, "maximum": 1000}
    return {"name": name, "in": "query", "schema": schema}


def _text(most: int) -> Document:
    return {"type": "string", "maxLength": most}


def _content(message: str) -> Document:
    schema = {"$ref": f"#/components/schemas/{message}"}
    return {"application/json": {"schema": schema}}
