"""``peerfetch.1``, the protocol of older peers, translated to ``peerfetch.2``.

A session sees an old peer as a link: a message on the old channel becomes a request on a session in
this process, and the answer there becomes an old answer. So every handler and every client of
sessions works with old peers, too, without knowing about them.
"""

__all__ = ["LABEL", "MAX_OLD_MESSAGE"]

LABEL = "http-proxy"
"""The label of the data channel; its protocol is empty."""

MAX_OLD_MESSAGE = 3_000_000
"""Bytes of the longest message on an ``http-proxy`` channel. Old devices send a whole body in one
message. Chromium takes this much, whatever it announces; longer messages did not arrive."""
