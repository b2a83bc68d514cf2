"""An old client, seen as a link on which ``peerfetch.2`` is spoken."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable

from peerfetch_fast.errors import MessageError, PeerfetchError
from peerfetch_fast.http.client import Response, fetch
from peerfetch_fast.http.heads import content_length
from peerfetch_fast.peerfetch1.messages import (
    MAX_REQUEST,
    PONG,
    WAITING,
    Request,
    encode_head,
    parse_request,
)
from peerfetch_fast.streams.link import Link, memory_pair
from peerfetch_fast.streams.session import Session

__all__ = ["link_to_old_client"]

logger = logging.getLogger(__name__)

MAX_REQUESTS = 16
"""Requests that may wait. An old client sends its next request after the answer, or after its
timeout."""

MAX_WAITING = 1024 * 1024
"""Characters of all waiting requests."""

WAITING_INTERVAL = 1.0
"""Seconds between the heads that tell the client to keep waiting."""

ANSWER_TIMEOUT = 19.0
"""Seconds that an answer may take before it becomes 504. Old clients give up after 20 s."""

MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of the longest answer. It goes out in one message, which is held whole, and old clients may
announce that they take messages of any size."""

MAX_BUFFERED = 256 * 1024
"""Bytes that wait to be sent, above which the next request waits."""

# A stand-in for a request that is too long, which gets the same answer.
_TOO_LONG = " " * (MAX_REQUEST + 1)

_PLAIN = "text/plain; charset=utf-8"


def link_to_old_client(
    channel: Link, locate: Callable[[str], str | None], on_refused: Callable[[str], object]
) -> Link:
    """A link whose other side sends the requests of the old client on ``channel``.

    Closing either closes the other.

    :param channel: the client's ``http-proxy`` channel.
    :param locate: the target for a URL by which the client names what is served, None for one that
        leads elsewhere (:mod:`.urls`).
    :param on_refused: called with the reason of each refusal.
    """
    inner, outer = memory_pair()
    _OldClient(channel, inner, locate, on_refused)
    return outer


class _OldClient:
    """Sends the requests of ``channel`` on ``link``, one after the other."""

    def __init__(
        self,
        channel: Link,
        link: Link,
        locate: Callable[[str], str | None],
        on_refused: Callable[[str], object],
    ) -> None:
        self._channel = channel
        self._locate = locate
        self._on_refused = on_refused
        self._waiting: deque[bytes | str] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._taken = asyncio.Event()
        self._session = Session(link, opener=True, accepting=False)
        # The channel refers to this object, which refers to the task. It ends with either side.
        self._task = asyncio.get_running_loop().create_task(self._run())
        channel.low_water = MAX_BUFFERED // 2
        channel.attach(self)

    # -- what the channel tells --------------------------------------------------------------------

    def message_received(self, message: bytes | str) -> None:
        """One message of the old client."""
        if len(message) > MAX_REQUEST:
            message = _TOO_LONG
        self._size += len(message)
        if len(self._waiting) < MAX_REQUESTS and self._size <= MAX_WAITING:
            self._waiting.append(message)
            self._news.set()
        else:
            self._refuse("old client's requests", "more requests than may wait")
            self._channel.close()

    def parts_received(self, head: bytes, body: bytes) -> None:
        """Never called: ``peerfetch.1`` has no frames."""
        raise AssertionError("an old client's channel holds no frames")

    def buffered_low(self) -> None:
        """Take note that the client has received what was sent."""
        self._taken.set()

    def link_closed(self, error: Exception | None) -> None:
        """Cancel all requests: the client is gone."""
        self._session.abort()

    # -- what is done about it ---------------------------------------------------------------------

    async def _run(self) -> None:
        serving = asyncio.ensure_future(self._serve())
        try:
            await self._session.wait_closed()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            self._channel.close()

    async def _serve(self) -> None:
        while True:
            while not self._waiting:
                self._news.clear()
                await self._news.wait()
            while self._channel.buffered_amount > MAX_BUFFERED:
                # The answers to a client that does not read would pile up.
                self._taken.clear()
                await self._taken.wait()
            message = self._waiting.popleft()
            self._size -= len(message)
            await self._answer(message)

    async def _answer(self, message: bytes | str) -> None:
        try:
            request = parse_request(message)
            if request.is_ping:
                self._channel.send('{"status":200}')
                self._channel.send(PONG)
                return
            target = self._locate(request.url)
        except MessageError as error:
            self._refuse("old client's request", str(error))
            self._send_error(400, f"The request is malformed: {error}.")
            return
        if target is None:
            self._refuse("old client's URL", request.url)
            self._send_error(403, "This URL leads to where this proxy does not forward.")
            return
        asking = asyncio.ensure_future(self._ask(request, target))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                while not (await asyncio.wait((asking,), timeout=WAITING_INTERVAL))[0]:
                    self._channel.send(WAITING)
            status, content_type, body = asking.result()
        except TimeoutError:
            self._send_error(504, f"The answer took longer than {ANSWER_TIMEOUT:g} s.")
        except _TooLarge as error:
            self._refuse("old client's answer too large", request.url)
            self._send_error(502, str(error))
        except PeerfetchError as error:
            logger.info("a request of an old client failed: %s", error)
            self._send_error(502, f"The answer was cut short: {error}.")
        else:
            self._send(status, content_type, body)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self, request: Request, target: str) -> tuple[int, str, bytes]:
        headers = {} if request.content_type is None else {"content-type": request.content_type}
        async with fetch(
            self._session, target, method=request.method, headers=headers, body=request.body
        ) as response:
            body = await _whole(response, min(self._channel.max_message_size, MAX_ANSWER))
            kind = response.headers.get("content-type", "application/octet-stream")
            return response.status, kind, body

    def _send_error(self, status: int, sentence: str) -> None:
        self._send(status, _PLAIN, f"{sentence}\n".encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        # To the client, 202 means that the answer will follow.
        self._channel.send(encode_head(200 if status == 202 else status, content_type, len(body)))
        if status != 204:
            self._channel.send(body)

    def _refuse(self, what: str, why: str) -> None:
        self._on_refused(what)
        logger.info("refused: %s: %.200s", what, why)


class _TooLarge(PeerfetchError):
    """A body that does not fit into one message."""


async def _whole(response: Response, most: int) -> bytes:
    """The body. Raises _TooLarge for one of more than ``most`` bytes."""
    length: int | None = None
    with contextlib.suppress(MessageError):
        length = content_length(response.headers)
    pieces, size = [], 0
    if length is None or length <= most:
        async for piece in response:
            size += len(piece)
            if size > most:
                break
            pieces.append(piece)
        else:
            return b"".join(pieces)
    told = "" if length is None else f" of {length} bytes"
    raise _TooLarge(
        f"The answer{told} is too large for this old client, which takes at most {most} bytes: "
        "ask for less, or use a client that speaks peerfetch.2."
    )
