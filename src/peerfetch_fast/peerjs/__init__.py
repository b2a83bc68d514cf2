"""peerjs-python's names on this package's transport: programs change the import and nothing else.

::

    from peerfetch_fast.peerjs.peer import Peer, PeerOptions
    from peerfetch_fast.peerjs.peerroom import PeerRoom
    from peerfetch_fast.peerjs.enums import ConnectionEventType, PeerEventType
    from peerfetch_fast.peerjs.util import default_ice_servers, util

Beside peerjs-python's ``raw`` and ``json``, connections speak PeerJS's ``binary``.
"""
