"""Nodes: programs as hosts of network services, beside those in pages (docs/smoke.md).

::

    from peerfetch_fast.smoke import NetworkHub, Node

    async with Node(NetworkHub("wss://signaling.example/smoke")) as node:
        app = node.rest.create_server()

        @app.get("/")
        async def hello(request, response):
            await response.send("hello world")

        app.listen(80)
        await node.wait_closed()
"""

from typing import TYPE_CHECKING

from peerfetch_fast._lazy import lazily

if TYPE_CHECKING:
    from peerfetch_fast.smoke.database import Database, RecordExists
    from peerfetch_fast.smoke.hub import NetworkHub
    from peerfetch_fast.smoke.network import PortInUse, PortRefused
    from peerfetch_fast.smoke.node import Node
    from peerfetch_fast.smoke.queryable import Queryable

__all__ = [
    "Database",
    "NetworkHub",
    "Node",
    "PortInUse",
    "PortRefused",
    "Queryable",
    "RecordExists",
]

# A program that only queries a database imports no WebRTC.
_HOMES = {
    "Database": "database",
    "NetworkHub": "hub",
    "Node": "node",
    "PortInUse": "network",
    "PortRefused": "network",
    "Queryable": "queryable",
    "RecordExists": "database",
}
__getattr__ = lazily(__name__, _HOMES)
