"""``peerfetch.1``, the protocol of the peers that were there before, translated to ``peerfetch.2``.

To a session, an old peer is a link: what arrives on the old channel becomes a request on a session
in this process, and an answer there becomes an old answer. So whatever serves or asks on sessions
(every handler, every client) serves and asks old peers too, and knows nothing of them.
"""

from peerfetch_fast.peerfetch1.messages import LABEL
from peerfetch_fast.peerfetch1.old_client import link_to_old_client
from peerfetch_fast.peerfetch1.old_proxy import link_to_old_proxy

__all__ = ["LABEL", "link_to_old_client", "link_to_old_proxy"]
