"""Decoding bodies, whole and in any pieces, and what cannot be decoded."""

from __future__ import annotations

import contextlib
import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import MessageError, MessageTruncated, PeerfetchError
from peerfetch_fast.http.decoding import ACCEPT_ENCODING, STEP, Decoder, make_decoder, zstd

TEXT = b"".join(b"line %d of a text that repeats itself\n" % (n % 100) for n in range(20_000))


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without wrapping": ("deflate", bare_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=4)),
    "zstd": ("zstd", lambda data: zstd.compress(data)),
}


def decoded(coding: str, data: bytes, piece: int) -> bytes:
    decoder = make_decoder(coding)
    assert decoder is not None
    output = []
    for start in range(0, len(data), piece):
        decoder.feed(data[start : start + piece])
        while step := decoder.read():
            assert len(step) <= 2 * STEP
            output.append(step)
    decoder.end()
    return b"".join(output)


def test_all_four_are_offered() -> None:
    assert ACCEPT_ENCODING == "gzip, deflate, br, zstd"


@pytest.mark.parametrize("how", ENCODERS)
@pytest.mark.parametrize("piece", [1, 7, 1000, 10**9])
@pytest.mark.parametrize("data", [b"", b"x", TEXT], ids=["empty", "short", "long"])
def test_every_coding_in_pieces_of_any_size(how: str, piece: int, data: bytes) -> None:
    coding, encode = ENCODERS[how]
    assert decoded(coding, encode(data), piece) == data


@pytest.mark.parametrize("piece", [1, 10, 10**9])
def test_several_members_and_frames(piece: int) -> None:
    assert decoded("gzip", gzip.compress(b"one ") + gzip.compress(b"two"), piece) == b"one two"
    assert decoded("zstd", zstd.compress(b"one ") + zstd.compress(b"two"), piece) == b"one two"


@pytest.mark.parametrize("piece", [1, 10, 10**9])
def test_what_follows_the_end_of_gzip_means_nothing(piece: int) -> None:
    assert decoded("gzip", gzip.compress(b"one") + b"\0" * 100, piece) == b"one"


def test_codings_on_top_of_each_other() -> None:
    twice = brotli.compress(gzip.compress(TEXT))
    assert decoded("gzip, br", twice, 100) == TEXT
    assert decoded("identity,gzip , br,", twice, 10**9) == TEXT


@pytest.mark.parametrize("codings", ["", "identity", "unheard-of", "gzip, unheard-of"])
def test_nothing_to_do_or_nothing_known(codings: str) -> None:
    assert make_decoder(codings) is None


def test_more_than_five_codings_are_refused() -> None:
    assert make_decoder(", ".join(["gzip"] * 5)) is not None
    with pytest.raises(MessageError, match="6 codings"):
        make_decoder(", ".join(["gzip"] * 6))


@pytest.mark.parametrize("how", ENCODERS)
def test_a_body_that_is_cut_short_is_not_whole(how: str) -> None:
    coding, encode = ENCODERS[how]
    noise = random.Random(1).randbytes(10_000)
    with pytest.raises(MessageTruncated, match=coding.lower()):
        decoded(coding.lower(), encode(noise)[:-5], 1000)


@pytest.mark.parametrize("how", ENCODERS)
def test_no_body_at_all_is_complete(how: str) -> None:
    assert decoded(ENCODERS[how][0], b"", 1) == b""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_is_not_of_its_coding_is_refused(coding: str) -> None:
    with pytest.raises(MessageError, match=f"valid {coding}"):
        decoded(coding, b"\x08plain text, and nothing else\xff" * 10, 10**9)


@pytest.mark.parametrize("how", ENCODERS)
def test_a_bomb_comes_in_small_steps(how: str) -> None:
    coding, encode = ENCODERS[how]
    bomb = encode(bytes(64 * 1024 * 1024))
    assert len(bomb) < 128 * 1024
    decoder = make_decoder(coding)
    assert decoder is not None
    decoder.feed(bomb)
    steps = total = 0
    while step := decoder.read():
        assert len(step) <= 2 * STEP
        assert not step.strip(b"\0")
        steps, total = steps + 1, total + len(step)
    decoder.end()
    assert total == 64 * 1024 * 1024
    assert steps >= 100


def test_a_window_that_is_too_large_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    packed = packer.compress(b"x" * 1000) + packer.flush()
    with pytest.raises(MessageError, match="zstd"):
        decoded("zstd", packed, 10**9)


@given(
    st.sampled_from(["gzip", "deflate", "br", "zstd", "br, gzip"]), st.binary(), st.integers(1, 50)
)
def test_any_bytes_end_in_bytes_or_a_typed_error(coding: str, data: bytes, piece: int) -> None:
    with contextlib.suppress(PeerfetchError):
        decoded(coding, data, piece)


def test_a_decoder_without_input_waits() -> None:
    assert Decoder(["gzip"]).read() == b""
