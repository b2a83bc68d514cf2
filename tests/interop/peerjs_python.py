"""Runs peerjs-python: ``proxy``, or ``peer HOST PORT ID``, which sends back what it receives.

Its options hold an RTCConfiguration as their default, which dataclasses refuse since Python 3.11
unless it can be hashed. That is aiortc's class, so peerjs-python itself stays as it is.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from typing import Any

from aiortc import RTCConfiguration

RTCConfiguration.__hash__ = object.__hash__

from peerjs.dataconnection import DataConnection  # noqa: E402
from peerjs.enums import ConnectionEventType, PeerEventType  # noqa: E402
from peerjs.ext import http_proxy  # noqa: E402
from peerjs.peer import Peer, PeerOptions  # noqa: E402
from peerjs.peerroom import PeerRoom  # noqa: E402
from peerjs.util import util  # noqa: E402
from pyee.asyncio import AsyncIOEventEmitter  # noqa: E402


async def run_peer(host: str, port: str, peer_id: str) -> None:
    options = PeerOptions(
        host=host, port=int(port), token="token", config=RTCConfiguration(iceServers=[])
    )
    peer = Peer(id=peer_id, peer_options=options)

    @peer.on(PeerEventType.Open)
    async def on_open(_: str) -> None:
        members = await PeerRoom(peer).join()
        try:
            await peer.connect("anybody")
        except TypeError as error:
            print(json.dumps({"members": members, "connect": str(error)}), flush=True)

    @peer.on(PeerEventType.Connection)
    async def on_connection(connection: Any) -> None:
        @connection.on(ConnectionEventType.Open)
        async def on_channel() -> None:
            await connection.send("listening")

        @connection.on(ConnectionEventType.Data)
        async def on_data(data: Any) -> None:
            await connection.send(type(data).__name__)
            await connection.send(data)

        @connection.on(ConnectionEventType.Close)
        async def on_close() -> None:
            print(json.dumps({"closed": [connection.label, connection.metadata]}), flush=True)

    await peer.start()
    await asyncio.Event().wait()


async def tell_names() -> None:
    """Print the public names of what programs import and are given."""
    peer = Peer("a", PeerOptions())
    things: dict[str, Any] = {"Peer": peer, "DataConnection": DataConnection("b", peer)}
    things["util.util"] = util
    for module, names in CLASSES.items():
        found = importlib.import_module(f"peerjs.{module}")
        things[module] = found
        things |= {name: getattr(found, name) for name in names}
    inherited = set(dir(AsyncIOEventEmitter()))
    told = {
        name: [
            each
            for each in dir(thing)
            if each[0] != "_" and each not in inherited and is_its_own(thing, each)
        ]
        for name, thing in things.items()
    }
    print(json.dumps({"names": told}), flush=True)
    await peer.http_api.close()


def is_its_own(thing: Any, name: str) -> bool:
    """Whether a module's name is not of something that it imports."""
    if not inspect.ismodule(thing):
        return True
    value = getattr(thing, name)
    return not inspect.ismodule(value) and getattr(value, "__module__", "peerjs") in (
        "peerjs",
        thing.__name__,
    )


CLASSES = {
    "peer": ["PeerOptions", "PeerConnectOption"],
    "dataconnection": [],
    "peerroom": ["PeerRoom"],
    "util": ["UtilSupports"],
    "enums": [],
    "ext.http_proxy": [],
}

if sys.argv[1] == "proxy":
    http_proxy.main()
elif sys.argv[1] == "names":
    asyncio.run(tell_names())
else:
    asyncio.run(run_peer(*sys.argv[2:]))
