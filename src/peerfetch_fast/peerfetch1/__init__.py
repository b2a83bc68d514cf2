"""``peerfetch.1``, the protocol of the peers that were there before, translated to ``peerfetch.2``.

To a session, an old peer is a link: what arrives on the old channel becomes a request on a session
in this process, and an answer there becomes an old answer. So whatever serves or asks on sessions
(every handler, every client) serves and asks old peers too, and knows nothing of them.
"""
