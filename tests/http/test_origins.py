"""Whose origin a request names: what is replaced, and what is never taken for it."""

from __future__ import annotations

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from peerfetch_fast.http.origins import Seen, UpstreamOrigin, below, climbs, peer_origin, renamed
from peerfetch_fast.http.rewriting import forwarded_headers
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.http.upstream import Upstream
from support import http_pair, web_server

OWN = peer_origin("My-Device_1")
UP = "http://127.0.0.1:8081"

IMPOSTORS = [
    "null",
    "",
    "peer://OTHER",
    "peer://my-device_1",
    "PEER://My-Device_1",
    "Peer://My-Device_1",
    f"{OWN}.evil",
    f"{OWN}2",
    f"{OWN}:80",
    f"{OWN}@evil.example",
    f"x{OWN}",
    f" {OWN}",
    f"{OWN} {OWN}",
    f"{OWN}\\",
    f"{OWN}%2F",
    "https://My-Device_1",
    "http://evil.example",
    f"http://evil.example/{OWN}",
    "file://",
]


@pytest.mark.parametrize("value", IMPOSTORS)
def test_another_origin_is_never_ours(value: str) -> None:
    upstream = UpstreamOrigin(URL(f"{UP}/base"))
    for name in ("origin", "referer"):
        assert upstream.header(name, value, OWN, "/cam") == value
        assert renamed(name, value, (OWN,), "https://app") == value
    # An upstream of which all is served refuses it; of the rest of another nobody is told.
    assert UpstreamOrigin(URL(UP)).destination(value, OWN, "") == value
    assert upstream.destination(value, OWN, "/cam") is None


@given(st.text("peer:/My-Device_1.@\\?# \tX", max_size=24))
def test_whatever_begins_like_ours(rest: str) -> None:
    value = OWN + rest
    got = UpstreamOrigin(URL(UP)).header("origin", value, OWN, "")
    assert got == (UP if rest == "" else value)
    assert (below(value, OWN) is None) == (rest[:1] not in ("", "/", "?", "#"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("origin", OWN, UP),
        ("origin", f"{OWN}/", f"{OWN}/"),
        ("origin", f"{OWN}/cam", f"{OWN}/cam"),
        ("origin", UP, UP),
        ("referer", f"{OWN}/cam/x?y", f"{UP}/base/x?y"),
        ("referer", f"{OWN}/cam", f"{UP}/base/"),
        ("referer", f"{OWN}/cam?y", f"{UP}/base/?y"),
        ("referer", f"{OWN}/camera", f"{UP}/"),
        ("referer", f"{OWN}/other/x", f"{UP}/"),
        ("referer", OWN, f"{UP}/"),
        ("cookie", OWN, OWN),
    ],
)
def test_our_own_is_the_upstreams(name: str, value: str, expected: str) -> None:
    assert UpstreamOrigin(URL(f"{UP}/base/")).header(name, value, OWN, "/cam") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{OWN}/cam/new", f"{UP}/base/new"),
        ("/cam/new", f"{UP}/base/new"),
        (f"{OWN}/cam/%C3%A4", f"{UP}/base/%C3%A4"),
        (f"{OWN}/other/new", None),
        ("/other/new", None),
        (f"{OWN}/cam/../secret", None),
        (f"{OWN}/cam/%2e%2E/secret", None),
        (f"{OWN}/cam/..%2fsecret", None),
        (f"{OWN}/cam/..;/secret", None),
        (f"{OWN}/cam/..\\secret", None),
        # What the upstream is called behind the proxy, and might know itself by.
        (f"{UP}/secret", None),
        (f"{UP}/base/new", None),
        ("http://localhost:8081/secret", None),
        ("//127.0.0.1:8081/secret", None),
        ("secret", None),
    ],
)
def test_nothing_is_moved_out_of_what_is_served(value: str, expected: str | None) -> None:
    assert UpstreamOrigin(URL(f"{UP}/base")).destination(value, OWN, "/cam") == expected


def test_a_whole_upstream_judges_destinations_itself() -> None:
    upstream = UpstreamOrigin(URL("http://user:secret@x:80/"))
    assert upstream.destination(f"{OWN}/a", OWN, "") == "http://x/a"
    assert upstream.destination("http://elsewhere/a", OWN, "") == "http://elsewhere/a"
    assert upstream.destination(f"{OWN}/../a", OWN, "") is None


