"""Losses found by time, as RFC 8985 (RACK) does for TCP.

A chunk is lost when one that was sent sufficiently later has been acknowledged. How much later that
is follows from the reordering that the path has shown.
"""

from libc.math cimport INFINITY
from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport CongestionControl
from peerfetch_fast.webrtc._sctp.packet cimport after
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport (
    FLYING,
    Outstanding,
    Sent,
    size_of,
)
from peerfetch_fast.webrtc._sctp.sending.recovery cimport Recovery
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips

cdef enum:
    # RFC 8985 §6.2, RFC 9002 §6.1.1: this many packets later, unless the path reorders.
    PACKET_THRESHOLD = 3
    MAX_REORDERING_STEPS = 16

# Sums of the same times in another order differ in their last bits.
cdef double ROUNDING = 1e-7


cdef class Losses:
    """Finds what is lost, and tells the congestion control."""

    def __cinit__(
        self, Outstanding outstanding not None, Recovery recovery not None,
        RoundTrips round_trips not None, CongestionControl congestion not None
    ):
        self.outstanding = outstanding
        self.recovery = recovery
        self.round_trips = round_trips
        self.congestion = congestion
        self.highest_acked = outstanding.cumulative
        self.reordering_steps = 1
        self.deadline = INFINITY

    cdef void on_newest(self, const Report* report, bint is_probe) noexcept:
        """A SACK acknowledged chunks; *is_probe*: the newest of them was the probe that is out."""
        cdef const Sent* newest = &report.newest
        # An acknowledgement sooner than any was the first transmission's (RFC 8985 §6.2). Of a
        # probe it does not matter: nothing left between the two, and what left before is older
        # than the probe's timeout. On a short path such answers are common.
        if self.round_trips.is_plausible(report.rtt) and (
            newest.transmissions == 1 or report.rtt >= self.round_trips.shortest
            or is_probe
        ):
            if not self.any_acked or after(newest.order, self.newest_order):
                self.any_acked = True
                self.newest_order = newest.order
                if not report.belated:
                    self.newest_rtt = report.rtt

    cdef void on_duplicates(self, uint32_t cumulative) noexcept:
        """Chunks were sent again for nothing: wait longer for what may be late (RFC 8985 §6.2)."""
        if not after(self.steps_end, cumulative):
            self.reordering_steps = min(
                <uint32_t>(self.reordering_steps + 1), <uint32_t>MAX_REORDERING_STEPS
            )
            self.steps_end = self.outstanding.next_tsn - 1

    cdef double _reordering_window(self) noexcept:
        if not self.reordering_seen and self.recovery.recovering:
            return 0
        return min(self.reordering_steps * self.round_trips.shortest / 4, self.round_trips.smoothed)

    cdef bint detect(self, bint cut_short, uint32_t unreported, double now) except -1:
        """Find what is lost by now; whether anything is.

        Where the last SACK was *cut_short*, the peer may have what comes from *unreported* on.
        """
        cdef Outstanding outstanding = self.outstanding
        cdef uint64_t lost = 0
        cdef uint32_t tsn, following, highest, left
        cdef Sent* sent
        cdef double patience, overdue
        cdef double smoothed = self.round_trips.smoothed
        cdef uint32_t count = 0
        self.deadline = INFINITY
        if not self.any_acked:
            return False
        patience = self.newest_rtt + self._reordering_window()
        highest = outstanding.cumulative
        tsn = outstanding.flying.first
        left = outstanding.flying.count
        while left:
            left -= 1
            sent = outstanding.entry(tsn)
            following = sent.next
            if cut_short and not after(unreported, tsn):
                tsn = following
                continue
            if not after(self.newest_order, sent.order):
                # Nothing was sent later than a retransmission that ends the flight: no later chunk
                # will show its loss. The SACKs that come without it do.
                overdue = smoothed + max(4 * self.round_trips.variation, patience / 4)
                if not cut_short or sent.sent_at + overdue > now:
                    break
            elif sent.sent_at + patience > now + ROUNDING and (
                self.reordering_seen or self.newest_order - sent.order < PACKET_THRESHOLD
            ):
                self.deadline = sent.sent_at + patience
                break
            # A loss that shows late, by reports that were cut short, says nothing of the path as it
            # is now.
            if sent.sent_at + 2 * smoothed > now:
                lost += size_of(sent)
            outstanding.lose(sent, tsn, now)
            count += 1
            if after(tsn, highest):
                highest = tsn
            tsn = following
            if left and outstanding.entry(tsn).state != FLYING:
                # It was given up, with the one before.
                tsn = outstanding.flying.first
                left = outstanding.flying.count
        if count:
            self.fast_retransmit_due |= not self.recovery.recovering
            self.congestion.on_lost(now, lost, self.recovery.begin(highest, count))
        return count != 0
