from cpython.ref cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.congestion.control cimport AckSample, CongestionControl
from peerfetch_fast.webrtc._sctp.packet cimport Packet


cdef struct OutboundStream:
    Message* first              # not cut into chunks to the end yet
    Message* last
    OutboundStream* next        # with something to send, in turn
    OutboundStream* following   # of all that there are
    OutboundStream* preceding
    PyObject* owner             # the channel, borrowed; NULL: it has gone
    uint64_t buffered           # bytes of its messages that have not left yet
    uint64_t low_threshold
    uint32_t chunks_unacked     # in the ring
    uint16_t id
    uint16_t next_sequence
    bint active                 # in the turn list
    bint draining               # nothing more will be sent: say when all of it has arrived

cdef struct Message:
    PyObject* head              # bytes object that goes before the data, owned; NULL: none
    PyObject* data              # bytes object, owned; NULL: given up
    Message* next
    OutboundStream* stream
    double expires              # seconds; infinite: never
    uint32_t head_length
    size_t start                # of the message's part of the data
    uint32_t length             # head included
    uint32_t offset             # cut into chunks up to here
    uint32_t protocol
    uint32_t first_tsn
    uint32_t chunks             # cut
    uint32_t chunks_kept        # of them, still in the ring
    uint32_t max_retransmits    # of any chunk; UINT32_MAX: any number
    uint16_t sequence
    bint unordered
    bint partial                # the two limits above mean something
    bint whole                  # nothing is left to cut

# What held the sender back when a packet left, and what was known of the peer then.
cdef enum:
    APP_LIMITED = 1             # there was less to send than might have been
    PEER_LIMITED = 2            # or more than the peer's window took
    CUT_SHORT = 4               # what had been delivered was not known in full

# One chunk in the ring, at the index of its TSN: 64 bytes.
cdef struct Sent:
    Message* message
    double sent_at
    # For the delivery rate (see AckSample): what had been delivered when this packet left, when
    # the last of that was, and when the packets that measure this stretch began to leave.
    uint64_t delivered
    double delivered_at
    double stretch_began
    uint32_t order              # number of the packet that carried it last
    uint32_t offset
    uint32_t next               # TSN: in its list; of an acknowledged chunk: the run's end + 1
    uint32_t previous           # TSN
    uint16_t length
    uint16_t transmissions
    uint8_t state
    uint8_t flags
    uint8_t limits

# What one SACK has said, beside what was known before it.
cdef struct Report:
    Sent newest                 # of the chunks that it acknowledged first, the last that was sent
    double rtt                  # seconds, of that; below 0: unknown
    uint64_t delivered          # value of `delivered` before it,
    double delivered_at         # and when that was
    uint32_t newest_tsn
    uint32_t was_unreported
    bint any                    # there is a newest
    bint moved                  # the cumulative TSN did
    bint belated                # the newest may have arrived long ago
    bint recovering             # values before it
    bint was_cut_short

# Chunks in the ring, linked by TSN.
cdef struct Chain:
    uint32_t first
    uint32_t last
    uint32_t count


