"""The client of ``test_moving.py``: ``client.py SIGNALING ICE-SERVERS PEER SIZE DIRECTORY``.

It writes ``running`` to the directory when all is under way, waits for ``moved``, which says when
the old way was lost and when there was another, and writes ``result``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from tests.nat.traffic import HELD, INTERVAL, REQUESTS, blocks, ice_servers, write

import peerfetch_fast
from peerfetch_fast.peer import Peer, PeerState


class Client:
    def __init__(self, peer: Peer, size: int, directory: Path) -> None:
        self.peer = peer
        self.size = size
        self.directory = directory
        self.moved = asyncio.Event()
        self.uploaded = self.downloaded = 0
        self.sent: list[float] = []
        self.came: list[tuple[float, int]] = []
        """When a message came, and how many of ours had come there when it was sent."""
        self.states: list[str] = []

    async def upload(self) -> Any:
        def taken(size: int) -> None:
            self.uploaded = size

        body = blocks(self.size, self.moved.wait, taken)
        return await (await self.peer.fetch("/upload", method="POST", body=body)).json()

    async def download(self) -> Any:
        digest = hashlib.sha256()
        async with await self.peer.fetch(f"/download?size={self.size}") as response:
            async for piece in response:
                digest.update(piece)
                self.downloaded += len(piece)
        return {"size": self.downloaded, "sha256": digest.hexdigest()}

    async def messages(self) -> Any:
        async with await self.peer.websocket("/numbers") as socket:
            counting = asyncio.create_task(self._count(socket))
            expected = 0
            async for text in socket:
                assert isinstance(text, str)
                if text.startswith("end"):
                    _, theirs, ours = text.split()
                    return {
                        "sent": [len(self.sent), int(theirs)],
                        "received": [int(ours), expected],
                    }
                number, acknowledged = map(int, text.split())
                if number != expected:
                    raise ValueError(f"{number} after {expected - 1}")
                expected += 1
                self.came.append((time.monotonic(), acknowledged))
            await counting
            raise ValueError("it ended without a word")

    async def _count(self, socket: Any) -> None:
        while not self.ended():
            await socket.send(str(len(self.sent)))
            self.sent.append(time.monotonic())
            await asyncio.sleep(INTERVAL)
        await socket.send(f"end {len(self.sent)}")

    def ended(self) -> bool:
        return self.moved.is_set() and min(self.uploaded, self.downloaded) == self.size

    async def wait(self, number: int) -> Any:
        return await (await self.peer.fetch(f"/wait?n={number}", method="POST")).json()

    async def watch_state(self) -> None:
        while True:
            state = self.peer.state
            self.states.append(state.value)
            await self.peer.wait_for(*(other for other in PeerState if other is not state))

    async def running(self) -> None:
        """All is under way."""
        while not (
            min(self.uploaded, self.downloaded) >= self.size * HELD / 3
            and len(self.came) > 100
            and len(await (await self.peer.fetch("/asked")).json()) == REQUESTS
        ):
            await asyncio.sleep(0.05)

    def again(self, lost: float) -> float | None:
        """When a message came that says that one came there which was sent later than ``lost``."""
        first = None
        for at, acknowledged in reversed(self.came):
            if not acknowledged or self.sent[acknowledged - 1] <= lost:
                break
            first = at
        return first


async def main(signaling: str, servers: str, url: str, size: str, directory: str) -> None:
    async with peerfetch_fast.connect(
        url, signaling=signaling, ice_servers=ice_servers(servers)
    ) as peer:
        client = Client(peer, int(size), Path(directory))
        session = peer.session
        watching = asyncio.create_task(client.watch_state())
        waiting = asyncio.gather(*(client.wait(number) for number in range(REQUESTS)))
        work = asyncio.gather(client.upload(), client.download(), client.messages())
        await client.running()
        write(client.directory / "running", {})
        while not (client.directory / "moved").exists():
            await asyncio.sleep(0.02)
        lost, there = json.loads((client.directory / "moved").read_text())
        while (again := client.again(lost)) is None and not work.done():
            await asyncio.sleep(0.02)
        client.moved.set()
        await peer.fetch("/release", method="POST")
        uploaded, downloaded, messages = await work
        answers = await waiting
        watching.cancel()
        result = {
            "again": again and again - there,
            "upload": uploaded,
            "download": downloaded,
            "messages": messages,
            "answers": answers,
            "states": client.states,
            "same session": peer.session is session,
        }
        write(client.directory / "result", result)


logging.basicConfig(level="INFO", format="%(relativeCreated)d %(name)s: %(message)s")
uvloop.run(main(*sys.argv[1:]))
