"""Receive what is shared: :func:`receive` saves it, and goes on where it broke off."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import orjson

from peerfetch_fast.codes import PairingCode, parse_code
from peerfetch_fast.errors import (
    MessageTruncated,
    PeerfetchError,
    SessionEnded,
    SharingError,
    StreamReset,
)
from peerfetch_fast.finding import find_signaling
from peerfetch_fast.http.response import Response
from peerfetch_fast.identity import format_pin
from peerfetch_fast.pairing import redeem
from peerfetch_fast.peer import Peer, connect
from peerfetch_fast.reconnecting import GIVE_UP_AFTER
from peerfetch_fast.sharing.links import ShareLink, parse_link
from peerfetch_fast.sharing.manifest import ROOT, Entry, Heading, ManifestReader
from peerfetch_fast.sharing.records import Wanted
from peerfetch_fast.sharing.storing import IfExists, Storing, WrongPiece
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.webrtc.ice.gathering import IceServer
from peerfetch_fast.webrtc.transports import ConnectionOptions

__all__ = ["Offered", "Progress", "Received", "offered", "receive"]

T = TypeVar("T")

BATCH = 1024 * 1024
"""Bytes that are collected before they are written, and that are written while the next come."""

FILES = 1000
"""Files that are asked for at once."""

MAX_MANIFEST = 128 * 1024 * 1024
"""Bytes of a manifest."""

MAX_REFUSAL = 500
"""Bytes that are read of what the other side says when it refuses."""

_BROKEN = (SessionEnded, StreamReset, MessageTruncated, WrongPiece)


@dataclass(slots=True)
class Progress:
    """How far a transfer is."""

    total: int = 0
    """Bytes of all that is wanted."""
    have: int = 0
    """Bytes that are here."""
    received: int = 0
    """Bytes that came now."""


@dataclass(frozen=True, slots=True)
class Received:
    """The outcome of a transfer."""

    files: int
    """Files that are whole, those included that were here before."""
    received: int
    """Bytes that came now."""
    failed: Sequence[str]
    """Files that are not whole, with the reason: sentences."""


@dataclass(slots=True)
class Offered:
    """An offer, and the connection to its sender."""

    heading: Heading
    entries: list[Entry]
    peer: Peer
    _headers: list[tuple[str, str]]

    async def save(
        self,
        directory: Path,
        *,
        if_exists: IfExists = "refuse",
        entries: Sequence[Entry] | None = None,
        on_progress: Callable[[Progress], object] = lambda _: None,
        patience: float = GIVE_UP_AFTER,
    ) -> Received:
        """Save it below ``directory``: files whole or not at all, each checked by its digests.

        What came of a file is kept beside its place, and gone on with by whoever saves the same
        file there next. See :func:`receive` for the parameters and errors.
        """
        saving = _Saving(self, on_progress, patience)
        return await saving.run(directory, if_exists, entries or self.entries)

    async def tell(self, **event: object) -> None:
        """Tell the other side how it goes; whether it hears is of no importance here."""
        with contextlib.suppress(PeerfetchError):
            response = await self.peer.fetch(
                f"{ROOT}/events", method="POST", headers=self._headers, json=event, timeout=5.0
            )
            response.close()


class _Saving:
    """One transfer. All that waits for the disk is done in one thread."""

    def __init__(
        self, offer: Offered, on_progress: Callable[[Progress], object], patience: float
    ) -> None:
        self._offer = offer
        self._on_progress = on_progress
        self._patience = patience
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="peerfetch-receive")
        self._loop = asyncio.get_running_loop()
        self._backoff = Backoff(0.5, 10.0, 0.0, random.Random())  # noqa: S311
        self._moved_at = self._loop.time()
        self._progress = Progress(offer.heading.total)

    async def run(self, directory: Path, if_exists: IfExists, entries: Sequence[Entry]) -> Received:
        storing: Storing | None = None
        try:
            storing = await self._do(Storing, directory, entries, if_exists)
            await self._do(storing.begin)
            self._progress.total = sum(entry.size for entry in entries)
            total = self._progress.total
            await self._offer.tell(event="start", total=total, before=storing.have)
            while wanted := await self._do(storing.ask, FILES):
                await self._turn(storing, wanted)
            await self._do(storing.finish)
        except BaseException as error:
            if isinstance(error, (SharingError, OSError)):
                await self._offer.tell(event="failed", why=str(error))
            raise
        finally:
            if storing is not None:
                await asyncio.shield(self._do(storing.close))
            self._thread.shutdown(wait=False)
        received = Received(storing.whole, storing.received, storing.failed)
        failed = "; ".join(received.failed)[:200]
        await self._offer.tell(event="failed" if failed else "done", why=failed)
        return received

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._thread, work, *arguments)

    async def _turn(self, storing: Storing, wanted: Sequence[Wanted]) -> None:
        """Ask for some files, and keep what comes of them."""
        body = b"\n".join(orjson.dumps(one._asdict()) for one in wanted)
        try:
            response = await self._offer.peer.fetch(
                f"{ROOT}/stream", method="POST", headers=self._offer._headers, body=body
            )
            async with response:
                if response.status != 200:
                    said = (await said_by(response, MAX_REFUSAL)).decode(errors="replace")
                    raise SharingError(f"the other side sends nothing: {said}")
                await self._take(response, storing)
            if not storing.complete:
                raise MessageTruncated("the answer ended early")
            self._backoff.opened(self._loop.time())
        except _BROKEN as error:
            lost = self._loop.time() - self._moved_at >= self._patience
            if lost or self._offer.peer.error is not None:
                raise
            if not isinstance(error, SessionEnded):
                await asyncio.sleep(self._backoff.failed(self._loop.time()))

    async def _take(self, pieces: AsyncIterator[bytes], storing: Storing) -> None:
        """Write what comes, one batch while the next one comes."""
        batch: list[bytes] = []
        size = 0
        writing: asyncio.Future[None] | None = None
        try:
            async for piece in pieces:
                batch.append(piece)
                size += len(piece)
                if size < BATCH and (writing is not None and not writing.done()):
                    continue
                if size < BATCH // 4:
                    continue
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(self._do(storing.feed, batch))
                batch, size = [], 0
                self._moved(storing)
        finally:
            if writing is not None:
                await asyncio.wait((writing,))
        if writing is not None:
            writing.result()
        await self._do(storing.feed, batch)
        self._moved(storing)

    def _moved(self, storing: Storing) -> None:
        if storing.received != self._progress.received or storing.complete:
            self._moved_at = self._loop.time()
        self._progress.have, self._progress.received = storing.have, storing.received
        self._on_progress(self._progress)


@contextlib.asynccontextmanager
async def offered(
    where: str | PairingCode | ShareLink,
    *,
    signaling: str | None = None,
    name: str | None = None,
    ice_servers: Sequence[IceServer] = (),
    direct_only: bool = False,
    give_up_after: float = GIVE_UP_AFTER,
) -> AsyncIterator[Offered]:
    """Look what is offered, while connected to who offers it. See :func:`receive`."""
    link = (parse_link(where) or parse_code(where)) if isinstance(where, str) else where
    if isinstance(link, PairingCode):
        link = await redeemed(link, find_signaling(signaling), ice_servers, direct_only)
    headers = [
        ("accept-encoding", "identity"),
        ("share-receiver", secrets.token_hex(16)),
        ("share-name", quote(name or own_name())),
    ]
    async with connect(
        link.peer_id,
        signaling=link.signaling,
        pin=link.pin,
        access_token=link.token,
        ice_servers=ice_servers,
        direct_only=direct_only,
        give_up_after=give_up_after,
    ) as peer:
        heading, entries = await _manifest(peer, headers)
        yield Offered(heading, entries, peer, headers)


async def redeemed(
    code: PairingCode, signaling: str, ice_servers: Sequence[IceServer], direct_only: bool
) -> ShareLink:
    """The link that a code stands for. Raises SharingError for the code of a device."""
    options = ConnectionOptions(tuple(ice_servers), direct_only=direct_only)
    told, fingerprint = await redeem(code, signaling, None, options=options)
    token = told.get("token")
    if not isinstance(token, str):
        raise SharingError(
            "this code pairs with a device, and shares nothing: use `peerfetch pair NAME CODE`"
        )
    return ShareLink(signaling, str(told["peer_id"]), format_pin(fingerprint), token)


async def said_by(response: Response, most: int) -> bytes:
    """What an answer says, of which at most so many bytes are read."""
    said = bytearray()
    async for piece in response:
        said += piece
        if len(said) > most:
            break
    return bytes(said[:most]).strip()


async def _manifest(peer: Peer, headers: list[tuple[str, str]]) -> tuple[Heading, list[Entry]]:
    reader = ManifestReader()
    size = 0
    async with peer.fetch(ROOT, headers=headers) as response:
        if response.status != 200:
            said = (await said_by(response, MAX_REFUSAL)).decode(errors="replace")
            raise SharingError(f"nothing is offered: {said}")
        async for piece in response:
            size += len(piece)
            if size > MAX_MANIFEST:
                raise SharingError("the offer is too long")
            reader.feed(piece)
    return reader.finish(), reader.entries


def own_name() -> str:
    """This receiver's name for the other side: the user and the machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()


