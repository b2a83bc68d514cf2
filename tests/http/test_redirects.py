"""Redirects, as the Fetch standard has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from peerfetch_fast.errors import InvalidRequest, RedirectError
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.content import make_content
from peerfetch_fast.http.redirects import MAX_REDIRECTS, redirected
from peerfetch_fast.http.request import Request
from peerfetch_fast.http.server import Exchange
from support import http_pair

pytestmark = pytest.mark.virtual_time

ORIGIN = "peer://Device-1"


def led(location: str | None, *, status: int = 302, request: Request | None = None) -> Any:
    headers = CIMultiDictProxy(CIMultiDict({} if location is None else {"Location": location}))
    return redirected(request or Request("GET", "/a/b?q=1", [], None), status, headers, ORIGIN)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/x", "/x"),
        ("c", "/a/c"),
        ("../c?d#e", "/c?d"),
        ("?r=2", "/a/b?r=2"),
        ("", "/a/b?q=1"),
        ("#part", "/a/b?q=1"),
        ("peer://Device-1/x?y", "/x?y"),
        ("peer://Device-1", "/"),
        ("//Device-1/x", "/x"),
        ("/a b", "/a%20b"),
        ("/\xc3\xa4", "/%C3%A4"),  # UTF-8, one character per octet
        ("/\xe4", "/%C3%A4"),
        ("../../../..", "/"),
    ],
)
def test_a_location_leads_where_rfc_3986_resolves_it_to(location: str, target: str) -> None:
    assert led(location).target == target


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "https://example.org/",
        "peer://other/",
        "//example.org/",
        "peer:/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://[broken/",
        "peer://device-1/",
    ],
)
def test_it_stays_on_the_peer(location: str) -> None:
    with pytest.raises(RedirectError, match="not on this peer"):
        led(location)


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 400])
def test_statuses_that_are_no_redirects(status: int) -> None:
    assert led("/x", status=status) is None


def test_a_redirect_without_a_location_is_an_answer() -> None:
    assert led(None) is None


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        *((301, method, method) for method in ("GET", "HEAD", "PUT", "DELETE")),
        *((302, method, method) for method in ("GET", "HEAD", "PUT", "DELETE")),
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        *((303, method, "GET") for method in ("GET", "POST", "PUT", "DELETE")),
        (303, "HEAD", "HEAD"),
        *((307, method, method) for method in ("GET", "HEAD", "POST", "PUT")),
        *((308, method, method) for method in ("GET", "HEAD", "POST", "PUT")),
    ],
)
def test_the_method_becomes_get_where_fetch_says_and_loses_its_body(
    status: int, method: str, becomes: str
) -> None:
    body = make_content(b"body") if method in ("POST", "PUT") else None
    headers = [("content-type", "a/b"), ("content-length", "4"), ("x", "y")] if body else []
    following = led("/x", status=status, request=Request(method, "/", headers, body))
    assert following.method == becomes
    kept = becomes == method
    assert following.content == (body if kept else None)
    assert following.headers == (headers if kept else headers[2:])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_body_that_is_gone_cannot_follow(status: int) -> None:
    async def some() -> Any:
        yield b"x"

    with pytest.raises(RedirectError, match="cannot be sent again"):
        led("/x", status=status, request=Request("PUT", "/", [], make_content(some())))
    assert led("/x", status=303, request=Request("PUT", "/", [], make_content(some())))


async def redirecting(exchange: Exchange) -> None:
    """``/3`` leads to ``/2``, and so on to ``/0``, which answers with what it was asked."""
    left = int(exchange.target[1:].partition("?")[0])
    body = b""
    while piece := await exchange.read():
        body += piece
    if left:
        headers = [("location", f"/{left - 1}?{exchange.method}")]
        exchange.respond(int(exchange.headers.get("status", 307)), headers, b"moved")
    else:
        exchange.respond(200, [], exchange.method.encode() + b" " + body)


async def test_redirects_are_followed_with_the_method_that_fetch_prescribes(tmp_path: Path) -> None:
    async with http_pair(redirecting) as pair:
        response = await fetch(pair.client, "/0")
        assert (response.url, response.redirected) == ("/0", False)
        response = await fetch(pair.client, f"/{MAX_REDIRECTS}")
        assert (response.url, response.redirected) == ("/0?GET", True)
        assert await response.text() == "GET "
        with pytest.raises(RedirectError, match="more than 20"):
            await fetch(pair.client, f"/{MAX_REDIRECTS + 1}")
        response = await fetch(pair.client, "/3", method="PUT", body=b"again and again")
        assert await response.text() == "PUT again and again"
        response = await fetch(pair.client, "/3", body=b"once", headers={"status": "303"})
        assert await response.text() == "GET "


async def test_redirects_are_returned_or_raised_where_asked_for() -> None:
    async with http_pair(redirecting) as pair:
        response = await fetch(pair.client, "/1", redirect="manual")
        assert (response.status, await response.text()) == (307, "moved")
        assert response.headers["location"] == "/0?GET"
        with pytest.raises(RedirectError, match="not to be followed"):
            await fetch(pair.client, "/1", redirect="error")
        assert (await fetch(pair.client, "/0", redirect="error")).ok
        with pytest.raises(InvalidRequest, match="redirect"):
            await fetch(pair.client, "/0", redirect="sometimes")  # type: ignore[arg-type]
        # What was not read of them is not left behind.
        assert pair.client.open_streams == 0
