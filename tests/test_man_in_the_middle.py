"""A signaling server in the middle: it ends both DTLS connections and passes on what it reads.

Without pin or token it succeeds, so that the tests with them can fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast import connect
from peerfetch_fast.errors import AccessDenied, ConnectError, IdentityChanged
from peerfetch_fast.negotiation import Connected, answer, dial
from peerfetch_fast.settings import Limits
from peerfetch_fast.signaling.seam import Signal, join
from peerfetch_fast.streams.link import Link
from peerfetch_fast.switchboard import Switchboard
from peerfetch_fast.webrtc.certificate import generate_certificate
from peerfetch_fast.webrtc.transports import ConnectionOptions, close_connection
from processes import TRANSPORTS, require_transport
from support import until
from test_peer import World, signaling_server, world
from wire import decode, encode

TOKEN = "3q2-7wAAAAECAwQFBgcICQ"


class Anybody:
    def check(self, peer_id: str, fingerprint: bytes, *, lasting: bool = True) -> None:
        """Whoever it is."""


class Tap:
    """Keeps messages, and passes them on to another link if there is one."""

    def __init__(self, target: Link | None, seen: list[bytes]) -> None:
        self._target = target
        self._seen = seen

    def message_received(self, message: bytes | str) -> None:
        assert isinstance(message, bytes)
        self._seen.append(message)
        if self._target is not None:
            self._target.send(message)

    def parts_received(self, head: bytes, body: bytes) -> None:
        self.message_received(head + body)

    def buffered_low(self) -> None:
        """Nothing waits here."""

    def link_closed(self, error: Exception | None) -> None:
        if self._target is not None:
            self._target.close()


def of_type(kind: str, messages: list[bytes]) -> list[dict[str, Any]]:
    """The frames of a type in ``messages``."""
    frames = [frame for message in messages for frame in decode(message)]
    return [frame for frame in frames if frame["type"] == kind]


class Middle:
    """Plays the device towards clients, and a client towards the device."""

    def __init__(self, there: World, transport: Any) -> None:
        self._device = there.server.peer_id
        self._options = ConnectionOptions(transport=transport)
        self._certificate = generate_certificate()
        self._connected: list[Connected] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.from_client: list[bytes] = []
        self.from_device: list[bytes] = []
        self.clients = Switchboard(self._on_offer)
        self.devices = Switchboard()

    def _on_offer(self, offer: Signal) -> bool:
        self._tasks.append(asyncio.ensure_future(self._join(offer)))
        return True

    async def to_device(self) -> Connected:
        connected = await dial(
            self.devices, self._device, trust=Anybody(), options=self._options, timeout=60
        )
        self._connected.append(connected)
        return connected

    async def _join(self, offer: Signal) -> None:
        with contextlib.suppress(ConnectError):  # the client may leave as soon as it looks
            client, device = await asyncio.gather(
                answer(
                    self.clients,
                    offer,
                    certificate=self._certificate,
                    options=self._options,
                    timeout=60,
                ),
                self.to_device(),
            )
            self._connected.append(client)
            device.link.attach(Tap(client.link, self.from_device))
            client.link.attach(Tap(device.link, self.from_client))

    async def close(self) -> None:
        await asyncio.wait(self._tasks)
        for connected in self._connected:
            await close_connection(connected.connection)


@contextlib.asynccontextmanager
async def in_between(there: World, transport: Any) -> AsyncIterator[tuple[Middle, str]]:
    """Somebody in the middle, and the URL of the signaling server that is his."""
    middle = Middle(there, transport)
    async with signaling_server() as his:
        clients = join(his, there.server.peer_id, on_signal=middle.clients.take)
        devices = join(there.signaling, on_signal=middle.devices.take)
        middle.clients.signaling, middle.devices.signaling = clients, devices
        await clients.start()
        await devices.start()
        try:
            yield middle, his
        finally:
            await middle.close()
            await clients.close()
            await devices.close()


@pytest.fixture(params=TRANSPORTS)
def transport(request: Any) -> str:
    require_transport(request.param)
    return str(request.param)


async def test_without_pin_and_token_it_reads_along(transport: str, tmp_path: Path) -> None:
    async with world() as there, in_between(there, transport) as (middle, his):
        async with connect(
            there.server.peer_id,
            signaling=his,
            transport=transport,  # type: ignore[arg-type]
            known_peers=tmp_path / "known_peers",
        ) as peer:
            response = await peer.fetch("/private", headers={"cookie": "secret"})
            assert await response.text() == "/private"
        assert there.asked == ["/private"]
        assert any(b"secret" in message for message in middle.from_client)


@pytest.mark.parametrize("beforehand", [True, False])
async def test_a_pin_stops_it(transport: str, tmp_path: Path, beforehand: bool) -> None:
    async with world() as there, in_between(there, transport) as (middle, his):
        options: dict[str, Any] = {
            "transport": transport,
            "known_peers": tmp_path / "known_peers",
        }
        if beforehand:
            options["pin"] = there.server.fingerprint
        else:  # it came between after the first time
            await (await there.connect(**options)).abort()
        with pytest.raises(IdentityChanged):
            await connect(there.server.peer_id, signaling=his, **options)
        assert there.asked == []
        assert middle.from_client == []


async def test_a_token_stops_it(transport: str, tmp_path: Path) -> None:
    limits = Limits(access_delay=0.2)
    async with (
        world(access_token=TOKEN, limits=limits) as there,
        in_between(there, transport) as (middle, his),
    ):
        options: dict[str, Any] = {"transport": transport, "access_token": TOKEN}
        with pytest.raises(AccessDenied):
            await connect(
                there.server.peer_id,
                signaling=his,
                **options,
                known_peers=tmp_path / "known_peers",
            )
        assert there.asked == []
        assert there.server.refused["wrong access token"] == 1
        # All that it got is the client's proof: none of the device's, no request.
        [proof] = of_type("ACCESS", middle.from_client)
        assert not of_type("STREAM", middle.from_client)
        assert not of_type("ACCESS", middle.from_device)
        # And that is worth nothing on a connection of its own.
        own = await middle.to_device()
        heard: list[bytes] = []
        own.link.attach(Tap(None, heard))
        stream = {"type": "STREAM", "stream": 0, "offset": 0, "data": "", "fin": True}
        own.link.send(encode({"type": "SETTINGS", "settings": []}, proof, stream))
        await until(lambda: bool(of_type("GOAWAY", heard)))
        assert of_type("GOAWAY", heard)[0]["code"] == 0x20
        assert there.server.refused["wrong access token"] == 2
        answers = "".join(frame["data"] for frame in of_type("STREAM", heard))
        assert b'"status":401' in bytes.fromhex(answers)
        assert there.asked == []
        # Nobody in between: it works.
        async with there.connect(**options) as peer:
            assert (await peer.fetch("/")).ok


async def test_a_pin_and_a_token_give_nothing_away(transport: str) -> None:
    async with (
        world(access_token=TOKEN) as there,
        in_between(there, transport) as (middle, his),
    ):
        with pytest.raises(IdentityChanged):
            await connect(
                there.server.url,
                signaling=his,
                transport=transport,  # type: ignore[arg-type]
                access_token=TOKEN,
            )
        assert middle.from_client == []
