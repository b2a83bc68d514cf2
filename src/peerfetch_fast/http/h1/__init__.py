"""HTTP/1.1 as octets, for both ends of a connection (RFC 9112). Sans-I/O."""

from peerfetch_fast.http.h1._wire import (
    MAX_CHUNK_LINE,
    MAX_FIELDS,
    MAX_HEAD,
    Closed,
    End,
    Request,
    Response,
)
from peerfetch_fast.http.h1.connection import (
    ClientConnection,
    Event,
    Headers,
    Octets,
    ServerConnection,
    Writing,
)
from peerfetch_fast.http.h1.leniency import PROGRAM, UPSTREAM, Leniency

__all__ = [
    "MAX_CHUNK_LINE",
    "MAX_FIELDS",
    "MAX_HEAD",
    "PROGRAM",
    "UPSTREAM",
    "ClientConnection",
    "Closed",
    "End",
    "Event",
    "Headers",
    "Leniency",
    "Octets",
    "Request",
    "Response",
    "ServerConnection",
    "Writing",
]
