"""What a peer that breaks off, repeats and reorders knows of its session, and says next."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.wire import Frame, stream

from peerfetch_fast.http.blocks import DATA, block
from peerfetch_fast.http.heads import encode_request, encode_trailers

__all__ = ["Model"]

FATAL = 1 / 2_000
"""How often a frame is one that ends the session, if the proxy is right."""

REQUESTS = [
    encode_request("GET", "/small", []),
    encode_request("GET", "/large", [("priority", "u=1")]),
    encode_request("POST", "/small", [("content-length", "3")]) + block(DATA, b"abc"),
    encode_request("POST", "/small", []) + block(DATA, b"x" * 500) + encode_trailers([]),
    encode_request("GET", "/never", []),
    block(DATA, b"no head"),
    b"\x01\x05{}",
    bytes(64),
]


@dataclass
class Model:
    """What the driver knows of its session, so that most of its frames do not end it."""

    rng: random.Random
    opened: int = 0
    stream_limit: int = 16
    credit: int = 262_144
    fatal: bool = False
    streams: dict[int, tuple[bytes, int, bool]] = field(default_factory=dict)

    def frame(self) -> Frame:
        rng = self.rng
        if rng.random() < FATAL:
            self.fatal = True
            return self._fatal()
        known = rng.choice(list(self.streams)) if self.streams else 0
        match rng.randrange(12):
            case 0 | 1 | 2 if self.opened < self.stream_limit:
                return self._open()
            case 3 | 4 | 5 if self.streams:
                return self._go_on(known)
            case 6 if self.streams:
                return {"type": "STOP_SENDING", "stream": known, "code": rng.choice((0x100, 0x10C))}
            case 7 if self.streams:
                _, sent, _ = self.streams[known]
                self.streams[known] = b"", sent, True
                return {"type": "RESET_STREAM", "stream": known, "code": 0x10C, "final_size": sent}
            case 8 if self.streams:
                most = rng.choice((0, 1000, 100_000, 1 << 30))
                return {"type": "MAX_STREAM_DATA", "stream": known, "maximum": most}
            case 9:
                return {"type": "MAX_DATA", "maximum": rng.choice((0, 1 << 20, 1 << 28))}
            case 10:
                return {"type": "MAX_STREAMS", "maximum": rng.randrange(1 << 20)}
            case _:
                return {"type": rng.choice((0x21, 0x4000, 0x13)), "data": bytes(20).hex()}

    def _open(self) -> Frame:
        rng = self.rng
        number = self.opened + (rng.random() < 0.1 and self.opened + 1 < self.stream_limit)
        stream_id = 2 * number
        self.opened = number + 1
        self.streams[stream_id] = rng.choice(REQUESTS), 0, False
        if len(self.streams) > 200:  # those before are left as they are, at either end
            del self.streams[next(iter(self.streams))]
        return self._go_on(stream_id)

    def _go_on(self, stream_id: int) -> Frame:
        """A piece of a stream, its end, or after that what is too late and harmless."""
        left, sent, over = self.streams[stream_id]
        rng = self.rng
        size = min(rng.choice((0, 1, 10, len(left))), len(left), self.credit)
        if over:
            return stream(stream_id, sent, b"", fin=True)
        end = size == len(left) and rng.random() < 0.8
        self.credit -= size
        self.streams[stream_id] = left[size:], sent + size, end
        return stream(stream_id, sent, left[:size], fin=end)

    def _fatal(self) -> Frame:
        rng = self.rng
        return rng.choice(
            [
                {"type": "SETTINGS", "settings": []},
                stream(2 * self.stream_limit + 2_000_000, 0, b"x"),
                stream(1, 0, b"never opened"),
                stream(0, 1 << 40, b"x"),
                {"type": "RESET_STREAM", "stream": 0, "code": 0, "final_size": 1 << 50},
                {"type": "MAX_STREAM_DATA", "stream": 1, "maximum": 1},
                {"type": "GOAWAY", "stream": 0, "code": 0, "reason": ""},
                {"type": "GOAWAY", "stream": 0, "code": 0x10, "reason": "enough"},
                {"type": "PING", "data": "00" * 7},
                {"type": "ACCESS", "proof": "00" * 31},
            ]
        )

    def heard(self, frame: Frame) -> None:
        """Take in what the proxy grants."""
        if frame["type"] == "MAX_STREAMS":
            self.stream_limit = max(self.stream_limit, frame["maximum"])
        elif frame["type"] == "MAX_DATA":
            self.credit += 1 << 16
