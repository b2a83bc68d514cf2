"""What shortens connecting, with a real Chromium whose switches set it: SNAP and SPED."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.interop.chromium import chromium, find_chromium, open_page
from tests.interop.test_chromium import Ends
from tests.webrtc.conftest import LOOPS
from tests.webrtc.peers import Channel, Peer

from peerfetch_fast.webrtc import HAVE_NATIVE
from peerfetch_fast.webrtc.transports import open_connection

pytestmark = [
    pytest.mark.skipif(
        find_chromium() is None,
        reason="there is no Chromium (Debian: apt install chromium)",
    ),
    pytest.mark.skipif(not HAVE_NATIVE, reason="the native data path is not built"),
    pytest.mark.parametrize("run", list(LOOPS)[-1:], indirect=True),
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
        peer = Peer(open_connection("native"))  # type: ignore[arg-type]
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
def test_snap(run: Any, snap: str, we_offer: bool) -> None:
    async def main() -> None:
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

    run(main())


@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "they offer"])
def test_snap_and_sped(run: Any, warp: str, we_offer: bool) -> None:
    """Chromium begins with DTLS 1.3, and is content with 1.2."""

    async def main() -> None:
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

    run(main())
