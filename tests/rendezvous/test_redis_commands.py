from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.rendezvous.redis_commands import MAX_COMMAND, Commands


def sent(*strings: bytes) -> bytes:
    head = b"*%d\r\n" % len(strings)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(one), one) for one in strings)


@given(
    st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5), max_size=8),
    st.integers(1, 50),
)
def test_commands_are_found_however_they_are_cut(commands: list[list[bytes]], step: int) -> None:
    octets = b"".join(sent(*one) for one in commands)
    reading, found = Commands(), []
    for at in range(0, len(octets), step):
        found += reading.feed(octets[at : at + step])
    assert found == commands


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*17\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\n$99999999\r\n",
        b"*" + b"1" * 20,
        b"*2\r\n$16000\r\n" + b"x" * 16_000 + b"\r\n$16000\r\n" + b"x" * 1000,
    ],
)
def test_anything_else_is_refused_and_not_kept(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"bytes|strings|number|end"):
        Commands().feed(octets)


@given(st.binary(max_size=200))
def test_no_octets_do_anything_else(octets: bytes) -> None:
    reading = Commands()
    try:
        reading.feed(octets)
    except ValueError:
        return
    assert len(reading._buffer) <= MAX_COMMAND
