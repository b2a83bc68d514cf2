"""What programs written for peerjs-python 1.5.1 or with PeerJS's documentation find here, and what
they do not.

``tests/interop/test_peerjs_python.py`` holds these lists to the package itself.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any

import pytest

from peerfetch_fast.peerjs.dataconnection import DataConnection
from peerfetch_fast.peerjs.peer import Peer, PeerOptions
from peerfetch_fast.peerjs.util import util
from support import run

OF_PYTHON: dict[str, str] = {
    "peer": "PEER_DEFAULT_KEY Peer PeerConnectOption PeerOptions",
    "dataconnection": "DataConnection",
    "peerroom": "PeerRoom",
    "util": "Util UtilSupports default_ice_servers util",
    "enums": "ConnectionEventType ConnectionType PeerErrorType PeerEventType SerializationType "
    "ServerMessageType SocketEventType",
    "ext.http_proxy": "join_peer_room main make_discoverable pnp_service_connect",
    "Peer": "connect destroy destroyed disconnect disconnected emitError getConnection id open "
    "options reconnect start",
    "PeerOptions": "config host key path pingInterval port secure token",
    "PeerConnectOption": "label metadata reliable serialization",
    "DataConnection": "ID_PREFIX MAX_BUFFERED_AMOUNT bufferSize close connectionId dataChannel "
    "label metadata open options parse peer peerConnection peerId provider reliable send "
    "serialization start stringify type",
    "PeerRoom": "getRoomMembers id join",
    "util.util": "CLOUD_HOST CLOUD_PORT binaryStringToArrayBuffer browser browserVersion "
    "chunkedMTU defaultConfig isSecure noop randomToken supports validateId",
    "UtilSupports": "audioVideo binaryBlob browser data reliable webRTC",
}

LEFT_OUT_OF_PYTHON: dict[str, str] = {
    # A server that is gone, and what functions of that module tell each other by.
    "ext.http_proxy": "AMBIANIC_PNP_HOST AMBIANIC_PNP_PORT AMBIANIC_PNP_SECURE CONFIG_FILE "
    "DEFAULT_LOG_LEVEL PEERID_FILE config default_ice_servers discoveryLoop http_session peer "
    "peerConnectionStatus savedPeerId time_start",
    # Its own transport.
    "Peer": "http_api socket",
    "DataConnection": "handleMessage initialize",
    # chunk() fails there on whatever it is given.
    "util.util": "chunk chunkedBrowsers",
}

OF_PEERJS: dict[str, str] = {
    "Peer": "connect on disconnect reconnect destroy id connections disconnected destroyed open",
    "DataConnection": "send close on dataChannel label metadata open peerConnection peer reliable "
    "serialization type bufferSize",
    "util.util": "browser supports",
}
"""Of its documented API; ``call`` and ``listAllPeers`` are left out, as peerjs-python does."""


def found_at(name: str) -> Any:
    """What has the names of an entry."""

    async def main() -> Any:
        peer = Peer("a", PeerOptions())
        return peer, DataConnection("b", peer)

    if name in ("Peer", "DataConnection"):
        return run(main())[name == "DataConnection"]
    if name == "util.util":
        return util
    module = {"UtilSupports": "util", "PeerRoom": "peerroom"}.get(name, "peer")
    if name[0].isupper():
        made = getattr(importlib.import_module(f"peerfetch_fast.peerjs.{module}"), name)
        return made if name == "PeerRoom" else made()
    return importlib.import_module(f"peerfetch_fast.peerjs.{name}")


@pytest.mark.parametrize(("name", "members"), [*OF_PYTHON.items(), *OF_PEERJS.items()])
def test_the_names_are_there(name: str, members: str) -> None:
    missing = [member for member in members.split() if not hasattr(found_at(name), member)]
    assert not missing


def test_members_say_what_peerjs_documents() -> None:
    async def main() -> None:
        peer = Peer("a", PeerOptions())
        connection = DataConnection("b", peer, label="l", serialization="json", metadata=5)
        peer._connections.add(connection)
        assert peer.connections == {"b": [connection]}
        assert peer.getConnection("b", connection.connectionId) is connection
        assert peer.getConnection("b", "another") is None
        assert peer.getConnection("c", connection.connectionId) is None
        assert connection.dataChannel is None
        assert connection.peerConnection is None
        assert connection.bufferSize() == 0
        assert (connection.peerId, connection.options["metadata"]) == ("b", 5)
        told: asyncio.Queue[Any] = asyncio.Queue()
        peer.on("error", told.put_nowait)
        peer.emitError("network", "gone")  # type: ignore[arg-type]
        error = await told.get()
        assert (error.type, str(error)) == ("network", "gone")

    run(main())
    assert (util.supports.data, util.supports.audioVideo) == (True, True)
    assert util.isSecure("https://h")
    assert not util.isSecure("http://h")
    assert util.binaryStringToArrayBuffer("ü") == b"\xc3\xbc"


async def test_a_program_s_own_json() -> None:
    connection = DataConnection("b", Peer("a", PeerOptions()), serialization="json")
    connection.parse = lambda text: ["parsed", text]
    assert connection._decode("5") == ["parsed", "5"]
    connection.parse = json.loads
    told: asyncio.Queue[Any] = asyncio.Queue()
    connection.on("error", told.put_nowait)
    connection.message_received("{")
    assert "no JSON" in str(await told.get())
