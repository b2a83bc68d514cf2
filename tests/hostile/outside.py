"""What can be done to a proxy from beside an association: descriptions, datagrams, signaling."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import resource
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from aiortc.mediastreams import VideoStreamTrack
from tests.hostile.attacks import Frames, head
from tests.hostile.meeting import HostileConnection, dial

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.signaling.peerjs.client import SignalingClient
from peerfetch_fast.signaling.peerjs.messages import MessageType

__all__ = ["OUTSIDE", "Victim"]

ELSEWHERE = "127.0.0.66"
"""An address of this machine that nobody else connects from."""
CONNECTIONS = 1_100
PLANTED = b"GET /planted HTTP/1.1\r\nHost: x\r\nX-User: planted\r\n\r\n"


@dataclass(frozen=True)
class Victim:
    """The proxy that is attacked, and what an attacker may know of it."""

    signaling: str
    peer_id: str
    pid: int


Outside = Callable[[Victim], Awaitable[None]]

OUTSIDE: dict[str, Outside] = {}
"""By name."""


def outside(work: Outside) -> Outside:
    """Register an attack under its name."""
    OUTSIDE[work.__name__] = work
    return work


# -- datagrams from strangers ------------------------------------------------------------------


def udp_addresses(pid: int) -> list[tuple[str, int]]:
    """Where a process listens: what a stranger finds by trying all ports."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))
            inodes |= {found[1]} if found else set()
    addresses = []
    for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            address, _, port = fields[1].partition(":")
            ip = socket.inet_ntoa(bytes.fromhex(address)[::-1])
            addresses.append(("127.0.0.1" if ip == "0.0.0.0" else ip, int(port, 16)))
    return addresses


def strange_datagrams(rng: random.Random) -> Iterator[bytes]:
    """What might be taken for something: of every protocol that shares the port (RFC 7983)."""
    record = bytes((22, 254, 253)) + bytes(8)
    alert = bytes((21, 254, 253)) + bytes(8) + b"\x00\x02\x02\x28"
    stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    while True:
        yield b"\x80" + bytes(1_800)
        yield bytes((0x80, 96)) + rng.randbytes(60)
        yield bytes((0x80, 200)) + rng.randbytes(1_400)
        yield alert
        yield record + (60_000).to_bytes(2, "big") + rng.randbytes(60_000)
        yield record + (40).to_bytes(2, "big") + rng.randbytes(40)
        yield bytes((23, 254, 253)) + bytes(8) + (100).to_bytes(2, "big") + rng.randbytes(100)
        yield stun
        yield b"\x01\x01" + stun[2:]
        yield rng.randbytes(rng.randrange(1, 1_500))


@outside
async def blind_datagrams(victim: Victim) -> None:
    """Datagrams of all kinds to every port, from somebody who has no part in any connection."""
    rng = random.Random(1)
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(8)
        ]
        addresses = udp_addresses(victim.pid)
        for step, datagram in enumerate(strange_datagrams(rng)):
            if step % 1_000 == 0:
                addresses = udp_addresses(victim.pid)
            for address in addresses:
                with contextlib.suppress(OSError):
                    sockets[step % 8].sendto(datagram, address)
            if step % 16 == 0:
                await asyncio.sleep(0)


# -- descriptions --------------------------------------------------------------------------------


@outside
async def offered_video(victim: Victim) -> None:
    """Video that nobody asked for, beside the data channel."""

    def offer_video(connection: HostileConnection) -> None:
        connection.addTrack(VideoStreamTrack())

    raw = await dial(victim.signaling, victim.peer_id, prepare=offer_video)
    try:
        await raw.ended.wait()
    finally:
        await raw.close()


@outside
async def old_client_without_limit(victim: Victim) -> None:
    """A client of ``peerfetch.1`` that takes messages of any size, and reads none."""
    raw = await dial(
        victim.signaling,
        victim.peer_id,
        metadata=None,
        rewrite=lambda sdp: re.sub(r"a=max-message-size:\d+", "a=max-message-size:0", sdp),
    )
    try:
        await raw.open(raw.first_stream, b"http-proxy")
        for sequence in range(1, 16):
            await raw.message(
                b'{"url":"/endless"}', stream=raw.first_stream, sequence=sequence, protocol=51
            )
        raw.window = 0
        while True:
            await raw.acknowledge()
            await asyncio.sleep(0.1)
    finally:
        await raw.close()


