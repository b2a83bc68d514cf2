"""Connections through home routers: the transfer of the demo, and the way that it takes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.nat.network import SERVER, WAN_ADDRESSES, Network
from tests.nat.scene import CREDENTIAL, USER, ours

from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from processes import TRANSPORTS, Process, environment, require_transport

TURN = f"turn:{SERVER}:3478,{USER},{CREDENTIAL}"
ICE_SERVERS = ("--ice-server", f"stun:{SERVER}:3478", "--ice-server", TURN)

SIZES = {"native": 8 << 20, "aiortc": 2 << 20}

CONNECTED = re.compile(r"connected from our (\w+) candidate to their (\w+) candidate, (\S+)")


@pytest.fixture(scope="module", params=TRANSPORTS)
def device(
    request: Any,
    homes: Network,
    turn: None,
    signaling: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Process]]:
    """The transport, and the proxy on the device in front of the demo's server."""
    transport = request.param
    require_transport(transport)
    directory = tmp_path_factory.mktemp("device")
    size = SIZES[transport]
    with (
        ours(homes, "device", directory, "peerfetch_fast.cli.demo_server", "--size", size) as web,
        ours(
            *(homes, "device", directory, "peerfetch_fast.proxy"),
            *("--target", web.ready["url"], "--signaling", signaling, "--log-level", "info"),
            *("--transport", transport, *ICE_SERVERS),
        ) as proxy,
    ):
        assert is_peer_id(proxy.ready["peer_id"])
        yield transport, proxy


def ways(log: str) -> list[tuple[str, str, str]]:
    """Type of our candidate and of theirs, and their address, of each connection in ``log``."""
    return CONNECTED.findall(log)


def transfer(
    homes: Network, place: str, device: tuple[str, Process], signaling: str, directory: Path
) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """Fetch the demo's file from ``place`` and check it; the ways that the client, and the device,
    say that it took.
    """
    transport, proxy = device
    before = len(ways(proxy.output))

    def fetch(path: str) -> tuple[bytes, str]:
        done = subprocess.run(
            [
                *(*homes.inside(place), sys.executable, "-m", "peerfetch_fast", "fetch"),
                *(f"peer://{proxy.ready['peer_id']}{path}", "--signaling", signaling, "--fail"),
                *("--transport", transport, "--log-level", "info", *ICE_SERVERS),
            ],
            capture_output=True,
            timeout=180,
            env=environment(directory),
        )
        assert done.returncode == 0, f"{done.stderr.decode()}\n{proxy.output}"
        return done.stdout, done.stderr.decode()

    about = json.loads(fetch("/api/media")[0])
    media, log = fetch("/media")
    assert len(media) == about["size"] == SIZES[transport]
    assert hashlib.sha256(media).hexdigest() == about["sha256"]
    client, server = ways(log), ways(proxy.output)[before:]
    assert len(client) == 1
    assert len(server) == 2
    return client[0], server[-1]


def test_in_one_home_both_take_the_local_path(
    homes: Network, device: tuple[str, Process], signaling: str, tmp_path: Path
) -> None:
    homes.translate("one port for all")
    client, server = transfer(homes, "laptop", device, signaling, tmp_path)
    assert (client[0], client[2]) == ("host", "192.168.1.2")
    assert (server[0], server[2]) == ("host", "192.168.1.3")


def test_from_one_home_to_another(
    homes: Network, device: tuple[str, Process], signaling: str, tmp_path: Path
) -> None:
    """Server-reflexive: each speaks to the other's router, which nobody was asked to open."""
    homes.translate("one port for all")
    client, server = transfer(homes, "phone", device, signaling, tmp_path)
    for way, router in ((client, "router1"), (server, "router2")):
        # aioice names the base of a reflexive candidate (RFC 8445 §5.1.1.2).
        assert way[0] in ("host", "srflx", "prflx")
        assert way[1] in ("srflx", "prflx")
        assert way[2] == WAN_ADDRESSES[router]


def test_through_the_relay_where_no_hole_can_be_punched(
    homes: Network, device: tuple[str, Process], signaling: str, tmp_path: Path
) -> None:
    homes.translate("another port for each")
    client, server = transfer(homes, "phone", device, signaling, tmp_path)
    # Each sends through its own relay, or to the other's.
    for way in (client, server):
        assert way[0] == "relay" or (way[1], way[2]) == ("relay", SERVER), way
