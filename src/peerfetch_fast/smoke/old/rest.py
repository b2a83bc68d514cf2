"""REST with old nodes: a request and its answer on one stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, NoReturn

import orjson

from peerfetch_fast.errors import CameraError, PeerfetchError
from peerfetch_fast.http.client import fetch
from peerfetch_fast.http.content import Body, make_content
from peerfetch_fast.http.response import Response
from peerfetch_fast.http.websocket import open_websocket
from peerfetch_fast.smoke.continuations import CONTINUES, PREFIX
from peerfetch_fast.smoke.network import PORT
from peerfetch_fast.smoke.old.channels import NetworkStream, Segments
from peerfetch_fast.smoke.old.node import OldNode
from peerfetch_fast.smoke.queryable import Queryable
from peerfetch_fast.smoke.records import RECORDS, pulled_records, records_in
from peerfetch_fast.streams.session import Session

__all__ = ["OldFetchResponse", "answer", "ask"]

PIECE = 65_536
"""Bytes of each piece of a body but the last."""

ASKING, ANSWERING = 4.0, 8.0
"""Seconds for which a node that asks may be silent, and one that answers."""

MAX_HEADERS = 256
MAX_BODY = 1 << 30
"""Bytes of the largest body that is read as a whole."""

NO_MEDIA = b"media streams of this node are for nodes of peerfetch"

BODILESS = ("get", "head", "delete")


async def _head(stream: NetworkStream) -> dict[str, Any]:
    """What a head says. Raises PeerfetchError."""
    piece = await stream.read()
    try:
        found = None if piece is None else orjson.loads(piece)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise PeerfetchError("the other side sent no head")
    return found


def _headers(found: object) -> dict[str, str]:
    """The header fields of a head."""
    fields = list(found.items())[:MAX_HEADERS] if isinstance(found, dict) else []
    return {
        name.lower(): str(value)
        for name, value in fields
        if isinstance(name, str) and isinstance(value, (str, int, float))
    }


async def _pieces(stream: NetworkStream) -> AsyncIterator[bytes]:
    """A body, up to the empty piece. Raises PeerfetchError."""
    while True:
        piece = await stream.read()
        if piece is None:
            raise PeerfetchError("the other side broke its body off")
        if not piece:
            return
        yield piece


async def _write(stream: NetworkStream, body: AsyncIterable[bytes | memoryview]) -> None:
    rest = b""
    async for piece in body:
        rest += bytes(piece)
        while len(rest) >= PIECE:
            await stream.write(rest[:PIECE])
            rest = rest[PIECE:]
    if rest:
        await stream.write(rest)
    await stream.write(b"")


# -- asking ----------------------------------------------------------------------------------------


class OldFetchResponse:
    """The answer of an old node, with the members of
    :class:`~peerfetch_fast.smoke.rest.FetchResponse`.
    """

    def __init__(self, stream: NetworkStream, head: dict[str, Any], upload: Any) -> None:
        self._stream = stream
        self._upload = upload
        self._closing: asyncio.Task[None] | None = None
        self.status: int = head["status"]
        self.headers: Mapping[str, str] = _headers(head.get("headers"))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body()

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            async with aclosing(_pieces(self._stream)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    yield piece
            with contextlib.suppress(PeerfetchError):
                await self._stream.read()  # its word that it has ended comes when asked for
        finally:
            self.close()

    async def read(self) -> bytes:
        """The body as a whole. Raises PeerfetchError."""
        whole = bytearray()
        async for piece in self:
            whole += piece
            if len(whole) > MAX_BODY:
                raise PeerfetchError(f"a body of more than {MAX_BODY} bytes: iterate over it")
        return bytes(whole)

    async def text(self) -> str:
        """The body as text in UTF-8."""
        return (await self.read()).decode(errors="replace")

    async def json(self) -> Any:
        """The JSON in the body. Raises ValueError."""
        return orjson.loads(await self.read())

    def query(self) -> Queryable[Any]:
        """The records, each pulled as it is asked for. Iterating raises ValueError for what is no
        JSON, PeerfetchError.
        """
        return Queryable(self._records())

    async def mediastream(self) -> NoReturn:
        """Raises CameraError: media with such nodes is for pages alone."""
        raise CameraError("media streams of a node of smoke-node can be shown in a page alone")

    async def _records(self) -> AsyncIterator[Any]:
        async with aclosing(self._body()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield orjson.loads(piece)

    def close(self) -> None:
        """Read no more of it."""
        if self._closing is None:
            self._upload.cancel()
            self._closing = asyncio.get_running_loop().create_task(self._stream.close())


async def ask(
    node: OldNode, port: str, target: str, method: str, headers: dict[str, str], body: Body | None
) -> OldFetchResponse:
    """Send a request to a port of a node. Raises PortRefused, ConnectError, PeerfetchError."""
    stream = NetworkStream(await node.open(port), ANSWERING)
    upload: Any = None
    try:
        head = {"url": target, "method": method.lower(), "headers": headers}
        await stream.write(orjson.dumps(head))
        content = make_content(b"" if body is None else body)
        # Servers of that package may answer without having read it.
        upload = asyncio.ensure_future(_upload(stream, content.pieces()))
        found = await _head(stream)
        if not isinstance(found.get("status"), int):
            raise PeerfetchError("the other side sent a head without a status")
        return OldFetchResponse(stream, found, upload)
    except BaseException:
        if upload is not None:
            upload.cancel()
        await stream.close()
        raise


async def _upload(stream: NetworkStream, pieces: Any) -> None:
    with contextlib.suppress(PeerfetchError):
        await _write(stream, pieces)


# -- answering -------------------------------------------------------------------------------------


async def answer(session: Session, segments: Segments, port: str) -> None:
    """Answer the request that comes on a socket, by asking ``session`` for it. Raises
    PeerfetchError.
    """
    stream = NetworkStream(segments, ASKING)
    try:
        head = await _head(stream)
        target, method = head.get("url"), head.get("method")
        if not isinstance(target, str) or not target.startswith("/") or not isinstance(method, str):
            raise PeerfetchError("a head of no use")
        headers = {**_headers(head.get("headers")), PORT: port}
        body: AsyncIterator[bytes] | None = _pieces(stream)
        drain: asyncio.Future[None] | None = None
        if method.lower() in BODILESS:
            # Who asks gives up when nobody asks for the end of the body.
            drain, body = asyncio.ensure_future(_drain(stream)), None
        async with fetch(
            session, target, method=method.upper(), headers=headers, body=body, redirect="manual"
        ) as response:
            await _send(session, stream, response, port)
        if drain is not None:
            drain.cancel()
    finally:
        await stream.close()


async def _drain(stream: NetworkStream) -> None:
    with contextlib.suppress(PeerfetchError):
        async for _ in _pieces(stream):
            pass


async def _send(session: Session, stream: NetworkStream, response: Response, port: str) -> None:
    hidden = (CONTINUES, "content-length", "transfer-encoding")
    headers = {str(name): value for name, value in response.headers.items() if name not in hidden}
    if response.headers.get(CONTINUES, "").startswith("media "):
        await stream.write(orjson.dumps({"status": 501, "headers": {}}))
        await stream.write(NO_MEDIA)
        await stream.write(b"")
        await stream.end()
        return
    await stream.write(orjson.dumps({"status": response.status, "headers": headers}))
    records: AsyncIterator[Any] | None = None
    if CONTINUES in response.headers:
        target = PREFIX + response.headers[CONTINUES].rpartition(" ")[2]
        socket = await open_websocket(session, target, headers={PORT: port})
        records = pulled_records(socket)
    elif response.headers.get("content-type") == RECORDS:
        records = records_in(response)
    if records is None:
        await _write(stream, response)
    else:
        async with aclosing(records) as each:  # type: ignore[type-var]
            while True:
                await stream.wanted()
                try:
                    record = await anext(each)
                except StopAsyncIteration:
                    break
                await stream.write(orjson.dumps(record))
        await stream.write(b"")
    await stream.end()
