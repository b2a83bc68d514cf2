"""Decoding bodies (Content-Encoding, RFC 9110 §8.4), in steps of bounded output. Sans-I/O."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from peerfetch_fast.errors import MessageError, MessageTruncated

try:
    import brotli
except ImportError:
    brotli = None
try:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
except ImportError:
    zstd = None  # type: ignore[assignment]

__all__ = ["ACCEPT_ENCODING", "Decoder", "make_decoder"]

STEP = 256 * 1024
"""Bytes of output of one step; at most twice as many. This bounds the memory of a decompression
bomb."""

_FIRST_LOOK = 512

MAX_CODINGS = 5
"""Codings that one body may have applied one after another."""

ZSTD_WINDOW_LOG = 23
"""The largest window of zstd, as RFC 9659 §3 has it: 8 MiB."""


class _Stage(Protocol):
    needs_input: bool
    """Whether the next step needs more input."""
    complete: bool
    """Whether the input could end here."""

    def step(self, data: bytes) -> bytes:
        """Decode ``data``, empty unless input is needed, and return at most one step's output."""


class _Input:
    """Input that is not decoded yet, handed out in slices of bounded size.

    A decompressor returns a copy of the input behind the end of a member, so a body of many tiny
    members would be copied once for each of them. Slices are therefore small after an end, and
    grow.
    """

    def __init__(self) -> None:
        self._data = memoryview(b"")
        self._look = STEP

    def __bool__(self) -> bool:
        return len(self._data) > 0

    def feed(self, data: bytes) -> None:
        """Add input, once the previous input has been used up."""
        if data:
            self._data = memoryview(data)

    def look(self) -> memoryview:
        """The next slice for the decompressor."""
        shown = self._data[: self._look]
        self._look = min(2 * self._look, STEP)
        return shown

    def used(self, size: int, *, ended: bool) -> None:
        """Record that ``size`` bytes are decoded, perhaps up to the end of a member."""
        self._data = self._data[size:]
        if ended:
            self._look = _FIRST_LOOK


class _Zlib:
    """gzip (RFC 1952), also of several members; deflate with zlib's wrapping or without."""

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._object: Any = None
        self._input = _Input()
        self.needs_input = True
        self.complete = False

    def step(self, data: bytes) -> bytes:
        self._input.feed(data)
        shown = self._input.look()
        if self._object is None:
            if self.complete and not (self._gzip and shown[0] == 0x1F):
                self._input, self.needs_input = _Input(), True
                return b""  # bytes behind the last member are ignored
            # Some servers leave zlib's header out, as the first byte shows (RFC 1950 §2.2).
            bare = shown[0] & 0x0F != 8
            self._object = zlib.decompressobj(31 if self._gzip else -15 if bare else 15)
            self.complete = False
        output: bytes = self._object.decompress(shown, STEP)
        ended = self._object.eof
        rest = self._object.unused_data if ended else self._object.unconsumed_tail
        self._input.used(len(shown) - len(rest), ended=ended)
        if ended:
            self._object = None
            self.complete = True
        # After a full step, zlib may hold more output.
        self.needs_input = not self._input and (len(output) < STEP or self._object is None)
        return output


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._object = brotli.Decompressor()
        self.needs_input = True
        self.complete = False

    def step(self, data: bytes) -> bytes:
        if self.complete:
            return b""
        output: bytes = self._object.process(data, output_buffer_limit=STEP)
        self.complete = self._object.is_finished()
        # It takes more input while it holds output. An empty step shows that none is left.
        self.needs_input = self.complete or (not output and self._object.can_accept_more_data())
        return output


class _Zstd:
    """zstd (RFC 8878), also of several frames."""

    def __init__(self) -> None:
        self._object: Any = None
        self._input = _Input()
        self.needs_input = True
        self.complete = False

    def step(self, data: bytes) -> bytes:
        self._input.feed(data)
        # While it holds output, it has consumed the whole slice.
        shown = self._input.look() if self._object is None or self._object.needs_input else b""
        if self._object is None:
            options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
            self._object = zstd.ZstdDecompressor(options=options)  # type: ignore[arg-type]
        output: bytes = self._object.decompress(shown, STEP)
        self.complete = self._object.eof
        rest = self._object.unused_data if self.complete else b""
        self._input.used(len(shown) - len(rest), ended=self.complete)
        if self.complete:
            self._object = None
        waits = self._object is None or self._object.needs_input
        self.needs_input = waits and not self._input
        return output


_STAGES: dict[str, Callable[[], _Stage]] = {
    "gzip": lambda: _Zlib(gzip=True),
    "x-gzip": lambda: _Zlib(gzip=True),
    "deflate": lambda: _Zlib(gzip=False),
}
_ERRORS: tuple[type[Exception], ...] = (zlib.error,)
ACCEPT_ENCODING = "gzip, deflate"
"""The codings that can be decoded here, as the value of Accept-Encoding."""
if brotli is not None:
    _STAGES["br"] = _Brotli
    _ERRORS += (brotli.error,)
    ACCEPT_ENCODING += ", br"
if zstd is not None:
    _STAGES["zstd"] = _Zstd
    _ERRORS += (zstd.ZstdError,)
    ACCEPT_ENCODING += ", zstd"


class Decoder:
    """Undoes the codings of one body. Feed it, and read until it returns b""."""

    def __init__(self, codings: list[str]) -> None:
        # The coding that was applied last is undone first.
        self._stages = [_STAGES[coding]() for coding in reversed(codings)]
        self._codings = ", ".join(codings)
        self._input = b""
        self._began = False

    def feed(self, data: bytes) -> None:
        """Add the next bytes, after :meth:`read` has returned b""."""
        self._input = data
        self._began = True

    def read(self) -> bytes:
        """The next decoded bytes; b"" if more input is needed.

        Raises MessageError for input that is not of that coding.
        """
        try:
            return self._pull(len(self._stages) - 1)
        except _ERRORS as error:
            raise MessageError(f"the body is no valid {self._codings}: {error}") from None

    def _pull(self, index: int) -> bytes:
        if index < 0:
            data, self._input = self._input, b""
            return data
        stage = self._stages[index]
        while True:
            data = b""
            if stage.needs_input:
                data = self._pull(index - 1)
                if not data:
                    return b""
            output = stage.step(data)
            if output:
                return output

    def end(self) -> None:
        """Take note of the end of the input. Raises MessageTruncated if it came too early."""
        if self._began and not all(stage.complete for stage in self._stages):
            raise MessageTruncated(f"the body ended inside its {self._codings} coding")


def make_decoder(content_encoding: str) -> Decoder | None:
    """The decoder for a Content-Encoding; None for no coding and for an unknown one.

    Raises MessageError for too many codings.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if len(codings) > MAX_CODINGS:
        raise MessageError(f"a body with {len(codings)} codings; at most {MAX_CODINGS} are undone")
    if not codings or not all(coding in _STAGES for coding in codings):
        return None
    return Decoder(codings)