async def receive(
    where: str | PairingCode | ShareLink,
    directory: Path | str = ".",
    *,
    signaling: str | None = None,
    if_exists: IfExists = "refuse",
    name: str | None = None,
    ice_servers: Sequence[IceServer] = (),
    direct_only: bool = False,
    on_progress: Callable[[Progress], object] = lambda _: None,
    give_up_after: float = GIVE_UP_AFTER,
) -> Received:
    """Save what is offered below ``directory``, which is made if need be.

    What broke off earlier is gone on with, by this or by another process, also from another share
    of the same file.

    :param where: the code or the link that the one who shares was shown.
    :param signaling: where the code is looked for; see :func:`peerfetch_fast.connect`.
    :param if_exists: what happens where another file is there already: ``refuse`` (before anything
        is written), ``overwrite``, ``rename`` the new one, or ``skip`` it.
    :param name: by which the other side sees us; by default user and machine.
    :param ice_servers: and ``direct_only``: see :func:`peerfetch_fast.connect`.
    :param on_progress: called with how far it is.
    :param give_up_after: seconds for which a lost connection is waited for.

    Raises FilesExist, UnsafeName, SharingError, OSError, InvalidCode, PeerUnavailable where nobody
    has that code, AccessDenied where it is another one, and the errors of
    :func:`peerfetch_fast.connect`.
    """
    async with offered(
        where,
        signaling=signaling,
        name=name,
        ice_servers=ice_servers,
        direct_only=direct_only,
        give_up_after=give_up_after,
    ) as offer:
        return await offer.save(
            Path(directory), if_exists=if_exists, on_progress=on_progress, patience=give_up_after
        )