def test_dots_climb_however_they_are_written() -> None:
    assert not climbs("/a/.b/c..d/...")
    for path in ("/..", "/a/%2e./b", "/a\\..\\b", "/a%5c..", "/.;x=1/b", "/%2E"):
        assert climbs(path)


@pytest.mark.parametrize(
    "authority",
    ["localhost", "127.0.0.1:8080", "127.3.2.1", "[::1]:80", "device.localhost:9000", "LOCALHOST"],
)
def test_a_person_sees_this_machine(authority: str) -> None:
    for scheme in ("http", "https"):
        seen = Seen(scheme, authority)
        assert Seen.parse(seen.field) == seen


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        'host="evil.example";proto=https',
        'host="localhost.evil.example";proto=http',
        'host="evillocalhost";proto=http',
        'host="127.0.0.1.evil.example";proto=http',
        'host="127.0.0.1@evil.example";proto=http',
        'host="192.168.1.2:80";proto=http',
        'host="2130706433";proto=http',
        'host="[::1].evil";proto=http',
        'host="localhost:80:80";proto=http',
        'host="localhost/x";proto=http',
        'host="localhost";proto=peer',
        'host="localhost";proto=http;for=127.0.0.1',
        'for=x, host="localhost";proto=http',
        "host=localhost;proto=http",
    ],
)
def test_what_a_client_says_to_be_seen_as_is_not_believed(value: str | None) -> None:
    assert Seen.parse(value) is None


def test_what_upstreams_are_told_of_what_a_person_sees() -> None:
    seen = Seen("http", "localhost:8080")
    assert forwarded_headers("them", "us", "/cam", address="fe80::1%eth0", seen=seen) == [
        ("forwarded", 'for=_them;host="localhost:8080";proto=http'),
        ("x-forwarded-host", "localhost:8080"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "fe80::1"),
        ("x-forwarded-prefix", "/cam"),
    ]
    # A server that compares Origin with a host said here finds none that differs.
    assert forwarded_headers("them", "us", seen=seen, websocket=True) == [
        ("forwarded", "for=_them;proto=http"),
        ("x-forwarded-proto", "http"),
    ]


async def test_an_upstream_with_checks_of_its_own() -> None:
    """Many compare Origin with Host, and some write what X-Forwarded-Host says."""

    async def served(request: web.Request) -> web.Response:
        fields = [[n.decode().lower(), v.decode()] for n, v in request.raw_headers]
        return web.Response(body=orjson.dumps(fields))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served)
    async with web_server(app) as url, Upstream(f"{url}/base") as upstream:

        async def handler(exchange: Exchange) -> None:
            exchange.client, exchange.server, exchange.prefix = "them", "us", "/cam"
            exchange.address = "192.0.2.7"
            await upstream(exchange)

        async with http_pair(handler) as pair:

            async def told(**fields: str) -> dict[str, str]:
                answer = await pair.fetch("/x", method="POST", headers=fields)
                return dict(await answer.json())

            got = await told(
                Origin="peer://us",
                Referer="peer://us/cam/login",
                Destination="peer://us/cam/new",
                Forwarded='host="localhost:8080";proto=http',
                **{"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "127.0.0.1"},
            )
            assert got["origin"] == f"http://{got['host']}" == url
            assert got["referer"] == f"{url}/base/login"
            assert got["destination"] == f"{url}/base/new"
            assert got["x-forwarded-host"] == "localhost:8080"
            assert got["x-forwarded-proto"] == "http"
            assert got["x-forwarded-for"] == "192.0.2.7"
            for origin in ("https://evil.example", "null", "peer://them", "peer://us.evil"):
                got = await told(
                    Origin=origin, Forwarded='host="evil.example";proto=https', Referer=origin
                )
                assert got["origin"] == got["referer"] == origin
                assert "evil" not in got["forwarded"]
                assert "x-forwarded-host" not in got
            answer = await pair.fetch("/x", method="MOVE", headers={"Destination": "/secret"})
            assert answer.status == 502
