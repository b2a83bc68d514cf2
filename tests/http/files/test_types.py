from __future__ import annotations

import random

import pytest

from peerfetch_fast.http.files.types import LOOK, content_type, is_transport_stream


def packets(size: int, offset: int, count: int) -> bytes:
    """A transport stream as it is recorded: what is in the packets does not matter."""
    rng = random.Random(size)
    return b"".join(
        rng.randbytes(offset) + b"\x47\x40\x00\x10\x00" + rng.randbytes(size - offset - 5)
        for _ in range(count)
    )


@pytest.mark.parametrize(
    ("name", "look", "expected"),
    [
        (b"a.txt", b"", "text/plain; charset=utf-8"),
        (b"a.txt", "gr\u00fcn".encode(), "text/plain; charset=utf-8"),
        (b"a.txt", "gr\u00fcn".encode("latin-1"), "text/plain"),
        (b"a.txt", b"\xef\xbb\xbfa", "text/plain; charset=utf-8"),
        (b"a.txt", b"\xff\xfea\0", "text/plain; charset=utf-16le"),
        (b"a.txt", b"\xfe\xff\0a", "text/plain; charset=utf-16be"),
        (b"a.txt", b"a\0b", "text/plain"),
        # A character that the look cuts, and one that the file does.
        (b"a.txt", b"x" * (LOOK - 1) + b"\xc3", "text/plain; charset=utf-8"),
        (b"a.txt", b"x\xc3", "text/plain"),
        (b"A.HTML", b"<p>", "text/html; charset=utf-8"),
        (b"a.html", b'<meta charset="koi8-r">', "text/html"),
        (b"a.html", b'<meta http-equiv=x content="text/html; CharSet = koi8-r">', "text/html"),
        (b"a.html", b" " * 1024 + b"charset=koi8-r", "text/html; charset=utf-8"),
        (b"a.css", b'@charset "koi8-r";', "text/css"),
        (b"a.csv", b"charset=,b", "text/csv; charset=utf-8"),
        (b"a.json", b"{}", "application/json"),
        (b"a.png", b"\x89PNG", "image/png"),
        (b"a", b"text", "application/octet-stream"),
        (b"a.txt.gz", b"\x1f\x8b", "application/gzip"),
        (b"a.ts", packets(188, 0, 3), "video/mp2t"),
        (b"a.TS", packets(188, 0, 2) + b"G", "video/mp2t"),
        (b"a.mts", packets(192, 4, 3), "video/mp2t"),
        (b"a.ts", packets(204, 0, 3), "video/mp2t"),
        (b"a.ts", b"export const G = 1;\n" * 30, "text/plain; charset=utf-8"),
        (b"a.ts", b"Global\n", "text/plain; charset=utf-8"),
        (b"a.ts", b"", "text/plain; charset=utf-8"),
        (b"a.ts", packets(188, 0, 2) + b"x" * 188, "application/octet-stream"),
        (b"a.ts", b"\x80" * 500, "application/octet-stream"),
        (b"\xff.txt", b"a", "text/plain; charset=utf-8"),
    ],
)
def test_a_name_has_the_media_type_that_is_expected(
    name: bytes, look: bytes, expected: str
) -> None:
    assert content_type(name, look) == expected


def test_a_transport_stream_has_a_sync_byte_in_each_packet() -> None:
    whole = packets(188, 0, LOOK // 188 + 1)[:LOOK]
    assert is_transport_stream(whole)
    for at in (0, 188, LOOK // 188 * 188):
        broken = bytearray(whole)
        broken[at] ^= 1
        assert not is_transport_stream(bytes(broken))
    assert not is_transport_stream(packets(188, 0, 1))
    assert not is_transport_stream(b"")
