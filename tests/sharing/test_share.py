"""Sharing from Python: both ends in one process, with all that is between."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import secrets
import threading
import zipfile
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.sharing.conftest import contents_of, fill

from peerfetch_fast import connect, offered, receive, serve, share
from peerfetch_fast.codes import parse_code
from peerfetch_fast.errors import AccessDenied, FilesExist, PeerfetchError, SharingError
from peerfetch_fast.http.routing import Resources
from peerfetch_fast.http.server import Exchange
from peerfetch_fast.peer import Peer
from peerfetch_fast.sharing import resources
from peerfetch_fast.sharing.links import ShareLink, parse_link
from peerfetch_fast.sharing.manifest import PIECE, ROOT, Entry, Heading, manifest_lines
from peerfetch_fast.sharing.receivers import MAX_RECEIVERS, Receiver, Receivers
from peerfetch_fast.sharing.records import END, FAILED, record_head
from peerfetch_fast.sharing.resources import MAX_QUESTIONS
from peerfetch_fast.sharing.share import Identity, Share
from peerfetch_fast.sharing.source import Item
from peerfetch_fast.sharing.zipping import Zip
from peerfetch_fast.signaling import SignalingClient, SignalingServer
from processes import posix_only
from support import until

pytestmark = posix_only


@contextlib.asynccontextmanager
async def shared(*paths: Path, **options: Any) -> AsyncIterator[tuple[Share, str]]:
    """A share, and the URL of the signaling server."""
    server = SignalingServer()
    await server.start("127.0.0.1", 0)
    try:
        async with share(paths, signaling=server.url, **options) as sharing:
            yield sharing, server.url
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def client(sharing: Share) -> AsyncIterator[Peer]:
    """Any client of ours, which knows nothing of sharing."""
    link = parse_link(sharing.link)
    assert link is not None
    async with connect(
        link.peer_id, signaling=link.signaling, pin=link.pin, access_token=link.token
    ) as peer:
        yield peer


async def test_by_link_and_by_code(tmp_path: Path) -> None:
    fill(tmp_path)
    expected = contents_of(tmp_path / "src")
    async with shared(tmp_path / "src") as (sharing, signaling):
        first = await receive(sharing.link, tmp_path / "one", name="anna@laptop")
        second = await receive(str(sharing.code), tmp_path / "two", signaling=signaling)
        assert first.failed == second.failed == []
        assert first.files == len(expected) == sharing.files
        done = sharing.receivers
        assert [receiver.state for receiver in done] == ["done", "done"]
        assert done[0].name == "anna@laptop"
        assert done[0].total == sharing.total
    assert contents_of(tmp_path / "one/src") == contents_of(tmp_path / "two/src") == expected


async def test_there_is_another_code_where_somebody_has_its_number(tmp_path: Path) -> None:
    """A signaling server that is restarted gives an id to who asks first."""
    (tmp_path / "x").write_text("x")
    server = SignalingServer()
    await server.start("127.0.0.1", 0)
    try:
        async with share([tmp_path / "x"], signaling=server.url) as sharing:
            url, first = server.url, sharing.code
            assert first is not None
            await server.close()
            server = SignalingServer()
            await server.start("127.0.0.1", int(url.rpartition(":")[2]))
            squatter = SignalingClient(url, first.peer_id, on_message=lambda _: None)
            async with squatter:
                await until(lambda: sharing.code not in (None, first))
                got = await receive(str(sharing.code), tmp_path / "in", signaling=url)
        assert got.files == 1
    finally:
        await server.close()


async def test_a_text_alone(tmp_path: Path) -> None:
    async with shared(text="a\nb") as (sharing, _), offered(sharing.link) as offer:
        assert offer.heading.text == "a\nb"
        assert offer.entries == []


async def test_a_code_lets_in_many_and_a_wrong_one_nobody(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    codes: list[str] = []
    async with shared(tmp_path / "x", on_code=lambda: codes.append("changed")) as (sharing, place):
        code = sharing.code
        assert code is not None
        wrong = code._replace(first="acid" if code.first != "acid" else "able")
        await receive(code, tmp_path / "1", signaling=place)
        for _ in range(3):
            with pytest.raises(AccessDenied):
                await receive(wrong, tmp_path / "2", signaling=place)
        await until(lambda: sharing.code is None or sharing.code != code)
        await until(lambda: sharing.code is not None)
        assert codes == ["changed", "changed"]
        await receive(str(sharing.code), tmp_path / "3", signaling=place)
    assert contents_of(tmp_path / "3") == {"x": b"x"}
    assert not (tmp_path / "2").exists()


async def test_a_refusal_without_end_is_told_in_short() -> None:
    class Refusing(Resources):
        async def __call__(self, exchange: Exchange) -> None:
            exchange.start(500, [("content-type", "text/plain")], None)
            while True:
                await exchange.write(b"no " * 10_000)

    token = secrets.token_hex(16)
    refusing = serve(
        {ROOT: Refusing()}, signaling="local:share", peer_id="refusing", access_token=token
    )
    async with refusing as server:
        link = ShareLink("local:share", "refusing", server.fingerprint, token)
        with pytest.raises(SharingError, match="nothing is offered: no no") as caught:
            async with offered(link):
                pass
        assert len(str(caught.value)) < 600


async def test_nobody_is_told_anything_before_they_are_let_in(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    asked: list[str] = []

    async def admit(receiver: Receiver) -> bool:
        asked.append(receiver.name)
        return receiver.name == "anna"

    async with shared(tmp_path / "x", admit=admit) as (sharing, _):
        await receive(sharing.link, tmp_path / "1", name="anna")
        with pytest.raises(SharingError, match="does not let you"):
            await receive(sharing.link, tmp_path / "2", name="eve")
        assert [receiver.state for receiver in sharing.receivers] == ["done", "refused"]
    assert asked == ["anna", "eve"]


async def test_an_answer_is_of_one_receiver_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    asked: list[str] = []

    async def admit(receiver: Receiver) -> bool:
        asked.append(receiver.name)
        return receiver.name == "anna"

    async with shared(tmp_path / "x", admit=admit) as (sharing, _), client(sharing) as peer:
        # Of more than are remembered: some are forgotten, and others come in their place.
        names = ["anna", "eve"] * (2 * MAX_RECEIVERS)
        for number, name in enumerate(names):
            headers = {"share-receiver": f"{number:032x}", "share-name": name}
            response = await peer.fetch("/~share", headers=headers)
            assert response.status == (200 if name == "anna" else 403)
            await response.bytes()
    assert asked == names


async def test_few_are_asked_about_at_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    asked: list[str] = []
    answered = asyncio.Event()

    async def admit(receiver: Receiver) -> bool:
        asked.append(receiver.name)
        await answered.wait()
        return True

    async def status(peer: Peer, number: int) -> int:
        response = await peer.fetch("/~share", headers={"share-receiver": f"{number:032x}"})
        await response.bytes()
        return response.status

    async with shared(tmp_path / "x", admit=admit) as (sharing, _), client(sharing) as peer:
        waiting = [asyncio.ensure_future(status(peer, n)) for n in range(MAX_QUESTIONS)]
        await until(lambda: len(asked) == MAX_QUESTIONS)
        for task in waiting:  # that they are gone takes no question back
            task.cancel()
        await asyncio.wait(waiting)
        assert await status(peer, MAX_QUESTIONS) == 503
        assert len(asked) == MAX_QUESTIONS
        answered.set()
        assert await status(peer, 0) == 200
        assert await status(peer, MAX_QUESTIONS) == 200


async def test_what_a_receiver_makes_up_is_nothing_to_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x").write_text("x")
    async with shared(tmp_path / "x") as (sharing, _), client(sharing) as peer:
        body = orjson.dumps({"path": "y" * 900_000, "offset": 0})
        response = await peer.fetch("/~share/stream", method="POST", body=body)
        assert (await response.bytes())[0] == FAILED
        assert sharing.receivers[0].file == ""
    assert all(len(record.getMessage()) < 1000 for record in caplog.records)


class Idle(Resources):
    """Offers a file, and answers with ``body`` to whoever asks for it."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked = 0

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.target == "/~share":
            entry = Entry("file", 5, 1000, 0o644)
            lines = manifest_lines(Heading("file", "eve", 1, 1, 5), [entry])
            exchange.respond(200, [], b"".join(lines))
            return
        self.asked += exchange.target == "/~share/stream"
        exchange.respond(200, [], self.body)


