"""Pieces of work of the sans-I/O core: each does the same thing each time, for the clock and for
the counter of instructions.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from bench.framing import _bulk, _messages, _pieces
from bench.sctp import transfer
from peerfetch_fast.http.blocks import DATA, BlockReader, block
from peerfetch_fast.http.h1._wire import End, Reader
from peerfetch_fast.http.h1.leniency import PROGRAM
from peerfetch_fast.http.heads import decode_request, decode_response, encode_request
from peerfetch_fast.webrtc._sctp.packet import crc32c

__all__ = ["WORKLOADS", "Work"]

Work = Callable[[], object]

HEADERS = [
    ("host", "device.example"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("priority", "u=0, i"),
]


def _frames() -> Work:
    pieces = _pieces(4 << 20, 16 * 1024)
    return lambda: _bulk(1, pieces)


def _small_frames() -> Work:
    pieces = _pieces(200_000, 100)
    return lambda: _messages(1, pieces)


def _sctp(message_bytes: int, total: int, *, zero_checksum: bool) -> Callable[[], Work]:
    return lambda: (
        lambda: transfer(total, message_bytes, zero_checksum=zero_checksum, congestion="cubic")
    )


def _crc32c(*, by_table: bool) -> Callable[[], Work]:
    def made() -> Work:
        packets = _pieces(256 * 1200, 1200)
        return lambda: [crc32c(packet, by_table=by_table) for packet in packets]

    return made


def _heads() -> Work:
    request = encode_request("GET", "/api/hello?name=one", HEADERS)
    response = orjson.dumps({"status": 200, "headers": [list(pair) for pair in HEADERS]})

    def work() -> None:
        for _ in range(100):
            encode_request("GET", "/api/hello?name=one", HEADERS)
            ((_, payload),) = BlockReader().feed(request)
            decode_request(payload)
            decode_response(response)

    return work


def _h1_heads() -> Work:
    lines = "".join(f"{name}: {value}\r\n" for name, value in HEADERS)
    head = f"GET /api/hello?name=one HTTP/1.1\r\n{lines}\r\n".encode()

    def work() -> None:
        reader = Reader(requests=True, leniency=PROGRAM)
        for _ in range(200):
            reader.receive(head)
            while not isinstance(reader.next_event(), End):
                pass
            reader.next_message()

    return work


def _blocks() -> Work:
    whole = block(DATA, bytes(16_000)) * 64
    pieces = [whole[at : at + 1_200] for at in range(0, len(whole), 1_200)]

    def work() -> None:
        reader = BlockReader()
        for piece in pieces:
            reader.feed(piece)

    return work


WORKLOADS: dict[str, Callable[[], Work]] = {
    "frames_16KiB": _frames,
    "frames_100B": _small_frames,
    "sctp_16KiB": _sctp(16_384, 4_000_000, zero_checksum=False),
    "sctp_16KiB_zero_checksum": _sctp(16_384, 4_000_000, zero_checksum=True),
    "sctp_100B": _sctp(100, 200_000, zero_checksum=False),
    "crc32c": _crc32c(by_table=False),
    "crc32c_table": _crc32c(by_table=True),
    "heads": _heads,
    "h1_heads": _h1_heads,
    "blocks": _blocks,
}
"""What makes each piece of work ready to be done, any number of times."""
