"""URLs as they come from elsewhere."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import MessageError, SignalingError
from peerfetch_fast.peerfetch1.urls import locate
from peerfetch_fast.signaling.peerjs.endpoint import Endpoint
from peerfetch_fast.signaling.peerjs.settings import SignalingClientSettings
from peerfetch_fast.urls import parse_url

WRONG = ["http://[]@/", "http://][@", "http://[::1", "http://[a:x]b]/", "http://a:b/"]


@given(st.text("[]:@/ab1%~.?#", max_size=12))
def test_what_is_none_is_said_in_one_way(text: str) -> None:
    for url in (text, f"http://{text}"):
        with contextlib.suppress(ValueError):
            found = parse_url(url)
            assert (found.host, found.port) is not None


@pytest.mark.parametrize("url", WRONG)
def test_what_is_none_for_others_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|port"):
        parse_url(url)
    with pytest.raises(MessageError):
        locate(url, {})
    with pytest.raises(SignalingError):
        Endpoint(url.replace("http", "ws"), SignalingClientSettings())
