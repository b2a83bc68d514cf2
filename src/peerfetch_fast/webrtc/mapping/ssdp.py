"""SSDP's search for routers (UPnP Device Architecture 2.0 section 1.3), as datagrams.

It is not async-upnp-client's, whose search keeps its socket where it is cancelled, raises what it
cannot read into the event loop, and holds what anybody sends.
"""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["GROUP", "TARGETS", "TTL", "location_of", "search"]

GROUP = ("239.255.255.250", 1900)

TARGETS = tuple(
    f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2)
)

TTL = 2
"""Networks that a search may cross (section 1.3.2)."""

MAX_ANSWER = 2048
"""Bytes of the longest answer that is read."""

_ANSWER = b"HTTP/1.1 200 "


def search(target: str, seconds: int) -> bytes:
    """Ask all devices that are a ``target`` to answer within ``seconds`` (section 1.3.2)."""
    host, port = GROUP
    return (
        f'M-SEARCH * HTTP/1.1\r\nHOST: {host}:{port}\r\nMAN: "ssdp:discover"\r\n'
        f"MX: {seconds}\r\nST: {target}\r\n\r\n"
    ).encode()


def location_of(answer: bytes, host: str) -> str | None:
    """Where ``host`` says that its description is (section 1.3.3); None: it is no answer, or names
    another host: whoever answers may speak for itself alone.
    """
    if len(answer) > MAX_ANSWER or not answer.startswith(_ANSWER):
        return None
    for line in answer.split(b"\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"location":
            try:
                location = value.strip().decode("ascii")
                parts = urlsplit(location)
            except ValueError:
                return None
            return location if parts.scheme == "http" and parts.hostname == host else None
    return None
