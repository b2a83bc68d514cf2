"""Data channels and media with a real Chromium, as offerer and as answerer, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

import aiortc
import pytest
from aiortc import RTCSessionDescription
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page
from tests.webrtc.conftest import LOOPS
from tests.webrtc.peers import Channel, Peer

from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc.candidates import candidate_from_dict
from peerfetch_fast.webrtc.channel_link import LABEL, PROTOCOL, open_channel
from peerfetch_fast.webrtc.connection import RTCPeerConnection
from peerfetch_fast.webrtc.transports import ConnectionOptions, open_connection

MESSAGE = 16_384

pytestmark = [
    needs_chromium,
    # What differs between event loops does not depend on who is at the other end.
    pytest.mark.usefixtures("each_loop"),
    pytest.mark.parametrize("each_loop", list(LOOPS)[-1:], indirect=True),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@pytest.fixture
def native() -> Any:
    if not HAVE_NATIVE:
        pytest.skip("the native data path is not built")
    return partial(RTCPeerConnection, transport="native")


class Ends:
    """Our peer connection and Chromium's."""

    def __init__(self, peer: Peer, page: Page, we_offer: bool, path: Path | None = None) -> None:
        self.peer = peer
        self.page = page
        self.we_offer = we_offer
        self.path = path

    async def describe(self) -> None:
        """Exchange descriptions, with all candidates in them."""
        connection = self.peer.connection
        if self.we_offer:
            await connection.setLocalDescription()
            await self.page("accept", self.ours())
            await connection.setRemoteDescription(await self.theirs())
        else:
            await connection.setRemoteDescription(await self.theirs())
            await connection.setLocalDescription()
            await self.page("accept", self.ours())

    def ours(self) -> dict[str, str]:
        description = self.peer.connection.localDescription
        sdp = self.path.lead(0, description.sdp) if self.path else description.sdp
        return {"type": description.type, "sdp": sdp}

    async def theirs(self) -> RTCSessionDescription:
        description = RTCSessionDescription(**await self.page("describe"))
        if self.path:
            description.sdp = self.path.lead(1, description.sdp)
        return description

    async def open(self, label: str, *, by_us: bool, **options: Any) -> Channel:
        """A channel that one end opens, when it is open at both."""
        if by_us:
            channel = self.peer.create_channel(label, **options)
        else:
            await self.page("create", label, options)
            channel = await self.peer.channels.get()
            assert channel.raw.label == label
        await channel.opened.wait()
        await self.page("opened", label)
        return channel

    async def join(self, label: str = "first", **options: Any) -> Channel:
        """Connect, with one channel that the offerer opens."""
        if self.we_offer:
            channel = self.peer.create_channel(label, **options)
            await self.describe()
        else:
            await self.page("create", label, options)
            await self.describe()
            channel = await self.peer.channels.get()
        await channel.opened.wait()
        await self.page("opened", label)
        return channel


class Path:
    """A path over loopback that delays datagrams, and loses and reorders some of them."""

    DELAY = 0.002

    def __init__(self) -> None:
        self.loss = 0.0
        self.late = 0.0
        self.lost = [0, 0]
        self.random = random.Random(5)
        # Of end 0 and end 1: its address, and where it is told that the other one is.
        self.addresses: list[tuple[str, int] | None] = [None, None]
        self.transports: list[asyncio.DatagramTransport] = []

    async def __aenter__(self) -> Path:
        for end in (0, 1):
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda end=end: PathEnd(self, end), local_addr=("127.0.0.1", 0)
            )
            self.transports.append(transport)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for transport in self.transports:
            transport.close()

    def lead(self, end: int, sdp: str) -> str:
        """The description of an end with the path's address in place of its own."""
        host, port = self.transports[1 - end].get_extra_info("sockname")
        found = re.search(rf"a=candidate:\S+ 1 udp \d+ {re.escape(host)} (\d+) typ host", sdp)
        assert found is not None, sdp
        self.addresses[end] = (host, int(found[1]))
        rest = re.sub(r"a=(candidate|end-of-candidates).*\r\n", "", sdp)
        return f"{rest}a=candidate:1 1 udp 2130706431 {host} {port} typ host\r\n"

    def received(self, end: int, data: bytes) -> None:
        to = self.addresses[1 - end]
        if to is None or self.random.random() < self.loss:
            self.lost[end] += 1
            return
        delay = self.DELAY * (3 if self.random.random() < self.late else 1)
        asyncio.get_running_loop().call_later(delay, self.transports[1 - end].sendto, data, to)


