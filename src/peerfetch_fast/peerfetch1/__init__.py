"""``peerfetch.1``, the protocol of the peers that were there before, translated to ``peerfetch.2``.

To a session, an old peer is a link: what arrives on the old channel becomes a request on a session
in this process, and an answer there becomes an old answer. So whatever serves or asks on sessions
(every handler, every client) serves and asks old peers too, and knows nothing of them.
"""

__all__ = ["LABEL", "MAX_OLD_MESSAGE"]

LABEL = "http-proxy"
"""The label of the data channel; its protocol is empty."""

MAX_OLD_MESSAGE = 3_000_000
"""Bytes of the longest message on an ``http-proxy`` channel: old devices send a body in one, and
Chromium takes as much, whatever it announces. More was not seen to arrive."""
