"""Departures from RFC 9112 that are tolerated, each by a name of its own."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["PROGRAM", "UPSTREAM", "Leniency"]


class Leniency(IntFlag):
    """Departures that a reader may tolerate. None of them moves the end of a message."""

    REPEATED_LENGTH = 1
    """Content-Length several times, or as a list, if all say the same (RFC 9110 §8.6)."""

    LOWER_CASE_VERSION = 2
    """``http/1.1`` for ``HTTP/1.1``."""

    BARE_LF = 4
    """LF without CR at the end of a line of a head or of trailers (RFC 9112 §2.2)."""

    BARE_LF_IN_CHUNKS = 8
    """LF without CR behind a chunk's size and data."""

    STATUS_BEYOND_599 = 16
    """A status from 600 to 999 (RFC 9110 §15)."""

    SURPLUS = 32
    """Octets behind an answer that nobody asked for, such as the body of an answer to HEAD: they
    are dropped, and the connection is not used again.
    """

    LENGTH_BESIDE_CODING = 64
    """Transfer-Encoding beside Content-Length, which is dropped, or in HTTP/1.0; the connection is
    not used again (RFC 9112 §6.1, §6.3).
    """

    NO_REASON = 128
    """A status line that ends behind the status, without the space."""

    CONTROL_CHARACTERS = 256
    """Control characters in values, but for NUL, CR and LF (RFC 9110 §5.5)."""

    EMPTY_LINES = 512
    """Empty lines before a message, such as that behind a body that was counted wrong."""

    PADDED_CHUNK_SIZE = 1024
    """Spaces between a chunk's size and the end of its line."""


UPSTREAM = (
    Leniency.REPEATED_LENGTH
    | Leniency.LOWER_CASE_VERSION
    | Leniency.BARE_LF
    | Leniency.BARE_LF_IN_CHUNKS
    | Leniency.STATUS_BEYOND_599
    | Leniency.SURPLUS
    | Leniency.LENGTH_BESIDE_CODING
    | Leniency.NO_REASON
    | Leniency.CONTROL_CHARACTERS
    | Leniency.EMPTY_LINES
    | Leniency.PADDED_CHUNK_SIZE
)
"""Departures that are tolerated in answers of upstream servers, as nginx does."""

PROGRAM = Leniency.CONTROL_CHARACTERS | Leniency.EMPTY_LINES
"""Departures that are tolerated in requests of programs: none that two readers could see
differently (RFC 9112 §11.2).
"""
