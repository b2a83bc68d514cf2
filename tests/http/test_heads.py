from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from peerfetch_fast.errors import MessageError
from peerfetch_fast.http.blocks import HEAD, TRAILERS, BlockReader
from peerfetch_fast.http.heads import (
    content_length,
    decode_request,
    decode_response,
    decode_trailers,
    encode_request,
    encode_response,
    encode_trailers,
    end_to_end,
    header_pairs,
    parse_priority,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "peerfetch2.json").read_text())

names = st.text(
    "abcdefghijklmnopqrstuvwxyz0123456789-_!#$%&'*+.^`|~", min_size=1, max_size=30
).filter(lambda name: end_to_end([(name, "")]) != [])
values = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\0\r\n"), max_size=40).map(
    lambda value: value.strip(" \t")
)
pairs = st.lists(st.tuples(names, values), max_size=10)
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def payload_of(data: bytes, kind: int) -> bytes:
    [(found, payload)] = BlockReader().feed(data)
    assert found == kind
    return payload


def head(**members: Any) -> bytes:
    return json.dumps(members).encode()


@given(st.sampled_from(["GET", "PUT", "M-SEARCH"]), st.text("/ab%20?&=", min_size=1), pairs)
def test_an_encoded_request_decodes_to_itself(
    method: str, target: str, headers: list[tuple[str, str]]
) -> None:
    payload = payload_of(encode_request(method, target, headers), HEAD)
    got = decode_request(payload)
    assert got[:2] == (method, target)
    assert list(got[2].items()) == headers
    assert got[3] is None


@given(st.integers(100, 999), pairs)
def test_an_encoded_response_decodes_to_itself(status: int, headers: list[tuple[str, str]]) -> None:
    payload = payload_of(encode_response(status, headers), HEAD)
    got_status, got = decode_response(payload)
    assert got_status == status
    assert list(got.items()) == headers


@given(pairs)
def test_encoded_trailers_decode_to_themselves(headers: list[tuple[str, str]]) -> None:
    got = decode_trailers(payload_of(encode_trailers(headers), TRAILERS))
    assert list(got.items()) == headers


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 60_000)
@example(b'{"method":' * 5_000)
@example(b'{"method":"\\ud800","target":"/"}')
@example(b'{"status":1e400}')
@example(b'\xef\xbb\xbf{"status":200}')
def test_no_bytes_raise_anything_but_the_typed_error(payload: bytes) -> None:
    for decode in (decode_request, decode_response, decode_trailers):
        with contextlib.suppress(MessageError):
            decode(payload)  # type: ignore[operator]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "method": json_values,
            "target": json_values,
            "protocol": json_values,
            "status": json_values,
            "headers": json_values | st.lists(st.lists(json_values, max_size=3), max_size=3),
        },
    )
)
def test_no_object_raises_anything_but_the_typed_error(members: dict[str, Any]) -> None:
    try:
        payload = orjson.dumps(members)
    except TypeError:
        return
    for decode in (decode_request, decode_response, decode_trailers):
        with contextlib.suppress(MessageError):
            decode(payload)  # type: ignore[operator]


def test_names_are_case_insensitive_repeatable_and_ordered() -> None:
    _, headers = decode_response(
        head(status=200, headers=[["Set-Cookie", "a=1"], ["x", "y"], ["set-cookie", "b=2"]])
    )
    assert headers.getall("SET-COOKIE") == ["a=1", "b=2"]
    assert [name for name, _ in headers.items()] == ["set-cookie", "x", "set-cookie"]


def test_unknown_members_are_ignored() -> None:
    assert decode_response(head(status=204, headers=[], reason="No Content", x={}))[0] == 204


def test_headers_may_be_missing() -> None:
    assert not decode_response(head(status=200))[1]


def test_a_method_is_read_in_upper_case() -> None:
    # Handlers and the upstream's client decide by the method: both shall see one spelling.
    assert decode_request(head(method="connect", target="/", headers=[]))[0] == "CONNECT"


def test_a_method_that_http_does_not_define_is_left_as_it_is() -> None:
    assert decode_request(head(method="m-Search", target="/", headers=[]))[0] == "m-Search"


@pytest.mark.parametrize("protocol", ["websocket", None])
def test_the_protocol_of_an_upgrade_is_kept(protocol: str | None) -> None:
    payload = payload_of(encode_request("GET", "/", [], protocol), HEAD)
    assert decode_request(payload)[3] == protocol
    assert ("protocol" in json.loads(payload)) == (protocol is not None)


