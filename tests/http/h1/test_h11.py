"""h11 as an oracle: what it reads we read alike, but for what ``fuzz/h1_differences.py`` names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.h1 import h1_requests, h1_responses

names = st.sampled_from(
    ["Host", "A", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "X-\xe4", ""]
)
values = st.sampled_from(
    ["x", "0", "5", "5, 5", "6", "0x5", "chunked", "gzip, chunked", "close", "", "a\x01b", "\xe4"]
)
separators = st.sampled_from([": ", ":", " : ", ":\t", ""])
ends = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n "])
fields = st.lists(st.tuples(names, separators, values, ends).map("".join), max_size=4).map("".join)
bodies = st.sampled_from(
    [
        "",
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;x\r\nhello\r\n0\r\nA: b\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
    ]
)
requests = st.sampled_from(
    ["GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.1\r\nHost: x\r\n", "PUT / HTTP/1.0\r\n", "G\xe4 x\r\n"]
)
answers = st.sampled_from(
    ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\r\n", "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 304 N\r\n", "x\r\n"]
)
flags = st.integers(0, 255).map(lambda flags: bytes([flags]))


@given(flags, requests, fields, bodies)
def test_requests_are_read_as_h11_reads_them(
    flags: bytes, first: str, fields: str, body: str
) -> None:
    h1_requests(flags + f"{first}{fields}\r\n{body}".encode("latin-1"))


@given(flags, answers, fields, bodies)
def test_responses_are_read_as_h11_reads_them(
    flags: bytes, first: str, fields: str, body: str
) -> None:
    h1_responses(flags + f"{first}{fields}\r\n{body}".encode("latin-1"))


@pytest.mark.parametrize("octets", [b"\0GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""])
def test_the_oracle_agrees_on_what_is_plain(octets: bytes) -> None:
    h1_requests(octets)
