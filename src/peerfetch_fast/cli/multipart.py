"""Forms with files (``-F``): ``multipart/form-data``, as curl writes it (RFC 7578)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peerfetch_fast.cli.request_body import Part
from peerfetch_fast.errors import InvalidRequest

__all__ = ["make_form"]

# A value, quoted or up to the next semicolon, and its parameters.
_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"|([^;]*)', re.DOTALL)
_PARAMETER = re.compile(r'\s*;\s*(type|filename)=(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.IGNORECASE)
# "text/plain; charset=utf-8": unknown parameters behind a type belong to the type.
_OF_TYPE = re.compile(r"\s*;\s*(?!type=|filename=)[^;]*", re.IGNORECASE)

# Escaped as in HTML forms: a quote or a line end would begin another header.
_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    content: Part
    type: str | None
    filename: str | None


def make_form(fields: Sequence[str]) -> tuple[list[Part], str]:
    """The body of a form, and its content type.

    :param fields: ``NAME=TEXT``, ``NAME=@FILE`` for a file, ``NAME=<FILE`` for the text in a file;
    each optionally with ``;type=…`` and ``;filename=…``. A value with a semicolon is quoted.

    Raises InvalidRequest for a field of another form.
    """
    boundary = f"------------------------{secrets.token_hex(8)}"
    parts: list[Part] = []
    for field in map(_parse, fields):
        head = f'Content-Disposition: form-data; name="{field.name.translate(_QUOTED)}"'
        if field.filename is not None:
            head += f'; filename="{field.filename.translate(_QUOTED)}"'
        if field.type is not None:
            head += f"\r\nContent-Type: {field.type}"
        parts += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), field.content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return parts, f"multipart/form-data; boundary={boundary}"


def _parse(text: str) -> _Field:
    name, equals, rest = text.partition("=")
    if not equals or not name:
        raise InvalidRequest(f"{text!r} is no form field: write NAME=TEXT or NAME=@FILE")
    kind = rest[:1] if rest[:1] in ("@", "<") else ""
    found = _VALUE.match(rest, len(kind))
    assert found is not None  # the pattern always matches: it accepts the empty string
    value = _unquoted(found[1], found[2])
    given = {}
    at = found.end()
    while at < len(rest):
        parameter = _PARAMETER.match(rest, at)
        if parameter is None:
            raise InvalidRequest(
                f"{rest[at:]!r} is no ;type= or ;filename= of a form field: put a text with "
                f"semicolons in quotes, as in '{name}=\"a;b\"'"
            )
        key, at = parameter[1].lower(), parameter.end()
        given[key] = _unquoted(parameter[2], parameter[3])
        while key == "type" and (more := _OF_TYPE.match(rest, at)):
            given[key] += more[0]
            at = more.end()
    if any(character in given.get("type", "") for character in "\r\n"):
        raise InvalidRequest(f"{given['type']!r} is no media type")
    if kind == "":
        return _Field(name, value.encode(), given.get("type"), given.get("filename"))
    if kind == "<":
        return _Field(name, Path(value), given.get("type"), given.get("filename"))
    filename = given.get("filename", Path(value).name)
    return _Field(name, Path(value), given.get("type") or _type_of(filename), filename)


def _unquoted(quoted: str | None, plain: str | None) -> str:
    return (plain or "") if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)


def _type_of(filename: str) -> str:
    from mimetypes import guess_type

    return guess_type(filename)[0] or "application/octet-stream"