@pytest.mark.parametrize(
    "members",
    [
        {"target": "/"},
        {"method": "", "target": "/"},
        {"method": "GE T", "target": "/"},
        {"method": "GET\r\n", "target": "/"},
        {"method": "G" * 257, "target": "/"},
        {"method": "ÄT", "target": "/"},
        {"method": 1, "target": "/"},
        {"method": "GET"},
        {"method": "GET", "target": ""},
        {"method": "GET", "target": "/a b"},
        {"method": "GET", "target": "/a\r\nb"},
        {"method": "GET", "target": "/\u00e4"},
        {"method": "GET", "target": "/\x7f"},
        {"method": "GET", "target": ["/"]},
        {"method": "GET", "target": "/", "protocol": "web socket"},
        {"method": "GET", "target": "/", "protocol": 1},
    ],
)
def test_malformed_requests_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(MessageError, match=r"a request (without|whose)"):
        decode_request(head(headers=[], **members))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        "x",
        [["a"]],
        [["a", "b", "c"]],
        [["a", 1]],
        [[1, "a"]],
        [["", "a"]],
        [["a b", "c"]],
        [["a:", "c"]],
        [["a\n", "c"]],
        [["a", "b\r\nc: d"]],
        [["a", "b\0"]],
        [["a", "\u0100"]],
        [["\u00e4", "b"]],
        [["a" * 257, "b"]],
        None,
    ],
)
@pytest.mark.parametrize("decode", [decode_request, decode_response, decode_trailers])
def test_malformed_headers_are_refused(decode: Any, headers: Any) -> None:
    with pytest.raises(MessageError, match="header"):
        decode(head(method="GET", target="/", status=200, headers=headers))


@pytest.mark.parametrize("status", [None, True, "200", 200.0, 99, 1000, -200, 2**70])
def test_a_malformed_status_is_refused(status: Any) -> None:
    with pytest.raises(MessageError, match="without a status"):
        decode_response(head(status=status, headers=[]))


@pytest.mark.parametrize(("payload", "said"), [(b"{", "not JSON"), (b"[]", "no JSON object")])
@pytest.mark.parametrize("decode", [decode_request, decode_response, decode_trailers])
def test_a_head_of_another_form_is_refused(decode: Any, payload: bytes, said: str) -> None:
    with pytest.raises(MessageError, match=said):
        decode(payload)


@pytest.mark.parametrize("made", [list, tuple, iter, dict])
def test_headers_may_be_any_pairs_or_a_mapping(made: Any) -> None:
    given = [("A", "1"), ("Upgrade", "x"), ("b", "2")]
    assert header_pairs(made(given)) == [("a", "1"), ("upgrade", "x"), ("b", "2")]


@pytest.mark.parametrize("made", [list, tuple, iter])
def test_end_to_end_fields_may_be_given_in_any_form(made: Any) -> None:
    assert end_to_end(made([("a", "1"), ("b", "2")])) == [("a", "1"), ("b", "2")]
    assert end_to_end(made([("upgrade", "x"), ("b", "2")])) == [("b", "2")]


def test_white_space_around_values_goes() -> None:
    assert header_pairs({"A": " \tb c\t "}) == [("a", "b c")]


def test_fields_of_one_connection_are_dropped() -> None:
    sent = [
        ("connection", "X-One , close,X-Three"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
    ]
    assert end_to_end(sent) == [("x-two", "2")]
    # A receiver drops them as well, whatever their case.
    received = decode_response(head(status=200, headers=[[n.title(), v] for n, v in sent]))[1]
    assert list(received.items()) == [("x-two", "2")]


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ([], None),
        (["0"], 0),
        (["12"], 12),
        (["012"], 12),
        (["5", "5"], 5),
        (["5 ,\t5"], 5),
        (["9" * 18], 10**18 - 1),
    ],
)
def test_content_length_is_read_where_all_fields_agree(
    fields: list[str], length: int | None
) -> None:
    headers = CIMultiDictProxy(CIMultiDict([("Content-Length", field) for field in fields]))
    assert content_length(headers) == length


@pytest.mark.parametrize(
    "fields",
    [
        ["a"],
        [""],
        ["-1"],
        ["+1"],
        ["1.0"],
        ["5", "6"],
        ["5,6"],
        ["\u0665"],
        ["9" * 19],
        ["5X"],
        ["\v5"],
    ],
)
def test_a_broken_content_length_is_refused(fields: list[str]) -> None:
    with pytest.raises(MessageError, match="Content-Length"):
        content_length(CIMultiDict([("content-length", field) for field in fields]))


@given(st.text())
def test_content_length_of_anything(value: str) -> None:
    try:
        length = content_length(CIMultiDict([("content-length", value)]))
    except MessageError:
        return
    assert length is not None
    assert length >= 0


@pytest.mark.parametrize(
    ("value", "urgency", "incremental"),
    [
        ("", 3, True),
        ("u=0", 0, True),
        ("u=7, i", 7, True),
        ("i=?0", 3, False),
        ("u=1,i=?0", 1, False),
        ("i=?0, u=5", 5, False),
        ("u=9", 3, True),
        ("u=-1", 3, True),
        ("u=12", 3, True),
        ("nonsense", 3, True),
        ("xu=1", 3, True),
    ],
)
def test_priority_is_read_as_rfc_9218_says(value: str, urgency: int, incremental: bool) -> None:
    assert parse_priority(value) == (urgency, incremental)


@given(st.text())
def test_whatever_the_field_says_urgency_is_between_0_and_7(value: str) -> None:
    urgency, _ = parse_priority(value)
    assert 0 <= urgency <= 7


@pytest.mark.parametrize("vector", VECTORS["heads"], ids=lambda vector: vector["name"])
def test_vectors_are_taken_or_refused_as_they_say(vector: dict[str, Any]) -> None:
    decode: Any = decode_request if vector["of"] == "request" else decode_response
    payload = vector["head"].encode()
    if vector["taken"]:
        told = json.loads(payload)
        first = told["target"] if vector["of"] == "request" else told["status"]
        assert first in decode(payload)
    else:
        with pytest.raises(MessageError):
            decode(payload)
