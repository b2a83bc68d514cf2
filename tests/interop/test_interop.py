"""Data channels with other stacks, as offerer and as answerer, in both directions.

The other end is ``peer.mjs`` in a process of its own; ``npm install`` in this directory brings the
stacks. ``PEERFETCH_INTEROP=1`` makes their absence a failure.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCSessionDescription
from tests.webrtc.conftest import LOOPS
from tests.webrtc.peers import Channel, Peer, ours

from peerfetch_fast.webrtc.candidates import candidate_from_dict, candidate_to_dict

HERE = Path(__file__).parent
STACKS = ["libdatachannel", "libwebrtc"]
MESSAGE = 16_384

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("PEERFETCH_INTEROP") != "1"
        and (shutil.which("node") is None or not (HERE / "node_modules").exists()),
        reason="npm install has not been run in tests/interop",
    ),
    pytest.mark.usefixtures("each_loop"),
    pytest.mark.parametrize("each_loop", LOOPS, indirect=True),
]


class Node:
    """The other end's process."""

    def __init__(self, process: asyncio.subprocess.Process, peer: Peer) -> None:
        self.process = process
        self.peer = peer
        self.opened: dict[str, asyncio.Event] = {}
        self.closed: dict[str, asyncio.Event] = {}
        self.tasks = [asyncio.create_task(self.listen()), asyncio.create_task(self.trickle())]

    def tell(self, command: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")

    def event(self, events: dict[str, asyncio.Event], label: str) -> asyncio.Event:
        return events.setdefault(label, asyncio.Event())

    async def listen(self) -> None:
        assert self.process.stdout is not None
        connection = self.peer.connection
        async for line in self.process.stdout:
            message = json.loads(line)
            if "description" in message:
                description = RTCSessionDescription(**message["description"])
                await connection.setRemoteDescription(description)
                if description.type == "offer":
                    await connection.setLocalDescription()
                    self.describe()
            elif "candidate" in message:
                await connection.addIceCandidate(candidate_from_dict(message["candidate"]))
            elif "opened" in message:
                self.event(self.opened, message["opened"]).set()
            elif "closed" in message:
                self.event(self.closed, message["closed"]).set()

    async def trickle(self) -> None:
        while (candidate := await self.peer.candidates.get()) is not None:
            self.tell("candidate", candidate=candidate_to_dict(ours(candidate)))

    def describe(self) -> None:
        description = self.peer.connection.localDescription
        self.tell("description", description={"type": description.type, "sdp": description.sdp})

    async def quit(self) -> None:
        self.tell("quit")
        await asyncio.wait_for(self.process.wait(), 60)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def connect(
    pc: Any, stack: str, we_offer: bool, channels: list[dict[str, Any]]
) -> tuple[Node, dict[str, Channel]]:
    while True:
        node, opening = await start(pc, stack, we_offer, channels)
        failed = asyncio.create_task(node.peer.failed.wait())
        await asyncio.wait([opening, failed], return_when=asyncio.FIRST_COMPLETED)
        failed.cancel()
        if opening.done():
            return node, {channel.raw.label: channel for channel in opening.result()}
        # As an offerer, libdatachannel may take up a DTLS handshake before it has noted the
        # fingerprint in the answer, and refuse the certificate ("unknown ca").
        assert (stack, we_offer) == ("libdatachannel", False)
        opening.cancel()
        await node.peer.connection.close()
        await node.quit()


async def start(
    pc: Any, stack: str, we_offer: bool, channels: list[dict[str, Any]]
) -> tuple[Node, asyncio.Task[list[Channel]]]:
    peer = Peer(pc())
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / "peer.mjs"),
        stack,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    node = Node(process, peer)
    ours = [peer.create_channel(**channel) for channel in channels] if we_offer else []
    if we_offer:
        await peer.connection.setLocalDescription()
        node.describe()
    else:
        node.tell("create", channels=channels)

    async def opening() -> list[Channel]:
        opened = ours or [await peer.channels.get() for _ in channels]
        for channel in opened:
            await channel.opened.wait()
            # Their programs get to know a channel later than their stacks, which do not keep what
            # happens on it meanwhile.
            await node.event(node.opened, channel.raw.label).wait()
        return opened

    return node, asyncio.create_task(opening())


@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "they offer"])
@pytest.mark.parametrize("stack", STACKS)
async def test_every_kind_of_message(pc: Any, stack: str, we_offer: bool) -> None:
    # libdatachannel's wrapper for Node turns an empty text into an empty binary message.
    messages: list[Any] = ["x", "grüße", "\N{GRINNING FACE}" * 1000]
    for size in [0, 1, 1135, 1136, 1200, 16_384, 65_536, 262_143, 262_144]:
        messages.append(random.Random(size).randbytes(size))

    node, channels = await connect(pc, stack, we_offer, [{"label": "echo", "ordered": True}])
    for message in messages:
        channels["echo"].send(message)
    assert await channels["echo"].receive(len(messages)) == messages
    await node.peer.connection.close()
    await node.quit()


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "they offer"])
@pytest.mark.parametrize("stack", STACKS)
async def test_64_megabytes_each_way(pc: Any, stack: str, we_offer: bool, ordered: bool) -> None:
    # Where Python carries the data, less of it makes the same point.
    count = (64 if pc.keywords["transport"] == "native" else 4) * 64

    async def upload(channel: Channel) -> None:
        generator = random.Random(3)
        messages = [generator.randbytes(MESSAGE) for _ in range(64)] * (count // 64 - 1)
        messages += [generator.randbytes(MESSAGE) for _ in range(64)]
        await channel.send_all(messages)
        assert await channel.messages.get() == digest(messages)

    async def download(channel: Channel) -> None:
        channel.send("start")
        received = await channel.receive(count + 1)
        (said,) = [message for message in received if isinstance(message, str)]
        assert digest([message for message in received if isinstance(message, bytes)]) == said

    labels = [f"sink:{count}", f"source:{count}"]
    node, channels = await connect(
        pc, stack, we_offer, [{"label": label, "ordered": ordered} for label in labels]
    )
    await asyncio.gather(upload(channels[labels[0]]), download(channels[labels[1]]))
    await node.peer.connection.close()
    await node.quit()


@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "they offer"])
@pytest.mark.parametrize("stack", STACKS)
async def test_a_closed_channel_leaves_the_others_open(pc: Any, stack: str, we_offer: bool) -> None:
    node, channels = await connect(pc, stack, we_offer, [{"label": "echo", "ordered": True}])
    again = node.peer.create_channel("sink:1")
    await again.opened.wait()
    await node.event(node.opened, "sink:1").wait()
    channels["echo"].raw.close()
    await channels["echo"].closed.wait()
    await node.event(node.closed, "echo").wait()
    again.send(b"still here")
    assert await again.messages.get() == digest([b"still here"])
    await node.peer.connection.close()
    await node.event(node.closed, "sink:1").wait()
    await node.quit()


def digest(messages: list[bytes]) -> str:
    """The XOR of the messages' SHA-256, which does not depend on their order."""
    total = 0
    for message in messages:
        total ^= int.from_bytes(hashlib.sha256(message).digest(), "big")
    return total.to_bytes(32, "big").hex()
