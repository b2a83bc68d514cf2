"""Downloads into a file that go on where they broke off.

The bytes of ``FILE`` are in ``FILE.part`` until it is whole and renamed, so that ``FILE`` is never
incomplete. ``FILE.part.json`` beside it names the representation. A download is resumed by a range
request (RFC 9110 §14) whose If-Range holds a strong validator: either both parts are of the same
representation, or the answer is the whole of the new one.
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
    MessageError,
    MessageTruncated,
    PeerfetchError,
    SessionEnded,
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
"""Seconds from Last-Modified to Date from which on Last-Modified is a strong validator (RFC 9110
§8.8.2.2)."""

_BROKEN = (SessionEnded, StreamReset, MessageTruncated)
# A proxy answers with these while the server behind it has not started.
_NOT_YET = frozenset((502, 503, 504))
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


class ResumeFailed(PeerfetchError):
    """A download cannot be resumed."""

    exit_code = 33


class NotSaved(Exception):
    """The answer was not saved because of its status (``--fail``)."""

    exit_code = 22

    def __init__(self, status: int) -> None:
        super().__init__(f"the answer has status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Entity:
    """The representation of which a partial file is a part."""

    url: str
    validator: str
    """A strong validator for If-Range: an entity tag or a date."""
    total: int | None
    """Its length in bytes."""

    @classmethod
    def of(cls, url: str, response: Response) -> Entity | None:
        """The representation of a whole answer; None if it has no strong validator."""
        headers = response.headers
        validator = headers.get("etag", "")
        if not validator.startswith('"'):  # weak ones begin with W/
            validator = _strong_date(headers)
        if response.status != 200 or response.decoded or not validator:
            return None
        return cls(url, validator, content_length(headers))

    def rest(self, have: int) -> list[tuple[str, str]]:
        """The header fields that ask for the bytes from ``have`` on."""
        return [("range", f"bytes={have}-"), ("if-range", self.validator)]

    def check(self, response: Response, have: int) -> None:
        """Check that a 206 is the rest of this representation. Raises ResumeFailed."""
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
    """``FILE.part`` and the record of its representation."""

    def __init__(self, output: Path) -> None:
        output = Path(os.path.realpath(output))
        self._output = output
        self.path = output.with_name(f"{output.name}.part")
        self._record = output.with_name(f"{output.name}.part.json")

    def load(self, url: str) -> tuple[Entity | None, int]:
        """Its representation and its length in bytes; (None, 0) if it is not of ``url``."""
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
        """Empty the file, and record ``entity`` if the download can be resumed."""
        self._record.unlink(missing_ok=True)
        file.truncate(0)
        if entity is not None:
            self._record.write_text(json.dumps(asdict(entity)))

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, locked during the block; removed after an error if it is empty."""
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
        """Rename the complete file."""
        self.path.replace(self._output)
        self._record.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A download of one file.

    :param ask: sends the request.
    :param url: the URL of the request.
    :param output: the file; a symbolic link stays one.
    :param go_on: whether to resume the partial file of an earlier command.
    :param resumable: whether the request may be sent again.
    :param head: returns the bytes that are written before the body.
    :param fail: whether to save no answer of status 400 or above.
    :param patience: seconds without a byte after which a server that breaks off is given up.
    :param on_bytes: called with the length of each piece.
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
        """Save the answer, and return its status.

        Raises ResumeFailed, OSError, and the errors of a fetch.
        """
        partial = Partial(self.output)
        if self.go_on and self.resumable and not partial.path.exists() and await self._is_whole():
            bar.say(f"{self.output} is whole already")
            return 200
        with partial.opened() as file:
            try:
                status = await _Filling(self, file, partial, bar).run()
            except (PeerfetchError, asyncio.CancelledError):
                self._tell_what_is_left(file, partial, bar)
                raise
            if self.fail and status >= 400:
                raise NotSaved(status)
        partial.finish()
        return status

    async def _is_whole(self) -> bool:
        """Ask the server whether the output is already complete."""
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


