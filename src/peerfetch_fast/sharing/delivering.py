"""Send files to an inbox, or into a folder of a proxy that takes them: :func:`send`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

import orjson

from peerfetch_fast.codes import PairingCode, looks_like_code, parse_code
from peerfetch_fast.errors import (
    MessageTruncated,
    PeerfetchError,
    SessionEnded,
    SharingError,
    StreamReset,
    StreamStopped,
)
from peerfetch_fast.finding import find_peer, find_signaling
from peerfetch_fast.http.response import Response
from peerfetch_fast.identity import PeerUrl
from peerfetch_fast.peer import Peer, connect
from peerfetch_fast.reconnecting import GIVE_UP_AFTER
from peerfetch_fast.sharing.answering import Reader
from peerfetch_fast.sharing.contents import FileReader
from peerfetch_fast.sharing.inbox import ROOT
from peerfetch_fast.sharing.links import ShareLink, parse_link
from peerfetch_fast.sharing.names import shown
from peerfetch_fast.sharing.receive import MAX_REFUSAL, Progress, own_name, redeemed, said_by
from peerfetch_fast.sharing.source import Offer, collect
from peerfetch_fast.sharing.zipping import Zip, ZipReader
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.state import load_secret, state_directory
from peerfetch_fast.webrtc.ice.gathering import IceServer

__all__ = ["Inbox", "Sent", "inbox_at", "send"]

MAX_ABOUT = 4096
"""Bytes of what an inbox says of itself."""

_BROKEN = (SessionEnded, StreamReset, StreamStopped, MessageTruncated)


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that has arrived."""

    path: Path
    name: str
    """What it is called there."""
    size: int


@dataclass(frozen=True, slots=True)
class _Upload:
    """What is sent as one file: a file, or the ZIP of a directory."""

    path: Path
    name: str
    size: int
    version: str
    """What is another one once the contents are."""
    open: Callable[[int], Reader]
    """A reader from that byte on; it waits for the disk, and raises OSError."""


@dataclass(slots=True)
class Inbox:
    """An inbox, and the connection to it."""

    by: str
    """Whose it is."""
    free: int
    """Bytes for which there is room."""
    peer: Peer
    _root: str
    _name: str

    async def send(
        self,
        paths: Sequence[Path | str],
        *,
        on_progress: Callable[[Progress], object] = lambda _: None,
        patience: float = GIVE_UP_AFTER,
    ) -> list[Sent]:
        """See :func:`send`."""
        offers: list[Offer] = []
        sending = _Sending(self, on_progress, patience)
        try:
            for path in map(Path, paths):
                offer = await asyncio.to_thread(collect, [path])
                offers.append(offer)
                sending.uploads.append(await asyncio.to_thread(_upload_of, path, offer))
            return await sending.run()
        finally:
            await sending.close()
            for offer in offers:
                offer.close()


@dataclass(slots=True)
class _Sending:
    """One transfer. All that waits for the disk is done in one thread."""

    inbox: Inbox
    on_progress: Callable[[Progress], object]
    patience: float
    uploads: list[_Upload] = field(default_factory=list)
    _progress: Progress = field(default_factory=Progress)
    _moved_at: float = 0.0
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="peerfetch-send")
    )
    _backoff: Backoff = field(
        default_factory=lambda: Backoff(0.5, 10.0, 0.0, random.Random())  # noqa: S311
    )

    async def run(self) -> list[Sent]:
        self._progress.total = sum(upload.size for upload in self.uploads)
        sent, before = [], 0
        for upload in self.uploads:
            name = await self._send(upload, before)
            before += upload.size
            sent.append(Sent(upload.path, name, upload.size))
        return sent

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)

    async def _send(self, upload: _Upload, before: int) -> str:
        """Send a file, however often the connection breaks: what it is called there."""
        loop = asyncio.get_running_loop()
        self._moved_at = loop.time()
        identity = _identity(self.inbox.peer.fingerprint, upload)
        name = quote(upload.name, safe="")
        target = f"{self.inbox._root}/files/{name}?id={identity}&size={upload.size}"
        while True:
            try:
                offset = await self._offset(target)
                self._moved(before + offset)
                async with await self._put(target, upload, offset, before) as response:
                    if response.status == 201:
                        told = orjson.loads(await said_by(response, MAX_ABOUT))
                        self._moved(before + upload.size)
                        return shown(str(told["name"]))
                    if response.status not in (202, 409):
                        said = (await said_by(response, MAX_REFUSAL)).decode(errors="replace")
                        raise SharingError(f"{shown(upload.name)} is not taken: {shown(said)}")
            except (ValueError, KeyError, TypeError):
                raise SharingError("the other side does not say what became of it") from None
            except _BROKEN:
                if self.inbox.peer.error is not None:
                    raise
            if loop.time() - self._moved_at >= self.patience:
                raise SharingError(f"{shown(upload.name)} is not taken, and nothing says why")
            await asyncio.sleep(self._backoff.failed(loop.time()))

    async def _offset(self, target: str) -> int:
        """Bytes that are there already."""
        async with self.inbox.peer.fetch(target, method="HEAD") as response:
            if response.status != 200:
                raise SharingError(f"nothing is taken there (status {response.status})")
            offset = response.headers.get("upload-offset", "")
            return int(offset) if offset.isdecimal() else 0

    async def _put(self, target: str, upload: _Upload, offset: int, before: int) -> Response:
        if offset > upload.size:
            raise SharingError("the other side has more of it than there is")
        headers = [("upload-offset", str(offset)), ("share-name", quote(self.inbox._name))]
        body = self._read(upload, offset, before)
        return await self.inbox.peer.fetch(target, method="PUT", headers=headers, body=body)

    async def _read(self, upload: _Upload, offset: int, before: int) -> AsyncIterator[bytes]:
        do = partial(asyncio.get_running_loop().run_in_executor, self._thread)
        reader = await do(upload.open, offset)
        try:
            while pieces := await do(reader.read):
                for piece in filter(None, pieces):
                    yield piece
                    offset += len(piece)
                    self._moved(before + offset)
        finally:
            await asyncio.shield(do(reader.close))

    def _moved(self, have: int) -> None:
        if have != self._progress.have:
            self._moved_at = asyncio.get_running_loop().time()
        self._progress.have = have
        self.on_progress(self._progress)


