cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.sending.delivery_rate cimport DeliveryRate
from peerfetch_fast.webrtc._sctp.sending.losses cimport Losses
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Outstanding, Sent
from peerfetch_fast.webrtc._sctp.sending.recovery cimport Recovery
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips


# The blocks behind a SACK's fixed fields, which are as many as it says.
cdef struct Blocks:
    const uint8_t* gaps
    const uint8_t* duplicates
    uint32_t gap_count
    uint32_t duplicate_count


@cython.final
cdef class Sacks:
    cdef readonly uint64_t spurious         # chunks that the peer reported as duplicates
    cdef bint cut_short                     # the last SACK may not name all that the peer has:
    cdef uint32_t unreported                # from this TSN on, nothing is known
    cdef uint32_t last_gap_reported         # chunks that the last SACK's gap blocks covered
    cdef Outstanding outstanding
    cdef RoundTrips round_trips
    cdef DeliveryRate rate
    cdef Losses losses
    cdef Recovery recovery
    cdef uint32_t most_room                 # blocks that a packet of the peer's may hold
    cdef uint32_t max_blocks                # of a SACK of the peer's, gap blocks and duplicates

    cdef bint is_sound(self, uint32_t cumulative, const Blocks* blocks) noexcept
    cdef int take(
        self, Report* report, uint32_t cumulative, const Blocks* blocks, double now
    ) except -1
    cdef void _take_cumulative(self, Report* report, uint32_t cumulative, double now) noexcept
    cdef void _take_gaps(self, Report* report, const Blocks* blocks, double now) noexcept
    cdef void _take_duplicates(self, const Blocks* blocks) noexcept
    cdef void _acknowledge(self, Report* report, Sent* sent, uint32_t tsn, double now) noexcept
