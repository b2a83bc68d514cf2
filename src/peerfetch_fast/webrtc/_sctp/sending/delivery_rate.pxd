cimport cython
from libc.stdint cimport uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Sent
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips


# The limit that held the sender back when a packet left, and the peer's state then.
cdef enum:
    APP_LIMITED = 1             # there was less to send than might have been
    PEER_LIMITED = 2            # or more than the peer's window took
    CUT_SHORT = 4               # what had been delivered was not known in full


@cython.final
cdef class DeliveryRate:
    cdef readonly uint64_t delivered        # bytes of chunks acknowledged
    cdef double delivered_at
    cdef double stretch_began               # when the packet left that was acknowledged last
    # Values of `delivered`: what leaves before was APP_LIMITED, or PEER_LIMITED.
    cdef uint64_t app_limited_until
    cdef uint64_t peer_limited_until
    cdef uint64_t reported_delivered        # value of `delivered` when all was last known,
    cdef double reported_at                 # and when that was

    cdef inline void restart(self, double now) noexcept:
        """Nothing is in flight, and a packet leaves."""
        self.stretch_began = self.delivered_at = now

    cdef inline void stamp(self, Sent* sent, bint cut_short, double now) noexcept:
        """The chunk is in a packet that leaves now."""
        sent.sent_at = now
        sent.delivered = self.delivered
        sent.delivered_at = self.delivered_at
        sent.stretch_began = self.stretch_began
        sent.limits = (
            APP_LIMITED * (self.app_limited_until > self.delivered)
            | PEER_LIMITED * (self.peer_limited_until > self.delivered)
            | CUT_SHORT * cut_short
        )

    cdef inline void add(self, uint32_t size, double now) noexcept:
        """A chunk of *size* bytes was acknowledged."""
        self.delivered += size
        self.delivered_at = now

    cdef inline void limited_by_app(self, uint64_t in_flight) noexcept:
        """There is nothing more to send, though more might leave."""
        self.app_limited_until = self.delivered + in_flight + 1

    cdef inline void limited_by_peer(self, uint64_t in_flight) noexcept:
        """The peer's window holds back what might leave."""
        self.peer_limited_until = self.delivered + in_flight + 1

    cdef inline void known_until(self, const Report* report) noexcept:
        """SACKs are cut short from now on: only what was known before this one is certain."""
        self.reported_delivered = report.delivered
        self.reported_at = report.delivered_at

    cdef void sample(
        self, AckSample* sample, const Report* report, RoundTrips round_trips, double now
    ) noexcept