cdef class Sender:
    cdef readonly CongestionControl congestion
    cdef readonly uint64_t queued           # memory of messages not given up or acknowledged yet
    cdef readonly uint64_t in_flight        # bytes of chunks, headers included
    cdef readonly uint64_t copied           # bytes of messages, into packets
    cdef readonly uint64_t delivered
    cdef readonly uint64_t retransmitted    # chunks
    cdef readonly uint64_t timeouts
    cdef readonly uint64_t probes
    cdef readonly uint64_t spurious         # chunks that the peer reported as duplicates
    cdef readonly double smoothed_rtt       # seconds; 0: unknown
    cdef readonly double rtt_variation
    cdef readonly double min_rtt
    cdef readonly double rto
    cdef readonly uint32_t failures         # timeouts in a row
    cdef readonly uint32_t next_tsn
    cdef readonly uint32_t cumulative       # TSN acknowledged
    cdef readonly str violation
    cdef bint peer_forwards                 # it understands FORWARD TSN
    cdef list events
    cdef list drained                       # owners of streams that were to drain, and have

    cdef uint32_t packet_size
    cdef uint32_t max_chunk
    cdef uint64_t send_buffer
    cdef double rto_min
    cdef double rto_max
    cdef double max_rate                    # bytes per second
    cdef double min_rtt_at

    cdef Sent* ring
    cdef uint32_t mask
    cdef Chain flying                       # in the order in which they left
    cdef Chain lost                         # to be sent again
    cdef uint32_t lost_last_put             # TSN: the last that was not put at the end of the chain
    cdef uint32_t gap_acked                 # chunks in the ring
    cdef uint32_t max_blocks                # of a SACK of the peer's, gap blocks and duplicates
    cdef bint cut_short                     # the last SACK may not name all that the peer has:
    cdef uint32_t unreported                # from this TSN on, nothing is known
    cdef uint64_t reported_delivered        # value of `delivered` when all was last known,
    cdef double reported_at                 # and when that was
    cdef uint64_t repair_credit             # bytes of lost chunks that may leave beyond the window
    cdef uint32_t last_gap_reported         # chunks that the last SACK's gap blocks covered

    cdef OutboundStream* streams
    cdef OutboundStream* turn_first
    cdef OutboundStream* turn_last
    cdef uint64_t unsent                    # bytes not cut into chunks yet

    cdef uint64_t peer_window
    cdef uint32_t full_tsn                  # `next_tsn` when the window was last full
    # Values of `delivered`: what leaves before was APP_LIMITED, or PEER_LIMITED.
    cdef uint64_t limited_until
    cdef uint64_t closed_until

    # RFC 8985
    cdef uint32_t order                     # of the last packet sent
    cdef uint32_t newest_order              # of the newest packet acknowledged
    cdef double newest_rtt
    cdef uint32_t highest_acked             # TSN
    cdef bint any_acked
    cdef bint reordering_seen
    cdef uint32_t reordering_steps
    cdef uint32_t reordering_steps_end      # TSN: one step a round trip
    cdef double reordering_deadline
    cdef double probe_deadline
    cdef bint probe_due
    cdef bint probing
    cdef bint probe_repeats                 # it carried a chunk sent before
    cdef uint32_t probe_end                 # TSN
    cdef uint32_t probe_order               # of the packet that carried it
    cdef bint fast_retransmit_due
    cdef bint recovering                    # losses are being repaired, up to the next
    cdef uint32_t recovery_end              # TSN: the newest that was sent when they showed

    # Whether what counts as lost was only late: chunks lost since `recovering` began, and of them
    # those acknowledged too early to be the retransmission, and those that came twice.
    cdef uint32_t doubted
    cdef uint32_t doubted_early
    cdef uint32_t doubted_twice
    cdef uint32_t doubted_from              # TSN
    cdef readonly uint64_t undone           # how often none was lost

    cdef double retransmit_deadline         # T3

    cdef double delivered_at
    cdef double stretch_began
    cdef double drained_at                  # when nothing was in flight any more

    cdef double pace_credit                 # bytes
    cdef double paced_at
    cdef double pace_deadline

    cdef bint forward_due
    cdef double forwarded_at

    cdef OutboundStream* open_stream(self, uint16_t id, PyObject* owner) except NULL
    cdef void close_stream(self, OutboundStream* stream) noexcept
    cdef void discard_stream(self, OutboundStream* stream) noexcept
    cdef int drain_stream(self, OutboundStream* stream) except -1
    cdef int start(self, uint64_t peer_window, double now) except -1
    cdef int send(
        self, OutboundStream* stream, uint32_t protocol, bytes head, bytes data, size_t start,
        size_t length, bint unordered, uint32_t max_retransmits, double expires
    ) except -1
    cdef int write_chunks(self, Packet* packet, double now) except -1
    cdef int on_sack(self, const uint8_t* chunk, size_t length, double now) except -1
    cdef int on_cumulative(self, uint32_t tsn, double now) except -1
    cdef int handle_timeout(self, double now) except -1
    cdef int path_changed(self, double now) except -1
    cdef double deadline(self) noexcept
    cdef bint idle(self) noexcept
    cdef void add_rtt(self, double rtt, double now) noexcept
    cdef void clear(self) noexcept

    cdef Sent* _entry(self, uint32_t tsn) noexcept
    cdef Sent* _new_entry(self) except NULL
    cdef void _link(self, Chain* chain, uint32_t tsn) noexcept
    cdef void _unlink(self, Chain* chain, uint32_t tsn) noexcept
    cdef void _fly(self, Sent* sent, uint32_t tsn, double now) noexcept
    cdef void _ground(self, Sent* sent, uint32_t tsn) noexcept
    cdef void _release(self, Sent* sent) noexcept
    cdef void _free_message(self, Message* message) noexcept
    cdef void _finish_cut(self, OutboundStream* stream) noexcept
    cdef void _leave(self, OutboundStream* stream, uint64_t size) noexcept
    cdef int _abandon(self, Message* message) except -1
    cdef int _lose(self, Sent* sent, uint32_t tsn, double now) except -1
    cdef void _link_lost(self, uint32_t tsn) noexcept
    cdef int _detect_losses(self, double now) except -1
    cdef bint _begin_recovery(self, uint32_t highest, uint32_t count) noexcept
    cdef void _undo_if_spurious(self) noexcept
    cdef double _reordering_window(self) noexcept
    cdef void _arm_probe(self, double now) noexcept
    cdef void _arm_retransmission(self, double now) noexcept
    cdef void _probe(self, double now) noexcept
    cdef int _time_out(self, double now) except -1
    cdef bint _paced_out(self, double now) noexcept
    cdef bint _can_forward(self) noexcept
    cdef int _write_forward(self, Packet* packet, double now) noexcept
    cdef bint _write_data(self, Packet* packet, Sent* sent, uint32_t tsn) noexcept
    cdef int _write_lost(self, Packet* packet, double now) except -1
    cdef int _write_new(self, Packet* packet, double now) except -1
    cdef void _drained(self, OutboundStream* stream) noexcept
    cdef void _free_stream(self, OutboundStream* stream) noexcept
    cdef int _acknowledge(
        self, uint32_t cumulative, const uint8_t* gaps, uint32_t gap_count,
        const uint8_t* duplicates, uint32_t duplicate_count, double now
    ) except -1
    cdef void _note(self, Report* report, const Sent* sent, uint32_t tsn) noexcept
    cdef int _take_cumulative(self, Report* report, uint32_t cumulative, double now) except -1
    cdef void _take_gaps(
        self, Report* report, const uint8_t* gaps, uint32_t gap_count, uint32_t duplicate_count,
        double now
    ) noexcept
    cdef void _take_duplicates(self, const uint8_t* duplicates, uint32_t count) noexcept
    cdef void _measure(self, Report* report, double now) noexcept
    cdef int _end_probe(self, Report* report, bint repeated, double now) except -1
    cdef int _tell_congestion(self, Report* report, double now) except -1
    cdef bint _ack(self, Sent* sent, uint32_t tsn, double now) noexcept
    cdef int _violated(self, int cause, str what) noexcept
