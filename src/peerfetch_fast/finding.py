"""Where a peer and its signaling server are looked for: what was not said is found in the
environment, then in what is kept, and last on this machine, by programs as by commands.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from peerfetch_fast.configuration import configuration_file, read_configuration
from peerfetch_fast.devices import load_devices
from peerfetch_fast.errors import SignalingError
from peerfetch_fast.identity import PeerUrl, parse_peer_url
from peerfetch_fast.signaling.peerjs.settings import DEFAULT_SIGNALING
from peerfetch_fast.state import state_directory

__all__ = [
    "RENDEZVOUS_VARIABLE",
    "SIGNALING_VARIABLE",
    "find_peer",
    "find_signaling",
    "is_host_name",
    "rendezvous_url",
]

SIGNALING_VARIABLE = "PEERFETCH_SIGNALING"
RENDEZVOUS_VARIABLE = "PEERFETCH_RENDEZVOUS"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_RENDEZVOUS = re.compile(r"([^:]*)(?::[0-9]{1,5})?")


def is_host_name(text: str) -> bool:
    """Whether a host can have that name, as in ``meet.example.org``."""
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def rendezvous_url(name: str) -> str:
    """The signaling of a rendezvous server: ``wss://DOMAIN`` of ``DOMAIN`` or ``DOMAIN:PORT``.

    Raises SignalingError for what is no name.
    """
    found = _RENDEZVOUS.fullmatch(name)
    if found is None or not is_host_name(found[1]):
        raise SignalingError(
            f"{name!r} is no rendezvous server: write its name, as in meet.example.org"
        )
    return f"wss://{name.lower()}"


def find_peer(
    peer: str | PeerUrl, signaling: str | None, *, default: str | None = None
) -> tuple[PeerUrl, str]:
    """The peer that an id, a URL or the name of a paired device means, and its signaling server:
    the one given, that of ``PEERFETCH_SIGNALING``, the one that the device was paired with, the
    rendezvous server, or this machine's.

    :param default: in place of the last two.

    Raises PeerfetchError for a file of devices or a configuration that holds something else,
    OSError for one that cannot be read.
    """
    url = parse_peer_url(peer) if isinstance(peer, str) else peer
    if signaling is None:
        signaling = os.environ.get(SIGNALING_VARIABLE) or None
    device = load_devices(state_directory()).get(url.peer_id)
    if device is not None:
        url = url._replace(peer_id=device.peer_id, pin=url.pin or device.pin)
        signaling = device.signaling if signaling is None else signaling
    return url, signaling or default or _rendezvous() or DEFAULT_SIGNALING


def find_signaling(signaling: str | None) -> str:
    """The signaling server to be found through: the one given, that of ``PEERFETCH_SIGNALING``, the
    rendezvous server, that of the old proxy's configuration (:mod:`.peerfetch1.config`), or this
    machine's.

    Raises PeerfetchError for a configuration that holds something else, OSError for one that cannot
    be read.
    """
    if signaling is not None:
        return signaling
    told = os.environ.get(SIGNALING_VARIABLE) or _rendezvous()
    if told:
        return told
    from peerfetch_fast.peerfetch1.config import load_config

    old = load_config()
    return DEFAULT_SIGNALING if old is None or old.signaling is None else old.signaling


def _rendezvous() -> str | None:
    """The signaling of the rendezvous server that the environment or the configuration names."""
    named: object = os.environ.get(RENDEZVOUS_VARIABLE)
    if not named and (path := configuration_file()) is not None:
        named = read_configuration(Path(path)).tables.get("rendezvous")
    # A table of that name holds the options of the server's own command.
    return rendezvous_url(named) if isinstance(named, str) and named else None
