"""The client's request for another protocol on a stream (docs/protocol.md, "Upgrades")."""

from __future__ import annotations

import contextlib
from typing import NoReturn

from peerfetch_fast.errors import PeerfetchError, UpgradeRefused
from peerfetch_fast.http import codes
from peerfetch_fast.http.heads import Headers
from peerfetch_fast.http.message import MessageReader
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream

__all__ = ["ask_upgrade"]

MAX_REFUSAL = 64 * 1024
"""Bytes of the body of a refusal that are kept for the error."""


async def ask_upgrade(
    session: Session, request: bytes, what: str
) -> tuple[Stream, MessageReader, Headers]:
    """Send ``request``, a HEAD block, and return its stream once the upgrade is granted.

    :param what: the name of the upgrade for the message of a refusal.

    Raises UpgradeRefused for any answer but 2xx, StreamReset, LinkClosed, SessionClosed,
    ProtocolError, MessageError.
    """
    stream = await session.open_stream()
    reader = MessageReader(stream)
    try:
        stream.write_nowait(request)
        status, headers = await reader.final_head()
        if status > 299:
            await _refused(reader, status, headers, what)
    except BaseException:
        stream.cancel(codes.REQUEST_CANCELLED)
        raise
    return stream, reader, headers


async def _refused(reader: MessageReader, status: int, headers: Headers, what: str) -> NoReturn:
    body = b""
    with contextlib.suppress(PeerfetchError):  # the status is enough
        while len(body) < MAX_REFUSAL and (piece := await reader.read()):
            body += piece
    raise UpgradeRefused(
        f"the peer refused to open {what}, with status {status}",
        status,
        headers,
        body[:MAX_REFUSAL],
    )
