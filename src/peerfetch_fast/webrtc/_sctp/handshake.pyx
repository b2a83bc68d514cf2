"""The handshake's chunks: INIT and INIT ACK, and the cookie between them (RFC 9260 §5)."""

import hmac
import struct

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr

from peerfetch_fast.webrtc._sctp.packet cimport (
    CHUNK_HEADER,
    ERROR,
    FORWARD_TSN,
    FORWARD_TSN_SUPPORTED,
    INIT,
    RE_CONFIG,
    STALE_COOKIE,
    STATE_COOKIE,
    SUPPORTED_EXTENSIONS,
    UNRECOGNIZED_PARAMETER,
    UNRECOGNIZED_PARAMETERS,
    ZERO_CHECKSUM_ACCEPTABLE,
    chunk,
    load16,
    load32,
    next_parameter,
    padded,
    parameter,
)

cdef double COOKIE_LIFETIME = 60.0      # seconds (RFC 9260 §15)

# When it was made, tags of both sides, the peer's initial TSN, window and streams, what it can, and
# the tags of the association that exists already (RFC 9260 §5.2.2's tie-tags).
_COOKIE = struct.Struct(">dIIIIHHBII")
_COOKIE_MAC = 32
_INIT = struct.Struct(">IIHHI")


cdef class PeerInit:
    """The parameters of a peer's INIT or INIT ACK."""


cdef class Cookie:
    """The contents of a cookie: we wrote it into an INIT ACK, and the peer sends it back."""

    cdef bint is_stale(self, double now) noexcept:
        return now - self.made_at > COOKIE_LIFETIME


cdef bytes init_body(object settings, uint32_t tag, uint32_t tsn):
    """The fixed fields of our INIT or INIT ACK."""
    return _INIT.pack(tag, settings.receive_window, STREAMS, STREAMS, tsn)


cdef bytes abilities(object settings):
    """The parameters that say what we can."""
    able = parameter(FORWARD_TSN_SUPPORTED, b"") + parameter(
        SUPPORTED_EXTENSIONS, bytes((RE_CONFIG, FORWARD_TSN))
    )
    if settings.zero_checksum:
        able += parameter(ZERO_CHECKSUM_ACCEPTABLE, DTLS.to_bytes(4, "big"))
    return able


cdef bytes make_cookie(
    bytes key, double now, uint32_t tag, PeerInit peer, uint32_t own_tie, uint32_t peer_tie
):
    """The cookie of an INIT ACK: what we would need to remember of the peer, under our key."""
    cookie = _COOKIE.pack(
        now, tag, peer.tag, peer.tsn, peer.window, peer.outgoing, peer.incoming, peer.can,
        own_tie, peer_tie,
    )
    return cookie + hmac.digest(key, cookie, "sha256")


cdef Cookie read_cookie(bytes key, bytes data):
    """A cookie that the peer sent back; None: we have not made it."""
    cdef Cookie cookie
    cdef PeerInit peer
    if len(data) != _COOKIE.size + _COOKIE_MAC or not hmac.compare_digest(
        hmac.digest(key, data[:_COOKIE.size], "sha256"), data[_COOKIE.size:]
    ):
        return None
    cookie = Cookie.__new__(Cookie)
    cookie.peer = peer = PeerInit.__new__(PeerInit)
    (
        cookie.made_at, cookie.tag, peer.tag, peer.tsn, peer.window, peer.outgoing, peer.incoming,
        peer.can, cookie.own_tie, cookie.peer_tie,
    ) = _COOKIE.unpack_from(data)
    return cookie


cdef bytes stale_cookie_error(Cookie cookie, double now):
    """The ERROR that says by how many microseconds a cookie came too late (RFC 9260 §3.3.10.3)."""
    late = min(int((now - cookie.made_at - COOKIE_LIFETIME) * 1e6), 0xFFFFFFFF)
    return chunk(ERROR, 0, parameter(STALE_COOKIE, late.to_bytes(4, "big")))


cdef bytes unrecognized_error(bytes unknown):
    """The ERROR that reports parameters of an INIT ACK."""
    return chunk(ERROR, 0, parameter(UNRECOGNIZED_PARAMETERS, _unwrapped(unknown)))


def is_init(bytes data not None):
    """Whether a peer's description may have this for its INIT: one whole chunk that makes sense."""
    cdef const uint8_t* chunk_ = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef size_t size = PyBytes_GET_SIZE(data)
    cdef size_t length
    if size < CHUNK_HEADER or chunk_[0] != INIT:
        return False
    length = load16(chunk_ + 2)
    # With padding behind it or without.
    return (
        length <= size <= padded(length) and read_init(chunk_, length, 0) is not None
    )


cdef bytes _unwrapped(bytes unknown):
    """The parameters inside Unrecognized Parameter ones, for an ERROR (RFC 9260 §3.3.10.8)."""
    cdef Py_ssize_t at = 0, size
    found = b""
    while at < len(unknown):
        size = int.from_bytes(unknown[at + 2:at + 4], "big")
        inner = unknown[at + 4:at + size]
        found += inner + bytes(-len(inner) & 3)
        at += size + (-size & 3)
    return found


cdef PeerInit read_init(const uint8_t* data, size_t length, size_t report_limit):
    """Read an INIT or INIT ACK; None if it makes no sense.

    Of parameters that we do not know at most *report_limit* bytes are kept for a report.
    """
    cdef PeerInit found = PeerInit.__new__(PeerInit)
    cdef size_t at = CHUNK_HEADER + 16
    cdef size_t begin, size
    cdef uint16_t kind
    cdef int more
    cdef const uint8_t* value
    if length < at:
        return None
    found.tag, found.window, found.outgoing, found.incoming, found.tsn = _INIT.unpack(
        data[CHUNK_HEADER:CHUNK_HEADER + 16]
    )
    if found.tag == 0 or found.outgoing == 0 or found.incoming == 0:
        return None
    found.unknown = b""
    while True:
        begin = at
        more = next_parameter(data, length, &at, &kind, &size)
        if more < 0:
            return None
        if more == 0:
            break
        value = data + begin + CHUNK_HEADER
        size -= CHUNK_HEADER
        if kind == STATE_COOKIE:
            found.cookie = value[:size]
        elif kind == FORWARD_TSN_SUPPORTED:
            found.can |= CAN_FORWARD
        elif kind == SUPPORTED_EXTENSIONS:
            if memchr(value, FORWARD_TSN, size) != NULL:
                found.can |= CAN_FORWARD
            if memchr(value, RE_CONFIG, size) != NULL:
                found.can |= CAN_RESET
        elif kind == ZERO_CHECKSUM_ACCEPTABLE:
            if size >= 4 and load32(value) == DTLS:
                found.can |= CAN_ZERO
        elif 5 <= kind <= 12 or kind == UNRECOGNIZED_PARAMETER or kind & 0xC000 == 0xC000:
            # Addresses and lifetimes, which mean nothing over DTLS; and other extensions that
            # say so if they are to be skipped.
            if kind & 0xC000 == 0xC000 and len(found.unknown) + size < report_limit:
                found.unknown += parameter(
                    UNRECOGNIZED_PARAMETER, data[begin:begin + CHUNK_HEADER + size]
                )
        else:
            # RFC 9260 §3.2.1: the two highest bits say whether to go on and whether to report.
            if kind & 0x4000 and len(found.unknown) + size < report_limit:
                found.unknown += parameter(
                    UNRECOGNIZED_PARAMETER, data[begin:begin + CHUNK_HEADER + size]
                )
            if not kind & 0x8000:
                break
    return found
