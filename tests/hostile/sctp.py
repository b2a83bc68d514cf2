"""One end of SCTP that says what it likes, over stock aiortc's ICE and DTLS."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from typing import Any

from aiortc.rtcdtlstransport import RTCDtlsTransport
from OpenSSL import SSL
from tests.webrtc._sctp.rawpeer import (
    BEGIN,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    DCEP,
    END,
    FORWARD_TSN,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    RE_CONFIG,
    SACK,
    UNORDERED,
    Chunk,
    RawPeer,
    decode,
    encode,
    packet,
    parameter,
)

from peerfetch_fast.webrtc.connection import RTCPeerConnection
from peerfetch_fast.webrtc.transports import close_connection

__all__ = ["Ended", "RawAssociation"]

FRAGMENT = 1_100
"""Bytes of user data in a packet that any path carries."""
WINDOW = 192
"""DATA chunks that may be under way: more, and the other side's socket is what loses them."""
AGAIN = 0.2
"""Seconds without news after which what is not acknowledged is sent again."""
RETRIES = 50
"""So often without any progress; then the other side has ended it, or takes no more."""
YIELD = 32
"""Packets after which others have their turn."""


class Ended(Exception):
    """The other side has made an end: the attack is over, and the next session may begin."""


class RawAssociation:
    """An association that is acknowledged as a good peer's would be, and attacked by hand.

    :param window: the receive window that it claims; with 0 the other side may send nothing.
    """

    tag = 0x0BADCAFE

    def __init__(self, connection: RTCPeerConnection, *, window: int = 1 << 20) -> None:
        self.window = window
        self.silent = False
        """Whether nothing is acknowledged any more."""
        self.tsn = 1_000
        """Of the next DATA chunk."""
        self.established = asyncio.Event()
        self.ended = asyncio.Event()
        self.heard: asyncio.Queue[Chunk] = asyncio.Queue(10_000)
        """Chunks other than DATA and what belongs to the handshake; the newest are dropped."""
        self._connection = connection
        self._dtls: RTCDtlsTransport = connection.sctp.transport  # type: ignore[union-attr]
        self._dtls._write_ssl = self._write_records  # type: ignore[method-assign]
        self._their_tag = 0
        self._their_tsn = 0
        self.offered = True
        """Whether it is the side that made the offer, and opens the channel."""
        self.acknowledged = self.tsn - 1
        """The last TSN that the other side says it has, with all before it."""
        self.sent = 0
        """Packets."""
        self.on_message: Callable[[bytes], object] = len
        """Told of messages on data channels that came in one chunk."""
        self._opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._unacknowledged: dict[int, bytes] = {}
        self._progress = asyncio.Event()

    # -- under aiortc's peer connection, in place of its own SCTP ---------------------------------

    async def start(self, *_: Any) -> None:
        """As aiortc starts SCTP."""
        if self._dtls._data_receiver is None:
            self._dtls._register_data_receiver(self)
            self._dtls.on("statechange", self._state_changed)
            await self.send(encode(INIT, 0, self._init()), tag=0)

    def _state_changed(self) -> None:
        if self._dtls.state in ("closed", "failed"):
            self.ended.set()

    async def _write_records(self) -> None:
        # aiortc cuts what is larger than 1,500 bytes, and joins the rest to the next.
        with contextlib.suppress(SSL.Error):
            data = self._dtls._ssl.bio_read(1 << 16)  # type: ignore[union-attr]
            await self._dtls.transport._send(data)

    @property
    def first_stream(self) -> int:
        """The lowest id that is ours to open (RFC 8832, section 6)."""
        return 0 if self._dtls._role == "client" else 1

    # -- handshake --------------------------------------------------------------------------------

    def _init(self) -> bytes:
        return (
            struct.pack(">IIHHI", self.tag, self.window, 65535, 65535, self.tsn)
            + parameter(0x8008, bytes((RE_CONFIG, FORWARD_TSN)))
            + parameter(0xC000)
        )

    async def _handle_data(self, data: bytes) -> None:
        if len(data) < 12:
            return
        _, chunks = decode(data)
        new = False
        for chunk in chunks:
            if chunk.type == DATA:
                new = True
                await self._receive(chunk)
            else:
                await self._handle(chunk)
        if new and not self.silent:
            await self.acknowledge()

    async def _handle(self, chunk: Chunk) -> None:
        match chunk.type:
            case 1:  # both begin, as both ends of WebRTC do: the answers tell the same
                self._learn(chunk)
                await self.send(encode(INIT_ACK, 0, self._init() + parameter(7, b"cookie")))
            case 2:
                self._learn(chunk)
                await self.send(encode(COOKIE_ECHO, 0, RawPeer.cookie(chunk)))
            case 10:
                await self.send(encode(COOKIE_ACK))
                self.established.set()
            case 11:
                self.established.set()
            case 3:
                self._take_sack(chunk)
            case 4:
                await self.send(encode(HEARTBEAT_ACK, 0, chunk.body))
            case 6 | 7 | 8 | 14:
                self.ended.set()
                self._progress.set()
        if not self.heard.full():
            self.heard.put_nowait(chunk)

    def _learn(self, init: Chunk) -> None:
        self._their_tag, _, _, _, first = struct.unpack_from(">IIHHI", init.body)
        if not self.established.is_set():
            self._their_tsn = first - 1 & 0xFFFFFFFF

    # -- what the other side sends ----------------------------------------------------------------

    async def _receive(self, chunk: Chunk) -> None:
        if chunk.tsn != self._their_tsn + 1 & 0xFFFFFFFF:
            return  # what comes out of order is left to be sent again
        self._their_tsn = chunk.tsn
        stream, _, protocol = struct.unpack_from(">HHI", chunk.body, 4)
        payload = chunk.body[12:]
        if protocol == DCEP and payload[:1] == b"\x03":
            await self.data(b"\x02", stream=stream, protocol=DCEP)
            if not self._opened.done():
                self._opened.set_result(stream)
        elif chunk.flags & (BEGIN | END) == BEGIN | END and protocol != DCEP:
            self.on_message(payload)

    async def opened(self) -> int:
        """The stream of the first channel that the other side opens."""
        return await asyncio.shield(self._opened)

    def taken(self) -> list[Chunk]:
        """What was heard since the last time."""
        return [self.heard.get_nowait() for _ in range(self.heard.qsize())]

    async def acknowledge(self) -> None:
        """Send a SACK of what came in order."""
        await self.send(encode(SACK, 0, struct.pack(">IIHH", self._their_tsn, self.window, 0, 0)))

    def _take_sack(self, chunk: Chunk) -> None:
        self.acknowledged = chunk.tsn
        for tsn in [
            tsn for tsn in self._unacknowledged if (chunk.tsn - tsn) & 0xFFFFFFFF < 1 << 31
        ]:
            del self._unacknowledged[tsn]
            self._progress.set()
        for first, last in chunk.gaps:
            for offset in range(first, last + 1):
                self._unacknowledged.pop((chunk.tsn + offset) & 0xFFFFFFFF, None)

    # -- what it says -----------------------------------------------------------------------------

    async def send(self, *chunks: bytes, tag: int | None = None) -> None:
        """Send a packet of these chunks, whatever they are.

        :raises Ended: there is nobody any more.
        """
        if self.ended.is_set():
            raise Ended
        try:
            await self._dtls._send_data(
                packet(self._their_tag if tag is None else tag, b"".join(chunks))
            )
        except (ConnectionError, SSL.Error):
            self.ended.set()
            raise Ended from None
        self.sent += 1
        if self.sent % YIELD == 0:
            await asyncio.sleep(0)

    async def data(
        self,
        payload: bytes,
        *,
        stream: int,
        sequence: int = 0,
        protocol: int = 53,
        flags: int = BEGIN | END,
    ) -> None:
        """Send a DATA chunk at the next TSN, and again until it is acknowledged.

        :raises Ended: the association has ended, or takes no more.
        """
        await self._room(WINDOW)
        body = struct.pack(">IHHI", self.tsn, stream, sequence & 0xFFFF, protocol) + payload
        chunk = encode(DATA, flags, body)
        self._unacknowledged[self.tsn] = chunk
        self.tsn = self.tsn + 1 & 0xFFFFFFFF
        await self.send(chunk)

    async def message(
        self,
        payload: bytes,
        *,
        stream: int,
        sequence: int = 0,
        protocol: int = 53,
        ordered: bool = True,
    ) -> None:
        """Send a message in as many chunks as it takes. Raises Ended."""
        for at in range(0, max(len(payload), 1), FRAGMENT):
            flags = (BEGIN if at == 0 else 0) | (END if at + FRAGMENT >= len(payload) else 0)
            await self.data(
                payload[at : at + FRAGMENT],
                stream=stream,
                sequence=sequence,
                protocol=protocol,
                flags=flags | (0 if ordered else UNORDERED),
            )

    async def open(self, stream: int, label: bytes, protocol: bytes = b"", kind: int = 0) -> None:
        """Open a channel as DCEP does. Raises Ended."""
        head = struct.pack(">BBHIHH", 3, kind, 0, 0, len(label), len(protocol))
        await self.message(head + label + protocol, stream=stream, protocol=DCEP)

    async def flush(self) -> None:
        """Return once all DATA is acknowledged. Raises Ended."""
        await self._room(1)

    async def _room(self, most: int) -> None:
        tries = 0
        while len(self._unacknowledged) >= most:
            self._progress.clear()
            try:
                await asyncio.wait_for(self._progress.wait(), AGAIN)
                tries = 0
            except TimeoutError:
                tries += 1
                if tries > RETRIES:
                    raise Ended from None
                for chunk in list(self._unacknowledged.values()):
                    await self.send(chunk)
            if self.ended.is_set():
                raise Ended

    async def close(self) -> None:
        """Be gone, whoever is cancelled meanwhile."""
        self.ended.set()
        await close_connection(self._connection)
