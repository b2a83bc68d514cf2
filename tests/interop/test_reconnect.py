"""A device and a signaling server that are killed and come back, in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast import Peer, PeerState, connect
from peerfetch_fast.errors import FetchTimeout, LinkClosed, RequestLost
from processes import Process, environment, free_port, peerfetch, posix_only, running

pytestmark = posix_only

BACK_WITHIN = 60.0
"""Seconds from the restart until requests are answered again: much less, on a quiet machine."""


class Places:
    """A signaling server and a proxy that can be killed and started again as they were."""

    def __init__(self, directory: Path, target: str, transport: str) -> None:
        self._directory = directory
        self._target = target
        self._transport = transport
        self._port = free_port()
        self._stack = contextlib.ExitStack()
        self.start_signaling()
        self.start_proxy()

    def start_signaling(self) -> None:
        self.signaling: Process = self._stack.enter_context(
            peerfetch(self._directory, "signal", "--listen", f"127.0.0.1:{self._port}")
        )

    def start_proxy(self) -> None:
        self.proxy: Process = self._stack.enter_context(
            peerfetch(
                self._directory,
                "proxy",
                *("--target", self._target, "--signaling", self.signaling.ready["signaling"]),
                *("--transport", self._transport),
            )
        )

    @contextlib.asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Peer]:
        async with connect(
            self.proxy.ready["peer_id"],
            signaling=self.signaling.ready["signaling"],
            transport=self._transport,
            **options,
        ) as peer:
            yield peer

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def places(tmp_path: Path, nginx: str, transport: str) -> Iterator[Places]:
    places = Places(tmp_path, nginx, transport)
    try:
        yield places
    finally:
        places.close()


async def test_the_device_is_killed_in_the_middle_of_a_download(
    places: Places, files: dict[str, bytes]
) -> None:
    async with places.connect() as peer:
        response = await peer.fetch("/large.bin")
        assert await response.read()
        places.proxy.kill()
        killed = time.monotonic()

        async def rest() -> None:
            while await response.read():
                await asyncio.sleep(0.05)

        reading = asyncio.ensure_future(rest())
        await peer.wait_for(PeerState.RECONNECTING)
        # Five seconds of silence (test_reconnecting.py measures them), and some for a machine with
        # other things to do. Where nobody pings, it would be the thirty of ICE's consent.
        assert time.monotonic() - killed < 20
        with pytest.raises(FetchTimeout):  # it waits: the device is not there
            await peer.fetch("/small.bin", timeout=0.2)
        later = asyncio.ensure_future(peer.fetch("/large.bin"))
        await asyncio.to_thread(places.start_proxy)
        restarted = time.monotonic()
        with pytest.raises(LinkClosed):  # not before: the device might have come back
            await reading
        digest = hashlib.sha256()
        async for piece in await later:
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(files["large.bin"]).digest()
        assert peer.state is PeerState.CONNECTED
        assert time.monotonic() - restarted < BACK_WITHIN


async def test_a_request_that_the_device_took_with_it_is_repeated_or_not(places: Places) -> None:
    async with places.connect() as peer:
        places.proxy.kill()
        get = asyncio.ensure_future(peer.fetch("/small.bin"))
        post = asyncio.ensure_future(peer.fetch("/small.bin", body=b"x"))
        await asyncio.sleep(0)
        await peer.wait_for(PeerState.RECONNECTING)
        await asyncio.to_thread(places.start_proxy)
        with pytest.raises(RequestLost, match="POST is not safe"):
            await post
        assert len(await (await get).bytes()) == 100


async def test_the_signaling_server_is_killed(places: Places) -> None:
    async with places.connect() as peer:
        places.signaling.kill()
        assert (await peer.fetch("/small.bin")).ok  # it is not needed now
        await peer.session.close()  # but it is for the next connection
        waiting = asyncio.ensure_future(peer.fetch("/small.bin"))
        await asyncio.sleep(1)
        assert not waiting.done()
        await asyncio.to_thread(places.start_signaling)
        assert (await waiting).ok


def fetching(
    places: Places, path: str, output: Path, *arguments: object
) -> contextlib.AbstractContextManager[Process]:
    """``peerfetch fetch -o`` as a process, which runs on."""
    return running(
        *(sys.executable, "-m", "peerfetch_fast", "fetch", *arguments),
        *(f"peer://{places.proxy.ready['peer_id']}{path}", "-o", output),
        *("--signaling", places.signaling.ready["signaling"]),
        log=output.with_name("log"),
        env=environment(output.parent),
    )


def wait_for_output(process: Process, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in process.output:
        assert not process.ended, process.output
        assert time.monotonic() < deadline, process.output
        time.sleep(0.01)


def wait_for_part(output: Path, size: int, process: Process) -> None:
    part = output.with_name(f"{output.name}.part")
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < size:
        assert not process.ended, process.output
        assert time.monotonic() < deadline, process.output
        time.sleep(0.01)


def test_a_download_goes_on_after_the_device_was_killed(
    places: Places, files: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with fetching(places, "/slow/large.bin", output) as process:
        wait_for_part(output, 500_000, process)
        places.proxy.kill()
        assert not output.exists()
        places.start_proxy()
        assert process.wait(120) == 0, process.output
        assert "going on" in process.output
        assert "starting again" not in process.output
    assert output.read_bytes() == files["large.bin"]
    assert not list(tmp_path.glob("out.part*"))


def test_a_download_goes_on_after_the_command_was_killed(
    places: Places, files: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with fetching(places, "/slow/large.bin", output) as process:
        wait_for_part(output, 500_000, process)
        process.kill()
    assert not output.exists()
    # It went on, and did not start again: for what had come already, other bytes are left in place.
    with output.with_name("out.part").open("r+b") as part:
        part.write(b"mark")
    with fetching(places, "/slow/large.bin", output, "-C", "-") as process:
        assert process.wait(120) == 0, process.output
    assert output.read_bytes() == b"mark" + files["large.bin"][4:]


def test_a_forwarded_port_outlives_the_device(places: Places, tmp_path: Path) -> None:
    def get(path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(forward.ready["url"] + path, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    with peerfetch(
        tmp_path,
        "forward",
        *(places.proxy.ready["peer_id"], "--port", "0"),
        *("--signaling", places.signaling.ready["signaling"]),
    ) as forward:
        assert get("/small.bin")[0] == 200
        places.proxy.kill()
        with ThreadPoolExecutor() as threads:
            first = threads.submit(get, "/small.bin")  # sent, and lost
            wait_for_output(forward, "connecting again")
            status, body = get("/small.bin")  # waited with
            assert (status, b"is away" in body) == (504, True)
            places.start_proxy()
            assert get("/small.bin")[0] == 200
            wait_for_output(forward, "connected again")
            assert first.result()[0] in (200, 504)
