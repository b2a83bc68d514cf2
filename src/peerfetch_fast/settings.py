"""The limits of a session, each with its unit, default and reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_MAX_DATA", "DEFAULT_MAX_STREAMS", "DEFAULT_MAX_STREAM_DATA", "Settings"]

# What holds until the other side's SETTINGS arrive (docs/protocol.md, section 3).
DEFAULT_MAX_DATA = 262_144
DEFAULT_MAX_STREAM_DATA = 65_536
DEFAULT_MAX_STREAMS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What one side of a session grants and tolerates. Sizes are in bytes, times in seconds.

    What a peer can make this side hold: ``max_data`` of unread stream data, ``fragments`` times
    about 100 bytes of bookkeeping, and ``send_buffer`` for each of ``max_streams`` answers.
    """

    max_data: int = 8 * 1024 * 1024
    """Unread bytes over all streams (the window of MAX_DATA)."""

    max_stream_data: int = 2 * 1024 * 1024
    """Unread bytes of one stream (the window of MAX_STREAM_DATA)."""

    max_streams: int = 256
    """Streams that the other side may have open at once."""

    chunk_size: int = 16 * 1024
    """Stream bytes in one message, at most: what an urgent frame may have to wait behind."""

    fast_chunk_size: int = 64 * 1024
    """The same on a link that carries more than ``chunk_size`` in a millisecond: what it carries in
    one, up to this."""

    send_buffer: int = 256 * 1024
    """Unsent bytes of one stream above which a writer waits."""

    link_buffer: int = 64 * 1024
    """Bytes handed to the link and not yet sent, above which it is asked for no more."""

    fragments: int = 16_384
    """Pieces of stream data that may wait for an earlier one, over all streams."""

    pings: int = 64
    """PINGs of the other side that may wait for their PONG."""

    settings_timeout: float = 10.0
    """How long the other side's SETTINGS may take."""

    keep_alive: float = 1.5
    """Silence after which a PING is sent."""

    dead_after: float = 5.0
    """Silence after which the other side is taken for dead."""

    close_timeout: float = 2.0
    """How long an orderly end may take once no stream is open."""

    def __post_init__(self) -> None:
        for name, least in (
            ("max_data", DEFAULT_MAX_DATA),
            ("max_stream_data", DEFAULT_MAX_STREAM_DATA),
            ("max_streams", DEFAULT_MAX_STREAMS),
            ("chunk_size", 1),
            ("fast_chunk_size", 1),
            ("send_buffer", 1),
            ("link_buffer", 1),
            ("fragments", 1),
            ("pings", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"Settings.{name} must be at least {least}")
