cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t


# The extensions that a peer announces.
cdef enum:
    CAN_FORWARD = 1
    CAN_RESET = 2
    CAN_ZERO = 4

cdef enum:
    STREAMS = 65535
    DTLS = 1                    # as the reason why a zero checksum will do (RFC 9653 §8)


@cython.final
cdef class PeerInit:
    cdef uint32_t tag
    cdef uint32_t tsn
    cdef uint32_t window
    cdef uint16_t outgoing      # streams that the peer sends on
    cdef uint16_t incoming      # and that it takes
    cdef int can                # CAN_FORWARD, …
    cdef bytes cookie           # of an INIT ACK; None: it has none
    cdef bytes unknown          # parameters to report, each in an Unrecognized Parameter


@cython.final
cdef class Cookie:
    cdef double made_at
    cdef uint32_t tag           # ours
    cdef PeerInit peer
    cdef uint32_t own_tie       # tags of the association that existed when it was made
    cdef uint32_t peer_tie

    cdef bint is_stale(self, double now) noexcept


cdef PeerInit read_init(const uint8_t* data, size_t length, size_t report_limit)
cdef bytes init_body(object settings, uint32_t tag, uint32_t tsn)
cdef bytes abilities(object settings)
cdef bytes make_cookie(
    bytes key, double now, uint32_t tag, PeerInit peer, uint32_t own_tie, uint32_t peer_tie
)
cdef Cookie read_cookie(bytes key, bytes data)
cdef bytes stale_cookie_error(Cookie cookie, double now)
cdef bytes unrecognized_error(bytes unknown)
