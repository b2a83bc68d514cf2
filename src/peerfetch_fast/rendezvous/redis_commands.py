"""What a client of Redis sends, cut into commands: arrays of bulk strings (RESP 2). Sans-I/O."""

from __future__ import annotations

__all__ = ["MAX_COMMAND", "Commands"]

MAX_COMMAND = 16 * 1024
"""Bytes of the longest command that is taken."""

_MAX_STRINGS = 16
_MAX_DIGITS = 8


class _Incomplete(Exception):
    """The rest has not come yet."""


class Commands:
    """The commands of one client."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[list[bytes]]:
        """The commands that are whole with this. Raises ValueError for anything else."""
        self._buffer += data
        found, at = [], 0
        try:
            while at < len(self._buffer):
                command, at = self._command(at)
                found.append(command)
        except _Incomplete:
            pass
        self._buffer = self._buffer[at:]
        if len(self._buffer) > MAX_COMMAND:
            raise ValueError(f"a command is longer than {MAX_COMMAND} bytes")
        return found

    def _command(self, at: int) -> tuple[list[bytes], int]:
        """The command that begins there, and where it ends."""
        count, at = self._number(at, b"*")
        if not 0 < count <= _MAX_STRINGS:
            raise ValueError(f"a command of {count} strings")
        strings = []
        for _ in range(count):
            size, at = self._number(at, b"$")
            if size > MAX_COMMAND:
                raise ValueError(f"a string of {size} bytes")
            end = at + size
            if len(self._buffer) < end + 2:
                raise _Incomplete
            strings.append(self._buffer[at:end])
            at = end + 2
        return strings, at

    def _number(self, at: int, kind: bytes) -> tuple[int, int]:
        """The number in a line that begins with ``kind``, and where the next line begins."""
        end = self._buffer.find(b"\r\n", at, at + _MAX_DIGITS + 3)
        if end < 0:
            if len(self._buffer) - at > _MAX_DIGITS + 2:
                raise ValueError("a line without an end")
            raise _Incomplete
        line = self._buffer[at:end]
        if line[:1] != kind or not line[1:].isdigit():
            raise ValueError(f"{line!r} instead of a number")
        return int(line[1:]), end + 2
