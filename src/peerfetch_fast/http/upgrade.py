"""How a client asks that a stream carry another protocol (docs/protocol.md, "Upgrades")."""

from __future__ import annotations

import contextlib
from typing import NoReturn

from peerfetch_fast.errors import PeerfetchError, UpgradeRefused
from peerfetch_fast.http import codes
from peerfetch_fast.http.heads import Headers
from peerfetch_fast.http.message import MessageReader
from peerfetch_fast.session import Session, Stream

__all__ = ["ask_upgrade"]

MAX_REFUSAL = 64 * 1024
"""Bytes of the body of a refusal that are kept for the error."""


async def ask_upgrade(
    session: Session, request: bytes, what: str
) -> tuple[Stream, MessageReader, Headers]:
    """Send ``request``, a HEAD block, and return what its stream carries once that is granted.

    :param what: is asked for, for the message of a refusal.

    Raises UpgradeRefused when the answer is any other, StreamReset, LinkClosed, SessionClosed,
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
    with contextlib.suppress(PeerfetchError):  # the status says it already
        while len(body) < MAX_REFUSAL and (piece := await reader.read()):
            body += piece
    raise UpgradeRefused(
        f"the peer refused to open {what}, with status {status}",
        status,
        headers,
        body[:MAX_REFUSAL],
    )
