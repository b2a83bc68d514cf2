"""Downloads into a file that go on where they broke off.

What has come of ``FILE`` is in ``FILE.part`` until it is whole, and only then is renamed: ``FILE``
itself is never half of something. Beside it, ``FILE.part.json`` says what it is a part of. A
download goes on with a range request (RFC 9110 §14) whose If-Range holds a strong validator, so
that the pieces are of one and the same representation or the answer is all of the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from peerfetch_fast.cli.progress import Bar
from peerfetch_fast.errors import (
    LinkClosed,
    MessageError,
    MessageTruncated,
    PeerfetchError,
    SessionClosed,
    StreamReset,
)
from peerfetch_fast.http.client import Response
from peerfetch_fast.http.heads import Headers, content_length
from peerfetch_fast.signaling.backoff import Backoff

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Ask", "Download", "NotSaved", "ResumeFailed"]

Ask = Callable[[list[tuple[str, str]]], Awaitable[Response]]
"""Sends the request, with more headers."""

BACKOFF_INITIAL = 0.5
BACKOFF_MAXIMUM = 10.0
"""Seconds before an upstream that broke off is asked again, at first and at most."""

CLOCK_MARGIN = 60.0
"""Seconds that Date must be behind Last-Modified for the latter to tell versions apart, whatever
the clocks (RFC 9110 §8.8.2.2)."""

_BROKEN = (LinkClosed, SessionClosed, StreamReset, MessageTruncated)
# What a device answers whose proxy has started and whose server has not.
_NOT_YET = frozenset((502, 503, 504))
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


class ResumeFailed(PeerfetchError):
    """The rest of a file could not be had."""

    exit_code = 33


class NotSaved(Exception):
    """The answer was not to be saved, because of its status."""

    exit_code = 22

    def __init__(self, status: int) -> None:
        super().__init__(f"the answer has status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Entity:
    """Which representation a partial file is of."""

    url: str
    validator: str
    """A strong one, as If-Range takes it: an entity tag or a date."""
    total: int | None
    """Its bytes."""

    @classmethod
    def of(cls, url: str, response: Response) -> Entity | None:
        """That of a whole answer; None if a later one could not be known to be the same."""
        headers = response.headers
        validator = headers.get("etag", "")
        if not validator.startswith('"'):  # weak ones begin with W/
            validator = _strong_date(headers)
        if response.status != 200 or response.decoded or not validator:
            return None
        return cls(url, validator, content_length(headers))

    def rest(self, have: int) -> list[tuple[str, str]]:
        """The headers that ask for what is missing."""
        return [("range", f"bytes={have}-"), ("if-range", self.validator)]

    def check(self, response: Response, have: int) -> None:
        """See that a 206 is the rest of this. Raises ResumeFailed."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        tag = response.headers.get("etag", self.validator)
        if (
            found is None
            or int(found[1]) != have
            or (self.total is not None and found[2] not in ("*", str(self.total)))
            or (self.validator.startswith('"') and tag != self.validator)
        ):
            raise ResumeFailed(
                "the server answered with another part than it was asked for: fetch the file "
                "from its beginning"
            )


def _strong_date(headers: Headers) -> str:
    from email.utils import parsedate_to_datetime

    modified = headers.get("last-modified", "")
    with contextlib.suppress(ValueError, TypeError):
        date = parsedate_to_datetime(headers.get("date", ""))
        if (date - parsedate_to_datetime(modified)).total_seconds() >= CLOCK_MARGIN:
            return modified
    return ""


