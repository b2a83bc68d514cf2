"""The link that leads a browser to a device, and its QR code."""

from __future__ import annotations

import io

__all__ = ["page_url", "qr_code"]


def page_url(signaling: str, peer: str = "") -> str:
    """The page of the web endpoint at ``signaling`` (a URL of WebSockets or HTTP).

    :param peer: the device that it shall connect to: an id, with a path if it shall show that, and
        with ``#`` and a pin if that is known. It stands in the fragment, which browsers do not send
        to the server.
    """
    scheme, _, place = signaling.partition("://")
    page = f"{'https' if scheme in ('wss', 'https') else 'http'}://{place.rstrip('/')}/"
    return f"{page}#{peer}" if peer else page


def qr_code(text: str) -> str:
    """``text`` as a QR code for a terminal."""
    import segno

    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
