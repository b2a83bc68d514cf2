"""The link that leads a browser to a device, and its QR code."""

from __future__ import annotations

import io

__all__ = ["page_url", "qr_code"]


def page_url(signaling: str, peer: str = "") -> str:
    """The page of the web endpoint at ``signaling`` (a ``ws://`` or ``wss://`` URL).

    :param peer: the device that it shall connect to: an id, with ``#`` and a pin if that is known.
        It stands in the fragment, which browsers do not send to the server.
    """
    page = f"http{signaling.removeprefix('ws')}/"
    return f"{page}#{peer}" if peer else page


def qr_code(text: str) -> str:
    """``text`` as a QR code for a terminal."""
    import segno

    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
