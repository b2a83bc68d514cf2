"""Where we reach into aiortc and aioice: the only code that uses their private names.

Their versions are pinned in ``pyproject.toml`` to those that this was tested with, and
``tests/webrtc/test_seam.py`` lists every private name used here with its signature, so that a
new version that moves one fails there, by name. Nothing is patched: everything is a subclass or
an attribute of an object that we made.

- ``ice``: host candidates at once, the others when they come; bounds on what a peer makes us keep.
- ``gatherer``: aiortc's gatherer on top of it.
- ``dtls``: aiortc's DTLS transport, whose reader no datagram ends.
- ``native``: ICE sockets and DTLS of the native data path.
- ``channels``: SCTP and data channels of the native data path.
- ``peer``: the peer connection that puts our transports under aiortc's API.
- ``stock``: a data connection on aiortc's own transports, for where there is no other.
"""

from peerfetch_fast.errors import MissingExtra

try:
    import aiortc
except ImportError as error:
    raise MissingExtra(
        "media and aiortc's transport need aiortc, which this machine does not have: "
        "pip install 'peerfetch-fast[media]'"
    ) from error

__all__ = ["aiortc"]
