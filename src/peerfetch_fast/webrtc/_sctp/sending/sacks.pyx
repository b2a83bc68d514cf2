"""The peer's SACKs: which chunks have arrived, and what a SACK had no room to say."""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from peerfetch_fast.webrtc._sctp.packet cimport COMMON_HEADER, SACK_HEADER, after, load16, load32
from peerfetch_fast.webrtc._sctp.sending.delivery_rate cimport DeliveryRate
from peerfetch_fast.webrtc._sctp.sending.losses cimport Losses
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport (
    ACKED,
    FLYING,
    LOST,
    Outstanding,
    Sent,
    size_of,
)
from peerfetch_fast.webrtc._sctp.sending.recovery cimport Recovery
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips

cdef enum:
    # A SACK with so many gap blocks may have left out others: Chromium's never have more.
    LEAST_MAX_BLOCKS = 20


cdef class Sacks:
    """Reads SACKs into the ring, and reports what was new.

    :param packet_size: bytes of the largest packet, ours or the peer's.
    :ivar spurious: chunks that the peer reported to have received twice.
    """

    def __cinit__(
        self, Outstanding outstanding not None, RoundTrips round_trips not None,
        DeliveryRate rate not None, Losses losses not None, Recovery recovery not None,
        uint32_t packet_size
    ):
        self.outstanding = outstanding
        self.round_trips = round_trips
        self.rate = rate
        self.losses = losses
        self.recovery = recovery
        self.most_room = (packet_size - COMMON_HEADER - SACK_HEADER) // 4
        self.max_blocks = LEAST_MAX_BLOCKS

    cdef bint is_sound(self, uint32_t cumulative, const Blocks* blocks) noexcept:
        """Whether every gap block speaks of data that was sent; nothing is believed of others."""
        cdef uint32_t index, last_sent = self.outstanding.next_tsn - 1
        for index in range(blocks.gap_count):
            if (
                load16(blocks.gaps + 4 * index) > load16(blocks.gaps + 4 * index + 2)
                or load16(blocks.gaps + 4 * index + 2) > last_sent - cumulative
            ):
                return False
        return True

    cdef int take(
        self, Report* report, uint32_t cumulative, const Blocks* blocks, double now
    ) except -1:
        """Mark in the ring what a sound SACK acknowledges, and fill in the report."""
        memset(report, 0, sizeof(Report))
        report.newest_tsn = cumulative
        report.delivered = self.rate.delivered
        report.delivered_at = self.rate.delivered_at
        report.recovering = self.recovery.recovering
        report.was_cut_short = self.cut_short
        report.was_unreported = self.unreported
        report.rtt = -1
        report.moved = cumulative != self.outstanding.cumulative
        report.repeated = blocks.duplicate_count != 0
        self._take_cumulative(report, cumulative, now)
        self._take_gaps(report, blocks, now)
        self._take_duplicates(blocks)
        report.cut_short = self.cut_short
        if report.any:
            report.rtt = now - report.newest.sent_at
            # A SACK that was cut short could not report it, and it may have come long ago.
            report.belated = report.was_cut_short and (
                not after(report.was_unreported, report.newest_tsn)
            )
        return 0

    cdef void _take_cumulative(self, Report* report, uint32_t cumulative, double now) noexcept:
        """All up to *cumulative* has arrived."""
        cdef Outstanding outstanding = self.outstanding
        cdef Sent* sent
        cdef uint32_t tsn
        while outstanding.cumulative != cumulative:
            tsn = outstanding.cumulative + 1
            sent = outstanding.entry(tsn)
            self._acknowledge(report, sent, tsn, now)
            outstanding.release(sent)
            outstanding.cumulative = tsn

    cdef void _take_gaps(self, Report* report, const Blocks* blocks, double now) noexcept:
        """The chunks that gap blocks name have arrived too."""
        cdef Outstanding outstanding = self.outstanding
        cdef Sent* sent
        cdef uint32_t tsn, first, index, reported = 0
        cdef uint32_t cumulative = outstanding.cumulative, stop = cumulative
        for index in range(blocks.gap_count):
            first = tsn = cumulative + load16(blocks.gaps + 4 * index)
            # Blocks come in order and apart; others would only make us walk the ring again.
            if not after(first, stop):
                continue
            stop = cumulative + load16(blocks.gaps + 4 * index + 2) + 1
            reported += stop - first
            while after(stop, tsn):
                sent = outstanding.entry(tsn)
                tsn += 1
                if sent.state == ACKED:
                    tsn = sent.next
                else:
                    self._acknowledge(report, sent, tsn - 1, now)
                    sent.state = ACKED
                    outstanding.gap_acked += 1
                    sent.next = tsn
                # A later block that begins here skips this run.
                if after(stop, sent.next):
                    sent.next = stop
        self.last_gap_reported = reported
        if blocks.gap_count > LEAST_MAX_BLOCKS:
            # This peer fills a packet with gap blocks.
            self.max_blocks = self.most_room
        self.cut_short = blocks.gap_count + blocks.duplicate_count >= self.max_blocks and (
            blocks.gap_count >= LEAST_MAX_BLOCKS
        )
        if self.cut_short and not report.was_cut_short:
            self.rate.known_until(report)
        self.unreported = stop

    cdef void _take_duplicates(self, const Blocks* blocks) noexcept:
        """TSNs that have come twice."""
        cdef uint32_t index
        self.spurious += blocks.duplicate_count
        for index in range(blocks.duplicate_count):
            self.recovery.on_duplicate(load32(blocks.duplicates + 4 * index))

    cdef inline void _acknowledge(
        self, Report* report, Sent* sent, uint32_t tsn, double now
    ) noexcept:
        """A SACK names a chunk. If it is the first to do so, the chunk has arrived just now."""
        if sent.state != FLYING and sent.state != LOST:
            return
        self.recovery.on_acked(sent, tsn, self.round_trips.shortest, now)
        self.losses.on_acked(sent, tsn, now)
        self.outstanding.settle(sent, tsn)
        self.rate.add(size_of(sent), now)
        # The report keeps a copy, as giving up messages may move the ring.
        if not report.any or not after(report.newest.order, sent.order):
            report.any = True
            report.newest = sent[0]
            report.newest_tsn = tsn
