cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.packet cimport Packet, after


cdef enum:
    TRACKED = 65536             # TSNs that a SACK can name, the cumulative one included
    MAX_DUPLICATES = 32
    # RFC 9260 §6.2: a SACK for every second packet at the latest.
    PACKETS_PER_SACK = 2


@cython.final
cdef class Tracker:
    cdef readonly uint64_t duplicates
    cdef readonly uint32_t cumulative       # TSN up to which everything has come
    cdef uint32_t highest                   # TSN
    cdef bint sack_now
    cdef double sack_deadline               # when `sack_now` is to be set; infinite: no SACK waits
    cdef bint data_in_packet
    cdef bint urgent_in_packet              # and a SACK may not wait
    cdef double sack_delay
    cdef uint64_t* bitmap                   # of TSNs beyond the cumulative one, modulo TRACKED
    cdef uint32_t duplicate_tsns[MAX_DUPLICATES]
    cdef uint32_t duplicate_count
    cdef uint32_t packets_unacknowledged

    cdef inline bint is_complete(self) noexcept:
        """Whether nothing is missing up to the highest TSN."""
        return self.highest == self.cumulative

    cdef inline bint received(self, uint32_t tsn) noexcept:
        if not after(tsn, self.cumulative):
            return True
        return not after(tsn, self.highest) and (
            self.bitmap[(tsn & (TRACKED - 1)) >> 6] >> (tsn & 63) & 1
        )

    cdef inline bint is_new(self, uint32_t tsn) noexcept:
        """Whether a chunk came for the first time, and not too far ahead; it is not added yet."""
        cdef uint32_t ahead = tsn - self.cumulative
        if ahead - 1 >= TRACKED - 1:
            # Behind, or so far ahead that no SACK could name it.
            if ahead == 0 or ahead > 0x80000000u:
                self._duplicate(tsn)
            return False
        if self.bitmap[(tsn & (TRACKED - 1)) >> 6] >> (tsn & 63) & 1:
            self._duplicate(tsn)
            return False
        return True

    cdef inline void add(self, uint32_t tsn) noexcept:
        """A new chunk was taken."""
        if tsn == self.cumulative + 1 and self.is_complete():
            self.cumulative = self.highest = tsn
            return
        self.bitmap[(tsn & (TRACKED - 1)) >> 6] |= <uint64_t>1 << (tsn & 63)
        if after(tsn, self.highest):
            self.highest = tsn
        if tsn == self.cumulative + 1:
            self._advance()
        self.urgent_in_packet = True

    cdef inline void forget(self, uint32_t tsn) noexcept:
        """The cumulative TSN is about to pass a chunk."""
        self.bitmap[(tsn & (TRACKED - 1)) >> 6] &= ~(<uint64_t>1 << (tsn & 63))

    cdef inline bint owes_sack(self) noexcept:
        """Whether so many packets came that a SACK is due even if more of them wait."""
        return self.packets_unacknowledged >= PACKETS_PER_SACK

    cdef void start(self, uint32_t initial_tsn) noexcept
    cdef void move_to(self, uint32_t tsn) noexcept
    cdef uint32_t next_with(self, uint32_t tsn, bint received) noexcept
    cdef void end_packet(self, double now) noexcept
    cdef bint write_sack(self, Packet* packet, uint64_t window) noexcept

    cdef void _duplicate(self, uint32_t tsn) noexcept
    cdef void _advance(self) noexcept
    cdef void _write_newest_gaps(self, uint8_t* blocks, uint32_t first, uint32_t count) noexcept
    cdef uint32_t _last_with(self, uint32_t tsn, bint received) noexcept