@outside
async def broken_offers(victim: Victim) -> None:
    """Offers that are none, almost."""
    rng = random.Random(1)
    connection = HostileConnection()
    connection.createDataChannel("x")
    await connection.setLocalDescription(await connection.createOffer())
    good = connection.localDescription.sdp
    await connection.close()
    lines = good.splitlines(keepends=True)
    async with SignalingClient(victim.signaling, on_message=lambda _: None) as client:
        for number in count():
            changed = [line for line in lines if rng.random() < 0.9]
            for _ in range(rng.randrange(4)):
                at = rng.randrange(len(changed))
                changed[at] = changed[at][: rng.randrange(len(changed[at]))] + "9" * 40 + "\r\n"
            many = [line for line in lines if line.startswith("a=candidate")] * 200
            sdp = "".join(changed + (many if number % 10 == 0 else []))[:60_000]
            payload = {"type": "data", "connectionId": f"broken_{number}"}
            payload["sdp"] = {"type": "offer", "sdp": sdp}  # type: ignore[assignment]
            await client.send(MessageType.OFFER, victim.peer_id, payload)
            await asyncio.sleep(0.02)


# -- requests --------------------------------------------------------------------------------------


@outside
async def planted_requests(victim: Victim) -> None:
    """Bodies that an upstream which does not read them takes for requests."""
    raw = await dial(victim.signaling, victim.peer_id)
    try:
        frames = Frames(raw)
        await frames.open()
        body = b"\x00" + bytes((0x40, len(PLANTED))) + PLANTED
        length = f'[["content-length","{len(PLANTED)}"],["x-user","attacker"]]'
        for number in count():
            stream = await frames.stream(number)
            asked = head(f"/a{number}", headers=length) + body
            await frames.write(stream, 0, asked, fin=True)
            await asyncio.sleep(0.01)
    finally:
        await raw.close()


# -- signaling -------------------------------------------------------------------------------------


def may_open_files(number: int) -> None:
    """Be allowed so many descriptors, as an attacker is on his own machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, number), hard), hard))


async def _connections(victim: Victim, first_words: Callable[[int], bytes]) -> None:
    may_open_files(2 * CONNECTIONS)
    where = urlsplit(victim.signaling)
    writers: list[asyncio.StreamWriter] = []
    try:
        for number in count():
            try:
                _, writer = await asyncio.wait_for(
                    asyncio.open_connection(where.hostname, where.port, local_addr=(ELSEWHERE, 0)),
                    5,
                )
            except (TimeoutError, OSError):
                await asyncio.sleep(0.1)
                continue
            writer.write(first_words(number))
            writers.append(writer)
            if len(writers) > CONNECTIONS:
                writers.pop(0).close()
                await asyncio.sleep(0.01)
    finally:
        for writer in writers:
            writer.close()


@outside
async def silent_connections(victim: Victim) -> None:
    """TCP connections to the signaling server that say nothing."""
    await _connections(victim, lambda _: b"")


@outside
async def unfinished_requests(victim: Victim) -> None:
    """TCP connections to the signaling server with the beginning of a request."""
    await _connections(victim, lambda _: b"GET /peerjs?key=peerjs HTTP/1.1\r\nX: " + b"x" * 4_000)


@outside
async def silent_websockets(victim: Victim) -> None:
    """WebSockets at the signaling server, each a peer that says nothing."""
    where = urlsplit(victim.signaling)

    def handshake(number: int) -> bytes:
        return (
            f"GET /peerjs?key=peerjs&id={secrets.token_hex(8)}&token=x&version=1 HTTP/1.1\r\n"
            f"Host: {where.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n"
        ).encode()

    await _connections(victim, handshake)


@outside
async def flood_of_signals(victim: Victim) -> None:
    """Messages to the proxy and to nobody, as fast as the signaling server takes them."""
    async with SignalingClient(victim.signaling, on_message=lambda _: None) as client:
        for number in count():
            payload = {"connectionId": f"c{number}", "candidate": "x" * 30_000}
            with contextlib.suppress(PeerfetchError):
                to = victim.peer_id if number % 2 else f"nobody{number}"
                await client.send(MessageType.CANDIDATE, to, payload)
            await asyncio.sleep(0)
