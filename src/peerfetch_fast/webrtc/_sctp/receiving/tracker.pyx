"""Which TSNs have come, and the SACKs that say so.

TSNs are tracked for 65,535 beyond the cumulative one, in a bitmap.
"""

from libc.math cimport INFINITY
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from peerfetch_fast.webrtc._sctp.packet cimport (
    SACK,
    SACK_HEADER,
    Packet,
    after,
    claim,
    store16,
    store32,
)

cdef extern from *:
    int count_trailing_zeros "__builtin_ctzll"(unsigned long long value) noexcept nogil
    int count_leading_zeros "__builtin_clzll"(unsigned long long value) noexcept nogil


cdef class Tracker:
    """The TSNs of an association's peer.

    :param sack_delay: seconds that a SACK may wait.
    :ivar cumulative: the TSN up to which everything has come.
    :ivar duplicates: TSNs received more than once.
    """

    def __cinit__(self, double sack_delay):
        self.sack_delay = sack_delay
        self.sack_deadline = INFINITY
        self.bitmap = <uint64_t*>calloc(TRACKED // 64, sizeof(uint64_t))
        if self.bitmap == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.bitmap)

    cdef void start(self, uint32_t initial_tsn) noexcept:
        """The peer begins at *initial_tsn*."""
        self.cumulative = self.highest = initial_tsn - 1

    cdef void move_to(self, uint32_t tsn) noexcept:
        """The peer has given up what is missing up to *tsn*; what has come was forgotten."""
        self.cumulative = tsn
        if after(tsn, self.highest):
            self.highest = tsn
        self._advance()

    cdef void _advance(self) noexcept:
        cdef uint32_t tsn = self.cumulative + 1
        cdef uint64_t* word = self.bitmap + ((tsn & (TRACKED - 1)) >> 6)
        while word[0] & (<uint64_t>1 << (tsn & 63)):
            word[0] &= ~(<uint64_t>1 << (tsn & 63))
            tsn += 1
            word = self.bitmap + ((tsn & (TRACKED - 1)) >> 6)
        self.cumulative = tsn - 1

    cdef void _duplicate(self, uint32_t tsn) noexcept:
        self.duplicates += 1
        self.urgent_in_packet = True
        if self.duplicate_count < MAX_DUPLICATES:
            self.duplicate_tsns[self.duplicate_count] = tsn
            self.duplicate_count += 1

    # SACKs

    cdef void end_packet(self, double now) noexcept:
        """All chunks of a packet were given: decide when to acknowledge (RFC 9260 §6.2)."""
        if not self.data_in_packet:
            return
        self.packets_unacknowledged += 1
        if self.urgent_in_packet or not self.is_complete() or self.owes_sack():
            self.sack_now = True
        elif self.sack_deadline == INFINITY:
            self.sack_deadline = now + self.sack_delay
        self.data_in_packet = self.urgent_in_packet = False

    cdef bint write_sack(self, Packet* packet, uint64_t window) noexcept:
        """A SACK chunk that says as much as the packet has room for; False: it has none.

        *window*: the bytes that the peer may send.
        """
        cdef uint8_t* out = claim(packet, SACK_HEADER)
        cdef uint8_t* block
        cdef uint32_t gaps = 0, duplicates = 0
        cdef uint32_t tsn = self.cumulative + 1
        if out == NULL:
            return False
        while after(self.highest, tsn):
            block = claim(packet, 4)
            if block == NULL:
                # The oldest close the holes next to the cumulative TSN; the newest are news, by
                # which the sender finds what else is lost. The gaps between were reported before.
                self._write_newest_gaps(out + SACK_HEADER, gaps // 2, gaps)
                break
            tsn = self.next_with(tsn, True)
            store16(block, <uint16_t>(tsn - self.cumulative))
            tsn = self.next_with(tsn, False)
            store16(block + 2, <uint16_t>(tsn - 1 - self.cumulative))
            gaps += 1
        while duplicates < self.duplicate_count:
            block = claim(packet, 4)
            if block == NULL:
                break
            store32(block, self.duplicate_tsns[duplicates])
            duplicates += 1
        out[0] = SACK
        out[1] = 0
        store16(out + 2, <uint16_t>(SACK_HEADER + 4 * (gaps + duplicates)))
        store32(out + 4, self.cumulative)
        store32(out + 8, <uint32_t>window)
        store16(out + 12, <uint16_t>gaps)
        store16(out + 14, <uint16_t>duplicates)
        self.duplicate_count = 0
        self.packets_unacknowledged = 0
        self.sack_now = False
        self.sack_deadline = INFINITY
        return True

    cdef void _write_newest_gaps(self, uint8_t* blocks, uint32_t first, uint32_t count) noexcept:
        """Of the *count* gap blocks at *blocks*, which do not reach the highest TSN, write those
        from *first* on again: with the newest gaps that there are."""
        cdef uint32_t begin, end = self.highest
        while count > first:
            count -= 1
            begin = self._last_with(end, False) + 1
            store16(blocks + 4 * count, <uint16_t>(begin - self.cumulative))
            store16(blocks + 4 * count + 2, <uint16_t>(end - self.cumulative))
            end = self._last_with(begin - 1, True)

    cdef uint32_t next_with(self, uint32_t tsn, bint received) noexcept:
        """The first TSN from *tsn* on that was received, or was not: past the highest, none was."""
        cdef uint64_t word
        while True:
            word = self.bitmap[(tsn & (TRACKED - 1)) >> 6]
            if not received:
                word = ~word
            word >>= tsn & 63
            if word:
                return tsn + count_trailing_zeros(word)
            tsn += 64 - (tsn & 63)

    cdef uint32_t _last_with(self, uint32_t tsn, bint received) noexcept:
        """The last TSN up to *tsn*, and beyond the cumulative one, that has been received or has
        not. The caller knows that there is one."""
        cdef uint64_t word
        while True:
            word = self.bitmap[(tsn & (TRACKED - 1)) >> 6]
            if not received:
                word = ~word
            word <<= 63 - (tsn & 63)
            if word:
                return tsn - count_leading_zeros(word)
            tsn -= (tsn & 63) + 1
