"""The frames of ``peerfetch.2`` in plain Python, written from docs/protocol.md alone.

It says what goes over the wire independently of the engine, so that the two can be held against
each other.
"""

from __future__ import annotations

from typing import Any

NAMES = {
    0x01: "PING",
    0x02: "PONG",
    0x03: "SETTINGS",
    0x04: "RESET_STREAM",
    0x05: "STOP_SENDING",
    0x07: "GOAWAY",
    0x08: "STREAM",
    0x09: "STREAM",
    0x10: "MAX_DATA",
    0x11: "MAX_STREAM_DATA",
    0x12: "MAX_STREAMS",
    0x20: "ACCESS",
    0x21: "PAKE",
}
FIELDS = {
    "RESET_STREAM": ("stream", "code", "final_size"),
    "STOP_SENDING": ("stream", "code"),
    "MAX_DATA": ("maximum",),
    "MAX_STREAM_DATA": ("stream", "maximum"),
    "MAX_STREAMS": ("maximum",),
}
CODES = {name: code for code, name in NAMES.items() if code != 0x09}

Frame = dict[str, Any]


def put_varint(value: int) -> bytes:
    for size, mark in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * size - 2):
            return (value | mark << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def get_varint(data: bytes) -> tuple[int, bytes]:
    size = 1 << (data[0] >> 6)
    value = int.from_bytes(data[:size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, data[size:]


def encode_frame(frame: Frame) -> bytes:
    kind = frame["type"]
    code: int = CODES.get(kind) or kind
    if kind in ("PING", "PONG"):
        body = bytes.fromhex(frame["data"])
    elif kind == "ACCESS":
        body = bytes.fromhex(frame["proof"])
    elif kind == "PAKE":
        body = bytes.fromhex(frame["share"])
    elif kind == "SETTINGS":
        body = b"".join(put_varint(k) + put_varint(v) for k, v in frame["settings"])
    elif kind == "GOAWAY":
        body = put_varint(frame["stream"]) + put_varint(frame["code"]) + frame["reason"].encode()
    elif kind == "STREAM":
        code += bool(frame["fin"])
        body = put_varint(frame["stream"]) + put_varint(frame["offset"])
        body += bytes.fromhex(frame["data"])
    elif kind in FIELDS:
        body = b"".join(put_varint(frame[name]) for name in FIELDS[kind])
    else:
        body = bytes.fromhex(frame["data"])
    return put_varint(code) + put_varint(len(body)) + body


def encode(*frames: Frame) -> bytes:
    return b"".join(map(encode_frame, frames))


def decode(message: bytes) -> list[Frame]:
    frames = []
    while message:
        code, message = get_varint(message)
        length, message = get_varint(message)
        body, message = message[:length], message[length:]
        frames.append(_decode_body(code, body))
    return frames


def _decode_body(code: int, body: bytes) -> Frame:
    kind = NAMES.get(code)
    if kind is None:
        return {"type": code, "data": body.hex()}
    frame: Frame = {"type": kind}
    if kind in ("PING", "PONG"):
        frame["data"] = body.hex()
    elif kind == "ACCESS":
        frame["proof"] = body.hex()
    elif kind == "PAKE":
        frame["share"] = body.hex()
    elif kind == "SETTINGS":
        frame["settings"] = []
        while body:
            identifier, body = get_varint(body)
            value, body = get_varint(body)
            frame["settings"].append([identifier, value])
    elif kind == "GOAWAY":
        frame["stream"], body = get_varint(body)
        frame["code"], body = get_varint(body)
        frame["reason"] = body.decode()
    elif kind == "STREAM":
        frame["stream"], body = get_varint(body)
        frame["offset"], body = get_varint(body)
        frame["data"] = body.hex()
        frame["fin"] = code == 0x09
    else:
        for name in FIELDS[kind]:
            frame[name], body = get_varint(body)
        assert not body
    return frame


def stream(stream_id: int, offset: int, data: bytes, fin: bool = False) -> Frame:
    return {"type": "STREAM", "stream": stream_id, "offset": offset, "data": data.hex(), "fin": fin}