@pytest.mark.parametrize("body", [b"", record_head(END, 0)], ids=["nothing", "an-end-alone"])
async def test_who_sends_nothing_is_given_up(tmp_path: Path, body: bytes) -> None:
    server = SignalingServer()
    await server.start("127.0.0.1", 0)
    identity, idle = Identity.new(), Idle(body)
    serving = serve(
        idle,
        signaling=server.url,
        peer_id=identity.peer_id,
        certificate=identity.certificate,
        access_token=identity.token,
    )
    async with serving as sharing, asyncio.timeout(30.0):
        link = ShareLink(server.url, identity.peer_id, sharing.fingerprint, identity.token)
        async with offered(link) as offer:
            with pytest.raises(PeerfetchError):
                await offer.save(tmp_path, patience=0.2)
    assert 0 < idle.asked < 5
    await server.close()


def test_many_strangers_have_nobody_forgotten_who_was_let_in() -> None:
    receivers = Receivers()
    let_in = receivers.find("a" * 32, "peer", "anna")
    receivers.told(let_in, {"event": "start"})
    for number in range(2 * MAX_RECEIVERS):
        receivers.find(f"{number:032x}", "other", None)
    assert receivers.find("a" * 32, "peer", "anna") is let_in
    assert len(receivers.all()) == MAX_RECEIVERS