class PathEnd(asyncio.DatagramProtocol):
    """Where one end sends its datagrams."""

    def __init__(self, path: Path, end: int) -> None:
        self.path = path
        self.end = end

    def datagram_received(self, data: bytes, address: object) -> None:
        self.path.received(self.end, data)


@pytest.fixture(params=[True, False], ids=["we offer", "they offer"])
def meet(request: Any, browser: str, pc: Any) -> Any:
    """Makes both ends."""

    @contextlib.asynccontextmanager
    async def meet() -> AsyncIterator[Ends]:
        async with open_page(browser) as page:
            peer = Peer(pc())
            try:
                yield Ends(peer, page, request.param)
            finally:
                await peer.connection.close()

    return meet


def fingerprint(message: bytes | str) -> str:
    """As page.html computes it."""
    if isinstance(message, str):
        return f"text {hashlib.sha256(message.encode()).hexdigest()}"
    return f"binary {hashlib.sha256(message).hexdigest()}"


def digest(messages: Sequence[bytes | str], ordered: bool) -> str:
    """As page.html computes it."""
    fingerprints = [fingerprint(message) for message in messages]
    return fingerprint("\n".join(fingerprints if ordered else sorted(fingerprints)))


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_every_kind_of_message(pc: Any, meet: Any, ordered: bool) -> None:
    # aiortc counts the letters of a label where bytes are meant.
    label = "Größe" if pc.keywords["transport"] == "native" else "size"
    sizes = [0, 1, 2, 1135, 1136, 1200, 16_384, 65_535, 65_536, 262_143, 262_144]
    messages: list[Any] = [random.Random(size).randbytes(size) for size in sizes]
    messages += ["", "x", "grüße", "\N{GRINNING FACE}" * 65_536]

    async with meet() as ends:
        channel = await ends.join(label, ordered=ordered)
        assert channel.raw.ordered is ordered
        echo = asyncio.create_task(ends.page("echo", label, len(messages)))
        for message in messages:
            channel.send(message)
        received = await channel.receive(len(messages))
        arrived = await echo
        if not ordered:
            received.sort(key=messages.index)
            arrived.sort(key=[fingerprint(message) for message in messages].index)
        assert received == messages
        assert arrived == [fingerprint(message) for message in messages]


