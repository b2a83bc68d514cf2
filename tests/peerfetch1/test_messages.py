"""The JSON of peerfetch.1, written from what old peers send."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import MessageError
from peerfetch_fast.peerfetch1.messages import (
    MAX_REQUEST,
    PING,
    Head,
    Request,
    encode_head,
    encode_request,
    parse_head,
    parse_request,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "peerfetch1.json").read_text())


@pytest.mark.parametrize(
    ("fields", "request_"),
    [
        ({"url": "http://h/a?", "method": "GET"}, Request("http://h/a")),
        ({"url": "/a?b=c"}, Request("/a?b=c")),
        ({"url": "/a", "method": "get", "json": {"ignored": 1}}, Request("/a")),
        ({"url": "/a", "method": "PUT"}, Request("/a", "PUT")),
        (
            {"url": "/a", "method": "POST", "json": {"x": [1]}},
            Request("/a", "POST", b'{"x":[1]}', "application/json"),
        ),
        (
            {"url": "/a", "method": "POST", "json": None, "data": "täxt"},
            Request("/a", "POST", "täxt".encode(), "text/plain; charset=utf-8"),
        ),
        (
            {"url": "/a", "method": "PUT", "data": {"a": 1, "b": "c d"}},
            Request("/a", "PUT", b"a=1&b=c+d", "application/x-www-form-urlencoded"),
        ),
    ],
)
def test_vectors_of_requests_are_read(fields: dict[str, Any], request_: Request) -> None:
    assert parse_request(json.dumps(fields)) == request_


def test_pings_are_told_from_requests() -> None:
    assert parse_request('{"url":"ping?","method":"GET"}').is_ping
    assert parse_request(PING).is_ping
    assert not parse_request('{"url":"/ping","method":"GET"}').is_ping


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[1]", "object"),
        ("{}", "url"),
        ('{"url": 5}', "url"),
        ('{"url": ""}', "url"),
        ('{"url": "/", "method": "DELETE"}', "GET, PUT and POST"),
        ('{"url": "/", "method": 1}', "GET, PUT and POST"),
        ('{"url": "/", "method": "POST", "data": 5}', "data"),
        ('{"url": "/", "method": "POST", "data": {"a": []}}', "data"),
        ('{"url": "/", "method": "POST", "data": {"a": "\\ud800"}}', "JSON"),
        ('{"url": "/", "method": "POST", "data": "x", "json": 1}', "exclude"),
        (b'{"url": "/"}', "text"),
        ('{"url": "/' + "x" * MAX_REQUEST + '"}', "longer"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_requests_that_are_none(message: bytes | str, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        parse_request(message)


@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(["url", "method", "json", "data", "status", "content-type"]),
                    inner,
                )
            ),
        ).map(json.dumps),
    )
)
def test_anything_else_is_a_typed_error(message: bytes | str) -> None:
    for parse in (parse_request, parse_head):
        with contextlib.suppress(MessageError):
            parse(message)


def from_vector(vector: dict[str, Any]) -> Request:
    body = bytes.fromhex(vector["body"])
    return Request(vector["url"], vector["method"], body, vector["contentType"])


@pytest.mark.parametrize("vector", VECTORS["requests"])
def test_vectors_of_requests_are_written_as_old_proxies_read_them(vector: dict[str, Any]) -> None:
    assert json.loads(encode_request(from_vector(vector["request"]))) == vector["fields"]


@pytest.mark.parametrize("vector", VECTORS["noRequests"])
def test_bodies_that_the_protocol_has_no_place_for(vector: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match="neither text nor JSON"):
        encode_request(from_vector(vector))


@pytest.mark.parametrize("vector", VECTORS["heads"])
def test_vectors_of_heads_are_read_from_text_and_bytes(vector: dict[str, Any]) -> None:
    head = vector["head"]
    expected = Head(head["status"], head["contentType"], head["isWaiting"])
    for message in (vector["message"], vector["message"].encode()):
        assert parse_head(message) == expected


def test_our_own_heads_are_what_old_clients_read() -> None:
    assert json.loads(encode_head(200, "text/plain", 5)) == {
        "status": 200,
        "content-type": "text/plain",
        "content-length": 5,
    }
    assert parse_head(encode_head(404, "text/plain", 5)) == Head(404, "text/plain")


@pytest.mark.parametrize("message", [*VECTORS["noHeads"], " " * 5000])
def test_heads_that_are_none(message: str) -> None:
    with pytest.raises(MessageError):
        parse_head(message)