async def test_the_zip_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    made, goes_on = [], threading.Event()

    def slow(items: list[Item]) -> Zip:
        made.append(items)
        goes_on.wait(60)
        return Zip(items)

    monkeypatch.setattr(resources, "Zip", slow)
    async with shared(tmp_path / "src") as (sharing, _), client(sharing) as peer:
        asking = [asyncio.ensure_future(peer.fetch("/~share/zip", method="HEAD")) for _ in "1234"]
        await until(lambda: bool(made))
        asking[0].cancel()
        await asyncio.wait(asking, timeout=0.2)
        goes_on.set()
        assert [(await one).status for one in asking[1:]] == [200, 200, 200]
    assert len(made) == 1


async def test_four_at_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(PIECE + 5))
    async with shared(tmp_path / "x") as (sharing, _):
        await asyncio.gather(*(receive(sharing.link, tmp_path / str(i)) for i in range(4)))
    for i in range(4):
        assert (tmp_path / str(i) / "x").read_bytes() == (tmp_path / "x").read_bytes()


async def test_who_stops_reading_costs_nobody_else_anything(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(3 * PIECE))
    async with shared(tmp_path / "x") as (sharing, _), contextlib.AsyncExitStack() as stack:
        for _ in range(6):  # more than there are threads
            peer = await stack.enter_async_context(client(sharing))
            response = await peer.fetch("/~share/files/x")
            await response.read()
        await receive(sharing.link, tmp_path / "out")
    assert (tmp_path / "out/x").read_bytes() == (tmp_path / "x").read_bytes()


async def test_what_is_here_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("theirs")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").write_text("mine")
    async with shared(tmp_path / "x") as (sharing, _):
        with pytest.raises(FilesExist):
            await receive(sharing.link, tmp_path / "out")
        [receiver] = sharing.receivers
        assert receiver.state == "failed"
        assert "not overwritten" in receiver.why
        await receive(sharing.link, tmp_path / "out", if_exists="rename")
    assert contents_of(tmp_path / "out") == {"x": b"mine", "x (2)": b"theirs"}


async def test_a_file_that_vanishes_is_told_to_both(tmp_path: Path) -> None:
    for name in "xyz":
        (tmp_path / name).write_text(name)
    async with shared(*(tmp_path / name for name in "xyz")) as (sharing, _):
        (tmp_path / "y").unlink()
        received = await receive(sharing.link, tmp_path / "out")
        assert [failed.partition(":")[0] for failed in received.failed] == ["y"]
        [receiver] = sharing.receivers
        assert receiver.state == "failed"
        assert receiver.why.startswith("y: ")
    assert contents_of(tmp_path / "out") == {"x": b"x", "z": b"z"}


