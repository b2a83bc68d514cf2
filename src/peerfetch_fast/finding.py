"""Where a peer and its signaling server are looked for: what was not said is found in the
environment, then in what is kept, and last on this machine, by programs as by commands.
"""

from __future__ import annotations

import os

from peerfetch_fast.devices import load_devices
from peerfetch_fast.identity import PeerUrl, parse_peer_url
from peerfetch_fast.signaling.settings import DEFAULT_SIGNALING
from peerfetch_fast.state import state_directory

__all__ = ["SIGNALING_VARIABLE", "find_peer", "find_signaling"]

SIGNALING_VARIABLE = "PEERFETCH_SIGNALING"


def find_peer(peer: str | PeerUrl, signaling: str | None) -> tuple[PeerUrl, str]:
    """The peer that an id, a URL or the name of a paired device means, and its signaling server:
    the one given, that of ``PEERFETCH_SIGNALING``, the one that the device was paired with, or
    this machine's.

    Raises PeerfetchError for a file of devices that holds something else, OSError for one that
    cannot be read.
    """
    url = parse_peer_url(peer) if isinstance(peer, str) else peer
    if signaling is None:
        signaling = os.environ.get(SIGNALING_VARIABLE) or None
    device = load_devices(state_directory()).get(url.peer_id)
    if device is not None:
        url = url._replace(peer_id=device.peer_id, pin=url.pin or device.pin)
        signaling = device.signaling if signaling is None else signaling
    return url, DEFAULT_SIGNALING if signaling is None else signaling


def find_signaling(signaling: str | None) -> str:
    """The signaling server to be found through: the one given, that of ``PEERFETCH_SIGNALING``,
    that of the old proxy's configuration (:mod:`.peerfetch1.config`), or this machine's.

    Raises PeerfetchError for a configuration that holds something else, OSError for one that cannot
    be read.
    """
    if signaling is not None:
        return signaling
    told = os.environ.get(SIGNALING_VARIABLE)
    if told:
        return told
    from peerfetch_fast.peerfetch1.config import load_config

    old = load_config()
    return DEFAULT_SIGNALING if old is None or old.signaling is None else old.signaling
