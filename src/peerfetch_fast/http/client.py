"""The client side of HTTP: :func:`fetch`, on one session or on a line that reconnects."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

from peerfetch_fast.errors import (
    Awaited,
    InvalidRequest,
    PeerfetchError,
    RedirectError,
    RequestLost,
    SessionEnded,
    StreamReset,
    StreamStopped,
)
from peerfetch_fast.http import codes
from peerfetch_fast.http.blocks import DATA, block_header
from peerfetch_fast.http.content import Body, Bytes
from peerfetch_fast.http.heads import (
    HeadersLike,
    content_length,
    encode_request,
    parse_priority,
)
from peerfetch_fast.http.message import BodyWriter, MessageReader
from peerfetch_fast.http.redirects import MAX_REDIRECTS, Redirect, redirected
from peerfetch_fast.http.request import (
    OnInformational,
    OnProgress,
    Params,
    Priority,
    Request,
    make_request,
)
from peerfetch_fast.http.response import Response, failure_of
from peerfetch_fast.http.timeouts import Timeouts
from peerfetch_fast.opening import Opening
from peerfetch_fast.reconnecting import ReconnectingSession
from peerfetch_fast.streams.session import Session
from peerfetch_fast.streams.stream import Stream

__all__ = ["Body", "Params", "Response", "fetch", "send"]

MAX_REJECTIONS = 8
"""Successive sessions that may end without processing a request before the request fails."""

_NO_BODY = frozenset((204, 304))
# These answers have no body, or a part of one (RFC 9110 §15.3.7). Decoding needs the beginning.
_NOT_DECODED = _NO_BODY | {206}
_REDIRECTS = get_args(Redirect)


def fetch(
    session: Session | ReconnectingSession,
    target: str,
    *,
    method: str | None = None,
    headers: HeadersLike | None = None,
    params: Params | None = None,
    body: Body | None = None,
    json: Any = None,
    timeout: float | None = None,
    redirect: Redirect = "follow",
    priority: Priority = "auto",
    decode: bool = True,
    on_progress: OnProgress | None = None,
    on_informational: OnInformational | None = None,
) -> Opening[Response]:
    """Send a request, and return its answer once the head has come. ``await`` it, or use it in
    ``async with``, which closes the answer.

    While the peer is reconnecting, requests wait for the next session. A request whose session
    broke before its answer began is sent once more if its method is idempotent (RFC 9110 §9.2.2)
    and its body can be sent again. A request that the other side reports as not processed is sent
    again whatever its method. Any other request fails with RequestLost.

    :param target: path and query, beginning with ``/``; characters that a URL cannot hold are
        quoted.
    :param method: GET by default, POST with a body.
    :param headers: a mapping or (name, value) pairs.
    :param params: added to the query.
    :param body: bytes, text (sent as UTF-8), a Path, a file opened in binary mode (both are read in
        a thread), or an async iterable of bytes, whose length need not be known (with a
        ``content-length`` header it must match). All but the last can be sent again.
    :param json: sent as a JSON body instead of ``body``.
    :param timeout: seconds that the head may take, and then each wait for a piece of the body.
    :param redirect: the treatment of redirects, as in the Fetch standard: ``follow`` up to 20 of
    them within this peer, ``error`` to raise, ``manual`` to return them.
    :param priority: ``high`` (urgency 1 of RFC 9218), ``auto`` (3) or ``low`` (5); a ``priority``
    header overrides it.
    :param decode: ask for a compressed answer, and undo its Content-Encoding: gzip, deflate, and br
        and zstd where ``peerfetch-fast[compression]`` is installed. A part (status 206) of a
        compressed body is given as it came.
    :param on_progress: called with the number of body bytes that were queued for sending, and the
    total or None. The count starts again when the request is sent again.
    :param on_informational: called with the status (100 to 199) and the header fields of each
        answer that comes before the final one, such as the early hints of status 103.

    Raises InvalidRequest, FetchTimeout, RequestLost, RedirectError, StreamReset, LinkClosed,
    SessionClosed, PeerLost, ProtocolError, MessageError, OSError for a file that cannot be read,
    and what iterating ``body`` raises.
    """
    request = make_request(
        target,
        method=method,
        headers=headers,
        params=params,
        body=body,
        json=json,
        priority=priority,
        on_progress=on_progress,
        on_informational=on_informational,
    )
    if redirect not in _REDIRECTS:
        raise InvalidRequest(f"redirect must be 'follow', 'error' or 'manual', not {redirect!r}")
    if timeout is not None and not timeout >= 0:
        raise InvalidRequest(f"timeout must be 0 seconds or more, or None, not {timeout:g}")
    names = {name for name, _ in request.headers}
    if decode and "accept-encoding" not in names:
        from peerfetch_fast.http.decoding import ACCEPT_ENCODING

        # A range of a compressed body could not be decoded (the Fetch standard does the same).
        codings = "identity" if "range" in names else ACCEPT_ENCODING
        request.headers.append(("accept-encoding", codings))
    each = {} if timeout is None else {Awaited.PIECE: timeout}
    return Opening(
        send(session, request, Timeouts(each, answer=timeout), redirect=redirect, decode=decode)
    )


async def send(
    session: Session | ReconnectingSession,
    request: Request,
    timeouts: Timeouts,
    *,
    redirect: Redirect,
    decode: bool,
) -> Response:
    """Send a prepared request; otherwise as :func:`fetch`."""
    origin = session.origin if isinstance(session, ReconnectingSession) else ""
    for redirects in range(MAX_REDIRECTS + 1):
        response = await _ask(session, request, timeouts, origin)
        try:
            if redirect != "manual":
                following = redirected(request, response.status, response.headers, origin)
                if following is not None and redirect == "error":
                    raise RedirectError(f"{response.url} redirects, which was not to be followed")
                if following is not None:
                    response.close()
                    request = following
                    continue
            response.redirected = redirects > 0
            if decode and request.method != "HEAD" and response.status not in _NOT_DECODED:
                _decode(response)
        except BaseException:
            response.close()
            raise
        return response
    raise RedirectError(f"more than {MAX_REDIRECTS} redirects: {response.url} leads nowhere")


def _decode(response: Response) -> None:
    codings = ",".join(response.headers.getall("content-encoding", ()))
    if codings:
        from peerfetch_fast.http.decoding import make_decoder

        response._decoder = make_decoder(codings)


async def _ask(
    source: Session | ReconnectingSession, request: Request, timeouts: Timeouts, origin: str
) -> Response:
    """Send ``request``, and again after a loss if that is safe; return the answer."""
    if isinstance(source, Session):
        stream = await timeouts.wait(Awaited.STREAM, source.open_stream())
        return await _exchange(stream, request, timeouts, origin)
    rejections = losses = 0
    while True:
        session = await timeouts.wait(Awaited.CONNECTION, source.session())
        try:
            stream = await timeouts.wait(Awaited.STREAM, session.open_stream())
        except SessionEnded:
            # The session ended before anything was sent on it, so the attempt does not count.
            rejections += 1
            if not source.reconnects or rejections > MAX_REJECTIONS:
                raise
            continue
        try:
            return await _exchange(stream, request, timeouts, origin)
        except StreamReset as error:
            rejections += 1
            unprocessed = error.code == codes.REQUEST_REJECTED and session.ending
            if (
                not (unprocessed and request.repeatable and source.reconnects)
                or rejections > MAX_REJECTIONS
            ):
                raise
        except SessionEnded as error:
            if not source.reconnects or source.error is not None:
                raise
            losses += 1
            if not request.idempotent:
                why = f"{request.method} is not safe to repeat"
            elif not request.repeatable:
                why = "its body can be sent only once"
            elif losses > 1:
                why = "it had been repeated once"
            else:
                continue
            raise RequestLost(
                f"the connection broke before {request.method} {request.target} was answered: it "
                f"may have been carried out, and was not sent again because {why} ({error})"
            ) from error


async def _exchange(stream: Stream, request: Request, timeouts: Timeouts, origin: str) -> Response:
    """Send ``request`` on ``stream``; return when the head of its answer is there."""
    reader = MessageReader(stream)
    content = request.content
    upload: asyncio.Task[None] | None = None
    timed = Awaited.UPLOAD in timeouts.each
    try:
        for name, value in request.headers:
            if name == "priority":
                stream.set_priority(*parse_priority(value))
        stream.write_nowait(encode_request(request.method, request.target, request.headers))
        if content is None:
            stream.end()
        elif isinstance(content, Bytes) and request.on_progress is None and not timed:
            if content.length:
                stream.write_nowait(block_header(DATA, content.length))
                stream.write_nowait(content.data)
            stream.end()
        else:
            upload = asyncio.get_running_loop().create_task(_upload(stream, request, timeouts))
            upload.add_done_callback(failure_of)  # the task that awaits the answer raises it
        status, answer = await timeouts.wait(
            Awaited.HEAD, reader.final_head(request.on_informational)
        )
        if request.method == "HEAD" or status in _NO_BODY:
            reader.expect(0)
        else:
            reader.expect(content_length(answer))
    except BaseException as error:
        stream.cancel(codes.REQUEST_CANCELLED)
        failure = failure_of(upload)
        if upload is not None:
            upload.cancel()
        if failure is not None and isinstance(error, PeerfetchError):
            raise failure from None
        raise
    return Response(stream, reader, status, answer, origin + request.target, timeouts, upload)


async def _upload(stream: Stream, request: Request, timeouts: Timeouts) -> None:
    """Send the pieces of the content, until the server stops reading."""
    content, on_progress, sent = request.content, request.on_progress, 0
    assert content is not None
    pieces = content.pieces()
    try:
        writer = BodyWriter(stream, content.length)
        async for piece in pieces:
            await timeouts.wait(Awaited.UPLOAD, writer.write(piece))
            sent += len(piece)
            if on_progress is not None:
                on_progress(sent, content.length)
        writer.end(None if request.trailers is None else request.trailers())
    except StreamStopped:
        pass
    except BaseException:
        stream.cancel(codes.REQUEST_CANCELLED)
        raise
    finally:
        await pieces.aclose()