class _Filling:
    """The state of one download: the representation, and the bytes that have come."""

    def __init__(self, download: Download, file: BinaryIO, partial: Partial, bar: Bar) -> None:
        self._download = download
        self._file = file
        self._partial = partial
        self._bar = bar
        self._entity: Entity | None = None
        self._have = 0
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff(BACKOFF_INITIAL, BACKOFF_MAXIMUM, 0.0, random.Random())  # noqa: S311
        self._moved_at = self._loop.time()

    async def run(self) -> int:
        """Fill the file; return the status of the answer. Raises what :meth:`Download.run` does."""
        if self._download.go_on:
            self._entity, self._have = self._partial.load(self._download.url)
            if self._entity is not None and self._have == self._entity.total:
                return 200
        status = None
        while status is None:
            status = await self._ask()
        return status

    @property
    def _patient(self) -> bool:
        return self._loop.time() - self._moved_at < self._download.patience

    async def _ask(self) -> int | None:
        """Ask for the file or its rest; return the status, or None to ask again."""
        resuming = self._entity if self._have else None
        try:
            response = await self._download.ask(resuming.rest(self._have) if resuming else [])
        except _BROKEN:
            if resuming and self._patient:
                return None  # `ask` waits for the next connection
            raise
        async with response:
            if self._download.fail and response.status >= 400:
                return response.status
            if resuming is not None and not await self._resumes(resuming, response):
                return None
            if resuming is None or response.status != 206:
                self._begin(resuming, response)
            return await self._take(response)

    async def _resumes(self, resuming: Entity, response: Response) -> bool:
        """Whether this answers the request for a rest; if not, it is to be asked again.

        Raises ResumeFailed for an answer that makes it hopeless.
        """
        if response.status in _NOT_YET and self._patient:
            self._bar.say(f"the device is not ready yet (status {response.status})")
            response.close()
            await asyncio.sleep(self._backoff.failed(self._loop.time()))
            return False
        if response.status == 416:
            self._entity, self._have = None, 0  # the server's file has no such rest
            return False
        if response.status not in (200, 206):
            raise ResumeFailed(
                f"the rest was answered with status {response.status}; the first {self._have} "
                f"bytes are in {self._partial.path}"
            )
        if response.status == 206:
            resuming.check(response, self._have)
        return True

    def _begin(self, resuming: Entity | None, response: Response) -> None:
        """Empty the file for an answer that has all of it."""
        download = self._download
        self._have = 0
        self._entity = Entity.of(download.url, response) if download.resumable else None
        if resuming is not None:
            self._bar.say(f"{_why_whole(resuming, self._entity)}: starting again")
        self._partial.begin(self._file, self._entity)
        self._file.write(download.head(response))

    async def _take(self, response: Response) -> int | None:
        """Write the body; return the status, or None if it broke off and can be resumed."""
        total = self._entity.total if self._entity is not None else _length(response)
        try:
            async for piece in response:
                self._file.write(piece)
                self._have += len(piece)
                self._download.on_bytes(len(piece))
                self._bar.show(self._have, total)
                self._moved_at = self._loop.time()
                self._backoff.opened(self._moved_at)
            self._file.flush()
            if self._entity is not None and total not in (None, self._have):
                raise MessageTruncated(f"{self._have} bytes came instead of {total}")
            return response.status
        except _BROKEN as error:
            self._file.flush()
            if self._entity is None or not self._patient:
                raise
            self._bar.say(f"broken off after {self._have} bytes ({error}): going on")
            if not isinstance(error, SessionEnded):
                await asyncio.sleep(self._backoff.failed(self._loop.time()))
            return None


def _why_whole(asked: Entity, found: Entity | None) -> str:
    """The reason why a request for the rest was answered with the whole file."""
    if found is not None and found.validator == asked.validator:
        return "the server does not send parts of it"
    return "the file is another one now"


def _length(response: Response) -> int | None:
    with contextlib.suppress(MessageError):  # in an answer to HEAD, the field may be malformed
        return None if response.decoded else content_length(response.headers)
    return None
