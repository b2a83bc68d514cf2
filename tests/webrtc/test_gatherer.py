"""Candidates of servers, as a connection gathers them."""

from __future__ import annotations

from tests.webrtc.peers import Peer, close, describe, join
from tests.webrtc.servers import dead_server, stun_server

from peerfetch_fast.webrtc.data_connection import DataConnection
from peerfetch_fast.webrtc.ice.servers import IceServer


async def test_a_restart_asks_the_servers_that_are_named_by_then() -> None:
    async with stun_server() as (host, port):
        with dead_server() as (_, dead):
            connection = DataConnection(ice_servers=[IceServer(f"turn:{host}:{dead}", "u", "p")])
            one, other = Peer(connection), Peer(DataConnection())
            await join(one, other)
            for login in ("first", "second"):
                connection.use_servers([IceServer(f"turn:{host}:{port}", login, "p")])
                connection.restartIce()
                await describe(one, other)
                await one.all_candidates()
                # The second time, the relay of the first login is good still.
                assert connection.localDescription is not None
                assert connection.localDescription.sdp.count(" typ relay ") == 1
            await close(one, other)
