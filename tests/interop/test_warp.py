"""What shortens connecting, with a real Chromium whose switches set it: SNAP and SPED."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import chromium, open_page
from tests.interop.test_chromium import Ends
from tests.webrtc.conftest import LOOPS
from tests.webrtc.peers import Channel, Peer

from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc.transports import ConnectionOptions, open_connection

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not HAVE_NATIVE, reason="the native data path is not built"),
    pytest.mark.usefixtures("each_loop"),
    pytest.mark.parametrize("each_loop", list(LOOPS)[-1:], indirect=True),
]

SNAP = "--enable-features=WebRtcSctpSnap"


WARP = "--force-fieldtrials=WebRTC-Sctp-Snap/Enabled/WebRTC-IceHandshakeDtls/Enabled/"


@pytest.fixture(scope="module")
def warp() -> Iterator[str]:
    with chromium(WARP) as devtools:
        yield devtools


@pytest.fixture(scope="module")
def snap() -> Iterator[str]:
    with chromium(SNAP) as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def meet(browser: str, we_offer: bool) -> AsyncIterator[Ends]:
    """Our connection, and that of a page."""
    async with open_page(browser) as page:
        peer = Peer(open_connection(ConnectionOptions(transport="native")))  # type: ignore[arg-type]
        try:
            yield Ends(peer, page, we_offer)
        finally:
            await peer.connection.close()


async def echo(ends: Ends, channel: Channel, label: str = "first") -> None:
    """Messages go there and back."""
    messages = [b"%d" % number * 1000 for number in range(50)]
    for message in messages:
        channel.send(message)
    await ends.page("sink", label, len(messages), True)
    await ends.page("sendZeros", label, 100_000)
    assert await channel.messages.get() == bytes(100_000)


@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "they offer"])
async def test_snap_is_agreed_on_with_chromium(snap: str, we_offer: bool) -> None:
    async with meet(snap, we_offer) as ends:
        connection = ends.peer.connection
        channel = await ends.join()
        for description in (connection.localDescription, connection.remoteDescription):
            assert "a=sctp-init:" in description.sdp
        await echo(ends, channel)
        # A restart keeps it.
        connection.restartIce()
        ends.we_offer = True
        await ends.describe()
        assert "a=sctp-init:" in connection.localDescription.sdp
        await echo(ends, channel)
        channel = await ends.open("second", by_us=not we_offer)
        await echo(ends, channel, "second")


@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "they offer"])
async def test_snap_and_sped_are_agreed_on_with_chromium(warp: str, we_offer: bool) -> None:
    """Chromium begins with DTLS 1.3, and is content with 1.2."""

    async with meet(warp, we_offer) as ends:
        connection = ends.peer.connection
        channel = await ends.join()
        for description in (connection.localDescription, connection.remoteDescription):
            assert "a=sctp-init:" in description.sdp
            assert "a=ice-options:trickle sped googspedv1\r\n" in description.sdp
        # Flights of theirs have come within checks.
        assert connection._data._sped.received
        await echo(ends, channel)
        connection.restartIce()
        ends.we_offer = True
        await ends.describe()
        await echo(ends, channel)