class Partial:
    """``FILE.part`` and what is known of it."""

    def __init__(self, output: Path) -> None:
        output = Path(os.path.realpath(output))
        self._output = output
        self.path = output.with_name(f"{output.name}.part")
        self._record = output.with_name(f"{output.name}.part.json")

    def load(self, url: str) -> tuple[Entity | None, int]:
        """What it is a part of, and how many bytes there are; (None, 0) for none of ``url``."""
        try:
            entity = Entity(**json.loads(self._record.read_text()))
            have = self.path.stat().st_size
        except (OSError, ValueError, TypeError):
            return None, 0
        if (
            entity.url != url
            or not isinstance(entity.validator, str)
            or not isinstance(entity.total, int | None)
            or (entity.total is not None and have > entity.total)
        ):
            return None, 0
        return entity, have

    def begin(self, file: BinaryIO, entity: Entity | None) -> None:
        """Empty the file, and write down what is going to be in it if it could be gone on with."""
        self._record.unlink(missing_ok=True)
        file.truncate(0)
        if entity is not None:
            self._record.write_text(json.dumps(asdict(entity)))

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, for nobody else to write to meanwhile; nothing stays of an empty one."""
        with self.path.open("ab") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise ResumeFailed(
                        f"another program is writing {self.path}: let it end first"
                    ) from None
            try:
                yield file
            except BaseException:
                self._forget_if_empty(file)
                raise

    def _forget_if_empty(self, file: BinaryIO) -> None:
        with contextlib.suppress(OSError):
            file.flush()
            if not os.fstat(file.fileno()).st_size:
                self.path.unlink()
                self._record.unlink(missing_ok=True)

    def finish(self) -> None:
        """It is whole."""
        self.path.replace(self._output)
        self._record.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What to save where.

    :param ask: sends the request.
    :param url: that the answer is of.
    :param output: the file; a symbolic link stays one.
    :param go_on: whether to go on with what an earlier command left.
    :param resumable: whether the request may be sent again.
    :param head: what goes into the file before the body.
    :param fail: whether an answer of status 400 or above is not to be saved.
    :param patience: seconds without a byte after which a server that breaks off is given up.
    :param on_bytes: called with how many bytes have come more.
    """

    ask: Ask
    url: str
    output: Path
    go_on: bool
    resumable: bool
    head: Callable[[Response], bytes]
    fail: bool
    patience: float
    on_bytes: Callable[[int], object] = lambda _: None

    async def run(self, bar: Bar) -> int:
        """Save it; return the status of the answer.

        Raises ResumeFailed, OSError, and what a fetch raises.
        """
        partial = Partial(self.output)
        if self.go_on and self.resumable and not partial.path.exists() and await self._is_whole():
            bar.say(f"{self.output} is whole already")
            return 200
        with partial.opened() as file:
            try:
                status = await self._fill(file, partial, bar)
            except (PeerfetchError, asyncio.CancelledError):
                self._tell_what_is_left(file, partial, bar)
                raise
            if self.fail and status >= 400:
                raise NotSaved(status)
        partial.finish()
        return status

    async def _is_whole(self) -> bool:
        """Whether the server has no more of the file than is there, which it is asked for."""
        try:
            have = self.output.stat().st_size
        except OSError:
            return False
        if not have:
            return False
        async with await self.ask([("range", f"bytes={have}-")]) as response:
            if response.status == 416:
                found = _UNSATISFIED.fullmatch(response.headers.get("content-range", ""))
                return found is None or int(found[1]) == have
            return response.status == 200 and _length(response) == have

    def _tell_what_is_left(self, file: BinaryIO, partial: Partial, bar: Bar) -> None:
        with contextlib.suppress(OSError):
            file.flush()
        if partial.load(self.url)[1]:
            bar.say(f"what came is in {partial.path}: with -C -, it is gone on with")
        elif os.fstat(file.fileno()).st_size:
            bar.say(f"what came is in {partial.path}, and cannot be gone on with")

    async def _fill(self, file: BinaryIO, partial: Partial, bar: Bar) -> int:
        entity, have = partial.load(self.url) if self.go_on else (None, 0)
        if entity is not None and have == entity.total:
            return 200
        loop = asyncio.get_running_loop()
        backoff = Backoff(BACKOFF_INITIAL, BACKOFF_MAXIMUM, 0.0, random.Random())  # noqa: S311
        moved_at = loop.time()
        while True:
            resuming = entity if have else None
            try:
                response = await self.ask(resuming.rest(have) if resuming else [])
            except _BROKEN:
                if resuming and loop.time() - moved_at < self.patience:
                    continue  # when there is a connection again
                raise
            async with response:
                if self.fail and response.status >= 400:
                    return response.status
                patient = loop.time() - moved_at < self.patience
                if resuming and response.status in _NOT_YET and patient:
                    bar.say(f"the device is not ready yet (status {response.status})")
                    response.close()
                    await asyncio.sleep(backoff.failed(loop.time()))
                    continue
                if resuming and response.status == 416:
                    entity, have = None, 0  # there is nothing left of it to send
                    continue
                if resuming and response.status not in (200, 206):
                    raise ResumeFailed(
                        f"the rest was answered with status {response.status}; the first {have} "
                        f"bytes are in {partial.path}"
                    )
                if resuming and response.status == 206:
                    resuming.check(response, have)
                else:
                    have = 0
                    entity = Entity.of(self.url, response) if self.resumable else None
                    if resuming:
                        bar.say(f"{_why_whole(resuming, entity)}: starting again")
                    partial.begin(file, entity)
                    file.write(self.head(response))
                total = entity.total if entity is not None else _length(response)
                try:
                    async for piece in response:
                        file.write(piece)
                        have += len(piece)
                        self.on_bytes(len(piece))
                        bar.show(have, total)
                        moved_at = loop.time()
                        backoff.opened(moved_at)
                    file.flush()
                    if entity is not None and total not in (None, have):
                        raise MessageTruncated(f"{have} bytes came instead of {total}")
                    return response.status
                except _BROKEN as error:
                    file.flush()
                    if entity is None or loop.time() - moved_at >= self.patience:
                        raise
                    bar.say(f"broken off after {have} bytes ({error}): going on")
                    if not isinstance(error, (LinkClosed, SessionClosed)):
                        await asyncio.sleep(backoff.failed(loop.time()))


def _why_whole(asked: Entity, found: Entity | None) -> str:
    """Why all of a file came where its rest was asked for."""
    if found is not None and found.validator == asked.validator:
        return "the server does not send parts of it"
    return "the file is another one now"


def _length(response: Response) -> int | None:
    with contextlib.suppress(MessageError):  # in the answer to HEAD, it may say anything
        return None if response.decoded else content_length(response.headers)
    return None
