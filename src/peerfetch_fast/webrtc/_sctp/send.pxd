cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport CongestionControl
from peerfetch_fast.webrtc._sctp.packet cimport Packet
from peerfetch_fast.webrtc._sctp.sending.delivery_rate cimport DeliveryRate
from peerfetch_fast.webrtc._sctp.sending.losses cimport Losses
from peerfetch_fast.webrtc._sctp.sending.outstanding cimport Outstanding, Sent
from peerfetch_fast.webrtc._sctp.sending.pacer cimport Pacer
from peerfetch_fast.webrtc._sctp.sending.probe cimport TailProbe
from peerfetch_fast.webrtc._sctp.sending.queue cimport SendQueue
from peerfetch_fast.webrtc._sctp.sending.recovery cimport Recovery
from peerfetch_fast.webrtc._sctp.sending.report cimport Report
from peerfetch_fast.webrtc._sctp.sending.round_trips cimport RoundTrips
from peerfetch_fast.webrtc._sctp.sending.sacks cimport Blocks, Sacks


@cython.final
cdef class Sender:
    cdef readonly CongestionControl congestion
    cdef readonly uint64_t copied           # bytes of messages, into packets
    cdef readonly uint64_t retransmitted    # chunks
    cdef readonly uint64_t timeouts
    cdef readonly uint32_t failures         # timeouts in a row
    cdef readonly str violation
    cdef SendQueue queue
    cdef Outstanding outstanding
    cdef RoundTrips round_trips
    cdef Pacer pacer
    cdef DeliveryRate rate
    cdef Recovery recovery
    cdef Losses losses
    cdef TailProbe probe
    cdef Sacks sacks

    cdef uint32_t packet_size
    cdef uint32_t max_chunk
    cdef uint64_t peer_window
    cdef uint32_t full_tsn                  # `next_tsn` when the congestion window was last full
    cdef uint64_t repair_credit             # bytes of lost chunks that may leave beyond the window
    cdef double drained_at                  # when nothing was in flight any more
    cdef double retransmit_deadline         # T3
    cdef double forwarded_at                # when the last FORWARD TSN left

    cdef int start(self, uint64_t peer_window, double now) except -1
    cdef int write_chunks(self, Packet* packet, double now) except -1
    cdef int on_sack(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int on_cumulative(self, uint32_t tsn, double now) except -1
    cdef int handle_timeout(self, double now) except -1
    cdef int path_changed(self, double now) except -1
    cdef double deadline(self) noexcept
    cdef bint idle(self) noexcept
    cdef void clear(self) noexcept

    cdef void _write_forward(self, Packet* packet, double now) noexcept
    cdef int _write_lost(self, Packet* packet, double now) except -1
    cdef int _write_new(self, Packet* packet, double now) except -1
    cdef uint32_t _next_size(self, const Packet* packet, uint32_t rest) noexcept
    cdef bint _write_data(self, Packet* packet, Sent* sent, uint32_t tsn) noexcept
    cdef void _fly(self, Sent* sent, uint32_t tsn, double now) noexcept
    cdef int _acknowledge(self, uint32_t cumulative, const Blocks* blocks, double now) except -1
    cdef int _judge(self, const Report* report, double now) except -1
    cdef void _arm_timers(self, const Report* report, double now) noexcept
    cdef void _arm_retransmission(self, double now) noexcept
    cdef void _arm_probe(self, double now) noexcept
    cdef int _time_out(self, double now) except -1
    cdef int _violated(self, int cause, str what) noexcept