# Not all four: this is what takes most of the time here.
@pytest.mark.parametrize(
    ("meet", "ordered"),
    [(True, True), (False, False)],
    ids=["we offer-ordered", "they offer-unordered"],
    indirect=["meet"],
)
async def test_64_megabytes_each_way_at_once(pc: Any, meet: Any, ordered: bool) -> None:
    # Where Python carries the data, less of it makes the same point.
    count = (64 if pc.keywords["transport"] == "native" else 2) * 64
    messages = [random.Random(n).randbytes(MESSAGE) for n in range(64)] * (count // 64)

    async with meet() as ends:
        down = await ends.join("down", ordered=ordered)
        up = await ends.open("up", by_us=True, ordered=ordered)
        _, sunk, received, sourced = await asyncio.gather(
            up.send_all(messages),
            ends.page("sink", "up", count, ordered),
            down.receive(count),
            ends.page("source", "down", count, MESSAGE, ordered),
        )
        assert sunk == digest(messages, ordered)
        assert sourced == digest(received, ordered)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_over_a_path_that_loses_and_reorders(
    native: Any, browser: str, ordered: bool
) -> None:
    count = 256
    messages = [random.Random(n).randbytes(MESSAGE) for n in range(count)]

    async with Path() as path, open_page(browser) as page:
        peer = Peer(native(host_addresses=["127.0.0.1"]))
        ends = Ends(peer, page, we_offer=True, path=path)
        down = await ends.join("down", ordered=ordered)
        up = await ends.open("up", by_us=True, ordered=ordered)
        path.loss, path.late = 0.02, 0.02
        _, sunk, received, sourced = await asyncio.gather(
            up.send_all(messages),
            ends.page("sink", "up", count, ordered),
            down.receive(count),
            ends.page("source", "down", count, MESSAGE, ordered),
        )
        assert sunk == digest(messages, ordered)
        assert sourced == digest(received, ordered)
        assert min(path.lost) > 20
        path.loss = 0
        await peer.connection.close()


async def test_largest_message_is_what_the_other_side_says(meet: Any) -> None:
    async with meet() as ends:
        channel = await ends.join()
        with pytest.raises(ValueError, match="262145"):
            channel.send(bytes(262_145))
        with pytest.raises(RuntimeError, match="TypeError"):
            await ends.page("sendZeros", "first", 262_145)
        # Neither attempt did any harm.
        await ends.page("sendZeros", "first", 262_144)
        assert await channel.messages.get() == bytes(262_144)


@pytest.mark.parametrize("we_close", [True, False], ids=["we close", "they close"])
async def test_closing_channels_frees_their_streams(pc: Any, meet: Any, we_close: bool) -> None:
    payload = bytes(100_000)
    # aiortc looks only once a second whether a channel with data under way can be reset by now.
    under_way = pc.keywords["transport"] == "native"

    async with meet() as ends:
        await ends.join()
        for by_us in (True, False):
            ids = set()
            for turn in range(5):
                label = f"{by_us} {turn}"
                channel = await ends.open(label, by_us=by_us)
                ids.add(channel.raw.id)
                if we_close:
                    # Whether it is seen is up to Chromium, which may drop what comes right
                    # before a close, also from its own kind.
                    if under_way:
                        channel.send(payload)
                    channel.raw.close()
                else:
                    await ends.page("sendZeros", label, len(payload))
                    await ends.page("close", label)
                    assert await channel.messages.get() == payload
                await channel.closed.wait()
                await ends.page("closed", label)
            assert len(ids) == 1
        assert await ends.page("state", "first") == "open"


async def test_many_channels_of_both_sides(meet: Any) -> None:
    async with meet() as ends:
        channels = [await ends.join("0")]
        for n in range(1, 20):
            channels.append(await ends.open(str(n), by_us=n % 2 == 0))
        assert len({channel.raw.id for channel in channels}) == 20
        for n, channel in enumerate(channels):
            assert (await ends.page("opened", str(n)))["id"] == channel.raw.id
            echo = asyncio.create_task(ends.page("echo", str(n), 1))
            channel.send(str(n))
            assert await channel.messages.get() == str(n)
            await echo


async def test_channels_of_every_kind_are_opened_by_either_side(meet: Any) -> None:
    default = {"ordered": True, "protocol": "", "maxRetransmits": None, "maxPacketLifeTime": None}
    kinds: dict[str, dict[str, Any]] = {
        LABEL: {"ordered": False, "protocol": PROTOCOL},
        "no retransmissions": {"ordered": False, "maxRetransmits": 0},
        "short life": {"maxPacketLifeTime": 5000},
    }

    async def check(ends: Ends, label: str, channel: Channel, kind: dict[str, Any]) -> None:
        assert await ends.page("opened", label) == {"id": channel.raw.id, **default, **kind}
        for name, value in (default | kind).items():
            assert getattr(channel.raw, name) == value
        echo = asyncio.create_task(ends.page("echo", label, 1))
        channel.send(b"hello")
        assert await channel.messages.get() == b"hello"
        await echo

    async with meet() as ends:
        await ends.join()
        for label, kind in kinds.items():
            await check(ends, label, await ends.open(label, by_us=False, **kind), kind)
            await ends.page("close", label)
            await ends.page("closed", label)
            if label == LABEL:
                channel = Channel(open_channel(ends.peer.connection))
                await channel.opened.wait()
            else:
                channel = await ends.open(label, by_us=True, **kind)
            await check(ends, label, channel, kind)


async def test_a_negotiated_channel_carries_messages_without_an_event(meet: Any) -> None:
    options = {"negotiated": True, "id": 7}

    async with meet() as ends:
        await ends.page("create", "agreed", options)
        channel = ends.peer.create_channel("agreed", **options)
        await ends.describe()
        await channel.opened.wait()
        assert (await ends.page("opened", "agreed"))["id"] == 7
        echo = asyncio.create_task(ends.page("echo", "agreed", 1))
        channel.send("as agreed")
        assert await channel.messages.get() == "as agreed"
        await echo
        assert ends.peer.channels.empty()


async def test_candidates_that_come_later(meet: Any) -> None:
    async with meet() as ends:
        connection, page = ends.peer.connection, ends.page
        if ends.we_offer:
            channel = ends.peer.create_channel("first")
            await connection.setLocalDescription()
            await page("accept", without_candidates(connection.localDescription))
            answer = await page("trickle")
            assert "a=candidate" not in answer["sdp"]
            await connection.setRemoteDescription(RTCSessionDescription(**answer))
        else:
            await page("create", "first", {})
            offer = await page("trickle")
            assert "a=candidate" not in offer["sdp"]
            await connection.setRemoteDescription(RTCSessionDescription(**offer))
            await connection.setLocalDescription()
            await page("accept", without_candidates(connection.localDescription))
        for candidate in await page("candidates"):
            await connection.addIceCandidate(candidate_from_dict(candidate))
        await connection.addIceCandidate(None)
        if not ends.we_offer:
            channel = await ends.peer.channels.get()
        await channel.opened.wait()
        await page("opened", "first")


def without_candidates(description: RTCSessionDescription) -> dict[str, str]:
    lines = description.sdp.splitlines(keepends=True)
    kept = [line for line in lines if "candidate" not in line]
    return {"type": description.type, "sdp": "".join(kept)}


@pytest.mark.parametrize("we_close", [True, False], ids=["we close", "they close"])
async def test_closing_the_connection_is_noticed(meet: Any, we_close: bool) -> None:
    async with meet() as ends:
        channel = await ends.join()
        if we_close:
            await ends.peer.connection.close()
        else:
            await ends.page("closeConnection")
        await channel.closed.wait()
        await ends.page("closed", "first")


async def test_media_flows_beside_data(meet: Any) -> None:
    async with meet() as ends:
        tracks: asyncio.Queue[Any] = asyncio.Queue()
        ends.peer.connection.on("track", tracks.put_nowait)
        ends.peer.connection.addTrack(aiortc.AudioStreamTrack())
        ends.peer.connection.addTrack(aiortc.VideoStreamTrack())
        await ends.page("sendMedia")
        channel = await ends.join()
        await ends.page("mediaReceived", ["audio", "video"])
        for track in [await tracks.get(), await tracks.get()]:
            await track.recv()
        echo = asyncio.create_task(ends.page("echo", "first", 1))
        channel.send(b"beside it")
        assert await channel.messages.get() == b"beside it"
        await echo


async def test_media_that_a_session_declines(pc: Any, browser: str) -> None:
    """Chromium takes the answer with two of its three sections refused, and data goes on."""

    async with open_page(browser) as page:
        peer = Peer(open_connection(ConnectionOptions(**pc.keywords)))
        ends = Ends(peer, page, we_offer=False)
        await page("sendMedia")
        channel = await ends.join()
        answer = peer.connection.localDescription.sdp
        assert re.findall("m=(audio|video|application) 0 ", answer) == ["audio", "video"]
        echo = asyncio.create_task(page("echo", "first", 1))
        channel.send(b"alone")
        assert await channel.messages.get() == b"alone"
        await echo
        await peer.connection.close()