async def test_the_resources_are_plain_http(tmp_path: Path) -> None:
    contents = fill(tmp_path)
    async with shared(tmp_path / "src") as (sharing, _), client(sharing) as peer:
        manifest = (await (await peer.fetch("/~share")).text()).splitlines()
        assert orjson.loads(manifest[0])["files"] == len(contents)
        part = await peer.fetch("/~share/files/src/plain.txt", headers={"range": "bytes=10-19"})
        assert part.status == 206
        assert await part.bytes() == contents["src/plain.txt"][10:20]
        missing = await peer.fetch("/~share/files/src/none")
        assert missing.status == 404
        outside = await peer.fetch("/~share/files/src/../../etc/passwd")
        assert outside.status == 404
        digests = (await (await peer.fetch("/~share/digests/src/plain.txt")).text()).split()
        assert len(digests) == 1
        every = (await (await peer.fetch("/~share/digests")).text()).split()
        assert every == [sha256(data).hexdigest() for data in in_order(manifest, contents)]
        head = await peer.fetch("/~share/zip", method="HEAD")
        answer = await peer.fetch("/~share/zip")
        whole = await answer.bytes()
        assert int(head.headers["content-length"]) == len(whole)
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            assert archive.testzip() is None
        rest = await peer.fetch(
            "/~share/zip", headers={"range": "bytes=100-", "if-range": answer.headers["etag"]}
        )
        assert (rest.status, await rest.bytes()) == (206, whole[100:])


def in_order(manifest: list[str], contents: dict[str, bytes]) -> list[bytes]:
    """What the files hold that are not empty, as the manifest names them."""
    paths = [orjson.loads(line)["path"] for line in manifest[1:]]
    return [contents[path] for path in paths if contents.get(path)]


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("POST", "/~share/events", b"", 400),
        ("POST", "/~share/events", b"[" * 4000, 400),
        ("POST", "/~share/events", b"x" * 100_000, 400),
        ("POST", "/~share/events", b'{"event":["done"],"total":{}}', 204),
        ("POST", "/~share/stream", b"", 400),
        ("POST", "/~share/stream", b"{}", 400),
        ("POST", "/~share/stream", b'{"path":"x","offset":-1}', 400),
        ("POST", "/~share/stream", b'{"path":"x","offset":0}\n' * 5000, 400),
        ("POST", "/~share/stream", b'{"path":"../x","offset":0}', 200),
        ("GET", "/~share/stream", None, 405),
        ("DELETE", "/~share", None, 405),
        ("GET", "/", None, 404),
        ("GET", "/~share/other", None, 404),
        ("GET", "/~share/files/", None, 404),
        ("GET", "/~share/digests/none", None, 404),
    ],
)
async def test_a_hostile_receiver(
    tmp_path: Path, method: str, target: str, body: bytes | None, status: int
) -> None:
    (tmp_path / "x").write_text("x")
    async with shared(tmp_path / "x") as (sharing, _), client(sharing) as peer:
        response = await peer.fetch(target, method=method, body=body)
        assert response.status == status
        await response.bytes()
        await receive(sharing.link, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"x": b"x"}


async def test_forged_events_change_nobody_elses_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    async with shared(tmp_path / "x") as (sharing, _), client(sharing) as peer:
        await receive(sharing.link, tmp_path / "out", name="anna")
        forged = orjson.dumps({"event": "failed", "why": "\x1b[2Jhaha" + "x" * 3000})
        name = {"share-name": "anna", "share-receiver": "not an id"}
        await peer.fetch("/~share/events", method="POST", headers=name, body=forged)
        anna, forger = sharing.receivers
        assert (anna.state, anna.why) == ("done", "")
        assert forger.state == "failed"
        assert "\x1b" not in forger.why
        assert len(forger.why) <= 200


def test_receivers_are_remembered_in_bounds() -> None:
    receivers = Receivers()
    busy = receivers.find("0" * 32, "p", "busy")
    busy.downloads = 1
    for number in range(3 * MAX_RECEIVERS):
        receivers.find(f"{number + 1:032x}", "p", "x" * 1000)
    assert len(receivers.all()) == MAX_RECEIVERS
    assert busy in receivers.all()
    assert max(len(receiver.name) for receiver in receivers.all()) <= 64


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_links(scheme: str) -> None:
    link = ShareLink(f"{scheme}://host:99", "share-1", "sha256:" + "ab" * 32, "0f" * 16)
    assert parse_link(str(link)) == link
    assert parse_link(str(link).replace("#sha256:", "%23sha256%3A")) == link
    assert parse_link("https://host/#share-1") is None
    assert parse_link("123-able-boat") is None
    assert parse_code("123-able-boat")