def _upload_of(path: Path, offer: Offer) -> _Upload:
    items = list(offer.items.values())
    if len(items) == 1 and not items[0].entry.is_directory:
        item = items[0]

        def read(offset: int) -> Reader:
            reader = FileReader(item, 0)
            reader.between(offset, item.entry.size)
            return reader

        return _Upload(path, item.entry.path, item.entry.size, repr(item.version), read)
    layout = Zip(items)

    def read_zip(offset: int) -> Reader:
        return ZipReader(layout, offset, layout.size)

    return _Upload(path, f"{offer.title}.zip", layout.size, layout.version, read_zip)


def _identity(fingerprint: str, upload: _Upload) -> str:
    """The id of an upload, the same when this user sends the same file there again, so that it is
    gone on with, and told to nobody else.
    """
    try:
        secret = load_secret(state_directory(), "sending", 16)
    except (PeerfetchError, OSError):
        return secrets.token_hex(16)
    about = f"{fingerprint}\n{upload.name}\n{upload.size}\n{upload.version}"
    return hmac.digest(secret.encode(), about.encode(errors="replace"), "sha256").hex()[:32]


@contextlib.asynccontextmanager
async def inbox_at(
    where: str | PairingCode | ShareLink,
    *,
    signaling: str | None = None,
    name: str | None = None,
    ice_servers: Sequence[IceServer] = (),
    direct_only: bool = False,
    give_up_after: float = GIVE_UP_AFTER,
) -> AsyncIterator[Inbox]:
    """Connect to an inbox. See :func:`send`."""
    link: ShareLink | PairingCode | None = where if not isinstance(where, str) else None
    url: PeerUrl | None = None
    if isinstance(where, str):
        link = parse_link(where)
        if link is None and looks_like_code(where):
            link = parse_code(where)
        if link is None:
            url, signaling = find_peer(where, signaling)
    if isinstance(link, PairingCode):
        link = await redeemed(link, find_signaling(signaling), ice_servers, direct_only)
    pin: str | None
    token: str | None = None
    if link is not None:
        signaling, peer_id, pin, token = link
    else:
        assert url is not None
        peer_id, pin = url.peer_id, url.pin
    reaching = connect(
        peer_id,
        signaling=signaling,
        pin=pin,
        access_token=token,
        ice_servers=ice_servers,
        direct_only=direct_only,
        give_up_after=give_up_after,
    )
    root = ROOT if url is None else f"{url.target.rstrip('/')}{ROOT}"
    async with reaching as peer, peer.fetch(root) as response:
        try:
            told = orjson.loads(await said_by(response, MAX_ABOUT))
            by, free = told["by"], told["free"]
            if response.status != 200 or not isinstance(by, str) or type(free) is not int:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise SharingError(
                "nothing can be sent there: it is no inbox, and no folder of a proxy with --upload"
            ) from None
        yield Inbox(shown(by)[:64], free, peer, root, name or own_name())


async def send(
    paths: Sequence[Path | str],
    where: str | PairingCode | ShareLink,
    *,
    signaling: str | None = None,
    name: str | None = None,
    ice_servers: Sequence[IceServer] = (),
    direct_only: bool = False,
    on_progress: Callable[[Progress], object] = lambda _: None,
    give_up_after: float = GIVE_UP_AFTER,
) -> list[Sent]:
    """Send files to an inbox (``peerfetch inbox``), or into a folder that a proxy serves with
    ``--upload``: each file as it is, and a directory as a ZIP.

    What broke off earlier is gone on with, by this or by another process of this user.

    :param where: the code or the link of the inbox; or ``peer://ID/FOLDER/`` of a device, or the
        name under which it was paired.
    :param signaling: where a code or a device is looked for; see :func:`peerfetch_fast.connect`.
    :param name: by which the other side sees us; by default user and machine.
    :param ice_servers: and ``direct_only``: see :func:`peerfetch_fast.connect`.
    :param on_progress: called with how far it is.
    :param give_up_after: seconds for which a lost connection is waited for.

    Returns what each is called there. Raises SharingError where something is not taken, OSError for
    what cannot be read, InvalidCode, PeerUnavailable where nobody has that code, AccessDenied where
    it is another one, and the errors of :func:`peerfetch_fast.connect`.
    """
    async with inbox_at(
        where,
        signaling=signaling,
        name=name,
        ice_servers=ice_servers,
        direct_only=direct_only,
        give_up_after=give_up_after,
    ) as inbox:
        return await inbox.send(paths, on_progress=on_progress, patience=give_up_after)
