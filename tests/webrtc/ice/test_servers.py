"""STUN and TURN servers as they are given."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiortc import RTCIceServer

from peerfetch_fast.errors import InvalidIceServer
from peerfetch_fast.webrtc.ice.servers import IceServer, Server, parse_url, resolve, servers_of


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("stun:example.com", Server("stun", "example.com", 3478, "udp")),
        ("STUN:192.0.2.1:1000", Server("stun", "192.0.2.1", 1000, "udp")),
        ("stun:[2001:db8::1]:1000", Server("stun", "2001:db8::1", 1000, "udp")),
        ("turn:example.com", Server("turn", "example.com", 3478, "udp")),
        ("turn:example.com?transport=tcp", Server("turn", "example.com", 3478, "tcp")),
        ("turns:example.com", Server("turns", "example.com", 5349, "tcp")),
        ("turns:[2001:db8::1]?transport=tcp", Server("turns", "2001:db8::1", 5349, "tcp")),
    ],
)
def test_urls_are_read_as_rfc_7064_and_7065_say(url: str, server: Server) -> None:
    assert parse_url(url) == server
    assert server.relays is (server.scheme != "stun")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "http://example.com",
        "stun:",
        "stun://example.com",
        "stun:example.com:0",
        "stun:example.com:65536",
        "stun:example.com:99999999",
        "stun:2001:db8::1",
        "stun:user@example.com",
        "stun:example.com?transport=tcp",
        "turn:example.com?transport=tls",
        "turns:example.com?transport=udp",
        "turn:exa mple.com",
        "turn:example.com/",
        "stun:" + "x" * 600,
        None,
        7,
    ],
)
def test_urls_that_name_no_server(url: Any) -> None:
    with pytest.raises(InvalidIceServer):
        parse_url(url)


def test_servers_as_programs_give_them() -> None:
    given = [
        IceServer(["stun:a", "turn:a?transport=tcp"], "name", "password"),
        RTCIceServer("turn:b", username="name", credential="password"),
    ]
    assert servers_of(given) == [
        Server("stun", "a", 3478, "udp"),
        Server("turn", "a", 3478, "tcp", "name", "password"),
        Server("turn", "b", 3478, "udp", "name", "password"),
    ]
    with pytest.raises(InvalidIceServer, match="go together"):
        servers_of([IceServer("turn:a", "name")])
    with pytest.raises(InvalidIceServer, match="at most 16"):
        servers_of([IceServer(["stun:a"] * 17)])


def test_addresses_of_a_server() -> None:
    """At most one of each IP version."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await resolve(parse_url("stun:127.0.0.1:5")) == [("127.0.0.1", 5)]
        assert await resolve(parse_url("stun:[::1]:5")) == [("::1", 5)]

        async def getaddrinfo(*_: Any, **__: Any) -> Any:
            return [
                (10, 2, 17, "", ("2001:db8::1", 5, 0, 0)),
                (2, 2, 17, "", ("192.0.2.1", 5)),
                (2, 2, 17, "", ("192.0.2.2", 5)),
            ]

        loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
        assert await resolve(parse_url("stun:a:5")) == [("2001:db8::1", 5), ("192.0.2.1", 5)]

    asyncio.run(main())
