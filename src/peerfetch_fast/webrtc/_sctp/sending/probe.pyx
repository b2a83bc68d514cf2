"""The tail-loss probe (RFC 8985 §7): ask for a SACK when the last packets of a burst get none."""

from libc.math cimport INFINITY

from peerfetch_fast.webrtc._sctp.packet cimport after
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Outstanding, Sent
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips

cdef double MIN_TIMEOUT = 0.01      # seconds
cdef double GAIN = 1.25


cdef class TailProbe:
    """One packet, with new data or the last chunk again, that makes the peer say what it has.

    :ivar sent: how many probes were sent.
    """

    def __cinit__(self, Outstanding outstanding not None, RoundTrips round_trips not None):
        self.outstanding = outstanding
        self.round_trips = round_trips
        self.deadline = INFINITY

    cdef void arm(self, double retransmit_deadline, double now) noexcept:
        """Something was sent or acknowledged, with no timeout since: start the timer anew."""
        cdef double smoothed = self.round_trips.smoothed, timeout
        self.deadline = INFINITY
        if (
            self.outstanding.flying.count and self.outstanding.lost.count == 0
            and not self.waiting and smoothed > 0
        ):
            # RFC 8985 §7.2 has twice the round trip at any rate. Where it is steady less will do,
            # as what goes last asks for an immediate SACK (RFC 7053).
            timeout = max(GAIN * smoothed, smoothed + 4 * self.round_trips.variation)
            timeout = max(min(timeout, 2 * smoothed), MIN_TIMEOUT)
            if now + timeout < retransmit_deadline:
                self.deadline = now + timeout

    cdef void expire(self, bint has_new) noexcept:
        """Nothing was heard for a while: send a probe (RFC 8985 §7.3), with new data if it
        *has_new* that may leave."""
        cdef Outstanding outstanding = self.outstanding
        cdef const Sent* last
        self.deadline = INFINITY
        if outstanding.flying.count == 0:
            return
        self.repeats = not has_new
        last = outstanding.entry(outstanding.flying.last)
        if (
            self.repeats and outstanding.peer_forwards
            and last.transmissions > last.message.max_retransmits
        ):
            return
        self.sent += 1
        self.waiting = self.due = True
        self.end = outstanding.next_tsn - 1
        if self.repeats:
            outstanding.repeat(outstanding.flying.last)

    cdef bint answered(self, const Report* report) noexcept:
        """A SACK came; whether it answers a probe that repaired a loss (RFC 8985 §7.4.2)."""
        if not self.waiting or after(self.end, self.outstanding.cumulative):
            return False
        self.waiting = False
        return (
            self.repeats and not report.repeated and report.any
            and report.newest.transmissions > 1 and report.rtt >= self.round_trips.shortest
        )

    cdef void cancel(self) noexcept:
        """The retransmission timer has expired, or the association has ended."""
        self.waiting = self.due = False
        self.deadline = INFINITY
